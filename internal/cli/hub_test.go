package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/hub"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// serviceAccount is who a hub in a Pod is.
const serviceAccount = "system:serviceaccount:skerry-system:skerry-hub"

// startHub runs a hub in this process, with just the rights that its ServiceAccount has, until what it returns
// is called, or the test ends.
func startHub(t *testing.T, c *controlplane.Cluster, hubID string) (stop func()) {
	t.Helper()
	user, err := c.User(serviceAccount, "system:serviceaccounts", "system:serviceaccounts:skerry-system")
	if err != nil {
		t.Fatal(err)
	}
	o := hub.Defaults()
	o.Config, o.StoragePath, o.HubID, o.Log = user, t.TempDir(), hubID, logr.Discard()
	o.MetricsAddress, o.HealthAddress, o.LeaderElect = "0", "0", true
	if os.Getenv("SKERRY_TEST_LOG") != "" {
		o.Log = logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- hub.Run(ctx, o) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the hub ended: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// eventually asks until it is so; nothing tells when another process has come that far.
func eventually(t *testing.T, what string, is func() (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := is()
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: did not come true: %v", what, err)
		case <-tick.C:
		}
	}
}

// TestBootstrapWithAHub goes the whole way: the hub runs as its own ServiceAccount and takes over.
func TestBootstrapWithAHub(t *testing.T) {
	c := controlplane.New(t, "whole", controlplane.Options{})
	h := gitserver.New(t)
	repo, err := h.Repo("fleet")
	if err != nil {
		t.Fatal(err)
	}
	web, err := h.ServeHTTP(gitserver.HTTPOptions{Username: "git", Password: "t0ken"})
	if err != nil {
		t.Fatal(err)
	}
	cl := clientOf(t, c)
	// The sign of a run that has come as far as letting a hub read from Git.
	synced := func() (bool, error) {
		root := &v1alpha1.Kustomization{}
		err := cl.Get(t.Context(), client.ObjectKey{Namespace: "skerry-system", Name: "skerry-system"}, root)
		return err == nil, err
	}
	bootstrap := func(args ...string) ran {
		return runWith(t.Context(), c.Kubeconfig(), "t0ken", nil, append([]string{"bootstrap", "git", "--url", web.URL(repo), "--hub-id", "main", "--token-stdin", "--timeout", "60s"}, args...)...)
	}
	first := make(chan ran)
	go func() { first <- bootstrap() }()
	eventually(t, "sync is applied", synced)
	startHub(t, c, "main")
	(<-first).want(t, factory.ExitOK, "✔ reconcile: the hub has applied main@sha1:", "✔ hand over: "+componentsAreKept, "from here on, push")

	managers := func() []string {
		t.Helper()
		d := &appsv1.Deployment{}
		if err := cl.Get(t.Context(), client.ObjectKey{Namespace: "skerry-system", Name: "skerry-hub"}, d); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range d.ManagedFields {
			names = append(names, f.Manager)
		}
		return append(names, d.Spec.Template.Spec.Containers[0].Image)
	}
	if m := managers(); slices.Contains(m, "skerry-cli") || !strings.HasPrefix(m[0], "skerry.skerry-system.") {
		t.Errorf("the Deployment is managed by %q", m)
	}

	t.Run("again changes nothing", func(t *testing.T) {
		head, _ := repo.Resolve("main")
		bootstrap().want(t, factory.ExitOK, "is as it should be at main@sha1:"+head, "left to the hub", "secret skerry-system/skerry-system unchanged",
			"nothing to change in 2 objects", componentsAreKept)
	})
	t.Run("another version comes by way of Git", func(t *testing.T) {
		bootstrap("--image", "example/hub:2").want(t, factory.ExitOK, "pushed as main@sha1:", "left to the hub")
		if m := managers(); slices.Contains(m, "skerry-cli") || m[len(m)-1] != "example/hub:2" {
			t.Errorf("the Deployment is %q", m)
		}
	})
	t.Run("status and reconcile", func(t *testing.T) {
		r := run(t, c.Kubeconfig(), "", "status")
		r.want(t, factory.ExitOK)
		for _, want := range []string{"all ready", "hub      skerry-system", "WHAT RUNS WHERE"} {
			if !strings.Contains(r.out, want) {
				t.Errorf("status lacks %q:\n%s", want, r.out)
			}
		}
		if _, err := repo.Commit("main", gitserver.Change{Write: map[string]string{"clusters/hub/app.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app, namespace: default}\n"}}); err != nil {
			t.Fatal(err)
		}
		run(t, c.Kubeconfig(), "", "reconcile", "ks", "skerry-system", "--with-source").want(t, factory.ExitOK, "ready on 1 of 1 cluster")
		if err := cl.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "app"}, &corev1.ConfigMap{}); err != nil {
			t.Errorf("after reconcile: %v", err)
		}
		run(t, c.Kubeconfig(), "", "reconcile", "cluster", "hub").want(t, factory.ExitOK, "✔ reconcile cluster hub: Kubernetes v")
	})
	t.Run("a commit that does not render", func(t *testing.T) {
		if _, err := repo.Commit("main", gitserver.Change{Write: map[string]string{"clusters/hub/app.yaml": "a: [\n"}}); err != nil {
			t.Fatal(err)
		}
		run(t, c.Kubeconfig(), "", "reconcile", "ks", "skerry-system", "--with-source").want(t, factory.ExitFailed, "InvalidYAML: clusters/hub/app.yaml")
		r := run(t, c.Kubeconfig(), "", "status")
		r.want(t, factory.ExitFailed)
		if !strings.Contains(r.out, "Kustomization skerry-system: not ready: InvalidYAML: clusters/hub/app.yaml") {
			t.Errorf("status:\n%s", r.out)
		}
	})
}

