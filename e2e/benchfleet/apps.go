package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/e2e/bench/workload"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// app is one Kustomization with a source and a folder of its own. Its objects are named after it, in
// the namespace default, which every edge has.
type app struct {
	name    string
	objects func(version string) []workload.Object
	some    bool // for some of the clusters only
	staged  bool // rolled out by default, not to all at once

	version int
	commit  string
}

// small is an app of four objects.
func small(name string) *app { return ofApps(name, 1) }

// ofApps is an app of n times four objects.
func ofApps(name string, n int) *app {
	return &app{name: name, objects: func(version string) []workload.Object {
		var all []workload.Object
		for i := range n {
			all = append(all, workload.App("default", fmt.Sprintf("%s-%d", name, i), version)...)
		}
		return all
	}}
}

func (a *app) file() string { return a.name + "/objects.yaml" }

func (a *app) ref() rig.Ref {
	return rig.Ref{Kind: "kustomizations.skerry.dev", Namespace: namespace, Name: a.name}
}

func (a *app) source() rig.Ref {
	return rig.Ref{Kind: "gitrepositories.skerry.dev", Namespace: namespace, Name: a.name}
}

func gitRepository(name, url string) string {
	return `---
apiVersion: skerry.dev/v1alpha1
kind: GitRepository
metadata: {name: ` + name + `, namespace: ` + namespace + `}
spec: {url: "` + url + `", ref: {branch: main}, interval: 10h}
`
}

func (a *app) kustomization(source string) string {
	selector, rollout := `fleet: "yes"`, ""
	if a.some {
		selector = `some: "yes"`
	}
	if !a.staged {
		rollout = "  rollout: {strategy: AllAtOnce}\n"
	}
	return `---
apiVersion: skerry.dev/v1alpha1
kind: Kustomization
metadata: {name: ` + a.name + `, namespace: ` + namespace + `}
spec:
  sourceRef: {name: ` + source + `}
  path: ./` + a.name + `
  clusters: {selector: {matchLabels: {` + selector + `}}}
  interval: 10h
  timeout: 10m
` + rollout
}

// clusters is how many an app is for.
func (w *world) clustersOf(a *app) int {
	if a.some {
		return min(w.someClusters(), w.joined)
	}
	return w.joined
}

// commit writes the next version of apps in one commit.
func (w *world) commit(apps ...*app) error {
	files := map[string]string{}
	for _, a := range apps {
		a.version++
		files[a.file()] = workload.File(a.objects(fmt.Sprint(a.version)))
	}
	commit, err := w.repo.Commit("main", gitserver.Change{Write: files})
	for _, a := range apps {
		a.commit = commit
	}
	return err
}

// deploy makes Kustomizations that are not there yet and waits until they are ready everywhere.
func (w *world) deploy(ctx context.Context, apps ...*app) error {
	var fresh []*app
	var manifests strings.Builder
	for _, a := range apps {
		if w.apps[a.name] == nil {
			w.apps[a.name] = a
			fresh = append(fresh, a)
			manifests.WriteString(gitRepository(a.name, w.url) + a.kustomization(a.name))
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	w.progress("deploying %d Kustomizations", len(fresh))
	if err := w.commit(fresh...); err != nil {
		return err
	}
	if err := w.rig.HubKube.Apply(ctx, manifests.String()); err != nil {
		return err
	}
	return w.awaitReady(ctx, fresh...)
}

// push commits the next version of an app and tells the hub of it. The time is that before telling.
func (w *world) push(ctx context.Context, a *app) (time.Time, error) {
	if err := w.commit(a); err != nil {
		return time.Time{}, err
	}
	started := time.Now()
	return started, w.annotate(ctx, a.source())
}

// annotate asks the hub to look at an object now.
func (w *world) annotate(ctx context.Context, ref rig.Ref) error {
	_, err := w.rig.HubKube.Patch(ctx, ref, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`,
		v1alpha1.ReconcileRequestAnnotation, time.Now().Format(time.RFC3339Nano)))
	return err
}
