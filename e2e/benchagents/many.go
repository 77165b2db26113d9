package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/e2e/bench/figures"
	"github.com/skerry-dev/skerry/e2e/bench/machine"
	"github.com/skerry-dev/skerry/e2e/bench/profile"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/sleep"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
	"github.com/skerry-dev/skerry/internal/testkit/simulator"
)

const (
	namespace = v1alpha1.SystemNamespace
	dirPrefix = "skerry-benchagents-"
	// writesAtOnce is how many objects the benchmark itself creates on the hub at a time, and joinsAtOnce how many agents
	// start: that they join is no part of what is measured.
	writesAtOnce = 16
	joinsAtOnce  = 32
	// waitTimeout bounds each wait.
	waitTimeout = 15 * time.Minute
)

// fleet is one hub and its agents.
type fleet struct {
	options
	dir, disks string
	rig        *rig.Rig
	sim        *simulator.Fleet // nil when no engine is real
	repo       *gitserver.Repo
	table      *figures.Table
	profiler   profile.Profiler
	enrollment link.Enrollment
	deployed   bool
	version    int
	commitID   string

	members  []*member // those that have joined
	running  sync.WaitGroup
	sessions atomic.Int64 // begun since it was set to 0
	failed   chan error   // of the first agent that ended

	mu      sync.Mutex // guards what follows
	refused map[string]int
}

// measures are those of a hub with many agents, in the order in which they are taken: memory first, while the hub has
// done nothing else.
var measures = []struct {
	name string
	take func(*fleet, context.Context) error
}{
	{"memory", (*fleet).memory},
	{"commit", (*fleet).commits},
	{"restart", (*fleet).restarts},
}

// measureMany measures a hub with many agents. It returns what it has measured also when it fails.
func measureMany(ctx context.Context, o options) (_ *figures.Table, err error) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && files.Max < uint64(o.agents+1000) {
		return nil, fmt.Errorf("%d agents need as many open files in one process, the limit (ulimit -Hn) is %d", o.agents, files.Max)
	}
	if o.agents < 10 || o.engines > o.agents/5 {
		return nil, errors.New("--agents must be at least 10, and --engines a fifth of them at most")
	}
	f := &fleet{options: o, failed: make(chan error, 1), refused: map[string]int{}, table: &figures.Table{
		Title: fmt.Sprintf("%d agents on one hub, %d of them with a real engine on a simulated edge; medians of %d", o.agents, o.engines, o.repetitions),
	}}
	for _, at := range []struct {
		to     *string
		parent string
	}{{&f.dir, os.TempDir()}, {&f.disks, memoryDir()}} {
		rig.SweepDirs(at.parent, dirPrefix)
		if *at.to, err = os.MkdirTemp(at.parent, fmt.Sprintf("%s%d-", dirPrefix, os.Getpid())); err != nil {
			return nil, err
		}
		if o.keep {
			o.progress("files are in %s", *at.to)
		} else {
			defer os.RemoveAll(*at.to)
		}
	}
	ctx, end := context.WithCancel(ctx)
	defer func() {
		end()
		f.running.Wait()
		err = errors.Join(err, f.close())
	}()
	return f.table, f.run(ctx)
}

// memoryDir is where files are in memory, if there is such a folder.
func memoryDir() string {
	const shm = "/dev/shm"
	if _, err := os.Stat(shm); err == nil {
		return shm
	}
	return os.TempDir()
}

func (f *fleet) run(ctx context.Context) error {
	if err := f.setUp(ctx); err != nil {
		return err
	}
	for _, m := range measures {
		if f.only != "" && !slices.Contains(strings.Split(f.only, ","), m.name) {
			continue
		}
		f.progress("%s", m.name)
		stop := f.profiler.Start(ctx, m.name)
		err := m.take(f, ctx)
		stop()
		if err != nil {
			return fmt.Errorf("%s: %w\nthe end of the hub's log:\n%s", m.name, err, f.rig.Hub.LogTail(10))
		}
		select {
		case err := <-f.failed:
			return err
		default:
		}
	}
	return nil
}

func (f *fleet) setUp(ctx context.Context) (err error) {
	f.progress("starting etcd, a kube-apiserver and %d simulated edges", f.engines)
	if err := f.startRig(ctx); err != nil {
		return err
	}
	if f.engines > 0 {
		program, err := simulator.Build(ctx, f.dir)
		if err != nil {
			return err
		}
		if f.sim, err = simulator.Start(ctx, program, filepath.Join(f.dir, "edges"), f.engines); err != nil {
			return err
		}
	}
	if f.repo, err = f.rig.Git.Repo("config"); err != nil {
		return err
	}
	cli, err := rig.NewCLI(f.rig.HubKubeconfig)
	if err != nil {
		return err
	}
	if r, err := cli.Run(ctx, "", "install", "--crds-only"); err != nil || r.Code != 0 {
		return fmt.Errorf("skerry install: code %d, %w\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	if err := f.rig.HubKube.Apply(ctx, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+namespace+"}\n"); err != nil {
		return err
	}
	if err := f.rig.Hub.Start(ctx); err != nil {
		return err
	}
	known, err := f.rig.HubKube.Await(ctx, rig.Ref{Kind: "configmap", Namespace: namespace, Name: v1alpha1.GatewayConfigMap}, rig.Present)
	if err != nil {
		return err
	}
	data, _, err := unstructured.NestedStringMap(known.Object, "data")
	f.enrollment = link.Enrollment{Gateway: data["url"], CA: data["ca.crt"], HubID: data["hubID"], HubKey: link.DecodeKey(data["hubKey"])}
	return err
}