// TestHubWithoutItsOwnCluster: what rbac/ grants is enough for a hub that serves edges, and the hub
// is refused nothing that it asks for.
func TestHubWithoutItsOwnCluster(t *testing.T) {
	c := controlplane.New(t, "rights", controlplane.Options{AuditLog: true})
	edge := controlplane.New(t, "edge", controlplane.Options{ControllerManager: true})
	h := gitserver.New(t)
	repo, err := h.Repo("fleet")
	if err != nil {
		t.Fatal(err)
	}
	manifest := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app, namespace: default}\ndata: {region: \"${region}\"}\n"
	if _, err := repo.Commit("main", gitserver.Change{Write: map[string]string{"apps/app.yaml": manifest}}); err != nil {
		t.Fatal(err)
	}
	web, err := h.ServeHTTP(gitserver.HTTPOptions{Username: "git", Password: "t0ken"})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	run(t, c.Kubeconfig(), "", "install", "--own-cluster=false", "--wait=false").want(t, factory.ExitOK, fmt.Sprintf("%[1]d objects: %[1]d created", components-1))
	startHub(t, c, "")
	run(t, c.Kubeconfig(), "", "cluster", "join", "shop-1", "--from-kubeconfig", edge.Kubeconfig(), "--label", "tier=shop", "--var", "region=north").want(t, factory.ExitOK,
		"✔ cluster shop-1: reached, Kubernetes v")

	cl := clientOf(t, c)
	in := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "skerry-system", Name: name} }
	for _, o := range []client.Object{
		&corev1.Secret{ObjectMeta: in("git"), StringData: map[string]string{"username": "git", "password": "t0ken"}},
		&corev1.ConfigMap{ObjectMeta: in("vars"), Data: map[string]string{"a": "b"}},
		&v1alpha1.GitRepository{ObjectMeta: in("fleet"), Spec: v1alpha1.GitRepositorySpec{
			URL: web.URL(repo), Interval: metav1.Duration{Duration: time.Minute}, SecretRef: &meta.LocalObjectReference{Name: "git"},
		}},
		&v1alpha1.Kustomization{ObjectMeta: in("apps"), Spec: v1alpha1.KustomizationSpec{
			SourceRef: v1alpha1.SourceReference{Name: "fleet"}, Path: "./apps", Interval: metav1.Duration{Duration: time.Minute},
			Clusters:  &v1alpha1.ClusterTargets{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "shop"}}},
			PostBuild: &v1alpha1.PostBuild{SubstituteFrom: []v1alpha1.SubstituteReference{{Kind: "ConfigMap", Name: "vars"}}},
		}},
	} {
		if err := cl.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	run(t, c.Kubeconfig(), "", "reconcile", "ks", "apps", "--with-source", "--timeout", "60s").want(t, factory.ExitOK)
	app := &corev1.ConfigMap{}
	if err := clientOf(t, edge).Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "app"}, app); err != nil || app.Data["region"] != "north" {
		t.Errorf("on the edge: %v, %v", app.Data, err)
	}
	// The way out writes as well: finalizers, Assignments, and the lease.
	ks := &v1alpha1.Kustomization{ObjectMeta: in("apps")}
	if err := cl.Delete(t.Context(), ks); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Kustomization is gone", func() (bool, error) {
		err := cl.Get(t.Context(), client.ObjectKeyFromObject(ks), ks)
		return apierrors.IsNotFound(err), fmt.Errorf("%v", ks.Status.Conditions)
	})
	if err := cl.Delete(t.Context(), &v1alpha1.Cluster{ObjectMeta: in("shop-1")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Cluster is gone", func() (bool, error) {
		err := cl.Get(t.Context(), client.ObjectKey{Namespace: "skerry-system", Name: "shop-1"}, &v1alpha1.Cluster{})
		return apierrors.IsNotFound(err), err
	})
	requests, err := c.Requests(begin)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, r := range requests {
		if r.User != serviceAccount {
			continue
		}
		asked++
		if r.Code == http.StatusForbidden {
			t.Errorf("the hub may not %s %s", r.Verb, r.URI)
		}
	}
	if asked == 0 {
		t.Error("the hub asked nothing, as far as the audit log knows")
	}
	if os.Getenv("SKERRY_TEST_LOG") != "" {
		t.Log(usedRights(requests))
	}
}

