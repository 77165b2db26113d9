package engine

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestWaitOutlivesRelist: two passes list a kind anew at the same time. The second takes the place of
// the first's watcher, which will never have listed anything; the first must not wait for it.
func TestWaitOutlivesRelist(t *testing.T) {
	at := watchScope{GroupKind: schema.GroupKind{Kind: "ConfigMap"}}
	first := &watcher{cancel: func() {}, synced: make(chan struct{}), over: make(chan struct{})}
	second := &watcher{cancel: func() {}, synced: make(chan struct{}), over: make(chan struct{})}
	w := &watches{running: map[watchScope]*watcher{at: first}}
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		done <- w.wait(ctx, at)
	}()
	w.mu.Lock()
	w.running[at] = second
	close(first.over)
	w.mu.Unlock()
	select {
	case err := <-done:
		t.Fatalf("the wait ended with %v before anything was listed", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(second.synced)
	if err := <-done; err != nil {
		t.Errorf("the wait ended with %v", err)
	}
}
