package hub

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/config"
	"github.com/skerry-dev/skerry/internal/bundlestore"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/program"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	os.Exit(controlplane.Main(m, controlplane.Options{}))
}

const namespace = "fleet"

// world is a hub in this process, on a real API server, with real edges and a real Git server.
type world struct {
	t       *testing.T
	cluster *controlplane.Cluster
	client  client.WithWatch
	storage string
	repo    *gitserver.Repo
	server  *gitserver.HTTP
	options Options
	stop    func() error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, controlplane.Options{})
}

// newWorldOn is a world whose hub's own cluster is as much of one as the options say.
func newWorldOn(t *testing.T, o controlplane.Options) *world {
	t.Helper()
	w := &world{t: t, cluster: controlplane.New(t, "hub", o), storage: t.TempDir()}
	w.client = newClient(t, w.cluster)
	installCRDs(t, w.client)
	for _, name := range []string{namespace, v1alpha1.SystemNamespace} {
		w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	host := gitserver.New(t)
	var err error
	if w.repo, err = host.Repo("config"); err != nil {
		t.Fatal(err)
	}
	if w.server, err = host.ServeHTTP(gitserver.HTTPOptions{}); err != nil {
		t.Fatal(err)
	}
	w.options = Defaults()
	w.options.Config, w.options.StoragePath = w.serviceAccount(), w.storage
	w.options.MetricsAddress, w.options.HealthAddress, w.options.HubID = "0", "0", "test-hub"
	w.options.Log = logr.Discard()
	if os.Getenv("SKERRY_TEST_LOG") != "" {
		if w.options.Log, err = program.NewLog(os.Stderr, "debug"); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// hubUser has the rights of the hub that config/rbac gives, and no others.
const hubUser = "hub-of-the-test"

// serviceAccount gives hubUser its rights.
func (w *world) serviceAccount() *rest.Config {
	w.t.Helper()
	w.grant(func(*unstructured.Unstructured) bool { return true })
	cfg, err := w.cluster.User(hubUser)
	if err != nil {
		w.t.Fatal(err)
	}
	return cfg
}

// grantIn gives hubUser the rights of the hub's namespace in another one, which was created anew.
func (w *world) grantIn(namespace string) {
	w.t.Helper()
	w.grant(func(role *unstructured.Unstructured) bool {
		role.SetNamespace(namespace)
		return role.GetKind() == "Role"
	})
}

// grant creates those roles of config/rbac that are picked, and binds hubUser to them.
func (w *world) grant(pick func(*unstructured.Unstructured) bool) {
	w.t.Helper()
	data, err := fs.ReadFile(config.FS, "rbac/role.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	for doc := range strings.SplitSeq(string(data), "\n---\n") {
		role := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), role); err != nil {
			w.t.Fatal(err)
		}
		if !pick(role) {
			continue
		}
		ref := map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": role.GetKind(), "name": role.GetName()}
		binding := &unstructured.Unstructured{Object: map[string]any{
			"roleRef": ref, "subjects": []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": hubUser}},
		}}
		binding.SetGroupVersionKind(role.GroupVersionKind().GroupVersion().WithKind(role.GetKind() + "Binding"))
		binding.SetName(role.GetName())
		binding.SetNamespace(role.GetNamespace())
		w.create(role, binding)
	}
}

func newClient(t *testing.T, c *controlplane.Cluster) client.WithWatch {
	t.Helper()
	scheme, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	made, err := client.NewWithWatch(c.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func installCRDs(t *testing.T, c client.WithWatch) {
	t.Helper()
	files, err := fs.Glob(config.FS, "crd/skerry.dev_*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRDs: %v", err)
	}
	for _, name := range files {
		data, err := fs.ReadFile(config.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(data, crd); err != nil {
			t.Fatal(err)
		}
		if err := c.Create(t.Context(), crd); err != nil {
			t.Fatal(err)
		}
		await(t, c, crd, "established", func(crd *apiextensionsv1.CustomResourceDefinition) bool {
			for _, cond := range crd.Status.Conditions {
				if cond.Type == apiextensionsv1.Established && cond.Status == apiextensionsv1.ConditionTrue {
					return true
				}
			}
			return false
		})
	}
}

// lists makes the list type that a watch of an object needs.
func listFor(o client.Object) client.ObjectList {
	switch o.(type) {
	case *apiextensionsv1.CustomResourceDefinition:
		return &apiextensionsv1.CustomResourceDefinitionList{}
	case *v1alpha1.Kustomization:
		return &v1alpha1.KustomizationList{}
	case *v1alpha1.GitRepository:
		return &v1alpha1.GitRepositoryList{}
	case *v1alpha1.Cluster:
		return &v1alpha1.ClusterList{}
	case *v1alpha1.Assignment:
		return &v1alpha1.AssignmentList{}
	case *corev1.ConfigMap:
		return &corev1.ConfigMapList{}
	}
	panic(fmt.Sprintf("no list for %T", o))
}

// await watches an object until done says so, and returns how long that took.
func await[T client.Object](t *testing.T, c client.WithWatch, o T, what string, done func(T) bool) time.Duration {
	t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	options := []client.ListOption{client.InNamespace(o.GetNamespace()), client.MatchingFields{"metadata.name": o.GetName()}}
	for {
		w, err := c.Watch(ctx, listFor(o), options...)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for e := range w.ResultChan() {
			if now, ok := e.Object.(T); ok && e.Type != "DELETED" && done(now) {
				w.Stop()
				return time.Since(start)
			}
		}
		w.Stop()
		if ctx.Err() != nil {
			last := o.DeepCopyObject().(client.Object)
			_ = c.Get(t.Context(), client.ObjectKeyFromObject(o), last)
			text, _ := yaml.Marshal(last)
			t.Fatalf("%s %s: not %s in time:\n%s", o.GetObjectKind().GroupVersionKind().Kind, o.GetName(), what, text)
		}
	}
}

func awaitGone[T client.Object](t *testing.T, c client.WithWatch, o T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w, err := c.Watch(ctx, listFor(o), client.InNamespace(o.GetNamespace()), client.MatchingFields{"metadata.name": o.GetName()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if err := c.Get(ctx, client.ObjectKeyFromObject(o), o); apierrors.IsNotFound(err) {
		return
	}
	for e := range w.ResultChan() {
		if e.Type == "DELETED" {
			return
		}
	}
	t.Fatalf("%s is still there", o.GetName())
}

// start runs the hub.
func (w *world) start() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, w.options) }()
	stopped := false
	w.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(5 * time.Second):
			return fmt.Errorf("the hub did not stop within 5 s")
		}
	}
	w.t.Cleanup(func() {
		if err := w.stop(); err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		if err := w.client.Create(w.t.Context(), o); err != nil {
			w.t.Fatal(err)
		}
	}
}

// push commits and asks the source to look.
func (w *world) push(change gitserver.Change) string {
	w.t.Helper()
	commit := w.commit(change)
	w.request(sourceNamed())
	return "main@sha1:" + commit
}

func sourceNamed() *v1alpha1.GitRepository {
	return &v1alpha1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "config"}}
}

