package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/e2e/bench/figures"
	"github.com/skerry-dev/skerry/e2e/bench/machine"
	"github.com/skerry-dev/skerry/e2e/bench/profile"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
	"github.com/skerry-dev/skerry/internal/testkit/simulator"
)

const (
	namespace = v1alpha1.SystemNamespace

	dirPrefix = "skerry-benchfleet-"

	// writesAtOnce is how many objects the benchmark itself creates on the hub at a time.
	writesAtOnce = 16
)

// world is one hub with its fleet.
type world struct {
	options

	dir    string
	rig    *rig.Rig
	sim    *simulator.Fleet
	repo   *gitserver.Repo
	url    string
	table  *figures.Table
	joined int // clusters that the hub knows
	apps   map[string]*app

	profiler profile.Profiler
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05")+"  "+format+"\n", args...)
}

// inWorld starts a hub and edges, takes the measures and stops everything again.
func inWorld(ctx context.Context, o options, program string, edges int, table *figures.Table, todo []measure) (err error) {
	rig.SweepDirs(os.TempDir(), dirPrefix)
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid()))
	if err != nil {
		return err
	}
	if o.keep {
		o.progress("logs are in %s", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	w := &world{options: o, dir: dir, table: table, apps: map[string]*app{}}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.setUp(ctx, program, edges); err != nil {
		return err
	}
	for _, m := range todo {
		o.progress("%d: %s", m.number, m.name)
		stop := w.profiler.Start(ctx, fmt.Sprint(m.number))
		before := w.machine()
		err := m.take(w, ctx)
		o.progress("%d: %s", m.number, w.machine().Since(before))
		stop()
		if err == nil {
			err = w.sim.Err(ctx)
		}
		if err != nil {
			return fmt.Errorf("%s: %w\nthe end of the hub's log:\n%s", m.name, err, w.rig.Hub.LogTail(10))
		}
	}
	return nil
}

// filesPerEdge is how many files the simulator has open for each edge, at the most: it listens there,
// and hub and floor are connected.
const filesPerEdge = 4

func (w *world) setUp(ctx context.Context, program string, edges int) (err error) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && files.Max < uint64(filesPerEdge*edges) {
		return fmt.Errorf("%d edges need %d open files in one process, the limit (ulimit -Hn) is %d", edges, filesPerEdge*edges, files.Max)
	}
	w.progress("starting etcd, a kube-apiserver and %d simulated edges", edges)
	// The edges listen at a thousand ports that the system chooses: later, they would take the one that was free for the hub.
	if w.sim, err = simulator.Start(ctx, program, filepath.Join(w.dir, "edges"), edges); err != nil {
		return err
	}
	if err := w.startRig(ctx); err != nil {
		return err
	}
	server, err := w.rig.Git.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		return err
	}
	if w.repo, err = w.rig.Git.Repo("config"); err != nil {
		return err
	}
	w.url = server.URL(w.repo)
	cli, err := rig.NewCLI(w.rig.HubKubeconfig)
	if err != nil {
		return err
	}
	if r, err := cli.Run(ctx, "", "install", "--crds-only"); err != nil || r.Code != 0 {
		return fmt.Errorf("skerry install: code %d, %w\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	if err := w.rig.HubKube.Apply(ctx, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+namespace+"}\n"); err != nil {
		return err
	}
	return w.rig.Hub.Start(ctx)
}

// startRig starts the cluster of the hub, and what takes profiles, if they are asked for.
func (w *world) startRig(ctx context.Context) (err error) {
	o := rig.Options{Dir: w.dir, HubArgs: strings.Fields(w.hubArgs), HubProfile: w.pprof != ""}
	if w.pprof == "" {
		w.rig, err = rig.New(ctx, o)
		return err
	}
	args, address, err := profile.HubArgs()
	if err != nil {
		return err
	}
	o.HubArgs = append(o.HubArgs, args...)
	if w.rig, err = rig.New(ctx, o); err != nil {
		return err
	}
	w.profiler, err = profile.New(w.pprof, w.rig, address, w.progress)
	return err
}

// machine looks at the processors.
func (w *world) machine() machine.Look {
	return machine.Now(machine.Of("hub", w.rig.Hub.Usage), machine.Of("simulator", w.sim.Usage))
}

func (w *world) close() error {
	var err error
	if w.rig != nil {
		err = w.rig.Close()
	}
	if w.sim != nil {
		_ = w.sim.Stop() // it has nothing to lose
	}
	return err
}

// join tells the hub of clusters, until it knows n of them: a Secret with a kubeconfig and a Cluster
// for each.
func (w *world) join(ctx context.Context, n int) error {
	if n <= w.joined {
		return nil
	}
	w.progress("joining clusters %d to %d", w.joined, n-1)
	clusters, err := w.rig.HubKube.Resource("clusters.skerry.dev", namespace)
	if err != nil {
		return err
	}
	secrets, err := w.rig.HubKube.Resource("secrets", namespace)
	if err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(writesAtOnce)
	for i := w.joined; i < n; i++ {
		group.Go(func() error {
			name := edgeName(i)
			kubeconfig, err := os.ReadFile(filepath.Join(w.dir, "edges", name+".kubeconfig"))
			if err != nil {
				return err
			}
			secret := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "v1", "kind": "Secret",
				"metadata":   map[string]any{"name": name, "namespace": namespace},
				"stringData": map[string]any{"value": string(kubeconfig)},
			}}
			if _, err := secrets.Create(gctx, secret, metav1.CreateOptions{}); err != nil {
				return err
			}
			_, err = clusters.Create(gctx, clusterObject(name, i < w.someClusters()), metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("cannot join: %w", err)
	}
	w.joined = n
	return nil
}

func edgeName(i int) string { return fmt.Sprintf("edge-%04d", i) }

// someClusters is how many clusters "some" are: a tenth.
func (o *options) someClusters() int { return max(o.clusters/10, 1) }

func clusterObject(name string, some bool) *unstructured.Unstructured {
	labels := map[string]any{"fleet": "yes"}
	if some {
		labels["some"] = "yes"
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "skerry.dev/v1alpha1", "kind": "Cluster",
		"metadata": map[string]any{"name": name, "namespace": namespace, "labels": labels},
		"spec":     map[string]any{"kubeConfig": map[string]any{"secretRef": map[string]any{"name": name}}},
	}}
}
