package engine

import (
	"testing"
	"testing/synctest"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestWaitOutlivesRelist: two passes list a kind anew at the same time. The second takes the place of
// the first's watcher, which will never have listed anything; the first must not wait for it.
func TestWaitOutlivesRelist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := watchScope{GroupKind: schema.GroupKind{Kind: "ConfigMap"}}
		first := &watcher{cancel: func() {}, synced: make(chan struct{}), over: make(chan struct{})}
		second := &watcher{cancel: func() {}, synced: make(chan struct{}), over: make(chan struct{})}
		w := &watches{running: map[watchScope]*watcher{at: first}}
		done := make(chan error, 1)
		go func() { done <- w.wait(t.Context(), at) }()
		synctest.Wait() // it waits for the first
		w.mu.Lock()
		w.running[at] = second
		close(first.over)
		w.mu.Unlock()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("the wait ended with %v before anything was listed", err)
		default:
		}
		close(second.synced)
		if err := <-done; err != nil {
			t.Errorf("the wait ended with %v", err)
		}
	})
}