func (w *world) commit(change gitserver.Change) string {
	w.t.Helper()
	commit, err := w.repo.Commit("main", change)
	if err != nil {
		w.t.Fatal(err)
	}
	return commit
}

func (w *world) request(o client.Object) {
	w.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.ReconcileRequestAnnotation, time.Now().Format(time.RFC3339Nano))
	if err := client.IgnoreNotFound(w.client.Patch(w.t.Context(), o, client.RawPatch(types.MergePatchType, []byte(patch)))); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) source() {
	w.create(&v1alpha1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "config"},
		Spec:       v1alpha1.GitRepositorySpec{URL: w.server.URL(w.repo), Interval: metav1.Duration{Duration: time.Hour}},
	})
}

func (w *world) kustomization(name, path string, change ...func(*v1alpha1.Kustomization)) *v1alpha1.Kustomization {
	w.t.Helper()
	ks := &v1alpha1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.KustomizationSpec{
			SourceRef: v1alpha1.SourceReference{Name: "config"}, Path: path,
			Interval: metav1.Duration{Duration: time.Hour}, RetryInterval: &metav1.Duration{Duration: time.Second},
			Clusters: &v1alpha1.ClusterTargets{Selector: &metav1.LabelSelector{}},
		},
	}
	for _, f := range change {
		f(ks)
	}
	w.create(ks)
	return ks
}

// edge starts an edge and joins it.
func (w *world) edge(name string) (*controlplane.Cluster, client.WithWatch) {
	w.t.Helper()
	c := controlplane.New(w.t, name, controlplane.Options{})
	w.join(name, kubeconfigOf(w.t, c))
	return c, newClient(w.t, c)
}

func (w *world) join(name string, kubeconfig []byte) {
	w.t.Helper()
	w.create(
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{"value": kubeconfig}},
		&v1alpha1.Cluster{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       v1alpha1.ClusterSpec{KubeConfig: &v1alpha1.KubeConfig{SecretRef: meta.SecretKeyReference{Name: name}}},
		},
	)
}

func kubeconfigOf(t *testing.T, c *controlplane.Cluster) []byte {
	t.Helper()
	data, err := os.ReadFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// says waits until Ready of an object says so ("True Succeeded"), at a revision if one is given.
func (w *world) says(o interface {
	client.Object
	v1alpha1.Conditioned
}, want string, revision ...string) time.Duration {
	w.t.Helper()
	what := strings.Join(append([]string{want}, revision...), " at ")
	return await(w.t, w.client, o, what, func(now interface {
		client.Object
		v1alpha1.Conditioned
	}) bool {
		for _, c := range now.GetConditions() {
			if c.Type == v1alpha1.ReadyCondition && string(c.Status)+" "+c.Reason == want && c.ObservedGeneration == now.GetGeneration() {
				ks, ok := any(now).(*v1alpha1.Kustomization)
				return !ok || len(revision) == 0 || ks.Status.LastAttemptedRevision == revision[0]
			}
		}
		return false
	})
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: default}\ndata: {value: %q}\n", name, value)
}

func onEdge(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

func has(value string) func(*corev1.ConfigMap) bool {
	return func(c *corev1.ConfigMap) bool { return c.Data["value"] == value }
}

func ks(name string) *v1alpha1.Kustomization {
	return &v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func clusterNamed(name string) *v1alpha1.Cluster {
	return &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func (w *world) wipeStorage() {
	w.t.Helper()
	entries, err := os.ReadDir(w.storage)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(w.storage, e.Name())); err != nil {
			w.t.Fatal(err)
		}
	}
}

func keyOf(o client.Object) client.ObjectKey { return client.ObjectKeyFromObject(o) }

func secretNamed(name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// stored lists a folder of the storage.
func (w *world) stored(folder string) []string {
	w.t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.storage, folder))
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// cleaner is as much of a hub as cleans its storage, while none runs.
func (w *world) cleaner(now func() time.Time) *parts {
	w.t.Helper()
	bundles, err := bundlestore.Open(filepath.Join(w.storage, "bundles"), bundlestore.Options{Now: now})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = bundles.Close() })
	repositories, err := git.OpenStore(filepath.Join(w.storage, "git"), git.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	return &parts{reader: w.client, bundles: bundles, git: repositories}
}
