package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

func (r *rig) removeAll(policy v1alpha1.DeletionPolicy) {
	r.t.Helper()
	for name, e := range r.ks {
		e.Remove, e.DeletionPolicy = true, policy
		r.ks[name] = e
	}
	r.assign()
	for name := range r.ks {
		r.until(name, "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed })
	}
}

func (r *rig) finalize() error {
	ctx, cancel := context.WithTimeout(r.t.Context(), waitTimeout)
	defer cancel()
	return r.pool.Finalize(ctx, r.key)
}

// ownConfigMaps lists what Skerry keeps on the cluster for itself.
func (r *rig) ownConfigMaps() string {
	r.t.Helper()
	list, err := r.kube.CoreV1().ConfigMaps(v1alpha1.SystemNamespace).List(r.t.Context(), metav1.ListOptions{LabelSelector: edge.PartLabel})
	if err != nil {
		r.t.Fatal(err)
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return strings.Join(names, " ")
}

func TestFinalize(t *testing.T) {
	c := controlplane.New(t, "retires", controlplane.Options{})
	r := newRig(t, testHub, c.RESTConfig())
	bindings := r.kube.RbacV1().ClusterRoleBindings()
	bind := func(labels map[string]string) {
		t.Helper()
		_, err := bindings.Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: edge.AccountBinding, Labels: labels},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	bind(map[string]string{edge.PartLabel: edge.PartAccount})
	r.want("apps", many(r, 3, "one"))
	r.ready("apps")
	if err := r.finalize(); !errors.Is(err, ErrNotRemoved) {
		t.Fatalf("with objects: %v", err)
	}
	if got := r.ownConfigMaps(); !strings.Contains(got, "skerry-hub") || !strings.Contains(got, "skerry-inventory-apps") {
		t.Errorf("kept %q", got)
	}

	r.removeAll(v1alpha1.DeletionOrphan)
	if err := r.finalize(); err != nil {
		t.Fatal(err)
	}
	if got := r.ownConfigMaps(); got != "" {
		t.Errorf("kept %q", got)
	}
	if _, err := bindings.Get(t.Context(), edge.AccountBinding, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the account has its rights: %v", err)
	}
	cm, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Get(t.Context(), "cm-1", metav1.GetOptions{})
	if err != nil || cm.Labels[v1alpha1.OwnerLabel] != "" {
		t.Errorf("an orphan has %v, %v", cm.Labels, err)
	}
	if err := r.finalize(); err != nil {
		t.Errorf("once more: %v", err)
	}

	// It stays so: nothing is sent any more.
	r.writes()
	r.pool.Verify(r.key)
	r.want("apps", many(r, 3, "two"))
	time.Sleep(300 * time.Millisecond) // no event reports that nothing happens
	if w := r.writes(); len(w) > 0 {
		t.Errorf("sent %v", w)
	}

	// Another hub may have it now; and what another client created is left alone.
	bind(nil)
	other := newRig(t, "other-hub", c.RESTConfig())
	other.want("apps", many(other, 3, "three"))
	other.ready("apps")
	other.removeAll(v1alpha1.DeletionOrphan)
	if err := other.finalize(); err != nil {
		t.Fatal(err)
	}
	if _, err := bindings.Get(t.Context(), edge.AccountBinding, metav1.GetOptions{}); err != nil {
		t.Errorf("a binding of somebody else: %v", err)
	}
	if _, err := other.kube.CoreV1().Namespaces().Get(t.Context(), v1alpha1.SystemNamespace, metav1.GetOptions{}); err != nil {
		t.Errorf("the namespace: %v", err)
	}
}

// What is written between two deletions is not lost: assigned again, it does the rest.
func TestRetireIsStoppedInTheMiddle(t *testing.T) {
	c := controlplane.New(t, "halfway", controlplane.Options{})
	r := newRig(t, testHub, c.RESTConfig())
	r.want("apps", many(r, 1, "one"))
	r.ready("apps")
	leftover := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name: "skerry-inventory-zzz-0-of-1", Labels: map[string]string{edge.PartLabel: "inventory"}, Annotations: map[string]string{"skerry.dev/hub": testHub},
	}}
	if _, err := r.kube.CoreV1().ConfigMaps(v1alpha1.SystemNamespace).Create(t.Context(), leftover, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.removeAll(v1alpha1.DeletionOrphan)
	if err := r.kube.CoreV1().ConfigMaps(v1alpha1.SystemNamespace).Delete(t.Context(), "skerry-hub", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("it does the rest", func() bool { return r.finalize() == nil }) // a claim that is gone ends the session
	if got := r.ownConfigMaps(); got != "" {
		t.Errorf("kept %q", got)
	}
}

// A cluster that is removed costs nothing any more: neither goroutines, nor connections, nor memory.
func TestClustersThatComeAndGoLeaveNothing(t *testing.T) {
	c := controlplane.New(t, "comes", controlplane.Options{})
	r := newRig(t, testHub, c.RESTConfig())
	r.pool.Disconnect(r.key)
	round := func(i int) {
		r.key = Key{Namespace: "comes", Name: fmt.Sprintf("edge-%d", i)}
		r.connectAgain(c)
		r.ks = map[string]v1alpha1.AssignmentEntry{}
		r.want("apps", many(r, 20, fmt.Sprint(i)))
		r.ready("apps")
		r.removeAll(v1alpha1.DeletionOrphan)
		if err := r.finalize(); err != nil {
			t.Fatal(err)
		}
		r.pool.Disconnect(r.key)
	}
	measure := func() (int, uint64) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), m.HeapAlloc
	}
	const warm, rounds = 5, 20
	for i := range warm { // what is set up once and for all
		round(i)
	}
	r.bundleStore.bundles = map[string]*object.Bundle{}
	goroutines, heap := measure()
	for i := range rounds {
		round(warm + i)
	}
	r.eventually("the goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	r.bundleStore.bundles = map[string]*object.Bundle{}
	var grown int64
	for range 150 { // a timer of net/http holds a connection for up to 20 s after its end
		_, now := measure()
		if grown = int64(now) - int64(heap); grown < 256<<10 {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	if grown >= 256<<10 {
		t.Errorf("%d KiB more after %d clusters", grown>>10, rounds)
	}
	if len(r.pool.engines)+len(r.pool.claims) > 0 {
		t.Errorf("the pool holds %d members and %d claims", len(r.pool.engines), len(r.pool.claims))
	}
}

func (r *rig) connectAgain(c *controlplane.Cluster) {
	cfg := c.RESTConfig()
	r.pool.Connect(r.key, Connection{Config: cfg, Fingerprint: "1"})
}
