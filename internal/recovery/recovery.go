// Package recovery turns a panic into an error at the boundary of one piece of work, so that it ends that
// work and not the process. It promises that the error's text is fit for a condition: it names the
// function that panicked, and never the value of the panic, which may hold what a cluster, a commit or
// a Secret contained. Value and stack are for the log.
package recovery

import (
	"errors"
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

// Recovered describes a panic. It is called by the deferred function that recovered the value. A *Panic that was
// raised again, on another goroutine, is what it was there, and is not counted twice.
func Recovered(value any) *Panic {
	if again, ok := value.(*Panic); ok {
		return again
	}
	total.Add(1)
	return &Panic{Value: value, Stack: string(debug.Stack()), Function: function()}
}

var total atomic.Uint64

// FromElsewhere is a panic that another process of this program recovered, and that this one is to log and count.
func FromElsewhere(value, stack, function string) *Panic {
	total.Add(1)
	return &Panic{Value: value, Stack: stack, Function: function}
}

var inputs atomic.Uint64

// CountInput counts a panic of a library on what a repository or a cluster contains. The caller returns an error of
// that input, which says so. It is apart from Total: a user who may push could make that grow at will.
func CountInput() { inputs.Add(1) }

// CountInputs counts those that another process of this program has counted.
func CountInputs(n uint64) { inputs.Add(n) }

// InputTotal returns how many panics of libraries this process has counted.
func InputTotal() uint64 { return inputs.Load() }

// Total returns how many panics this process has recovered.
func Total() uint64 { return total.Load() }

// Details are what the log is to say of a panic, as keys and values.
func (p *Panic) Details() []any {
	return []any{"panic", fmt.Sprint(p.Value), "stack", p.Stack}
}

// Details are what the log is to say beside an error: those of the panic, if it was one.
func Details(err error) []any {
	if p, ok := errors.AsType[*Panic](err); ok {
		return p.Details()
	}
	return nil
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
