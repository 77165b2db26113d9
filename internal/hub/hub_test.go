package hub

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// TestStory is the first whole way: from a push to every edge, through what goes wrong, and back.
func TestStory(t *testing.T) {
	w := newWorld(t)
	first, edge1 := w.edge("edge-1")
	_, edge2 := w.edge("edge-2")
	r1 := w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "one"), "apps/db.yaml": configMap("db", "one"), "apps/mq.yaml": configMap("mq", "one")}})
	w.source()
	apps := w.kustomization("apps", "./apps")
	w.start()

	t.Logf("first sync: %s", w.says(apps, "True Succeeded", r1))
	await(t, edge1, onEdge("web"), "applied", has("one"))
	await(t, edge2, onEdge("web"), "applied", has("one"))
	w.says(clusterNamed("edge-1"), "True Succeeded")

	r2 := w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "two")}})
	t.Logf("a commit on the edge: %s", await(t, edge1, onEdge("web"), "changed", has("two")))
	t.Logf("and ready: %s", w.says(apps, "True Succeeded", r2))
	second := &v1alpha1.Assignment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "edge-1"}}
	await(t, w.client, second, "reported, and without managed fields", func(a *v1alpha1.Assignment) bool {
		return a.Generation > 1 && len(a.Status.Entries) == 1 && a.Status.Entries[0].AppliedDigest == a.Spec.Entries[0].Digest && a.ManagedFields == nil
	})

	r3 := w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": "a: ["}})
	w.says(apps, "False InvalidYAML", r3)
	await(t, edge1, onEdge("web"), "as it was", has("two"))

	r4 := w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "four")}, Delete: []string{"apps/mq.yaml"}})
	w.says(apps, "True Succeeded", r4)
	awaitGone(t, edge2, onEdge("mq"))

	first.StopServer()
	w.request(clusterNamed("edge-1"))
	w.says(clusterNamed("edge-1"), "False Unreachable")
	w.says(apps, "Unknown ClustersUnreachable")
	r5 := w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "five")}})
	await(t, edge2, onEdge("web"), "changed", has("five"))
	w.says(apps, "Unknown ClustersUnreachable", r5)
	if err := first.StartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.request(clusterNamed("edge-1"))
	w.says(apps, "True Succeeded", r5)
	await(t, edge1, onEdge("web"), "caught up", has("five"))

	if err := w.client.Delete(t.Context(), apps); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, w.client, apps)
	awaitGone(t, edge1, onEdge("web"))
	awaitGone(t, edge2, onEdge("web"))
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}

// TestRestart: a hub that starts again, with its storage or without, has nothing to tell.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	_, edge := w.edge("edge-1")
	r1 := w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "one")}})
	w.source()
	apps := w.kustomization("apps", "./apps")
	w.start()
	w.says(apps, "True Succeeded", r1)
	transition := func() metav1.Time {
		t.Helper()
		now := ks("apps")
		if err := w.client.Get(t.Context(), keyOf(now), now); err != nil {
			t.Fatal(err)
		}
		for _, c := range now.Status.Conditions {
			if c.Type == v1alpha1.ReadyCondition {
				return c.LastTransitionTime
			}
		}
		return metav1.Time{}
	}
	before := transition()
	for _, lost := range []bool{false, true} {
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		if lost {
			w.wipeStorage()
		}
		w.start()
		// Drift shows that the engine has the bundle again.
		if err := edge.Delete(t.Context(), onEdge("web")); err != nil {
			t.Fatal(err)
		}
		t.Logf("put back after a restart (storage lost: %v): %s", lost, await(t, edge, onEdge("web"), "put back", has("one")))
		if after := transition(); !after.Equal(&before) {
			t.Errorf("storage lost: %v: Ready changed", lost)
		}
	}
}

