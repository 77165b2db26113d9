package main

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

// machine is what processors have done up to now, and for whom: how to read a figure that was taken
// on a machine with other work.
type machine struct {
	at             time.Time
	hub, sim, self time.Duration
	children       time.Duration // of all processes that the benchmark runs: etcd and API server too
	all            time.Duration // of the whole machine
}

// machine looks at the processors; what cannot be read is 0.
func (w *world) machine() machine {
	m := machine{at: time.Now(), all: busy(), children: children()}
	if u, err := w.rig.Hub.Usage(); err == nil {
		m.hub = u.CPU
	}
	if u, err := w.sim.Usage(); err == nil {
		m.sim = u.CPU
	}
	var self syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &self) == nil {
		m.self = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	}
	return m
}

// since says what was used from one look to this one.
func (m machine) since(before machine) string {
	share := func(d time.Duration) string {
		return fmt.Sprintf("%.2f", d.Seconds()/m.at.Sub(before.at).Seconds())
	}
	hub, sim, self := m.hub-before.hub, m.sim-before.sim, m.self-before.self
	if hub < 0 { // another hub by now
		hub = m.hub
	}
	api := max(m.children-before.children-hub-sim, 0)
	others := m.all - before.all - hub - sim - self - api
	load, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("in %.1f s, cores of %d used by hub %s, API server and etcd %s, simulator %s, benchmark %s, others %s; load average %s",
		m.at.Sub(before.at).Seconds(), runtime.NumCPU(), share(hub), share(api), share(sim), share(self), share(others), one)
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
