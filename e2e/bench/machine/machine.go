// Package machine shows for whom the processors worked while a benchmark measured: how to read a figure that was
// taken on a machine with other work.
package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// Part is one of the processes that the benchmark runs, and the processor time that it has used.
type Part struct {
	name string
	cpu  time.Duration
}

// Of looks at a process; what cannot be read is 0.
func Of(name string, usage func() (rig.Usage, error)) Part {
	u, _ := usage()
	return Part{name, u.CPU}
}

// Look is what processors have done up to now, and for whom.
type Look struct {
	at    time.Time
	parts []Part
	self  time.Duration // of the benchmark's own process
	api   time.Duration // of the other processes that the benchmark runs: etcd and API server
	all   time.Duration // of the whole machine
}

// Now looks at the processors; what cannot be read is 0.
func Now(parts ...Part) Look {
	l := Look{at: time.Now(), parts: parts, all: busy(), api: children()}
	for _, p := range parts {
		l.api -= p.cpu
	}
	var self syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &self) == nil {
		l.self = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	}
	return l
}

// Since describes what was used since an earlier look at the same parts.
func (l Look) Since(before Look) string {
	share := func(d time.Duration) string {
		return fmt.Sprintf("%.2f", d.Seconds()/l.at.Sub(before.at).Seconds())
	}
	var used strings.Builder
	sum := time.Duration(0)
	for i, p := range l.parts {
		cpu := p.cpu - before.parts[i].cpu
		if cpu < 0 { // another process by now
			cpu = p.cpu
		}
		sum += cpu
		fmt.Fprintf(&used, "%s %s, ", p.name, share(cpu))
	}
	self, api := l.self-before.self, max(l.api-before.api, 0)
	others := l.all - before.all - sum - self - api
	load, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("in %.1f s, cores of %d used by %sAPI server and etcd %s, benchmark %s, others %s; load average %s",
		l.at.Sub(before.at).Seconds(), runtime.NumCPU(), used.String(), share(api), share(self), share(others), one)
}

// children is what the children of this process that still run have used.
func children() time.Duration {
	var sum time.Duration
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		raw, _ := os.ReadFile(list)
		for pid := range strings.FieldsSeq(string(raw)) {
			n, _ := strconv.Atoi(pid)
			if u, err := rig.UsageOf(n); err == nil {
				sum += u.CPU
			}
		}
	}
	return sum
}

// busy is how long all processors together have worked, by the first line of /proc/stat: user, nice
// and system, and interrupts behind idle and iowait, in ticks of 10 ms.
func busy() time.Duration {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	fields := strings.Fields(line)
	var ticks int64
	for i, f := range fields {
		if i >= 1 && i <= 7 && i != 4 && i != 5 {
			n, _ := strconv.ParseInt(f, 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
