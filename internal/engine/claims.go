package engine

import (
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/health"
)

const (
	// classFresh is how long the answer about a StorageClass counts, and classRetry the pause after one
	// that gives no answer: it is not there, or may not be read.
	classFresh = 10 * time.Minute
	classRetry = 5 * time.Second
	// maxClasses bounds the StorageClasses that are asked for on one cluster.
	maxClasses = 32
)

// storageClass is what is known of a StorageClass that a claim waits for.
type storageClass struct {
	wanted bool // a claim waits for it
	asking bool
	at     time.Time // of the last answer; zero before the first
	waits  bool      // it binds a claim only when a Pod uses it

	missing, failed bool
}

// due is when the class is to be asked for: at once for the first time.
func (c *storageClass) due() time.Time {
	switch {
	case c.at.IsZero():
		return time.Time{}
	case c.missing, c.failed:
		return c.at.Add(classRetry)
	}
	return c.at.Add(classFresh)
}

// classAnswer is what a cluster reports of a StorageClass.
type classAnswer struct {
	session *session
	name    string
	waits   bool
	err     error
}

// claimHealth is the health of a claim that is not bound, where its StorageClass decides. One that waits
// for its first consumer holds nothing up: the consumer may be what waits for it, in a Kustomization that
// depends on this one, as with the local-path class of k3s. One that is to be provisioned does.
func (en *entry) claimHealth(h health.Status) health.Status {
	if h.Class == "" {
		return h
	}
	c := en.session.classes[h.Class]
	if c == nil && len(en.session.classes) < maxClasses {
		c = &storageClass{}
		en.session.classes[h.Class] = c
	}
	if c == nil {
		return h
	}
	c.wanted = true
	if c.at.IsZero() {
		return h
	}
	en.recheckAt(c.due())
	switch {
	case c.missing:
		h.Message = health.Clean(fmt.Sprintf("waits for StorageClass %s, which is not there", h.Class))
	case c.failed:
		h.Message = health.Clean(fmt.Sprintf("waits for StorageClass %s, which cannot be read", h.Class))
	case c.waits:
		return health.Status{Phase: health.Current, Message: "waits for its first consumer"}
	}
	return h
}

// requestClasses asks the cluster for the StorageClasses that claims wait for, each in one request.
func (e *Engine) requestClasses(now time.Time) {
	s := e.conn.session
	if s == nil || e.stop.Load() {
		return
	}
	for name, c := range s.classes {
		wanted := c.wanted
		c.wanted = false
		if !wanted || c.asking || now.Before(c.due()) {
			continue
		}
		c.asking = true
		e.workers.Go(func() {
			a := classAnswer{session: s, name: name}
			a.err = e.guard("storage class", func() (err error) {
				a.waits, err = s.client.WaitsForConsumer(s.ctx, name)
				return err
			})
			e.send(func(in *inbox) { in.classes = append(in.classes, a) })
		})
	}
}

// onClass takes the answer about a StorageClass.
func (e *Engine) onClass(a classAnswer, now time.Time) {
	if a.session != e.conn.session {
		return
	}
	c := a.session.classes[a.name]
	*c = storageClass{at: now, waits: a.waits, missing: apierrors.IsNotFound(a.err) && !apierror.KindGone(a.err), failed: a.err != nil}
	for _, en := range e.entries {
		en.Changed = true
	}
}
