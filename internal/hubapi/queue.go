package hubapi

import (
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Options are those of every controller: so many reconciles at once, and pauses between tries of one
// object that double from 50 ms to a minute. There is no limit over all objects: one that fails does
// not slow the others.
func Options(concurrency int) controller.Options {
	skip := true // two hubs may run in one process, in tests
	return controller.Options{
		MaxConcurrentReconciles: concurrency,
		SkipNameValidation:      &skip,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, time.Minute),
	}
}
