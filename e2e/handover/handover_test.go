package handover

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

const namespace = v1alpha1.SystemNamespace

type world struct {
	*testing.T
	rig  *rig.Rig
	cli  *rig.CLI
	repo *gitserver.Repo
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) skerry(ctx context.Context, args ...string) {
	w.Helper()
	r, err := w.cli.Run(ctx, "", args...)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("skerry %s ended with %d:\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	w.must(err)
}

// start sets up a hub's cluster with one hub, an edge and a repository.
func start(ctx context.Context, t *testing.T) *world {
	t.Helper()
	r, err := rig.New(ctx, rig.Options{Dir: t.TempDir(), HubAudit: true, Edges: []rig.EdgeOptions{{Name: "edge-1", Audit: true}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{T: t, rig: r}
	server, err := r.Git.ServeHTTP(gitserver.HTTPOptions{})
	w.must(err)
	w.repo, err = r.Git.Repo("config")
	w.must(err)
	w.cli, err = rig.NewCLI(r.HubKubeconfig)
	w.must(err)
	w.commit("1")
	w.skerry(ctx, "install", "--crds-only")
	w.must(r.Hub.Start(ctx, "--leader-elect", lease))
	w.skerry(ctx, "cluster", "join", "edge-1", "--from-kubeconfig", r.Edges[0].Kubeconfig, "--use-credentials", "--label", "edge=yes")
	w.must(r.HubKube.Apply(ctx, fmt.Sprintf(`apiVersion: skerry.dev/v1alpha1
kind: GitRepository
metadata: {name: config, namespace: %[1]s}
spec: {url: %[2]q, ref: {branch: main}, interval: 1s}
---
apiVersion: skerry.dev/v1alpha1
kind: Kustomization
metadata: {name: app, namespace: %[1]s}
spec:
  sourceRef: {name: config}
  path: ./app
  clusters: {selector: {matchLabels: {edge: "yes"}}}
  interval: 10m
  retryInterval: 1s
  timeout: 1m
`, namespace, server.URL(w.repo))))
	return w
}

// lease is short, so that the test waits less.
const lease = "--leader-election-lease-duration=15s"

// objects is how many ConfigMaps a commit has: enough for a process to be stopped among them.
const objects = 120

func (w *world) commit(value string) string {
	w.Helper()
	var b strings.Builder
	for i := range objects {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm-%d, namespace: default}\ndata: {n: %q}\n", i, value)
	}
	commit, err := w.repo.Commit("main", gitserver.Change{Write: map[string]string{"app/app.yaml": b.String()}})
	w.must(err)
	return commit
}

func (w *world) ready(ctx context.Context, commit string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err := w.rig.HubKube.Await(ctx, rig.Ref{Kind: "kustomizations.skerry.dev", Namespace: namespace, Name: "app"},
		rig.MustExpect("Ready=True", "status.lastAppliedRevision~"+commit+"$"))
	w.must(err)
}

// leader waits until the lease is held by somebody other than before, and returns the name.
func (w *world) leader(ctx context.Context, before string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	name := ""
	ref := rig.Ref{Kind: "leases.coordination.k8s.io", Namespace: namespace, Name: "skerry-hub"}
	expect := []string{"spec.holderIdentity~."}
	if before != "" {
		expect = append(expect, "spec.holderIdentity!="+before)
	}
	got, err := w.rig.HubKube.Await(ctx, ref, rig.MustExpect(expect...))
	w.must(err)
	name = fmt.Sprint(rig.Value(got, "spec", "holderIdentity"))
	return name
}

// writes returns what a hub wrote to a cluster since a time, whether it was let or not.
func (w *world) writes(c *controlplane.Cluster, identity string, since time.Time) []string {
	w.Helper()
	all, err := c.Requests(since)
	w.must(err)
	var out []string
	for _, r := range all {
		if strings.Contains(r.UserAgent, identity) && !slices.Contains([]string{"get", "list", "watch"}, r.Verb) {
			out = append(out, fmt.Sprintf("%s %s %s/%s/%s %d", r.Time.Format("15:04:05.000"), r.Verb, r.Resource, r.Namespace, r.Name, r.Code))
		}
	}
	return out
}

// firstWrite waits until a hub has written to the edge since a time and returns when.
func (w *world) firstWrite(ctx context.Context, identity string, since time.Time) time.Time {
	w.Helper()
	for {
		all, err := w.rig.Edges[0].Cluster.Requests(since)
		w.must(err)
		for _, r := range all {
			if r.Verb == "patch" && strings.Contains(r.UserAgent, identity) {
				return r.Time
			}
		}
		select {
		case <-ctx.Done():
			w.Fatal("the hub never wrote to the edge")
		case <-time.After(5 * time.Millisecond): // nothing tells of a new line in the log
		}
	}
}

// TestAPausedLeaderWritesNothing stops the leader in the middle of a pass, for longer than its lease,
// lets the other hub take over, and wakes it when there is work that it would do.
func TestAPausedLeaderWritesNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	w := start(ctx, t)
	first := w.rig.Hub
	other := rig.NewHub(rig.HubOptions{Kubeconfig: w.rig.HubKubeconfig, Dir: t.TempDir()})
	t.Cleanup(func() { other.Kill() })
	a := w.leader(ctx, "")
	one := w.commit("2")
	w.ready(ctx, one)
	w.must(other.Start(ctx, "--leader-elect", lease))

	begin := time.Now()
	two := w.commit("3")
	w.firstWrite(ctx, a, begin)
	w.must(syscall.Kill(first.PID(), syscall.SIGSTOP)) // in the middle of the pass
	stopped := time.Now()
	b := w.leader(ctx, a)
	took := w.firstWrite(ctx, b, stopped)
	t.Logf("stopped with %d writes of the commit done; the other hub holds the lease and writes after %v",
		len(w.writes(w.rig.Edges[0].Cluster, a, begin)), took.Sub(stopped).Round(10*time.Millisecond))
	w.ready(ctx, two)

	// Work for both: a commit that only b can have seen, and drift that a's watches show at once.
	three := w.commit("4")
	w.ready(ctx, three)
	if _, err := w.rig.Edges[0].Kube.Patch(ctx, rig.Ref{Kind: "configmaps", Namespace: "default", Name: "cm-7"}, `{"data":{"n":"by hand"}}`); err != nil {
		t.Fatal(err)
	}
	woken := time.Now()
	w.must(syscall.Kill(first.PID(), syscall.SIGCONT))
	for first.Running() {
		select {
		case <-ctx.Done():
			t.Fatalf("the old leader does not end:\n%s", first.LogTail(20))
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Logf("the old leader ended %v after it went on", time.Since(woken).Round(10*time.Millisecond))

	// What was in the sockets when it was stopped has arrived long before the other one began.
	quiet := stopped.Add(100 * time.Millisecond)
	for name, c := range map[string]*controlplane.Cluster{"edge": w.rig.Edges[0].Cluster, "hub": w.rig.HubCluster} {
		if late := w.writes(c, a, quiet); len(late) > 0 {
			t.Errorf("the old leader wrote to the %s after its lease:\n%s", name, strings.Join(late, "\n"))
		}
		if early := w.writes(c, b, begin); len(early) == 0 {
			t.Errorf("the new leader wrote nothing to the %s", name)
		}
	}
	four := w.commit("5")
	w.ready(ctx, four)

	// A hub that is told to stop gives the lease back, so that nobody waits for its end.
	w.must(first.Start(ctx, "--leader-elect", lease))
	asked := time.Now()
	w.must(other.Stop())
	c := w.leader(ctx, b)
	five := w.commit("6")
	w.ready(ctx, five)
	t.Logf("told to stop, the next hub had done a commit %v later", time.Since(asked).Round(10*time.Millisecond))
	last := w.firstWrite(ctx, c, asked)
	if late := w.writes(w.rig.Edges[0].Cluster, b, last); len(late) > 0 {
		t.Errorf("two hubs wrote at once:\n%s", strings.Join(late, "\n"))
	}
}