// TestBadClusters: each is named for what it is, and none holds up the one that is well.
func TestBadClusters(t *testing.T) {
	w := newWorld(t)
	good, _ := w.edge("edge-1")
	kubeconfig := kubeconfigOf(t, good)
	w.join("garbage", []byte("{{{"))
	w.join("twin", kubeconfig)
	w.join("hub-itself", kubeconfigOf(t, w.cluster))
	cfg := good.RESTConfig()
	cfg.CertData, cfg.KeyData, cfg.BearerToken = nil, nil, "expired"
	expired, err := controlplane.EncodeKubeconfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.join("expired", expired)
	r1 := w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "one")}})
	w.source()
	apps := w.kustomization("apps", "./apps")
	w.start()
	w.says(clusterNamed("garbage"), "False InvalidKubeConfig")
	w.says(clusterNamed("hub-itself"), "False HubItself")
	w.says(clusterNamed("expired"), "False Unauthorized")
	// One of the two has it, by whoever came first; never both.
	await(t, w.client, apps, "ready on one and only one", func(k *v1alpha1.Kustomization) bool {
		c := k.Status.Clusters
		return k.Status.LastAttemptedRevision == r1 && c.Desired == 5 && c.Ready == 1 && c.Unreachable == 4
	})
	// A corrected Secret is taken up at once.
	fixed := controlplane.New(t, "fixed", controlplane.Options{})
	s := secretNamed("garbage")
	s.Data = map[string][]byte{"value": kubeconfigOf(t, fixed)}
	if err := w.client.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	t.Logf("corrected kubeconfig: %s", w.says(clusterNamed("garbage"), "True Succeeded"))
	await(t, w.client, apps, "ready on two", func(k *v1alpha1.Kustomization) bool { return k.Status.Clusters.Ready == 2 })
}

// TestHubsOwn: without spec.clusters the hub's own cluster is the target, and Secrets hold variables.
func TestHubsOwn(t *testing.T) {
	w := newWorld(t)
	w.options.Config = w.cluster.RESTConfig() // config/apply gives this right
	r1 := w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "${greeting} from ${cluster_name}")}})
	w.source()
	apps := w.kustomization("apps", "./apps", func(k *v1alpha1.Kustomization) {
		k.Spec.Clusters = nil
		k.Spec.PostBuild = &v1alpha1.PostBuild{SubstituteFrom: []v1alpha1.SubstituteReference{{Kind: "Secret", Name: "vars"}}}
	})
	w.start()
	w.says(apps, "False SubstitutionFailed")
	secret := secretNamed("vars")
	secret.Data = map[string][]byte{"greeting": []byte("hello")}
	w.create(secret)
	w.says(apps, "True Succeeded", r1)
	await(t, w.client, onEdge("web"), "applied", has("hello from hub"))
	secret.Data["greeting"] = []byte("good night")
	if err := w.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	await(t, w.client, onEdge("web"), "applied anew", has("good night from hub"))
}

// TestServersThatHang: a look at one holds up no other, and ends at its timeout.
func TestServersThatHang(t *testing.T) {
	w := newWorld(t)
	host := gitserver.New(t)
	dead, err := host.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetFault(gitserver.Hang)
	repo, err := host.Repo("config")
	if err != nil {
		t.Fatal(err)
	}
	source := func(name, url string, timeout time.Duration) *v1alpha1.GitRepository {
		r := &v1alpha1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		r.Spec.URL, r.Spec.Interval, r.Spec.Timeout = url, metav1.Duration{Duration: time.Hour}, &metav1.Duration{Duration: timeout}
		w.create(r)
		return r
	}
	for i := range 40 { // all but the first are waited for longer than this test takes
		timeout := time.Hour
		if i == 0 {
			timeout = 3 * time.Second
		}
		source(fmt.Sprintf("dead-%d", i), dead.URL(repo), timeout)
	}
	w.start()
	w.push(gitserver.Change{Write: map[string]string{"a.yaml": configMap("a", "b")}})
	w.says(source("alive", w.server.URL(w.repo), time.Minute), "True Succeeded")
	w.says(&v1alpha1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "dead-0"}}, "False Timeout")
	// A corrected spec is taken up at once, whatever pause was going on.
	fixed := &v1alpha1.GitRepository{}
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: "dead-0"}, fixed); err != nil {
		t.Fatal(err)
	}
	fixed.Spec.URL = w.server.URL(w.repo)
	if err := w.client.Update(t.Context(), fixed); err != nil {
		t.Fatal(err)
	}
	w.says(fixed, "True Succeeded")
}

