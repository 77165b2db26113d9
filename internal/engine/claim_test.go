package engine

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

const (
	shortGrace = 600 * time.Millisecond
	// livingGrace is for a holder that answers. It answers in milliseconds; on a machine with other work a
	// second is not enough, and the hub that asks would take over.
	livingGrace = 3 * time.Second
)

// beside starts another hub of the same identity, as one that was bootstrapped twice (another instance) or
// restored from a backup (the same).
func (r *rig) beside(c *controlplane.Cluster, instance string, since time.Time, grace time.Duration) *rig {
	r.t.Helper()
	other := &rig{
		t: r.t, hub: r.hub, key: r.key, bundleStore: &bundleStore{bundles: map[string]*object.Bundle{}},
		ks: map[string]v1alpha1.AssignmentEntry{}, changed: make(chan struct{}, 1), kube: r.kube, dyn: r.dyn,
	}
	other.options = func(o *PoolOptions) { o.HubUID, o.ClaimGrace, o.Since = instance, grace, since }
	other.connect(c.RESTConfig())
	r.t.Cleanup(func() { other.pool.Disconnect(other.key) })
	return other
}

func (r *rig) cluster(what string, is func(State) bool) State {
	r.t.Helper()
	var s State
	r.eventually(what, func() bool { s, _ = r.pool.State(r.key); return is(s) })
	return s
}

func refusedFor(reason string) func(State) bool {
	return func(s State) bool { return s.Known && !s.Usable && s.Reason == reason }
}

func (r *rig) takeOver(c *controlplane.Cluster, holder string) {
	cfg := c.RESTConfig()
	r.pool.Connect(r.key, Connection{Config: cfg, Fingerprint: "1", TakeOver: holder})
}

func first(t *testing.T, c *controlplane.Cluster, instance string) *rig {
	r := &rig{
		t: t, hub: testHub, key: Key{Namespace: strings.ToLower(t.Name()), Name: "edge"}, bundleStore: &bundleStore{bundles: map[string]*object.Bundle{}},
		ks: map[string]v1alpha1.AssignmentEntry{}, changed: make(chan struct{}, 1),
	}
	base := newRig(t, testHub, c.RESTConfig())
	r.kube, r.dyn = base.kube, base.dyn
	base.pool.Disconnect(base.key)
	unclaim := func() {
		err := r.kube.CoreV1().ConfigMaps(v1alpha1.SystemNamespace).Delete(context.Background(), v1alpha1.ClaimName, metav1.DeleteOptions{})
		if err != nil && reasonOf(err) != metav1.StatusReasonNotFound {
			t.Error(err)
		}
	}
	unclaim()
	t.Cleanup(unclaim) // runs after the pools are disconnected
	r.options = func(o *PoolOptions) { o.HubUID, o.ClaimGrace = instance, livingGrace }
	r.connect(c.RESTConfig())
	t.Cleanup(func() { r.pool.Disconnect(r.key) })
	return r
}

// A hub that was bootstrapped twice, with the identity of one that works, changes nothing.
func TestASecondHubOfOneIdentityStopsWhileTheFirstWorks(t *testing.T) {
	c := controlplane.Shared(t)
	a := first(t, c, "uid-a")
	a.want("apps", many(a, 5, "a"))
	a.ready("apps")
	a.writes()
	b := a.beside(c, "uid-b", time.Now(), livingGrace)
	b.want("apps", many(b, 3, "b"))
	st := b.cluster("the second hub is refused", refusedFor(v1alpha1.DuplicateHubReason))
	if !strings.Contains(st.Message, v1alpha1.TakeOverAnnotation+"=uid-a") {
		t.Errorf("message %q", st.Message)
	}
	for _, w := range b.writes() {
		if !strings.HasSuffix(w, "/configmaps/"+v1alpha1.ClaimName) {
			t.Errorf("the second hub wrote %s", w)
		}
	}
	if got := a.value("cm-4"); got != "a" {
		t.Errorf("cm-4=%s", got)
	}
	a.want("apps", many(a, 5, "a2"))
	a.ready("apps")

	// Told by a person, the second takes over, and the first stops.
	b.takeOver(c, "uid-a")
	b.ready("apps")
	st = a.cluster("the first hub is refused", refusedFor(v1alpha1.DuplicateHubReason))
	if !strings.Contains(st.Message, v1alpha1.TakeOverAnnotation+"=uid-b") {
		t.Errorf("message %q", st.Message)
	}
	if got := a.value("cm-2"); got != "b" {
		t.Errorf("cm-2=%s", got)
	}
	b.writes()
	if got := b.reportOf("apps"); got.Ready != metav1.ConditionTrue {
		t.Errorf("the second hub: %+v", got)
	}
}

