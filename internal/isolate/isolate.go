// Package isolate runs renders in processes of their own, which the kernel and their parent bound in
// memory and time: kustomize takes no context, and a page of replacements makes it need gigabytes.
//
// It promises that a render ends within its deadline and its memory, whatever the input; that a render
// that failed by them is not tried again at once, also by the hub that was killed meanwhile; and that a
// render that takes long holds up no short one.
package isolate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"

	"github.com/skerry-dev/skerry/internal/render"
)

// Limits bound the renders of one size.
type Limits struct {
	// Memory of one process in bytes, beyond what the program itself takes.
	Memory int64
	// Deadline of one process.
	Deadline time.Duration
	// Slots is how many processes there may be at a time.
	Slots int
}

// Options say how renders are run.
type Options struct {
	// Command is the program and its arguments; those of Main are added.
	Command []string
	// Dir is where it is recorded which renders are under way, and which failed.
	Dir string
	// Small is for renders whose input is small and whose need is not known by it, Large for large ones.
	Small, Large Limits
	Now          func() time.Time
	Log          logr.Logger
}

// Renderer runs renders in processes of their own. It is safe for concurrent use.
type Renderer struct {
	Options
	ctx          context.Context //nolint:containedctx // renders outlive the calls that ask for them, and end with the hub
	records      *records
	small, large chan struct{}
}

// New returns a Renderer whose processes end with the context.
func New(ctx context.Context, o Options) (*Renderer, error) {
	r, err := openRecords(o.Dir, o.Now)
	if err != nil {
		return nil, err
	}
	return &Renderer{Options: o, ctx: ctx, records: r, small: make(chan struct{}, o.Small.Slots), large: make(chan struct{}, o.Large.Slots)}, nil
}

// Render is a build.Isolate.
func (r *Renderer) Render(key string, job []byte, large bool) ([]byte, *render.Error) {
	if failed := r.records.failure(key); failed != nil {
		return nil, failed
	}
	slots, limits := r.small, r.Small
	if large {
		slots, limits = r.large, r.Large
	}
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-r.ctx.Done():
		return nil, stopped()
	}
	// Recorded before it starts: if this render ends the hub, the next start knows.
	before := r.records.get(key)
	if err := r.records.begin(key); err != nil {
		r.Log.Error(err, "cannot record that a render is under way")
	}
	out, failed := r.run(job, limits)
	switch {
	case r.ctx.Err() != nil:
		r.records.put(key, before)
		return nil, stopped()
	case failed == nil:
		r.records.put(key, nil)
		return out, nil
	case failed.Reason == render.Failed: // nothing of the input
		r.records.put(key, before)
	default:
		r.records.fail(key, failed)
		r.Log.Info("a render was ended", "reason", failed.Reason, "message", failed.Message)
	}
	return nil, failed
}

func stopped() *render.Error { return render.Transient(render.Failed, "the hub stops") }

// maxAnswer bounds what a process may write, in bytes.
const maxAnswer = 160 << 20

// run starts a process for one render and waits for it.
func (r *Renderer) run(job []byte, limits Limits) ([]byte, *render.Error) {
	ctx, cancel := context.WithTimeout(r.ctx, limits.Deadline)
	defer cancel()
	args := append(r.Command[1:len(r.Command):len(r.Command)], strconv.FormatInt(limits.Memory, 10), strconv.Itoa(int(limits.Deadline/time.Second)))
	cmd := exec.CommandContext(ctx, r.Command[0], args...) //nolint:gosec // the hub's own program
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=50", "GOTRACEBACK=none"}
	cmd.Dir = "/"
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = attributes()
	out, errOut := &limited{max: maxAnswer}, &limited{max: 4 << 10, drop: true}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(job), out, errOut
	// The kernel ends the process when the thread that started it ends, so this one has to stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return nil, render.Transient(render.Failed, "cannot start a process to render in")
	}
	err := cmd.Wait()
	switch {
	case err == nil && !out.full:
		return out.Bytes(), nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded), isDeadline(err):
		return nil, render.Transient(render.Timeout, fmt.Sprintf("the render was ended after %s; it is tried again later, or when its input changes", limits.Deadline))
	case out.full:
		return nil, render.Transient(render.TooLarge, "what is rendered is too large")
	case isMemory(err, errOut.String()):
		return nil, render.Transient(render.TooLarge, fmt.Sprintf("the render needs more than %d MiB of memory: replacements, vars, patches or labels multiply what they copy", limits.Memory>>20))
	}
	return nil, render.Transient(render.BuildFailed, "the process that renders this input ends before it is done")
}

// isMemory reports whether a process ended because it needed more memory than it may.
func isMemory(err error, output string) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	return ok && (exit.ExitCode() == exitMemory || isKilled(exit)) ||
		strings.Contains(output, "out of memory") || strings.Contains(output, "cannot allocate memory")
}

// limited is a buffer that takes no more than max bytes. What is more is an error, or dropped.
type limited struct {
	bytes.Buffer
	max  int
	drop bool
	full bool
}

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) <= l.max {
		return l.Buffer.Write(p)
	}
	l.full = true
	if l.drop {
		return len(p), nil
	}
	return 0, io.ErrShortBuffer
}