// TestCleaning removes from the disk what nobody uses, and nothing else.
func TestCleaning(t *testing.T) {
	w := newWorld(t)
	w.edge("edge-1")
	r1 := w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "one")}})
	w.source()
	apps := w.kustomization("apps", "./apps")
	w.start()
	w.says(apps, "True Succeeded", r1)
	r2 := w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "two")}})
	w.says(apps, "True Succeeded", r2)
	r3 := w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "three")}})
	w.says(apps, "True Succeeded", r3) // the second is kept to go back to
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if n := len(w.stored("bundles")); n != 3 {
		t.Errorf("%d bundles", n)
	}
	if err := os.MkdirAll(filepath.Join(w.storage, "git", strings.Repeat("a", 40)), 0o700); err != nil {
		t.Fatal(err)
	}
	p := w.cleaner(time.Now)
	if removed, err := p.cleanBundles(t.Context()); removed != 0 || err != nil {
		t.Errorf("within the time of grace: %d, %v", removed, err)
	}
	started := true
	p = w.cleaner(func() time.Time {
		if started {
			started = false
			return time.Now()
		}
		return time.Now().Add(time.Hour)
	})
	if removed, err := p.cleanBundles(t.Context()); removed != 1 || err != nil {
		t.Errorf("afterwards: %d, %v", removed, err)
	}
	if err := p.cleanRepositories(t.Context()); err != nil {
		t.Error(err)
	}
	if left := w.stored("git"); len(left) != 2 { // the repository and the scratch folder
		t.Errorf("repositories: %v", left)
	}
}

func TestMetricsAndProbes(t *testing.T) {
	w := newWorld(t)
	w.options.MetricsAddress, w.options.HealthAddress = freeAddress(t), freeAddress(t)
	w.options.Registry = ctrlmetrics.Registry // which is what is served
	w.options.LeaderElect = true
	w.edge("edge-1")
	r1 := w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": configMap("web", "one")}})
	w.source()
	apps := w.kustomization("apps", "./apps")
	w.start()
	w.says(apps, "True Succeeded", r1)
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := fetch(t, "http://"+w.options.HealthAddress+path); got != "ok" {
			t.Errorf("%s: %q", path, got)
		}
	}
	text := fetch(t, "http://"+w.options.MetricsAddress+"/metrics")
	for _, line := range []string{
		`skerry_cluster_reachable{name="edge-1",namespace="fleet"} 1`,
		"skerry_renders_total 1", "skerry_applied_objects_total 1", "skerry_pruned_objects_total 0", "skerry_drift_corrections_total 0",
		"skerry_render_cache_hits_total", `controller_runtime_reconcile_time_seconds_count{controller="kustomization"}`,
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("no %s in the metrics", line)
		}
	}
	if os.Getenv("SKERRY_TEST_LOG") != "" {
		t.Log(text)
	}
	start := time.Now()
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	t.Logf("stopped in %s", time.Since(start))
}

// TestWithoutItsKinds: a hub without CRDs waits for them, and says so when none come.
func TestWithoutItsKinds(t *testing.T) {
	c := controlplane.New(t, "bare", controlplane.Options{})
	o := Defaults()
	o.Config, o.StoragePath, o.MetricsAddress, o.HealthAddress, o.Log = c.RESTConfig(), t.TempDir(), "0", freeAddress(t), logr.Discard()
	o.StartTimeout = time.Second
	if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "skerry install") {
		t.Errorf("error %v", err)
	}
	o.StartTimeout = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, o) }()
	api := newClient(t, c)
	// As `skerry install --crds-only` does.
	if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.LeaderNamespace}}); err != nil {
		t.Fatal(err)
	}
	installCRDs(t, api)
	deadline := time.After(20 * time.Second)
	for ready := false; !ready; {
		select {
		case err := <-done:
			t.Fatalf("the hub ended: %v", err)
		case <-deadline:
			t.Fatal("the hub is not ready")
		case <-time.After(50 * time.Millisecond):
			res, err := http.Get("http://" + o.HealthAddress + "/readyz")
			if ready = err == nil && res.StatusCode == http.StatusOK; err == nil {
				_ = res.Body.Close()
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
