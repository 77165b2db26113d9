// Package wait waits until objects on an API server are as wished. It is woken by watches and never
// looks on a timer while they hold.
package wait

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/skerry-dev/skerry/internal/sleep"
)

// retryInterval is the pause before a watch that was refused or cut off is tried again, and before an API
// server that does not serve a new kind yet is asked again.
const retryInterval = 500 * time.Millisecond

// Until reads the objects, which carry their names, and calls check; again whenever one of them
// changes, until check returns true, or an error, or ctx ends. An object that does not exist has no
// UID when check is called. The error of an ended ctx wraps ctx.Err().
func Until(ctx context.Context, c client.WithWatch, objects []client.Object, check func() (bool, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := newSignal()
	for _, o := range objects {
		list, err := listFor(c, o)
		if err != nil {
			return err
		}
		name := o.GetName()
		go follow(ctx, c, list, name, changed, client.InNamespace(o.GetNamespace()), client.MatchingFields{"metadata.name": name})
	}
	return checkOnChanges(ctx, changed, func() (bool, error) {
		for _, o := range objects {
			if err := read(ctx, c, o); err != nil {
				return false, err
			}
		}
		return check()
	})
}

// Changes calls check, and again after changes to the objects of the kinds of the lists in any namespace,
// until check returns true, or an error, or ctx ends. It takes one watch a kind, however many objects there
// are. The error of an ended ctx wraps ctx.Err().
func Changes(ctx context.Context, c client.WithWatch, lists []client.ObjectList, check func() (bool, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := newSignal()
	for _, list := range lists {
		go follow(ctx, c, list, "", changed)
	}
	return checkOnChanges(ctx, changed, check)
}

// checkOnChanges calls check, and again whenever the signal is set, until check returns true, or an error, or ctx ends.
func checkOnChanges(ctx context.Context, changed signal, check func() (bool, error)) error {
	for {
		if done, err := check(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// signal is set or not: set again before it was received, it is received once.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) set() {
	select {
	case s <- struct{}{}:
	default: // it is set
	}
}

// read gets the object; without one it is emptied but for its name. While the API server cannot be
// asked it keeps what it had: a hub whose API server restarts is waited for like any other.
func read(ctx context.Context, c client.Client, o client.Object) error {
	key := client.ObjectKeyFromObject(o)
	err := c.Get(ctx, key, o)
	switch {
	case err == nil:
		return nil // also when the context has ended meanwhile, which its owner sees
	case apierrors.IsNotFound(err):
		o.SetUID("")
		o.SetResourceVersion("")
		o.SetNamespace(key.Namespace)
		o.SetName(key.Name)
		return nil
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), meta.IsNoMatchError(err), ctx.Err() != nil:
		return fmt.Errorf("cannot read %s: %w", key, err)
	}
	return nil
}

// follow sets the signal whenever an object of the list's kind changes, or the one with the name where there is one, and
// whenever a watch begins or ends, so that nothing that happened between two watches is missed. It ends with ctx.
//
// It is no UntilWithSync or ListWatchUntil of client-go's tools/watch: they look at one object or kind and not at several,
// the first retries for ever what is forbidden, and the second ends with its watch, so when an API server restarts.
func follow(ctx context.Context, c client.WithWatch, list client.ObjectList, name string, changed signal, opts ...client.ListOption) {
	for ctx.Err() == nil {
		if w, err := c.Watch(ctx, list, opts...); err == nil {
			changed.set()
			receive(w, name, changed)
		}
		if Pause(ctx) != nil {
			return
		}
		changed.set()
	}
}

// receive receives the events of a watch until it ends.
func receive(w watch.Interface, name string, changed signal) {
	defer w.Stop()
	for event := range w.ResultChan() {
		if event.Type == watch.Error {
			return
		}
		// A server that knows no field selector sends all; only one name is of interest.
		if o, ok := event.Object.(client.Object); name == "" || ok && o.GetName() == name {
			changed.set()
		}
	}
}

// Pause waits before a watch or a request is tried again; its error is that of an ended ctx.
func Pause(ctx context.Context) error { return sleep.For(ctx, retryInterval) }

func listFor(c client.Client, o client.Object) (client.ObjectList, error) {
	gvk, err := apiutil.GVKForObject(o, c.Scheme())
	if err != nil {
		return nil, fmt.Errorf("cannot watch %T: %w", o, err)
	}
	gvk.Kind += "List"
	list, err := c.Scheme().New(gvk)
	if err != nil {
		return nil, fmt.Errorf("cannot watch %T: %w", o, err)
	}
	typed, ok := list.(client.ObjectList)
	if !ok {
		return nil, fmt.Errorf("cannot watch %T: %T is no list", o, list)
	}
	return typed, nil
}

// Served calls do until the API server serves the kind that do needs: it does so a moment after the
// CRD is established, and there is no event for it.
func Served(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil || !meta.IsNoMatchError(err) && !isPageNotFound(err) {
			return err
		}
		if Pause(ctx) != nil {
			return err
		}
	}
}

// isPageNotFound reports whether the path is unknown, and not only an object: such an answer names none.
func isPageNotFound(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details == nil || details.Name == ""
}
