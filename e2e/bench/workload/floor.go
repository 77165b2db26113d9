package workload

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// Target is a cluster that the floor writes to.
type Target struct {
	Host   string // https://host:port
	Client *http.Client
}

// Floor applies objects to every target with one server-side apply each and nothing else: no
// rendering, no reading, no record of what was done. So many requests are under way at once, over
// all targets together. It returns how long that took.
func Floor(ctx context.Context, targets []Target, all []Object, atOnce int) (time.Duration, error) {
	bodies := make([][]byte, len(all))
	for i, o := range all {
		bodies[i] = encode(o.Body)
	}
	started := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, o := range all {
		for _, t := range targets {
			group.Go(func() error { return applyOne(ctx, t, o, bodies[i]) })
		}
	}
	err := group.Wait()
	return time.Since(started), err
}

func applyOne(ctx context.Context, t Target, o Object, body []byte) error {
	url := t.Host + o.Kind.Path(o.Namespace, o.Name) + "?fieldManager=floor&force=true&fieldValidation=Ignore"
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/apply-patch+yaml")
	// The cheapest answer that there is; and with fieldValidation=Ignore the API server parses the object once.
	req.Header.Set("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
	res, err := t.Client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s", o.Kind.Name, o.Name, text)
	}
	return err
}
