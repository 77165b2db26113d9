package kustomization

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/meta/testrestmapper"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/bundlestore"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/testkit/settle"
	"github.com/skerry-dev/skerry/internal/tree"
)

var key = types.NamespacedName{Namespace: "fleet", Name: "apps"}

// world is a hub without controllers but this one: commits and reports come from the test. Render
// and bundle store are the real ones.
type world struct {
	t       *testing.T
	client  client.Client
	cache   *render.Cache
	store   *bundlestore.Store
	dir     string
	events  *events.FakeRecorder
	commits map[string]*tree.Tree // by commit; a missing one is not stored
	reads   int                   // of commits
	funcs   interceptor.Funcs
	now     time.Time
	r       *Reconciler
}

// kinds are the API of a world. A fake client makes a mapper of them, of its own, unless it is given one.
var kinds = sync.OnceValues(func() (*runtime.Scheme, meta.RESTMapper) {
	scheme := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(corev1.AddToScheme(scheme))
	return scheme, testrestmapper.TestOnlyStaticRESTMapper(scheme)
})

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	scheme, mapper := kinds()
	w := &world{t: t, cache: render.NewCache(1 << 20), dir: t.TempDir(), now: time.Unix(1000, 0), events: events.NewFakeRecorder(100), commits: map[string]*tree.Tree{}}
	w.client = fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(mapper).WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.Kustomization{}, &v1alpha1.Assignment{}, &v1alpha1.Cluster{}, &v1alpha1.GitRepository{}).
		WithIndex(&v1alpha1.Assignment{}, entryIndex, entryNames).
		WithIndex(&v1alpha1.Cluster{}, varsFromIndex, varsFromNames).
		WithIndex(&v1alpha1.Kustomization{}, variableIndex, variableNames).
		WithIndex(&v1alpha1.Kustomization{}, sourceIndex, sourceName).
		WithIndex(&v1alpha1.Kustomization{}, crossIndex, crossKinds).
		WithIndex(&v1alpha1.Kustomization{}, readyIndex, readyExprNames).
		WithInterceptorFuncs(interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
				if f := w.funcs.Get; f != nil {
					return f(ctx, c, k, o, opts...)
				}
				return c.Get(ctx, k, o, opts...)
			},
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
				if f := w.funcs.Patch; f != nil {
					if err := f(ctx, c, o, p, opts...); err != nil {
						return err
					}
				}
				return patchAsAServer(ctx, c, o, p, opts...)
			},
			SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
				if f := w.funcs.SubResourceUpdate; f != nil {
					if err := f(ctx, c, sub, o, opts...); err != nil {
						return err
					}
				}
				return c.SubResource(sub).Update(ctx, o, opts...)
			},
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				if o.GetUID() == "" {
					o.SetUID(types.UID("uid-of-" + o.GetName()))
				}
				o.SetGeneration(1)
				return c.Create(ctx, o, opts...)
			},
		}).Build()
	w.restart()
	return w
}

// patchAsAServer counts the generation, which the fake client does not.
func patchAsAServer(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	a, ok := o.(*v1alpha1.Assignment)
	if !ok {
		return c.Patch(ctx, o, p, opts...)
	}
	before := a.DeepCopy()
	if err := c.Get(ctx, client.ObjectKeyFromObject(a), before); err != nil {
		return err
	}
	if err := c.Patch(ctx, a, p, opts...); err != nil {
		return apierrors.NewInvalid(v1alpha1.GroupVersion.WithKind("Assignment").GroupKind(), a.Name, nil)
	}
	a.Generation = before.Generation + 1
	return c.Update(ctx, a)
}

// restart is a hub that starts anew on the same API server and disk.
func (w *world) restart() {
	w.t.Helper()
	store, err := bundlestore.Open(w.dir, bundlestore.Options{Now: time.Now})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = store.Close() })
	w.store = store
	w.r = New(Options{
		Hub: hubapi.Hub{Client: w.client}, Direct: hubapi.Direct{Reader: w.client}, Recorder: w.events, HubID: "hub-1",
		Tree: func(_ context.Context, _ types.NamespacedName, commit string) (*tree.Tree, error) {
			w.reads++
			if t, ok := w.commits[commit]; ok {
				return t, nil
			}
			return nil, fmt.Errorf("%w: %s", git.ErrNotStored, commit)
		},
		Build: func(ctx context.Context, t *tree.Tree, o render.Options) (*render.Result, error) {
			return w.cache.Build(ctx, t, o)
		},
		Outlines: w.cache.Outlines,
		Bundles:  store,
		Now:      func() time.Time { return w.now },
	})
}

