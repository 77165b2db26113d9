package main

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/e2e/bench/workload"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// TestFloor holds the yardstick: one request per object and edge, every object there afterwards, and
// none of them counted as the hub's.
func TestFloor(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	edges := []rig.EdgeOptions{{Name: "edge-1", Audit: true}, {Name: "edge-2", Audit: true}}
	r, err := rig.New(ctx, rig.Options{Dir: t.TempDir(), Edges: edges})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	b := &bench{rig: r, apps: 3}
	if err := b.namespaces(ctx, "floor"); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	if _, err := floor(ctx, r.Edges, workload.Objects("floor", b.apps, "1")); err != nil {
		t.Fatal(err)
	}
	for _, e := range r.Edges {
		all, err := e.Cluster.Requests(since)
		if err != nil {
			t.Fatal(err)
		}
		patches := map[string]int{}
		for _, q := range all {
			if q.Verb == "patch" && q.Namespace == "floor" {
				patches[q.Resource]++
			}
		}
		want := map[string]int{"serviceaccounts": 3, "deployments": 3, "services": 3, "ingresses": 3}
		if diff := cmp.Diff(want, patches); diff != "" {
			t.Errorf("%s: patches by resource (-want +got):\n%s", e.Name, diff)
		}
		if hub, err := b.requests(e, since); err != nil || len(hub) != 0 {
			t.Errorf("%s: %d requests (%v) count as the hub's, want none", e.Name, len(hub), err)
		}
	}
}

func TestParseWorkloads(t *testing.T) {
	got, err := parseWorkloads("4x25,8x50")
	if diff := cmp.Diff([][2]int{{4, 25}, {8, 50}}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"4", "x", "0x5", "4x1", "4xfour"} {
		if _, err := parseWorkloads(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