func (f *fleet) startRig(ctx context.Context) error {
	gateway, err := rig.FreeAddress()
	if err != nil {
		return err
	}
	o := rig.Options{Dir: f.dir, HubArgs: []string{"--gateway-bind-address", gateway, "--gateway-url", "https://" + gateway}, HubProfile: f.pprof != ""}
	args, address, err := profile.HubArgs()
	if err != nil {
		return err
	}
	if f.pprof != "" {
		o.HubArgs = append(o.HubArgs, args...)
	}
	if f.rig, err = rig.New(ctx, o); err != nil || f.pprof == "" {
		return err
	}
	f.profiler, err = profile.New(f.pprof, f.rig, address, f.progress)
	return err
}

func (f *fleet) close() error {
	var err error
	if f.rig != nil {
		err = f.rig.Close()
	}
	if f.sim != nil {
		_ = f.sim.Stop() // it has nothing to lose
	}
	return err
}

// machine looks at the processors.
func (f *fleet) machine() machine.Look {
	parts := []machine.Part{machine.Of("hub", f.rig.Hub.Usage)}
	if f.sim != nil {
		parts = append(parts, machine.Of("simulator", f.sim.Usage))
	}
	return machine.Now(parts...)
}

// join has agents join, until there are n: a Cluster with a token for each, and the agent with the same.
func (f *fleet) join(ctx context.Context, n int) error {
	first := len(f.members)
	if n <= first {
		return nil
	}
	f.progress("agents %d to %d join", first, n-1)
	before, began := f.machine(), time.Now()
	for i := first; i < n; i++ {
		m, err := newMember(i, f.disks, f.edgeTime)
		if err == nil && i < f.engines {
			err = m.simulate(filepath.Join(f.dir, "edges", m.name+".kubeconfig"))
		}
		if err != nil {
			return err
		}
		f.members = append(f.members, m)
	}
	if err := f.createClusters(ctx, f.members[first:]); err != nil {
		return err
	}
	if err := f.start(ctx, f.members[first:]); err != nil {
		return err
	}
	if err := f.awaitConnected(ctx, int64(n-first)); err != nil {
		return err
	}
	f.progress("%d agents have joined and reported in %.1f s: %s", n-first, time.Since(began).Seconds(), f.machine().Since(before))
	return nil
}

func (f *fleet) createClusters(ctx context.Context, members []*member) error {
	clusters, err := f.rig.HubKube.Resource("clusters.skerry.dev", namespace)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writesAtOnce)
	for _, m := range members {
		group.Go(func() error {
			hash := link.HashToken(m.token)
			_, err := clusters.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "skerry.dev/v1alpha1", "kind": "Cluster",
				"metadata": map[string]any{"name": m.name, "namespace": namespace, "labels": map[string]any{"fleet": "yes"}},
				"spec": map[string]any{"agent": map[string]any{"join": map[string]any{
					"tokenHash": hex.EncodeToString(hash[:]), "expires": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
				}}},
			}}, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("cannot make Clusters: %w", err)
	}
	return nil
}

// start starts agents, no more at a time than the gateway judges at once: that they join is no part of what is measured.
func (f *fleet) start(ctx context.Context, members []*member) error {
	f.sessions.Store(0)
	log := f.log()
	for i, m := range members {
		if err := m.enroll(ctx, f.enrollment); err != nil {
			return err
		}
		f.running.Go(func() { // ends with ctx
			if err := m.run(ctx, log); err != nil {
				select {
				case f.failed <- err:
				default:
				}
			}
		})
		for int64(i)-f.sessions.Load() >= joinsAtOnce {
			if err := sleep.For(ctx, time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// log counts what agents log of their sessions.
func (f *fleet) log() logr.Logger {
	return funcr.New(func(_, args string) {
		switch {
		case strings.Contains(args, `"connected to the hub"`):
			f.sessions.Add(1)
		case strings.Contains(args, `"not connected to the hub"`):
			f.mu.Lock()
			defer f.mu.Unlock()
			_, reason, _ := strings.Cut(args, `"reason"=`)
			f.refused[reason]++
		}
	}, funcr.Options{})
}

// refusals returns why agents were not connected since it was asked last, the most frequent first.
func (f *fleet) refusals() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for reason := range f.refused {
		all = append(all, reason)
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(f.refused[b], f.refused[a]) })
	var out strings.Builder
	for _, reason := range all[:min(len(all), 5)] {
		fmt.Fprintf(&out, " %d× %.160s;", f.refused[reason], reason)
	}
	f.refused = map[string]int{}
	return out.String()
}
