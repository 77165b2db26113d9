package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// floorConcurrency is how many requests the floor has under way, over all edges together.
const floorConcurrency = 32

// floor applies objects to every edge with one server-side apply each and nothing else: no
// rendering, no reading, no record of what was done. It returns how long that took.
func floor(ctx context.Context, edges []*rig.Edge, all []object) (time.Duration, error) {
	bodies := make([][]byte, len(all))
	for i, o := range all {
		bodies[i] = encode(o.body)
	}
	clients := make([]*http.Client, len(edges))
	for i, e := range edges {
		var err error
		if clients[i], err = rest.HTTPClientFor(e.Kube.Config); err != nil {
			return 0, err
		}
	}
	started := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(floorConcurrency)
	for i, o := range all {
		for j, e := range edges {
			group.Go(func() error { return applyOne(ctx, clients[j], e.Kube.Config.Host, o, bodies[i]) })
		}
	}
	err := group.Wait()
	return time.Since(started), err
}

func applyOne(ctx context.Context, client *http.Client, host string, o object, body []byte) error {
	url := host + o.path(o.namespace, o.name) + "?fieldManager=floor&force=true"
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/apply-patch+yaml")
	// The cheapest answer that there is.
	req.Header.Set("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s", o.kind.kind, o.name, text)
	}
	return err
}
