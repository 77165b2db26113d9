package uninstall

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	owner "github.com/skerry-dev/skerry/internal/object"
)

func TestAnnouncementSaysWhatBecomesOfEverything(t *testing.T) {
	full := &seen{
		host: "https://hub", kustomizations: []string{"a/b", "skerry-system/skerry-system"}, clusters: []string{"a/one", "a/two"}, silent: []string{"two"},
		sources: []string{"a/fleet"}, objects: 12, url: "https://git/fleet", path: "./clusters/hub", components: 9, kinds: 4, namespace: true, secrets: 3,
	}
	for name, tt := range map[string]struct {
		seen   *seen
		policy string
		keep   bool
		want   string
	}{
		"orphan": {full, policyOrphan, false, `uninstall the hub from https://hub:
  2 kustomizations: what was applied stays and belongs to nobody: 12 objects
  2 clusters: the hub's inventories, claims and accounts are taken off them
    two does not answer: what is there stays; it is waited for for five minutes
  1 source
  the hub itself: 9 objects
  4 kinds of skerry.dev
  the namespace skerry-system with all that is in it, 3 Secrets among it
Git is not changed: 'skerry bootstrap git' from https://git/fleet, path ./clusters/hub, takes it all up again`},
		"delete": {&seen{host: "https://hub", kustomizations: []string{"a/b"}, objects: 1, kinds: 4}, policyDelete, false, `uninstall the hub from https://hub:
  1 kustomization: what was applied IS DELETED on every cluster: 1 object
  4 kinds of skerry.dev`},
		"abandon": {&seen{host: "https://hub", clusters: []string{"a/one"}, silent: []string{"one"}, namespace: true}, policyAbandon, true, `uninstall the hub from https://hub:
  1 cluster: nothing is sent to them; the hub's inventories, claims and accounts stay there
  the namespace skerry-system stays`},
		"unknown Secrets": {&seen{host: "https://hub", namespace: true, secrets: unknownSecrets}, policyOrphan, false, `uninstall the hub from https://hub:
  the namespace skerry-system with all that is in it; how many Secrets are among it is unknown, as they may not be listed`},
		"abandon with a hub": {&seen{host: "https://hub", clusters: []string{"a/one"}, components: 9}, policyAbandon, false, `uninstall the hub from https://hub:
  the hub is stopped first, so that nothing is sent to any cluster
  1 cluster: nothing is sent to them; the hub's inventories, claims and accounts stay there
  the hub itself: 9 objects`},
		"nothing": {&seen{host: "https://hub"}, policyOrphan, false, "there is no hub on https://hub"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, strings.Join(announce(tt.seen, tt.policy, tt.keep), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhatGitKeepsGoesAfterItsKeeper: a Kustomization that is there would make its Clusters and Kustomizations
// again.
func TestWhatGitKeepsGoesAfterItsKeeper(t *testing.T) {
	object := func(kind, name, label string, deleting bool) metav1.PartialObjectMetadata {
		o := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: kind}, ObjectMeta: metav1.ObjectMeta{Name: name}}
		if label != "" {
			o.Labels = map[string]string{v1alpha1.OwnerLabel: label}
		}
		if deleting {
			o.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		}
		return o
	}
	tear := &teardown{identities: []string{"", "h"}}
	root := owner.Owner{Hub: "h", Name: "root"}.Label()
	hub, itself, child, shop := object("Cluster", "hub", "", false), object("Kustomization", "root", root, false), object("Kustomization", "child", root, false), object("Cluster", "shop", root, false)
	// Its name begins with that of its keeper, which is another one.
	namesake := object("Kustomization", "root-apps", root, false)
	for name, tt := range map[string]struct {
		in   []metav1.PartialObjectMetadata
		want []string
	}{
		"the root first":             {[]metav1.PartialObjectMetadata{child, hub, itself, shop}, []string{"root"}},
		"and no namesake":            {[]metav1.PartialObjectMetadata{namesake, itself}, []string{"root"}},
		"then what it kept":          {[]metav1.PartialObjectMetadata{child, hub, shop}, []string{"child", "shop"}},
		"the hub's own Cluster last": {[]metav1.PartialObjectMetadata{hub}, []string{"hub"}},
		"what is being deleted":      {[]metav1.PartialObjectMetadata{child, object("Cluster", "gone", "root", true)}, []string{"gone"}},
		"nothing":                    {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, o := range tear.nextRound(tt.in) {
				got = append(got, o.Name)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func kind(name, plural string) *apiextensionsv1.CustomResourceDefinition {
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: plural + ".skerry.dev"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: v1alpha1.Group, Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: name, Plural: plural},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1alpha1", Served: true}},
		},
	}
}

func uninstallWith(t *testing.T, o Options, objects ...client.Object) (client.Client, string, error) {
	t.Helper()
	return uninstallThrough(t, o, interceptor.Funcs{}, objects...)
}

func uninstallThrough(t *testing.T, o Options, funcs interceptor.Funcs, objects ...client.Object) (client.Client, string, error) {
	t.Helper()
	scheme, err := factory.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	streams, _, _, stderr := iostreams.Test()
	funcs.Watch = watchUntilDone
	made := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(funcs).Build()
	hub := &factory.Hub{WithWatch: made, Config: &rest.Config{Host: "https://hub"}}
	o.Factory = &factory.Factory{IO: streams, Now: time.Now, Flags: &factory.Flags{Namespace: "skerry-system", Timeout: 2 * time.Minute}, Hub: func() (*factory.Hub, error) { return hub, nil }}
	// In a bubble the timeout passes when nothing more can happen, and not while the processor is busy elsewhere.
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := o.WithTimeout(t.Context(), time.Second)
		defer cancel()
		tear := &teardown{Options: &o, hub: hub}
		err = tear.run(ctx)
	})
	return hub, stderr.String(), err
}

// watchUntilDone ends a watch with its context, as an API server does and the fake client does not.
func watchUntilDone(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
	w, err := c.Watch(ctx, list, opts...)
	if err == nil {
		context.AfterFunc(ctx, w.Stop)
	}
	return w, err
}

// TestAbandonNeedsNoHub: a hub that is gone lets go of nothing; its finalizer is taken off, and no other.
func TestAbandonNeedsNoHub(t *testing.T) {
	t.Parallel()
	held := metav1.ObjectMeta{Namespace: "a", Name: "one", Finalizers: []string{v1alpha1.Finalizer}}
	objects := func() []client.Object {
		return []client.Object{
			&v1alpha1.Kustomization{ObjectMeta: held}, &v1alpha1.Cluster{ObjectMeta: held},
			&v1alpha1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "fleet"}},
			kind("Kustomization", "kustomizations"), kind("Cluster", "clusters"), kind("GitRepository", "gitrepositories"),
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.SystemNamespace}},
		}
	}
	hub, out, err := uninstallWith(t, Options{DeletionPolicy: policyAbandon}, objects()...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, list := range []client.ObjectList{&v1alpha1.KustomizationList{}, &v1alpha1.ClusterList{}, &v1alpha1.GitRepositoryList{}, &apiextensionsv1.CustomResourceDefinitionList{}, &corev1.NamespaceList{}} {
		if err := hub.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		if names, err := factory.Names(t.Context(), &factory.Hub{WithWatch: hub.(client.WithWatch)}, list, ""); err != nil || len(names) > 0 {
			t.Errorf("%T: %q are left, %v", list, names, err)
		}
	}

	_, out, err = uninstallWith(t, Options{DeletionPolicy: policyOrphan}, objects()...)
	if err == nil || !strings.Contains(err.Error(), "the hub has not let go of") {
		t.Errorf("orphan without a hub: %v\n%s", err, out)
	}
}

