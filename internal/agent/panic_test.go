package agent

import (
	"context"
	"errors"
	"testing"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/skerry-dev/skerry/internal/recovery"
)

// TestAPanicEndsTheSession and not the agent, whose engine keeps the cluster as it is.
func TestAPanicEndsTheSession(t *testing.T) {
	work, ctx := errgroup.WithContext(t.Context())
	s := &session{a: &agent{log: logr.Discard()}, work: work}
	s.startWork(func() error { panic("what the hub sent") })
	s.startWork(func() error { <-ctx.Done(); return context.Cause(ctx) })
	err := s.work.Wait()
	if p, ok := errors.AsType[*recovery.Panic](err); !ok || p.Value != "what the hub sent" {
		t.Errorf("the session ended with %v", err)
	}
}
