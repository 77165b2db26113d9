package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/e2e/bench/figures"
	"github.com/skerry-dev/skerry/e2e/bench/workload"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/rig"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const steady = "steady"

// drift changes and deletes objects by hand, one after the other, and waits for each to be put back.
// It leaves the workload in place for what follows.
func (b *bench) drift(ctx context.Context) error {
	progress("drift, %d samples", b.options.drifts)
	if err := b.namespaces(ctx, steady); err != nil {
		return err
	}
	commit, err := b.repo.Commit("main", gitserver.Change{Write: workload.Folder(steady, steady, b.apps, "1")})
	if err != nil {
		return err
	}
	if err := b.rig.HubKube.Apply(ctx, gitRepository(steady, b.url)+kustomization(steady, steady, "./"+steady, "  wait: false\n")); err != nil {
		return err
	}
	if err := b.awaitReady(ctx, steady, commit); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2)) // the same objects in every run
	var samples []float64
	for i := range b.options.drifts {
		edge := b.rig.Edges[random.IntN(len(b.rig.Edges))]
		// Distinct objects: one that is changed again and again is held back on purpose.
		o := workload.App(steady, workload.AppName(i%b.apps), "1")[(i+i/b.apps)%4]
		took, err := putBack(ctx, edge, o, i%2 == 0)
		if err != nil {
			return fmt.Errorf("drift of %s %s on %s: %w", o.Kind.Name, o.Name, edge.Name, err)
		}
		samples = append(samples, float64(took.Microseconds())/1000)
	}
	b.result.Add(figures.Figure{Name: "drift put back, median", Unit: "ms", Samples: samples, Target: 300, Rule: "300 ms"})
	b.result.Add(figures.Figure{Name: "drift put back, worst", Unit: "ms", Samples: samples, Value: slices.Max(samples), Target: 1000, Rule: "1 s"})
	return nil
}

// putBack changes or deletes one object and returns how long after the API server's answer it is as
// it was.
func putBack(ctx context.Context, edge *rig.Edge, o workload.Object, change bool) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ref := rig.Ref{Kind: o.Kind.Plural, Namespace: o.Namespace, Name: o.Name}
	before, err := edge.Kube.Get(ctx, ref)
	if err != nil {
		return 0, err
	}
	const path = "metadata.annotations.example\\.com/version"
	// The watch is there before the change, so that its setting up is not measured.
	back := make(chan time.Time, 1)
	failed := make(chan error, 1)
	watching := make(chan struct{})
	disturbed, first := false, true
	go func() {
		_, err := edge.Kube.Await(ctx, ref, func(now *unstructured.Unstructured) (bool, string) {
			if first {
				first = false
				close(watching)
				return false, "as it was"
			}
			good := now != nil && now.GetDeletionTimestamp() == nil && rig.Value(now, "metadata", "annotations", "example.com/version") == "1" &&
				(change || now.GetUID() != before.GetUID())
			disturbed = disturbed || !good
			return good && (disturbed || !change), path + " is not put back"
		})
		if err != nil {
			failed <- err
			return
		}
		back <- time.Now()
	}()
	select {
	case <-watching:
	case err := <-failed:
		return 0, err
	}
	var started time.Time
	if change {
		started, err = edge.Kube.Patch(ctx, ref, `{"metadata":{"annotations":{"example.com/version":"by hand"}}}`)
	} else {
		started, err = edge.Kube.Delete(ctx, ref)
	}
	if err != nil {
		return 0, err
	}
	select {
	case at := <-back:
		return max(0, at.Sub(started)), nil
	case err := <-failed:
		return 0, err
	}
}

// chain measures how long five Kustomizations in a row, each depending on the one before, take to be
// ready once the one object is ready that the first waits for.
func (b *bench) chain(ctx context.Context) error {
	progress("a chain of dependsOn")
	const length = 5
	var samples, writes []float64
	for i := range b.options.repetitions {
		name := fmt.Sprintf("chain%d", i)
		started := time.Now()
		ready, took, err := b.oneChain(ctx, name, length)
		if err != nil {
			return fmt.Errorf("chain: %w", err)
		}
		last, err := b.lastWrite(started, name)
		if err != nil {
			return err
		}
		samples = append(samples, took.Seconds())
		writes = append(writes, last.Sub(ready).Seconds())
	}
	b.result.Add(figures.Figure{Name: "chain of five dependsOn, after the object's being ready", Unit: "s", Samples: samples, Target: 1, Rule: "1 s"})
	b.result.Add(figures.Figure{Name: "  its last write to an edge", Unit: "s", Samples: writes})
	return nil
}

