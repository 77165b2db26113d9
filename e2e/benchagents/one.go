package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/linkproxy"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// kinds are what an edge has: each is watched on its own.
var kinds = []string{
	"v1 ConfigMap", "v1 Secret", "v1 Service", "v1 ServiceAccount", "apps/v1 Deployment", "apps/v1 StatefulSet",
	"rbac.authorization.k8s.io/v1 Role", "networking.k8s.io/v1 NetworkPolicy", "batch/v1 CronJob", "autoscaling/v2 HorizontalPodAutoscaler",
}

// manifest is object i, in a version of it that annotations tell apart.
func manifest(i int, version string) string {
	api, kind, _ := strings.Cut(kinds[i%len(kinds)], " ")
	head := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: o-%d, namespace: default, annotations: {v: %q, pad: %q}}\n", api, kind, i, version, strings.Repeat("x", 400))
	const pod = "{metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}"
	switch kind {
	case "ConfigMap":
		return head + "data: {k: v}\n"
	case "Service":
		return head + "spec: {clusterIP: None, ports: [{port: 80}]}\n"
	case "Deployment":
		return head + "spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: " + pod + "}\n"
	case "StatefulSet":
		return head + "spec: {replicas: 0, serviceName: s, selector: {matchLabels: {a: b}}, template: " + pod + "}\n"
	case "NetworkPolicy":
		return head + "spec: {podSelector: {}}\n"
	case "CronJob":
		return head + "spec: {schedule: '0 0 1 1 *', suspend: true, jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}}\n"
	case "HorizontalPodAutoscaler":
		return head + "spec: {maxReplicas: 1, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: none}}\n"
	}
	return head
}

const hubObjects = `apiVersion: skerry.dev/v1alpha1
kind: GitRepository
metadata: {name: config, namespace: skerry-system}
spec: {url: %s, interval: 1s}
---
apiVersion: skerry.dev/v1alpha1
kind: Kustomization
metadata: {name: app, namespace: skerry-system}
spec: {sourceRef: {name: config}, path: ./, interval: 1h, wait: false, clusters: {selector: {matchLabels: {a: b}}}}
`

type world struct {
	rig   *rig.Rig
	repo  *gitserver.Repo
	link  *linkproxy.Proxy
	agent *rig.Agent
	o     options
}

// measureOne measures one agent.
func measureOne(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "skerry-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w := &world{o: o}
	bind, err := rig.FreeAddress()
	if err != nil {
		return err
	}
	if w.link, err = linkproxy.Listen(bind); err != nil {
		return err
	}
	defer w.link.Close()
	w.rig, err = rig.New(ctx, rig.Options{Dir: dir, Edges: []rig.EdgeOptions{{Name: "a"}}, HubArgs: []string{"--gateway-bind-address", bind, "--gateway-url", "https://" + w.link.Address()}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.rig.Close()) }()
	if err := w.setUp(ctx, dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.agent.Stop()) }()
	for _, step := range []func(context.Context) error{w.firstSync, w.change, w.idle, w.drift, w.restart} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("%w\n%s", err, w.agent.LogTail(20))
		}
	}
	return nil
}

func (w *world) setUp(ctx context.Context, dir string) (err error) {
	server, err := w.rig.Git.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		return err
	}
	if w.repo, err = w.rig.Git.Repo("config"); err != nil {
		return err
	}
	if err := w.commit("1"); err != nil {
		return err
	}
	cli, err := rig.NewCLI(w.rig.HubKubeconfig)
	if err != nil {
		return err
	}
	skerry := func(args ...string) error {
		res, err := cli.Run(ctx, "", args...)
		if err == nil && res.Code != 0 {
			err = fmt.Errorf("skerry %v: %s", args, res.Stderr)
		}
		return err
	}
	if err := skerry("install", "--crds-only"); err != nil {
		return err
	}
	if err := w.rig.Hub.Start(ctx); err != nil {
		return err
	}
	e := w.rig.Edges[0]
	if err := skerry("cluster", "join", "a", "--agent", "--from-kubeconfig", e.Kubeconfig, "--label", "a=b", "--no-deployment", "--wait=false"); err != nil {
		return err
	}
	if err := w.rig.HubKube.Apply(ctx, fmt.Sprintf(hubObjects, server.URL(w.repo))); err != nil {
		return err
	}
	w.agent = rig.NewAgent(rig.AgentOptions{Kubeconfig: e.Kubeconfig, Dir: filepath.Clean(dir), Name: "a"})
	return w.agent.Start(ctx)
}

