package controlplane

import (
	"context"
	"fmt"
	"time"
)

// until returns nil as soon as check does, and an error when the process ends
// or ctx does before that.
func (p *process) until(ctx context.Context, check func(context.Context) error) error {
	// A starting server announces nothing, so it is asked.
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready; the end of %s:\n%s", p.name, p.log, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; last answer: %w; the end of %s:\n%s", p.name, context.Cause(ctx), err, p.log, p.tail())
		case <-ticker.C:
		}
	}
}

// retryTakenPort runs start again if its process gave up because a port that
// was free a moment ago has been taken by a process that does not reserve.
func retryTakenPort(start func() (*process, error)) error {
	for attempt := 1; ; attempt++ {
		p, err := start()
		if err == nil || p == nil || !p.portTaken() || attempt == 5 {
			return err
		}
	}
}
