package rig

import (
	"context"
	"testing"
	"time"
)

const named = `
apiVersion: v1
kind: ConfigMap
metadata: {name: one, namespace: default, labels: {skerry.dev/owner: x}}
data: {n: "1"}
`

// TestAwaitOutlivesRestart: what waits for an edge must not mistake its absence for an answer.
func TestAwaitOutlivesRestart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := New(ctx, Options{Dir: t.TempDir(), Edges: []EdgeOptions{{Name: "a"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	edge, ref := r.Edges[0], Ref{Kind: "cm", Namespace: "default", Name: "one"}
	if err := edge.Kube.Apply(ctx, named); err != nil {
		t.Fatal(err)
	}
	before, err := edge.Kube.Owned(ctx)
	if err != nil || len(before) != 1 {
		t.Fatalf("owned: %q, %v, want one object", before, err)
	}

	gone := make(chan error, 1)
	go func() {
		_, err := edge.Kube.Await(ctx, ref, Absent)
		gone <- err
	}()
	if err := edge.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := edge.Start(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-gone:
		t.Fatalf("Await(Absent) returned %v while the object was there", err)
	default:
	}
	if _, err := edge.Kube.Patch(ctx, ref, `{"data":{"n":"2"}}`); err != nil {
		t.Fatal(err)
	}
	if after, err := edge.Kube.Owned(ctx); err != nil || after[0] == before[0] {
		t.Errorf("owned is %q (%v), as it was before the change", after, err)
	}
	if _, err := edge.Kube.Await(ctx, ref, MustExpect("data.n=2")); err != nil {
		t.Error(err)
	}
	if _, err := edge.Kube.Delete(ctx, ref); err != nil {
		t.Fatal(err)
	}
	if err := <-gone; err != nil {
		t.Error(err)
	}
}