// lastWrite is when the hub wrote last to a namespace of any edge.
func (b *bench) lastWrite(since time.Time, namespace string) (time.Time, error) {
	last := since
	for _, e := range b.rig.Edges {
		seen, err := b.requests(e, since)
		if err != nil {
			return last, err
		}
		for _, r := range seen {
			if r.Verb == "patch" && r.Namespace == namespace && r.Time.After(last) {
				last = r.Time
			}
		}
	}
	return last, nil
}

// oneChain returns when the first object became ready, and how long after that the last Kustomization
// was.
func (b *bench) oneChain(ctx context.Context, name string, length int) (time.Time, time.Duration, error) {
	if err := b.namespaces(ctx, name); err != nil {
		return time.Time{}, 0, err
	}
	files := map[string]string{}
	var manifests strings.Builder
	manifests.WriteString(gitRepository(name, b.url))
	link := func(i int) string { return fmt.Sprintf("%s-%d", name, i) }
	for i := range length {
		files[link(i)+"/app.yaml"] = workload.AppFile(name, workload.AppName(i), "1")
		more := ""
		if i > 0 {
			more = "  dependsOn: [{name: " + link(i-1) + "}]\n"
		}
		if i > 0 { // no controller makes their Deployments ready
			more += "  wait: false\n"
		}
		manifests.WriteString(kustomization(link(i), name, "./"+link(i), more))
	}
	commit, err := b.repo.Commit("main", gitserver.Change{Write: files})
	if err != nil {
		return time.Time{}, 0, err
	}
	if err := b.rig.HubKube.Apply(ctx, manifests.String()); err != nil {
		return time.Time{}, 0, err
	}
	deployment := rig.Ref{Kind: "deployments.apps", Namespace: name, Name: workload.AppName(0)}
	for _, e := range b.rig.Edges {
		bounded, cancel := context.WithTimeout(ctx, time.Minute)
		_, err := e.Kube.Await(bounded, deployment, rig.Present)
		cancel()
		if err != nil {
			return time.Time{}, 0, err
		}
	}
	last := link(length - 1)
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := b.rig.HubKube.Await(bounded, ksRef(last), rig.MustExpect("Ready!=True")); err != nil {
		return time.Time{}, 0, err
	}
	for _, e := range b.rig.Edges {
		if err := becomeReady(ctx, e, deployment); err != nil {
			return time.Time{}, 0, err
		}
	}
	started := time.Now()
	if err := b.awaitReady(ctx, last, commit); err != nil {
		return time.Time{}, 0, err
	}
	return started, time.Since(started), nil
}

// becomeReady writes the status that the deployment controller would.
func becomeReady(ctx context.Context, e *rig.Edge, ref rig.Ref) error {
	client, err := e.Kube.Resource(ref.Kind, ref.Namespace)
	if err != nil {
		return err
	}
	const status = `{"status":{"observedGeneration":1,"conditions":[
		{"type":"Available","status":"True","reason":"MinimumReplicasAvailable"},
		{"type":"Progressing","status":"True","reason":"NewReplicaSetAvailable"}]}}`
	_, err = client.Patch(ctx, ref.Name, types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status")
	return err
}

// idle watches the hub do nothing.
func (b *bench) idle(ctx context.Context) error {
	progress("idle for %s", b.options.idle)
	wait := func(d time.Duration) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		}
	}
	if err := wait(5 * time.Second); err != nil {
		return err
	}
	before, err := b.rig.Hub.Usage()
	if err != nil {
		return err
	}
	started := time.Now()
	if err := wait(b.options.idle); err != nil {
		return err
	}
	after, err := b.rig.Hub.Usage()
	if err != nil {
		return err
	}
	passed := time.Since(started)
	share := 100 * (after.CPU - before.CPU).Seconds() / passed.Seconds()
	b.result.Add(figures.Figure{Name: "idle CPU of the hub", Unit: "%", Samples: []float64{share}, Target: 0.5, Rule: "0.5 % of one core"})
	var each []float64
	for _, e := range b.rig.Edges {
		seen, err := b.requests(e, started)
		if err != nil {
			return err
		}
		count := 0
		for _, r := range seen {
			if r.Verb != "watch" {
				count++
			}
		}
		each = append(each, float64(count)/passed.Minutes())
	}
	b.result.Add(figures.Figure{Name: "idle requests to an edge, the most", Unit: "/min", Samples: each, Value: slices.Max(each), Target: 1, Rule: "1 a minute beyond watches"})
	return nil
}
