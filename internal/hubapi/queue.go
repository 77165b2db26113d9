package hubapi

import (
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// firstPause and longestPause bound the pause after a reconcile that failed, which doubles with each.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = time.Minute
)

// Options are those of every controller: so many reconciles at once, and pauses between tries of one object that
// double. There is no limit over all objects: one that fails does
// not slow the others.
func Options(concurrency int) controller.Options {
	skip := true // two hubs may run in one process, in tests
	return controller.Options{
		MaxConcurrentReconciles: concurrency,
		SkipNameValidation:      &skip,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstPause, longestPause),
	}
}