func (r *rig) reportOf(name string) v1alpha1.AssignmentEntryStatus {
	list, _ := r.pool.Report(r.key)
	for _, s := range list {
		if s.Name == name {
			return s
		}
	}
	return v1alpha1.AssignmentEntryStatus{}
}

// A hub that was lost and is set up again with the same identity asks once, and goes on.
func TestAHubThatIsSetUpAgainTakesOverFromOneThatIsGone(t *testing.T) {
	c := controlplane.Shared(t)
	a := first(t, c, "uid-a")
	a.want("apps", many(a, 5, "a"))
	a.ready("apps")
	a.pool.Disconnect(a.key)
	uid := a.uid("cm-1")
	b := a.beside(c, "uid-b", time.Now(), shortGrace)
	b.want("apps", many(b, 4, "a"))
	b.ready("apps")
	if got := a.uid("cm-1"); got != uid {
		t.Errorf("uid %s was %s", got, uid)
	}
	b.eventually("what Git dropped is pruned", func() bool { return a.value("cm-4") == "error: NotFound" })

	// From then on nothing of this costs a write.
	b.pool.Disconnect(b.key)
	b.writes()
	b.connect(c.RESTConfig())
	b.assign()
	b.ready("apps")
	if w := b.writes(); len(w) > 0 {
		t.Errorf("a restart wrote %v", w)
	}
	b.pool.Disconnect(b.key)
}

func (r *rig) uid(name string) types.UID {
	r.t.Helper()
	cm, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return cm.UID
}

// A backup that was restored beside the hub it was taken of has everything of it: only what it writes
// gives it away.
func TestARestoredHubBesideTheLivingOneEndsInOne(t *testing.T) {
	c := controlplane.Shared(t)
	a := first(t, c, "uid-a")
	a.want("apps", many(a, 5, "a"))
	a.ready("apps")
	a.writes()
	b := a.beside(c, "uid-a", time.Now().Add(time.Minute), livingGrace)
	b.want("apps", many(b, 5, "b"))
	b.cluster("the restored hub is refused", refusedFor(v1alpha1.DuplicateHubReason))
	a.ready("apps")
	a.writes()
	b.writes()
	a.want("apps", many(a, 5, "a2"))
	a.ready("apps")
	if got := a.value("cm-1"); got != "a2" {
		t.Errorf("cm-1=%s", got)
	}
	if w := b.writes(); len(w) > 1 { // it may ask again
		t.Errorf("the restored hub wrote %v", w)
	}
	st, _ := b.pool.State(b.key)
	b.takeOver(c, holderIn(st.Message))
	b.ready("apps")
	a.cluster("the other one is refused", refusedFor(v1alpha1.DuplicateHubReason))
	if got := a.value("cm-1"); got != "b" {
		t.Errorf("cm-1=%s", got)
	}
}

// holderIn returns the value of the annotation that a message names.
func holderIn(message string) string {
	_, holder, _ := strings.Cut(message, v1alpha1.TakeOverAnnotation+"=")
	return holder
}

// An inventory that cannot be read stops its Kustomization, and none but that.
func TestACorruptInventoryStopsItsKustomizationAlone(t *testing.T) {
	c := controlplane.Shared(t)
	r := newRig(t, testHub, c.RESTConfig())
	r.want("bad", many(r, 3, "one"))
	r.want("good", r.configMap("good", "one"))
	r.ready("bad")
	r.ready("good")
	owner := object.Owner{Hub: testHub, Namespace: r.key.Namespace, Name: "bad"}.Label()
	name := v1alpha1.InventoryPrefix + owner + "-0-of-1"
	system := r.kube.CoreV1().ConfigMaps(v1alpha1.SystemNamespace)
	before, err := system.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.pool.Disconnect(r.key)
	corrupt := before.DeepCopy()
	corrupt.BinaryData = map[string][]byte{"inventory.json.gz": []byte("of a tenant")}
	if before, err = system.Update(t.Context(), corrupt, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.writes()
	r.connect(c.RESTConfig())
	r.want("bad", many(r, 1, "two"), soonAgain)
	r.want("good", r.configMap("good", "two"))
	r.ready("good")
	st := r.failed("bad", v1alpha1.InventoryCorruptReason)
	if !strings.Contains(st.Message, name) {
		t.Errorf("message %q", st.Message)
	}
	if w := r.writes(); count(w, "DELETE") > 0 || r.value("cm-0") != "one" || r.value("cm-2") != "one" {
		t.Errorf("wrote %v", w)
	}
	r.remove("good")

	// Deleted by a person, it is begun anew: what Git dropped meanwhile stays.
	if err := system.Delete(t.Context(), before.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.ready("bad")
	if r.value("cm-0") != "two" || r.value("cm-2") != "one" {
		t.Errorf("cm-0=%s cm-2=%s", r.value("cm-0"), r.value("cm-2"))
	}
}

// A ConfigMap that has the name of the claim or of an inventory and is neither.
func TestWhatIsInTheWayOfAnInventory(t *testing.T) {
	c := controlplane.New(t, "in-the-way", controlplane.Options{})
	r := newRig(t, testHub, c.RESTConfig())
	r.pool.Disconnect(r.key)
	system := r.kube.CoreV1().ConfigMaps(v1alpha1.SystemNamespace)
	if _, err := r.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.SystemNamespace}}, metav1.CreateOptions{}); err != nil && reasonOf(err) != metav1.StatusReasonAlreadyExists {
		t.Fatal(err)
	}
	_ = system.Delete(t.Context(), v1alpha1.ClaimName, metav1.DeleteOptions{})
	name := v1alpha1.InventoryPrefix + object.Owner{Hub: testHub, Namespace: r.key.Namespace, Name: "bad"}.Label() + "-0-of-1"
	for _, name := range []string{name, v1alpha1.ClaimName} {
		if _, err := system.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"a": "tenant's"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	r.connect(c.RESTConfig())
	r.want("bad", r.configMap("x", "1"), soonAgain)
	r.want("good", r.namespace())
	r.ready("good")
	r.failed("bad", v1alpha1.InventoryCorruptReason)
	if got := r.value("x"); got != "error: NotFound" {
		t.Errorf("x=%s", got)
	}
	if claim, err := system.Get(t.Context(), v1alpha1.ClaimName, metav1.GetOptions{}); err != nil || claim.Annotations["skerry.dev/hub"] != testHub {
		t.Errorf("the claim: %v, %v", claim.Annotations, err)
	}
	if err := system.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.ready("bad")
}