// TestAbandonStopsTheHubBeforeItCouldSend: a hub that runs answers the deletion of a Kustomization by taking its labels
// off the clusters, unless they are abandoned by then, or the hub is gone.
func TestAbandonStopsTheHubBeforeItCouldSend(t *testing.T) {
	t.Parallel()
	held := metav1.ObjectMeta{Namespace: "a", Name: "one", Finalizers: []string{v1alpha1.Finalizer}}
	var deleted []string
	note := interceptor.Funcs{Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
		kinds, _, err := c.Scheme().ObjectKinds(o)
		kind := o.GetObjectKind().GroupVersionKind().Kind
		if err == nil && len(kinds) > 0 && kind == "" {
			kind = kinds[0].Kind
		}
		asked := client.DeleteOptions{}
		asked.ApplyOptions(opts)
		if asked.PropagationPolicy != nil && kind == "Deployment" {
			kind += " in the " + strings.ToLower(string(*asked.PropagationPolicy))
		}
		deleted = append(deleted, kind)
		return c.Delete(ctx, o, opts...)
	}}
	hub := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "skerry-hub", Labels: map[string]string{partOf: "skerry"}}}
	_, out, err := uninstallThrough(t, Options{DeletionPolicy: policyAbandon}, note, hub,
		&v1alpha1.Kustomization{ObjectMeta: held}, &v1alpha1.Cluster{ObjectMeta: held}, kind("Kustomization", "kustomizations"), kind("Cluster", "clusters"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if want := []string{"Deployment in the foreground", "Cluster", "Kustomization"}; len(deleted) < 3 || !slices.Equal(deleted[:3], want) {
		t.Errorf("deleted %q, want %q first", deleted, want)
	}
	deleted = nil
	if _, out, err := uninstallThrough(t, Options{DeletionPolicy: policyOrphan}, note, hub, kind("Cluster", "clusters")); err != nil || slices.Contains(deleted, "Deployment in the foreground") {
		t.Errorf("orphan: %v, %q\n%s", err, deleted, out)
	}
}

// TestSecretsThatMayNotBeListedAreUnknown, and not none.
func TestSecretsThatMayNotBeListedAreUnknown(t *testing.T) {
	scheme, err := factory.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	forbid := interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		if list.GetObjectKind().GroupVersionKind().Kind == "SecretList" {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "", nil)
		}
		return c.List(ctx, list, opts...)
	}}
	made := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(forbid).WithObjects(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.SystemNamespace}}).Build()
	tear := &teardown{Options: &Options{}, hub: &factory.Hub{WithWatch: made, Config: &rest.Config{}}}
	s := &seen{}
	if err := tear.observeNamespace(t.Context(), s); err != nil || s.secrets != unknownSecrets {
		t.Errorf("%v, %d", err, s.secrets)
	}
}

