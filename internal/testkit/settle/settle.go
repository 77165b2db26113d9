// Package settle runs reconciles whose writes are made beside them, until they are made.
package settle

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/internal/hubapi"
)

// Writer is a hubapi.Writer of any kind.
type Writer interface {
	Drain(ctx context.Context) error
}

// Reconcile reconciles an object until what a reconcile began to write is written and nothing follows from that
// at once. It returns when the next reconcile is asked for, if any, and the error of the last one or of its continuation.
func Reconcile(ctx context.Context, r reconcile.Reconciler, after *hubapi.Continuations, key types.NamespacedName, writers ...Writer) (reconcile.Result, error) {
	woken := &wakings{}
	after.Queue = woken
	for {
		result, err := r.Reconcile(ctx, reconcile.Request{NamespacedName: key})
		for _, w := range writers {
			err = cmp.Or(err, w.Drain(ctx))
		}
		if !woken.now.Swap(false) {
			return reconcile.Result{RequeueAfter: max(result.RequeueAfter, time.Duration(woken.after.Load()))}, cmp.Or(err, after.Err(key))
		}
	}
}

// wakings records that a reconcile is asked for: now, or after a while.
type wakings struct {
	now   atomic.Bool
	after atomic.Int64
}

func (w *wakings) Enqueue(types.NamespacedName) { w.now.Store(true) }

func (w *wakings) EnqueueAfter(_ types.NamespacedName, wait time.Duration) {
	w.after.Store(int64(wait))
}
