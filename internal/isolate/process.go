package isolate

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"

	"github.com/skerry-dev/skerry/internal/render"
)

// Exit codes of the process.
const (
	exitUsage  = 2
	exitMemory = 3
	exitIO     = 4
)

// maxJob bounds what the process reads, in bytes.
const maxJob = 256 << 20

// Main is the process: it reads a job from in, renders it, and writes the answer to out. Its arguments
// are the memory in bytes and the deadline in seconds. It does not return when it exceeds one of them.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	if len(args) != 2 {
		fmt.Fprintln(errOut, "usage: render MEMORY SECONDS")
		return exitUsage
	}
	memory, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || memory <= 0 {
		return exitUsage
	}
	seconds, err := strconv.ParseUint(args[1], 10, 32)
	if err != nil {
		return exitUsage
	}
	base := inUse()
	limitProcess(memory, seconds)
	debug.SetMemoryLimit(base + memory*3/4)
	debug.SetMaxStack(64 << 20)
	go watch(base + memory) // until the process ends
	job, err := io.ReadAll(io.LimitReader(in, maxJob))
	if err != nil {
		return exitIO
	}
	if _, err := out.Write(render.RunJob(job)); err != nil {
		return exitIO
	}
	return 0
}

// interval between two looks at the memory. What grows faster than that meets the limit of the kernel.
const interval = 5 * time.Millisecond

// watch ends the process when it needs more memory than it may.
func watch(limit int64) {
	for range time.Tick(interval) {
		if inUse() > limit {
			os.Exit(exitMemory)
		}
	}
}

// inUse returns how many bytes the Go runtime has from the operating system and uses.
func inUse() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64()) - int64(samples[1].Value.Uint64())
}