func (w *world) commit(version string) error {
	var all strings.Builder
	for i := range w.o.objects {
		all.WriteString(manifest(i, version) + "---\n")
	}
	_, err := w.repo.Commit("main", gitserver.Change{Write: map[string]string{"all.yaml": all.String()}})
	return err
}

// await waits until the Kustomization is ready with the last object at a version.
func (w *world) await(ctx context.Context, version string) error {
	for _, i := range []int{0, w.o.objects - 1} {
		_, kind, _ := strings.Cut(kinds[i%len(kinds)], " ")
		holds, err := rig.Expect("metadata.annotations.v=" + version)
		if err != nil {
			return err
		}
		if _, err := w.rig.Edges[0].Kube.Await(ctx, rig.Ref{Kind: strings.ToLower(kind), Namespace: "default", Name: fmt.Sprintf("o-%d", i)}, holds); err != nil {
			return err
		}
	}
	holds, err := rig.Expect("Ready=True", "status.clusters.ready=1")
	if err != nil {
		return err
	}
	_, err = w.rig.HubKube.Await(ctx, rig.Ref{Kind: "kustomization.skerry.dev", Namespace: "skerry-system", Name: "app"}, holds)
	return err
}

func (w *world) firstSync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := w.await(ctx, "1"); err != nil {
		return err
	}
	up, down := w.link.Bytes()
	fmt.Printf("first sync of %d objects: link %d KiB down, %d KiB up\n", w.o.objects, down>>10, up>>10)
	return nil
}

func (w *world) change(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := w.commit("2"); err != nil {
		return err
	}
	if err := w.await(ctx, "2"); err != nil {
		return err
	}
	return w.memory("peak, from the start through a change of every object (to reach: 48 MiB)", true)
}

func (w *world) memory(what string, peak bool) error {
	u, err := w.agent.Usage()
	if err != nil {
		return err
	}
	rss := u.RSS
	if peak {
		rss = u.PeakRSS
	}
	fmt.Printf("%s: %.1f MiB resident (now %.1f, of which %.1f in no file)\n", what, mib(rss), mib(u.RSS), mib(u.Anon))
	return nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

func (w *world) idle(ctx context.Context) error {
	up, down := w.link.Bytes()
	before, err := w.agent.Usage()
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(w.o.idle):
	}
	nowUp, nowDown := w.link.Bytes()
	after, err := w.agent.Usage()
	if err != nil {
		return err
	}
	bytes := nowUp + nowDown - up - down
	fmt.Printf("idle for %s: %d bytes of TCP payload on the link, %.2f MB a month (to reach: 10, with the headers of TCP); CPU %.3f %% of a core (to reach: 0.1)\n",
		w.o.idle, bytes, float64(bytes)*float64(30*24*time.Hour)/float64(w.o.idle)/1e6, 100*float64(after.CPU-before.CPU)/float64(w.o.idle))
	return w.memory("steady (to reach: 32 MiB)", false)
}

// drift changes objects by hand, one after the other, cut off from the hub.
func (w *world) drift(ctx context.Context) error {
	w.link.Cut()
	defer w.link.Heal()
	kube := w.rig.Edges[0].Kube
	var took []time.Duration
	for i := range w.o.drifts {
		ref := rig.Ref{Kind: "configmap", Namespace: "default", Name: fmt.Sprintf("o-%d", i*len(kinds)%w.o.objects)}
		holds, err := rig.Expect("data.k=v")
		if err != nil {
			return err
		}
		began := time.Now()
		if _, err := kube.Patch(ctx, ref, `{"data":{"k":"by hand"}}`); err != nil {
			return err
		}
		bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err = kube.Await(bounded, ref, holds)
		cancel()
		if err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	fmt.Printf("drift put back while cut off, from the write to the watch: median %s, worst %s (to reach: 50ms)\n", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	return nil
}

// restart kills the agent, changes an object, and starts it without the hub.
func (w *world) restart(ctx context.Context) error {
	w.link.Cut()
	w.agent.Kill()
	kube := w.rig.Edges[0].Kube
	ref := rig.Ref{Kind: "configmap", Namespace: "default", Name: "o-0"}
	if _, err := kube.Patch(ctx, ref, `{"data":{"k":"by hand"}}`); err != nil {
		return err
	}
	holds, err := rig.Expect("data.k=v")
	if err != nil {
		return err
	}
	began := time.Now()
	if err := w.agent.Start(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if _, err := kube.Await(ctx, ref, holds); err != nil {
		return err
	}
	fmt.Printf("from the start, without the hub, to the first correction: %s (to reach: 2s)\n", time.Since(began).Round(time.Millisecond))
	return nil
}