// usedRights lists what the hub asked for, to compare with rbac/ when that is to shrink.
func usedRights(requests []controlplane.Request) string {
	seen := map[string]bool{}
	for _, r := range requests {
		if r.User == serviceAccount {
			seen[strings.TrimSuffix(r.Group+"/"+r.Resource+"/"+r.Subresource, "/")+" "+r.Verb] = true
		}
	}
	var list []string
	for s := range seen {
		list = append(list, s)
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// TestStatusOfAStoppedHub: the lease that a hub gives back says that it stopped.
func TestStatusOfAStoppedHub(t *testing.T) {
	c := controlplane.New(t, "stopped", controlplane.Options{})
	run(t, c.Kubeconfig(), "", "install", "--wait=false").want(t, factory.ExitOK)
	t.Run("at work", func(t *testing.T) {
		startHub(t, c, "")
		cl := clientOf(t, c)
		source := &v1alpha1.GitRepository{
			ObjectMeta: metav1.ObjectMeta{Namespace: "skerry-system", Name: "nowhere"},
			Spec:       v1alpha1.GitRepositorySpec{URL: "http://127.0.0.1:1/x", Interval: metav1.Duration{Duration: time.Minute}},
		}
		if err := cl.Create(t.Context(), source); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the hub has looked", func() (bool, error) {
			err := cl.Get(t.Context(), client.ObjectKeyFromObject(source), source)
			return apimeta.FindStatusCondition(source.Status.Conditions, "Ready") != nil, err
		})
		if r := run(t, c.Kubeconfig(), "", "status"); strings.Contains(r.out, "NotRunning") || !strings.Contains(r.out, "Unreachable") {
			t.Errorf("status:\n%s", r.out)
		}
	})
	r := run(t, c.Kubeconfig(), "", "status")
	r.want(t, factory.ExitFailed)
	if !strings.Contains(r.out, "Hub skerry-system: not ready: NotRunning: it was stopped") {
		t.Errorf("status:\n%s", r.out)
	}
}
