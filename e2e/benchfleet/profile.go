package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// profile takes profiles of the hub until it is stopped, if somebody wants them: its processor time
// in slices, and at the end its memory.
func (w *world) profile(ctx context.Context, number int) (stop func()) {
	if w.pprof == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	const slice = 15
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			if err := w.fetch(ctx, fmt.Sprintf("profile?seconds=%d", slice), fmt.Sprintf("%d-cpu-%s", number, time.Now().Format("150405"))); err != nil {
				_ = pause(ctx, time.Second)
			}
		}
	}()
	return func() {
		cancel()
		<-done
		for what, file := range map[string]string{"heap": "heap", "goroutine": "goroutine", "heap?debug=1": "memstats"} {
			if err := w.fetch(context.WithoutCancel(ctx), what, fmt.Sprintf("%d-%s", number, file)); err != nil {
				w.progress("no profile of %s: %v", what, err)
			}
		}
		if text, err := w.rig.Hub.Metrics(context.WithoutCancel(ctx)); err == nil {
			_ = os.WriteFile(filepath.Join(w.pprof, fmt.Sprintf("%d-metrics.txt", number)), []byte(text), 0o644)
		}
	}
}

func (w *world) fetch(ctx context.Context, what, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.pprofURL+what, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", res.Status)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(w.pprof, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.pprof, file+".pb.gz"), raw, 0o644)
}