// An inventory that no Kustomization claims is reported, and left alone.
func TestAnInventoryThatNothingClaimsIsReported(t *testing.T) {
	c := controlplane.New(t, "orphaned", controlplane.Options{})
	r := newRig(t, testHub, c.RESTConfig())
	r.pool.Disconnect(r.key)
	r.options = func(o *PoolOptions) { o.OrphanedAfter = 300 * time.Millisecond }
	r.connect(c.RESTConfig())
	r.want("lost", many(r, 4, "1"))
	r.ready("lost")
	r.want("kept", r.configMap("kept", "1"))
	r.ready("kept")
	r.ready("lost")
	if s, _ := r.pool.State(r.key); s.Orphaned != "" {
		t.Errorf("told of %q", s.Orphaned)
	}
	delete(r.ks, "lost")
	r.assign()
	s := r.cluster("the inventory is told of", func(s State) bool { return s.Orphaned != "" })
	if !strings.HasPrefix(s.Orphaned, "lost.") || !strings.Contains(s.Orphaned, "/cm-1, and 3 more)") {
		t.Errorf("told of %q", s.Orphaned)
	}
	r.writes()
	r.pool.Disconnect(r.key)
	r.connect(c.RESTConfig())
	r.assign()
	r.cluster("it is told of after a restart", func(s State) bool { return s.Orphaned != "" })
	if w := r.writes(); len(w) > 0 || r.value("cm-3") != "1" {
		t.Errorf("wrote %v", w)
	}
	r.want("lost", many(r, 4, "1"))
	r.cluster("claimed again, it is not", func(s State) bool { return s.Orphaned == "" })
}

// Two Clusters of two namespaces that are the hub's own cluster: what is removed takes its own only.
func TestFinalizeKeepsWhatASiblingHas(t *testing.T) {
	c := controlplane.New(t, "siblings", controlplane.Options{})
	r := newRig(t, testHub, c.RESTConfig())
	r.pool.Disconnect(r.key)
	local := func(namespace string) Key { return Key{Namespace: namespace, Name: v1alpha1.HubCluster} }
	a := &rig{
		t: t, hub: r.hub, bundleStore: r.bundleStore, pool: r.pool, changed: r.changed, kube: r.kube, dyn: r.dyn,
		key: local("siblings-b"), ks: map[string]v1alpha1.AssignmentEntry{},
	}
	r.key = local("siblings-a")
	for _, x := range []*rig{r, a} {
		x.pool.Connect(x.key, Connection{Config: c.RESTConfig(), Fingerprint: "local", Local: true})
		x.want("apps", many(x, 3, "1"))
		x.eventually(x.key.Namespace+" is ready", func() bool { return x.reportOf("apps").Ready == metav1.ConditionTrue })
	}
	inventories := func() string { return strings.ReplaceAll(r.ownConfigMaps(), v1alpha1.InventoryPrefix, "") }
	before := inventories()
	for name, e := range r.ks {
		e.Remove, e.DeletionPolicy = true, v1alpha1.DeletionOrphan
		r.ks[name] = e
	}
	r.assign()
	r.eventually("one is removed", func() bool { return r.reportOf("apps").Removed })
	if err := r.finalize(); err != nil {
		t.Fatal(err)
	}
	r.pool.Disconnect(r.key)
	mine := object.Owner{Hub: testHub, Namespace: a.key.Namespace, Name: "apps"}.Label() + "-0-of-1"
	if got := inventories(); got != mine+" "+v1alpha1.ClaimName && got != v1alpha1.ClaimName+" "+mine {
		t.Errorf("kept %q, before %q", got, before)
	}
	a.want("apps", many(a, 2, "1"))
	a.eventually("the other one prunes", func() bool { return a.value("cm-2") == "error: NotFound" })
	for name, e := range a.ks {
		e.Remove, e.DeletionPolicy = true, v1alpha1.DeletionOrphan
		a.ks[name] = e
	}
	a.assign()
	a.eventually("the other is removed", func() bool { return a.reportOf("apps").Removed })
	if err := a.finalize(); err != nil {
		t.Fatal(err)
	}
	if got := r.ownConfigMaps(); got != "" {
		t.Errorf("kept %q", got)
	}
	a.pool.Disconnect(a.key)
}