// push makes a commit of the files ("path: content") and lets the source have it.
func (w *world) push(commit string, files ...string) {
	w.t.Helper()
	content := map[string]tree.File{}
	for i := 0; i < len(files); i += 2 {
		content[files[i]] = tree.File{Data: []byte(files[i+1])}
	}
	t, err := tree.New("sha1:tree-of-"+commit, content)
	if err != nil {
		w.t.Fatal(err)
	}
	w.commits[commit] = t
	source := &v1alpha1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "config"}}
	if err := w.client.Get(w.t.Context(), client.ObjectKeyFromObject(source), source); client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	} else if err != nil {
		w.create(source)
	}
	source.Status.Artifact = &v1alpha1.Artifact{Revision: "main@sha1:" + commit, Digest: t.Digest(), LastUpdateTime: metav1.NewTime(time.Unix(1, 0))}
	if err := w.client.Status().Update(w.t.Context(), source); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		if err := w.client.Create(w.t.Context(), o); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) reconcile() {
	w.t.Helper()
	if _, err := w.try(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) try() (reconcile.Result, error) { return w.reconcileKey(key) }

// reconcileKey reconciles until what a reconcile began to write is written and nothing follows from that.
func (w *world) reconcileKey(key types.NamespacedName) (reconcile.Result, error) {
	w.t.Helper()
	return settle.Reconcile(w.t.Context(), w.r, w.r.after, key, w.r.assignments, w.r.writes)
}

// writeEntry returns when a change is written.
func (w *world) writeEntry(c change) error {
	done := make(chan error, 1)
	w.r.assignments.Enqueue(client.ObjectKeyFromObject(c.cluster), 1, c, func(err error) { done <- err })
	return <-done
}

// edit changes the Kustomization.
func (w *world) edit(change func(*v1alpha1.Kustomization)) {
	w.t.Helper()
	ks := w.get()
	change(ks)
	if err := w.client.Update(w.t.Context(), ks); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) get() *v1alpha1.Kustomization {
	w.t.Helper()
	ks := &v1alpha1.Kustomization{}
	if err := w.client.Get(w.t.Context(), key, ks); err != nil {
		w.t.Fatal(err)
	}
	return ks
}

func (w *world) ready() string {
	w.t.Helper()
	for _, c := range w.get().Status.Conditions {
		if c.Type == v1alpha1.ReadyCondition {
			return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
		}
	}
	return ""
}

func (w *world) assignment(cluster string) *v1alpha1.Assignment {
	w.t.Helper()
	a := &v1alpha1.Assignment{}
	if err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: key.Namespace, Name: cluster}, a); client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
	return a
}

// entry returns the entry on a cluster, or nil.
func (w *world) entry(cluster string) *v1alpha1.AssignmentEntry {
	w.t.Helper()
	return entryOf(w.assignment(cluster), key.Name)
}

// revisions returns "edge-1=main@sha1:1" for each entry, sorted.
func (w *world) revisions() string {
	w.t.Helper()
	list := &v1alpha1.AssignmentList{}
	if err := w.client.List(w.t.Context(), list); err != nil {
		w.t.Fatal(err)
	}
	var words []string
	for i := range list.Items {
		if e := entryOf(&list.Items[i], key.Name); e != nil {
			word := list.Items[i].Name + "=" + strings.TrimPrefix(e.Revision, "main@sha1:")
			if e.Remove {
				word += "(remove)"
			}
			words = append(words, word)
		}
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// bundle returns what is assigned to a cluster, as text.
func (w *world) bundle(cluster string) string {
	w.t.Helper()
	e := w.entry(cluster)
	if e == nil {
		w.t.Fatalf("no entry on %s", cluster)
	}
	b, err := w.store.Get(w.t.Context(), e.Digest)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b.Encode())
}

// answer lets an engine report that it has done what the entry says; change may say otherwise.
func (w *world) answer(cluster string, change ...func(*v1alpha1.AssignmentEntryStatus)) {
	w.t.Helper()
	a := w.assignment(cluster)
	e := entryOf(a, key.Name)
	a.Status.Entries = nil
	if e != nil {
		s := v1alpha1.AssignmentEntryStatus{
			Name: e.Name, Revision: e.Revision, Digest: e.Digest, AppliedRevision: e.Revision, AppliedDigest: e.Digest,
			Ready: metav1.ConditionTrue, Reason: "Succeeded", HandledAt: e.RequestedAt, Removed: e.Remove,
		}
		for _, f := range change {
			f(&s)
		}
		a.Status.Entries = append(a.Status.Entries, s)
	}
	if err := w.client.Status().Update(w.t.Context(), a); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) loseStorage() {
	w.t.Helper()
	if err := os.RemoveAll(w.dir); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) count() map[string]string {
	c := w.get().Status.Clusters
	return map[string]string{"clusters": fmt.Sprintf("%d desired, %d updated, %d ready, %d progressing, %d failed, %d unreachable",
		c.Desired, c.Updated, c.Ready, c.Progressing, c.Failed, c.Unreachable)}
}

func kustomization(change ...func(*v1alpha1.Kustomization)) *v1alpha1.Kustomization {
	ks := &v1alpha1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Generation: 1, UID: "ks"},
		Spec: v1alpha1.KustomizationSpec{
			SourceRef: v1alpha1.SourceReference{Kind: "GitRepository", Name: "config"}, Path: "./apps",
			Interval: metav1.Duration{Duration: 10 * time.Minute},
			Clusters: &v1alpha1.ClusterTargets{Selector: &metav1.LabelSelector{}},
			Rollout:  &v1alpha1.Rollout{Strategy: v1alpha1.RolloutAllAtOnce},
		},
	}
	for _, f := range change {
		f(ks)
	}
	return ks
}

func cluster(name string, change ...func(*v1alpha1.Cluster)) *v1alpha1.Cluster {
	c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: name, UID: types.UID("uid-of-" + name)}}
	c.Status.Conditions = []metav1.Condition{
		{Type: "Ready", Status: "True", Reason: "Succeeded"}, {Type: "Reachable", Status: "True", Reason: "Succeeded"},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func unreachable(c *v1alpha1.Cluster) {
	c.Status.Conditions = []metav1.Condition{
		{Type: "Ready", Status: "False", Reason: "Unreachable", Message: "connection refused"}, {Type: "Reachable", Status: "False", Reason: "Unreachable"},
	}
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: apps}\ndata: {value: %q}\n", name, value)
}

func ownerLabel() string {
	return object.Owner{Hub: "hub-1", Namespace: key.Namespace, Name: key.Name}.Label()
}
