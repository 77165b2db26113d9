// Package sopsclient opens files that SOPS encrypted by way of a program of its own, skerry-sops.
//
// SOPS links the clients of all key services of the clouds, which double the hub's binary and its memory,
// though most fleets need none of them. So the hub links none: the program is started when the first
// encrypted file is met, and ends when it has had nothing to do for a while. What a hostile file does to it
// ends that process and not the hub.
package sopsclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/skerry-dev/skerry/internal/render"
)

// Request is one line of JSON that the program reads.
type Request struct {
	// Name is that of the Secret, for messages, and Data what it holds.
	Name string
	Data map[string][]byte
	// Local leaves out the keys of services.
	Local bool
	// Own asks for the keys that sops itself finds in the environment of the process, in place of Data: age by
	// SOPS_AGE_KEY or SOPS_AGE_KEY_FILE, gpg, and the logins of a person at the clouds. The hub never does.
	Own bool `json:",omitempty"`
	// File is opened from one format to another; nil only reads the keys.
	File     []byte
	From, To render.Format
}

// Response is one line of JSON that the program writes.
type Response struct {
	Plain []byte
	// Error is why it was not opened, or why the keys cannot be used; it holds nothing of the file or the keys.
	Error string
	// Passing means that the failure is transient: another try may succeed.
	Passing bool
}

const (
	// idleTime is how long a process with nothing to do stays.
	idleTime = time.Minute
	// requestTimeout bounds one request: the key services of up to 64 recipients have half of it.
	requestTimeout = time.Minute
	// processes bounds how many there are at a time.
	processes = 4
)

// Client asks the program. It is safe for concurrent use.
type Client struct {
	ctx     context.Context //nolint:containedctx // processes outlive the calls that start them, and end with the hub
	command []string
	log     logr.Logger
	slots   chan struct{}

	mu   sync.Mutex
	idle []*process // guarded by mu
}

// New returns a client of the program, whose processes end with the context.
func New(ctx context.Context, command []string, log logr.Logger) *Client {
	return &Client{ctx: ctx, command: command, log: log, slots: make(chan struct{}, processes)}
}

// Check reads the keys of a Secret. The error names the key of the Secret at fault.
func (c *Client) Check(secret string, data map[string][]byte) error {
	answer, err := c.ask(Request{Name: secret, Data: data})
	if err != nil {
		return err
	}
	if answer.Error != "" {
		return keysError(answer.Error)
	}
	return nil
}

// keysError is what the program says of the keys.
type keysError string

func (e keysError) Error() string { return string(e) }

// Answered reports whether an error of Check is about the keys, so that the same keys have it again.
func Answered(err error) bool {
	_, ok := errors.AsType[keysError](err)
	return err == nil || ok
}

// Decryption returns what opens files with the keys of a Secret; id names them.
func (c *Client) Decryption(id, secret string, data map[string][]byte, local bool) *render.Decryption {
	return &render.Decryption{Keys: id, Open: func(file []byte, from, to render.Format) ([]byte, *render.Error) {
		return c.open(Request{Name: secret, Data: data, Local: local, File: file, From: from, To: to})
	}}
}

// Own returns what opens files with the keys of the user who runs this process, as the command sops does.
func (c *Client) Own() *render.Decryption {
	return &render.Decryption{Keys: "own", Open: func(file []byte, from, to render.Format) ([]byte, *render.Error) {
		return c.open(Request{Own: true, File: file, From: from, To: to})
	}}
}

func (c *Client) open(r Request) ([]byte, *render.Error) {
	answer, err := c.ask(r)
	switch {
	case err != nil:
		return nil, render.Decrypting(fmt.Sprintf("is encrypted and cannot be opened: %v", err), true)
	case answer.Error != "":
		return nil, render.Decrypting(answer.Error, answer.Passing)
	}
	return answer.Plain, nil
}

// ask has one process answer a request. A process that does not is ended. One that was idle may have died since
// its last answer: then another one is asked, at once. One that was just started has died of the request.
func (c *Client) ask(r Request) (Response, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-c.ctx.Done():
		return Response{}, errors.New("the hub stops")
	}
	for {
		p, err := c.process()
		if err != nil {
			c.log.Error(err, "cannot start the program that opens SOPS files", "program", c.command[0])
			return Response{}, errors.New("skerry-sops cannot be started; the hub's log has why")
		}
		wasIdle := p.idle != nil
		answer, err := p.ask(r)
		if err == nil {
			c.release(p)
			return answer, nil
		}
		p.end()
		c.log.Error(err, "the program that opens SOPS files ended", "stderr", p.stderr.String())
		if !wasIdle || errors.Is(err, errTooLong) || c.ctx.Err() != nil {
			return Response{}, errors.New("skerry-sops ended, or took too long")
		}
	}
}

// release keeps a process that has answered for the next request.
func (c *Client) release(p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = append(c.idle, p)
	p.idle = time.AfterFunc(idleTime, func() { c.stopIdle(p) })
}

// process returns one that is idle, or a new one, which has no timer yet.
func (c *Client) process() (*process, error) {
	c.mu.Lock()
	for len(c.idle) > 0 {
		p := c.idle[len(c.idle)-1]
		c.idle = c.idle[:len(c.idle)-1]
		if p.idle.Stop() {
			c.mu.Unlock()
			return p, nil
		}
	}
	c.mu.Unlock()
	return start(c.ctx, c.command)
}

// stopIdle ends a process that has been idle for too long.
func (c *Client) stopIdle(p *process) {
	c.mu.Lock()
	for i, other := range c.idle {
		if other == p {
			c.idle = append(c.idle[:i], c.idle[i+1:]...)
			break
		}
	}
	c.mu.Unlock()
	p.end()
}

// process is one run of the program. One request is under way at a time.
type process struct {
	cancel context.CancelFunc
	in     io.WriteCloser
	out    *json.Decoder
	done   chan struct{}
	stderr *tail
	idle   *time.Timer
}

func start(ctx context.Context, command []string) (*process, error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // the hub's own program
	p := &process{cancel: cancel, done: make(chan struct{}), stderr: &tail{}}
	in, err := cmd.StdinPipe()
	if err != nil {
		cancel()
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	cmd.Stderr = p.stderr
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("cannot start: %w", err)
	}
	p.in, p.out = in, json.NewDecoder(out)
	go func() { // ends with the process
		<-ctx.Done()
		_ = cmd.Wait() // which ctx has killed
		close(p.done)
	}()
	return p, nil
}

func (p *process) ask(r Request) (Response, error) {
	late := time.AfterFunc(requestTimeout, p.cancel)
	var answer Response
	err := json.NewEncoder(p.in).Encode(r)
	if err != nil {
		err = fmt.Errorf("cannot ask: %w", err)
	} else if err = p.out.Decode(&answer); err != nil {
		err = fmt.Errorf("no answer: %w", err)
	}
	if !late.Stop() {
		err = errors.Join(errTooLong, err) // and it is being killed
	}
	return answer, err
}

// errTooLong means that a process was ended because it did not answer in time.
var errTooLong = errors.New("no answer in time")

// end kills the process, which holds nothing that is not the hub's, and waits until it is gone.
func (p *process) end() {
	p.cancel()
	<-p.done
}

// tail keeps the end of what the process wrote to its standard error: a stack, which holds no values.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

const maxTail = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - maxTail; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
