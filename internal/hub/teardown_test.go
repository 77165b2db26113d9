package hub

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// TestATornDownHubTouchesNoEdge deletes what the hub consists of, in several orders, with
// the namespace controller and the finalizer of definitions at work. What stands on the edge is written
// to by nobody; a hub that is set up again goes on with it; and a Kustomization that a person deletes
// still takes its objects along.
func TestATornDownHubTouchesNoEdge(t *testing.T) {
	w := newWorldOn(t, controlplane.Options{ControllerManager: true})
	w.options.LeaderNamespace = namespace
	w.grantIn(namespace)
	edge := controlplane.New(t, "edge", controlplane.Options{})
	onEdgeClient := newClient(t, edge)
	kubeconfig := kubeconfigOf(t, edge)
	w.push(gitserver.Change{Write: map[string]string{"a/a.yaml": configMap("a", "one"), "b/b.yaml": configMap("b", "${greeting:=nothing}")}})

	populate := func() {
		t.Helper()
		w.join("edge-1", kubeconfig)
		policy := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "edge-1"}}
		if err := w.client.Patch(t.Context(), policy, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"deletionPolicy":"Delete"}}`))); err != nil {
			t.Fatal(err)
		}
		w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "words"}, Data: map[string]string{"greeting": "hello"}})
		w.source()
		w.kustomization("a", "./a")
		w.kustomization("b", "./b", func(k *v1alpha1.Kustomization) {
			k.Spec.PostBuild = &v1alpha1.PostBuild{SubstituteFrom: []v1alpha1.SubstituteReference{{Kind: "ConfigMap", Name: "words", Optional: true}}}
		})
	}
	ready := func() {
		t.Helper()
		w.says(ks("a"), "True Succeeded")
		w.says(ks("b"), "True Succeeded")
	}
	deleteNamespace := func() {
		t.Helper()
		if err := w.client.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
			t.Fatal(err)
		}
	}
	deleteKinds := func(kinds ...string) {
		t.Helper()
		for _, k := range kinds {
			crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: k + ".skerry.dev"}}
			if err := w.client.Delete(t.Context(), crd); client.IgnoreNotFound(err) != nil {
				t.Fatal(err)
			}
		}
	}
	kinds := []string{"kustomizations", "clusters", "assignments", "gitrepositories", "receivers"}

	orders := []struct {
		name   string
		do     func()
		goesOn bool
	}{
		{"the namespace", deleteNamespace, true},
		{"the kinds, and then the namespace", func() { deleteKinds(kinds...); deleteNamespace() }, false},
		{"Clusters, and then the rest", func() { deleteKinds("clusters"); deleteKinds(kinds...); deleteNamespace() }, false},
	}
	populate()
	w.start()
	ready()
	for _, tt := range orders {
		before := snapshot(t, onEdgeClient)
		tt.do()
		w.awaitTornDown()
		if diff := cmp.Diff(before, snapshot(t, onEdgeClient)); diff != "" {
			t.Errorf("%s: the edge is not as it was (-then +now):\n%s", tt.name, diff)
		}
		// Set up again, with the identity that it had: by a hub that was there all the time, or by the next.
		w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		w.grantIn(namespace)
		if !tt.goesOn {
			if err := w.stop(); err != nil {
				t.Error(err)
			}
			deleteKinds(kinds...)
			for _, k := range kinds {
				awaitGone(t, w.client, &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: k + ".skerry.dev"}})
			}
			installCRDs(t, w.client)
		}
		populate()
		if !tt.goesOn {
			w.start()
		}
		ready()
		if diff := cmp.Diff(uids(before), uids(snapshot(t, onEdgeClient))); diff != "" {
			t.Errorf("%s: what stood on the edge was deleted by the next hub (-then +now):\n%s", tt.name, diff)
		}
	}
	if err := w.client.Delete(t.Context(), ks("a")); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, w.client, ks("a"))
	awaitGone(t, onEdgeClient, onEdge("a"))
}

// snapshot returns uid and resourceVersion of the ConfigMaps of an edge that are the hub's.
func snapshot(t *testing.T, c client.Client) map[string]string {
	t.Helper()
	list := &corev1.ConfigMapList{}
	if err := c.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for i := range list.Items {
		if o := &list.Items[i]; o.Namespace == "default" && o.Name != "kube-root-ca.crt" || o.Namespace == v1alpha1.SystemNamespace {
			found[o.Namespace+"/"+o.Name] = fmt.Sprintf("%s %s", o.UID, o.ResourceVersion)
		}
	}
	return found
}

func uids(of map[string]string) map[string]string {
	only := maps.Clone(of)
	for name, text := range only {
		only[name] = text[:36]
	}
	return only
}

// awaitTornDown waits until the namespace and everything in it are gone.
func (w *world) awaitTornDown() {
	w.t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for {
		err := w.client.Get(w.t.Context(), client.ObjectKey{Name: namespace}, &corev1.Namespace{})
		if apierrors.IsNotFound(err) {
			return
		}
		if time.Now().After(deadline) {
			left := &v1alpha1.KustomizationList{}
			_ = w.client.List(w.t.Context(), left)
			w.t.Fatalf("the namespace is still there: %v; %d Kustomizations", err, len(left.Items))
		}
		time.Sleep(50 * time.Millisecond) // no watch of namespaces in this client's list of kinds
	}
}