// A cluster that answers with the uid of another one does not keep the hub from that.
func TestTheClusterThatTheStatusKnowsWinsOverOneThatClaimsItsUID(t *testing.T) {
	p := NewPool(PoolOptions{HubUID: "hub", Now: time.Now})
	liar, honest, late := Key{Namespace: "n", Name: "liar"}, Key{Namespace: "n", Name: "honest"}, Key{Namespace: "n", Name: "late"}
	for _, key := range []Key{liar, honest, late} { // engines that never run
		p.engines[key] = &runningEngine{engine: newEngine(key, p.o, p.limits, nil, siblings{})}
	}
	p.engines[liar].conn = Connection{KnownUID: "liar"}
	if err := p.admit(liar, "honest", false); err != nil {
		t.Fatal(err) // it is the first, and nothing is known of the other one yet
	}
	p.Connect(honest, Connection{KnownUID: "honest", Fingerprint: "1"})
	if !p.engines[liar].engine.inbox.pending.displaced {
		t.Error("the liar keeps its session")
	}
	if err := p.admit(liar, "honest", false); err == nil {
		t.Error("the liar is admitted again")
	}
	if err := p.admit(honest, "honest", false); err != nil {
		t.Errorf("the honest one: %v", err)
	}
	p.Connect(late, Connection{KnownUID: "honest", Fingerprint: "1"})
	if err := p.admit(late, "honest", false); err == nil {
		t.Error("a second Cluster of one cluster is admitted")
	}
	if err := p.admit(honest, "honest", false); err != nil {
		t.Errorf("the honest one, beside a second: %v", err)
	}
}

// A hub that was restored from a backup takes no cluster back to what the backup holds.
func TestADecisionOlderThanWhatTheClusterHasIsNotApplied(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	at := func(second int64, more ...func(*v1alpha1.AssignmentEntry)) func(*v1alpha1.AssignmentEntry) {
		return func(e *v1alpha1.AssignmentEntry) {
			e.AssignedAt = &metav1.Time{Time: time.Unix(1_700_000_000+second, 0)}
			for _, f := range more {
				f(e)
			}
		}
	}
	r.want("apps", many(r, 3, "old"), at(1))
	r.ready("apps")
	r.want("apps", many(r, 6, "new"), at(2))
	r.ready("apps")
	r.pool.Disconnect(r.key)
	r.writes()
	r.connect(controlplane.Shared(t).RESTConfig())
	r.want("apps", many(r, 5, "old"), at(1))
	st := r.failed("apps", v1alpha1.HubStateOutdatedReason)
	if !strings.Contains(st.Message, v1alpha1.AllowPruneAnnotation+"="+r.ks["apps"].Revision) {
		t.Errorf("message %q", st.Message)
	}
	if w := r.writes(); len(w) > 0 || r.value("cm-5") != "new" {
		t.Errorf("wrote %v", w)
	}
	// What the cluster has is kept against drift meanwhile, for its bundle is known.
	r.delete("cm-5")
	r.eventually("drift is put back", func() bool { return r.value("cm-5") == "new" })

	// A newer decision goes on, and so does what a person acknowledges.
	r.want("apps", many(r, 5, "newer"), at(3))
	r.ready("apps")
	r.want("apps", many(r, 4, "old"), at(1))
	r.failed("apps", v1alpha1.HubStateOutdatedReason)
	r.want("apps", many(r, 4, "old"), at(1, func(e *v1alpha1.AssignmentEntry) { e.AllowPrune = true }))
	r.ready("apps")
	r.want("apps", many(r, 4, "older"), at(1))
	r.ready("apps")
	r.remove("apps")
}
