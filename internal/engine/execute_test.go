package engine

import (
	"sync/atomic"
	"testing"

	"github.com/skerry-dev/skerry/internal/plan"
)

// TestAPassThatMustStopAppliesNothingMore, whichever of its goroutines finds that out: the race detector looks on.
func TestAPassThatMustStopAppliesNothingMore(t *testing.T) {
	p := &pass{session: &session{slots: make(chan struct{}, 8), stop: new(atomic.Bool)}}
	p.stop.Store(true)
	if err := p.applyAll(t.Context(), make([]plan.Action, 16)); err != nil || !p.out.stopped {
		t.Errorf("%v, stopped is %t", err, p.out.stopped)
	}
}
