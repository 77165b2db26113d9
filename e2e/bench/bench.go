package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/e2e/bench/figures"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

const namespace = v1alpha1.SystemNamespace

// settle is how long after a sync requests still count as the sync's.
const settle = 2 * time.Second

// bench is one workload on its rig.
type bench struct {
	options options
	rig     *rig.Rig
	apps    int
	result  *figures.Table

	repo *gitserver.Repo
	url  string
	cli  *rig.CLI
}

func splitComma(text string) []string {
	return slices.DeleteFunc(strings.Split(text, ","), func(s string) bool { return s == "" })
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "  "+format+"\n", args...) }

func (b *bench) run(ctx context.Context) error {
	if err := b.setUp(ctx); err != nil {
		return err
	}
	var s syncs
	for i := range b.options.repetitions {
		progress("syncs, repetition %d", i+1)
		if err := b.repetition(ctx, fmt.Sprintf("r%d", i+1), &s); err != nil {
			return err
		}
	}
	s.report(b.result)
	for _, part := range []func(context.Context) error{b.drift, b.chain, b.idle} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	usage, err := b.rig.Hub.Usage()
	if err != nil {
		return err
	}
	b.result.Add(figures.Figure{
		Name: "peak memory of the hub", Unit: "MiB", Target: 150, Rule: "150 MiB",
		Samples: []float64{float64(usage.PeakRSS) / (1 << 20)},
	})
	return nil
}

func (b *bench) setUp(ctx context.Context) error {
	server, err := b.rig.Git.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		return err
	}
	if b.repo, err = b.rig.Git.Repo("config"); err != nil {
		return err
	}
	b.url = server.URL(b.repo)
	if b.cli, err = rig.NewCLI(b.rig.HubKubeconfig); err != nil {
		return err
	}
	if err := b.skerry(ctx, "install", "--crds-only"); err != nil {
		return err
	}
	if err := b.rig.Hub.Start(ctx); err != nil {
		return err
	}
	for _, e := range b.rig.Edges {
		if err := b.skerry(ctx, "cluster", "join", e.Name, "--from-kubeconfig", e.Kubeconfig, "--use-credentials", "--label", "bench=yes"); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) skerry(ctx context.Context, args ...string) error {
	r, err := b.cli.Run(ctx, "", args...)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("ended with %d:\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if err != nil {
		return fmt.Errorf("skerry %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// namespaces makes a namespace on every edge.
func (b *bench) namespaces(ctx context.Context, name string) error {
	for _, e := range b.rig.Edges {
		if err := e.Kube.Apply(ctx, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+name+"}\n"); err != nil {
			return err
		}
	}
	return nil
}

func gitRepository(name, url string) string {
	return `---
apiVersion: skerry.dev/v1alpha1
kind: GitRepository
metadata: {name: ` + name + `, namespace: ` + namespace + `}
spec: {url: "` + url + `", ref: {branch: main}, interval: 10m}
`
}

func kustomization(name, source, path, more string) string {
	return `---
apiVersion: skerry.dev/v1alpha1
kind: Kustomization
metadata: {name: ` + name + `, namespace: ` + namespace + `}
spec:
  sourceRef: {name: ` + source + `}
  path: ` + path + `
  clusters: {selector: {matchLabels: {bench: "yes"}}}
  interval: 10m
  timeout: 5m
  rollout: {strategy: AllAtOnce} # as the floor does, and Flux
` + more
}

// announce asks the hub to look at a repository now, as a webhook does.
func (b *bench) announce(ctx context.Context, source string) error {
	ref := rig.Ref{Kind: "gitrepositories.skerry.dev", Namespace: namespace, Name: source}
	_, err := b.rig.HubKube.Patch(ctx, ref, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`,
		v1alpha1.ReconcileRequestAnnotation, time.Now().Format(time.RFC3339Nano)))
	return err
}

func ksRef(name string) rig.Ref {
	return rig.Ref{Kind: "kustomizations.skerry.dev", Namespace: namespace, Name: name}
}

// awaitReady waits until a Kustomization is ready at a commit on every edge.
func (b *bench) awaitReady(ctx context.Context, name, commit string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	_, err := b.rig.HubKube.Await(ctx, ksRef(name), rig.MustExpect(
		"Ready=True", "status.lastAppliedRevision~"+commit+"$", fmt.Sprintf("status.clusters.ready=%d", len(b.rig.Edges))))
	return err
}

// deleteSource deletes a Kustomization with all its objects, and its source.
func (b *bench) deleteSource(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if _, err := b.rig.HubKube.Delete(ctx, ksRef(name)); err != nil {
		return err
	}
	if _, err := b.rig.HubKube.Await(ctx, ksRef(name), rig.Absent); err != nil {
		return err
	}
	_, err := b.rig.HubKube.Delete(ctx, rig.Ref{Kind: "gitrepositories.skerry.dev", Namespace: namespace, Name: name})
	return err
}
