package fleetsim

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// FaultKind is a way in which an edge can be bad.
type FaultKind string

const (
	// NoFault is an edge as it should be.
	NoFault FaultKind = ""
	// Silent accepts connections and never says anything, on those that are open neither.
	Silent FaultKind = "silent"
	// Dropped lets packets fall into the void: connecting gets no answer at all, open connections
	// are silent.
	Dropped FaultKind = "dropped"
	// Refused closes all connections and stops listening.
	Refused FaultKind = "refused"
	// Flap is Refused and well in turns of Every.
	Flap FaultKind = "flap"
	// HTML answers each request with 200 and a page.
	HTML FaultKind = "html"
	// Redirect answers each request with 302 to another server.
	Redirect FaultKind = "redirect"
	// Endless answers each request with a body that does not end.
	Endless FaultKind = "endless"
	// Oversized answers each request with a body of Size bytes, 128 MiB if zero.
	Oversized FaultKind = "oversized"
	// GzipBomb answers each request with a small body that unpacks to Size bytes, 4 GiB if zero.
	GzipBomb FaultKind = "gzip-bomb"
	// Slow takes Delay over each request, 10 s if zero, and then answers it as it should.
	Slow FaultKind = "slow"
	// Busy answers each request with 429 and a Retry-After of RetryAfter, 1 s if zero.
	Busy FaultKind = "busy"
	// Expired answers each request with 401.
	Expired FaultKind = "expired"
)

// Faults lists all kinds but NoFault.
var Faults = []FaultKind{Silent, Dropped, Refused, Flap, HTML, Redirect, Endless, Oversized, GzipBomb, Slow, Busy, Expired}

// Fault is how an edge is bad. The zero value is that it is not.
type Fault struct {
	Kind FaultKind
	// Delay of Slow, Every of Flap (5 s if zero), RetryAfter of Busy (rounded up to seconds).
	Delay, Every, RetryAfter time.Duration
	// Size in bytes, of Oversized and GzipBomb.
	Size int64
}

// activeFault is a fault that an edge has now.
type activeFault struct {
	Fault

	lifted chan struct{}
	once   sync.Once
}

func (f *activeFault) lift() { f.once.Do(func() { close(f.lifted) }) }

// SetFault gives the edge a fault in place of the one it has, or takes it away. It returns when the
// fault is in force. Watches that are open end, unless the fault is Slow or Busy, which an API server
// under load is for new requests only.
func (e *Edge) SetFault(f Fault) error {
	if err := f.check(); err != nil {
		return err
	}
	e.net.changing.Lock()
	defer e.net.changing.Unlock()
	var now *activeFault
	if f.Kind != NoFault {
		now = &activeFault{Fault: f.withDefaults(), lifted: make(chan struct{})}
	}
	old := e.fault.Swap(now)
	if old != nil {
		old.lift()
		if err := e.unblock(old); err != nil {
			return err
		}
	}
	if now == nil {
		return nil
	}
	return e.block(now)
}

// SetFaults sets the fault of many edges side by side, as one may have to wait for the kernel.
func SetFaults(edges []*Edge, f Fault) error {
	var g errgroup.Group
	g.SetLimit(64)
	for _, e := range edges {
		g.Go(func() error {
			if err := e.SetFault(f); err != nil {
				return fmt.Errorf("%s: %w", e.Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// Fault returns the fault that the edge has.
func (e *Edge) Fault() Fault {
	if f := e.fault.Load(); f != nil {
		return f.Fault
	}
	return Fault{}
}

func (f Fault) check() error {
	if f.Kind != NoFault && !slices.Contains(Faults, f.Kind) {
		return fmt.Errorf("there is no fault %q", f.Kind)
	}
	return nil
}

func (f Fault) withDefaults() Fault {
	if f.Delay == 0 {
		f.Delay = 10 * time.Second
	}
	if f.Every == 0 {
		f.Every = 5 * time.Second
	}
	if f.RetryAfter == 0 {
		f.RetryAfter = time.Second
	}
	if f.Size == 0 {
		f.Size = 128 << 20
		if f.Kind == GzipBomb {
			f.Size = 4 << 30
		}
	}
	return f
}

// mutes says whether the edge says nothing on open connections.
func (f *activeFault) mutes() bool { return f != nil && (f.Kind == Silent || f.Kind == Dropped) }

// intercept answers a request in the edge's place, or later, and says whether it did.
func (f *activeFault) intercept(s *stream, r *request) bool {
	e := s.conn.edge
	a := f.answer()
	switch {
	case f.Kind == Slow:
		time.AfterFunc(f.Delay, func() { e.proceed(s, r) })
		return true
	case a == nil:
		return false
	}
	e.count.Faulty.Add(1)
	e.count.request(e.glance(r), a.code)
	if r.body != nil {
		giveBuffer(r.body)
		r.body = nil
	}
	if f.Kind == Endless || f.Kind == Oversized || f.Kind == GzipBomb {
		s.begin(a)
		e.fleet.running.Go(func() { f.flood(s) })
		return true
	}
	s.reply(a)
	return true
}

// glance says which verb a request has that is not carried out.
func (e *Edge) glance(r *request) verb {
	c := &call{request: r}
	if c.parseQuery() == nil {
		e.route(c)
	}
	return c.verb
}

const page = `<!DOCTYPE html><html><head><title>Welcome</title></head><body><h1>It works!</h1><p>Please log in to use the network.</p></body></html>`

func (f *activeFault) answer() *answer {
	switch f.Kind {
	case HTML:
		return &answer{code: http.StatusOK, contentType: "text/html; charset=utf-8", body: []byte(page)}
	case Redirect:
		return &answer{code: http.StatusFound, contentType: "text/html; charset=utf-8", headers: []header{{"location", "https://127.0.0.1:1/elsewhere"}}}
	case Endless, Oversized:
		return &answer{code: http.StatusOK, contentType: jsonType}
	case GzipBomb:
		return &answer{code: http.StatusOK, contentType: jsonType, headers: []header{{"content-encoding", "gzip"}}}
	case Busy:
		seconds := int((f.RetryAfter + time.Second - 1) / time.Second)
		a := refuse(apierrors.NewTooManyRequests("too many requests, please try again later", seconds))
		a.headers = []header{{"retry-after", strconv.Itoa(seconds)}}
		return a
	case Expired:
		return refuse(apierrors.NewUnauthorized("Unauthorized"))
	default:
		return nil
	}
}
