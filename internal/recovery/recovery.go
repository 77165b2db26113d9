// Package recovery turns a panic into an error at the boundary of one piece of work, so that it ends that
// work and not the process. It promises that the error's text is fit for a condition: it names the
// function that panicked, and never the value of the panic, which may hold what a cluster, a commit or
// a Secret contained. Value and stack are for the log.
package recovery

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
)

// Panic is a panic that was recovered.
type Panic struct {
	// Value is what the program panicked with.
	Value any
	// Stack is that of the goroutine, with the panic.
	Stack string
	// Function is where it happened, as far as that can be told: "apply.(*Client).Watch".
	Function string
}

func (p *Panic) Error() string {
	return "an error of the hub itself, in " + p.Function + "; its log has the details"
}

// Run calls f and returns its error, or a *Panic when it panics. A goroutine that f starts needs a Run
// of its own.
func Run(f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = Recovered(value)
		}
	}()
	return f()
}

// Recovered describes a panic. It is called by the deferred function that recovered the value.
func Recovered(value any) *Panic {
	total.Add(1)
	return &Panic{Value: value, Stack: string(debug.Stack()), Function: function()}
}

var total atomic.Uint64

// Total returns how many panics this process has recovered.
func Total() uint64 { return total.Load() }

// Details are what the log is to say of a panic, as keys and values.
func (p *Panic) Details() []any {
	return []any{"panic", fmt.Sprint(p.Value), "stack", p.Stack}
}

// function names the function that panicked: the first below the runtime's own. Above it are Recovered
// and the deferred function.
func function() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(4, pcs)])
	for {
		frame, more := frames.Next()
		if name := frame.Function; name != "" && !strings.HasPrefix(name, "runtime.") {
			return name[strings.LastIndexByte(name, '/')+1:]
		}
		if !more {
			return "an unknown place"
		}
	}
}
