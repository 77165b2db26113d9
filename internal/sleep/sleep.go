// Package sleep waits for a while, or until a context ends. Kubernetes' and Go's own libraries wait so only for a condition
// that is polled.
package sleep

import (
	"context"
	"time"
)

// For returns after d, or with the error of ctx when that ends before.
func For(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