func TestKindsStayWhileObjectsAreHeld(t *testing.T) {
	t.Parallel()
	held := metav1.ObjectMeta{Namespace: "a", Name: "one", Finalizers: []string{"example.com/other", v1alpha1.Finalizer}}
	hub, _, err := uninstallWith(t, Options{DeletionPolicy: policyAbandon}, &v1alpha1.Cluster{ObjectMeta: held}, kind("Cluster", "clusters"))
	_ = err // the next run goes on; what counts is what is left
	c := &v1alpha1.Cluster{}
	if err := hub.Get(t.Context(), client.ObjectKey{Namespace: "a", Name: "one"}, c); err != nil || !slices.Equal(c.Finalizers, []string{"example.com/other"}) {
		t.Errorf("finalizers %q, %v", c.Finalizers, err)
	}
	if err := hub.Get(t.Context(), client.ObjectKey{Name: "clusters.skerry.dev"}, kind("", "")); apierrors.IsNotFound(err) {
		t.Error("the kind is gone, and its objects with it")
	}
}

func TestNothingIsUninstalledUnasked(t *testing.T) {
	streams, _, _, _ := iostreams.Test()
	o := &Options{DeletionPolicy: policyOrphan, Factory: &factory.Factory{IO: streams, Flags: &factory.Flags{Namespace: v1alpha1.SystemNamespace}, Hub: func() (*factory.Hub, error) {
		t.Error("the hub was asked for")
		return nil, nil
	}}}
	if err := runUninstall(t.Context(), o); err == nil || !strings.Contains(err.Error(), "--yes is needed") {
		t.Errorf("without a terminal: %v", err)
	}
	o.Yes, o.DeletionPolicy = true, "purge"
	if err := runUninstall(t.Context(), o); err == nil || !strings.Contains(err.Error(), "must be orphan, delete or abandon") {
		t.Errorf("another policy: %v", err)
	}
}
