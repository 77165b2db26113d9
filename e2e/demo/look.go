package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

func clusterRef(name string) rig.Ref {
	return rig.Ref{Kind: "clusters.skerry.dev", Namespace: namespace, Name: name}
}

// available holds when every replica of a Deployment is.
func available(o *unstructured.Unstructured) (bool, string) {
	if o == nil {
		return false, "not there"
	}
	want, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
	got, _, _ := unstructured.NestedInt64(o.Object, "status", "availableReplicas")
	return got == want, fmt.Sprintf("%d of %d replicas are available", got, want)
}

// onEach does something on several edges at the same time.
func (d *demo) onEach(ctx context.Context, edges []*rig.Edge, do func(context.Context, *rig.Edge) error) error {
	errs := make([]error, len(edges))
	var wg sync.WaitGroup
	for i, e := range edges {
		wg.Go(func() {
			if err := do(ctx, e); err != nil {
				errs[i] = fmt.Errorf("%s: %w", e.Name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// fingerprint lists all objects that Skerry keeps on the edges, with a digest of each.
func (d *demo) fingerprint(ctx context.Context) (string, error) {
	var all []string
	for _, e := range d.edges {
		lines, err := e.Kube.Owned(ctx)
		if err != nil {
			return "", fmt.Errorf("%s: %w", e.Name, err)
		}
		if len(lines) == 0 {
			return "", fmt.Errorf("there is nothing of Skerry's on %s", e.Name)
		}
		for _, l := range lines {
			all = append(all, e.Name+" "+l)
		}
	}
	return strings.Join(all, "\n"), nil
}
