package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
)

func (p *pool) Finalize(context.Context, engine.Key) error {
	p.retired++
	if p.retire != nil {
		return p.retire()
	}
	return p.retireErr
}

// deleted is a Cluster that was reached once and was deleted at the world's time.
func deleted(policy v1alpha1.ClusterDeletionPolicy) func(*v1alpha1.Cluster) {
	return func(c *v1alpha1.Cluster) {
		c.UID = "cluster-uid"
		c.Finalizers = []string{v1alpha1.Finalizer}
		c.DeletionTimestamp = &metav1.Time{Time: time.Unix(10000, 0)}
		c.Spec.DeletionPolicy = policy
		c.Status.UID = "u1"
	}
}

func assigned(entries ...v1alpha1.AssignmentEntry) *v1alpha1.Assignment {
	controls := true
	a := &v1alpha1.Assignment{ObjectMeta: metav1.ObjectMeta{
		Namespace: key.Namespace, Name: key.Name, UID: "a", Generation: 1,
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "skerry.dev/v1alpha1", Kind: "Cluster", Name: key.Name, UID: "cluster-uid", Controller: &controls}},
	}}
	for _, e := range entries {
		a.Spec.Entries = append(a.Spec.Entries, e)
		a.Status.Entries = append(a.Status.Entries, v1alpha1.AssignmentEntryStatus{Name: e.Name, Objects: v1alpha1.ObjectCounts{Applied: 3}})
	}
	return a
}

func (w *world) assignment() *v1alpha1.Assignment {
	w.t.Helper()
	a := &v1alpha1.Assignment{}
	if err := w.client.Get(w.t.Context(), key, a); err != nil {
		w.t.Fatal(err)
	}
	return a
}

// entries returns "apps remove Delete" for each.
func (w *world) entries() string {
	w.t.Helper()
	var words []string
	for _, e := range w.assignment().Spec.Entries {
		word := e.Name
		if e.Remove {
			word += " remove " + string(e.DeletionPolicy)
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

// removed lets the engine report that nothing is left of some entries.
func (w *world) removed(names ...string) {
	w.t.Helper()
	a := w.assignment()
	for i := range a.Status.Entries {
		for _, name := range names {
			a.Status.Entries[i].Removed = a.Status.Entries[i].Removed || a.Status.Entries[i].Name == name
		}
	}
	if err := w.client.Status().Update(w.t.Context(), a); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) gone() bool {
	w.t.Helper()
	err := w.client.Get(w.t.Context(), key, &v1alpha1.Cluster{})
	if client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
	return apierrors.IsNotFound(err)
}

func (w *world) told() string {
	select {
	case text := <-w.r.Recorder.(*events.FakeRecorder).Events:
		return text
	default:
		return ""
	}
}

func TestTheFinalizerComesBeforeTheConnection(t *testing.T) {
	w := start(t, cluster(), secret("value", testKubeconfig))
	w.funcs.Patch = func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
		return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("clusters").GroupResource(), key.Name, nil)
	}
	w.reconcile()
	if w.pool.connects > 0 {
		t.Error("connected without a finalizer")
	}
	w.funcs.Patch = nil
	w.reconcile()
	if got := w.get().Finalizers; len(got) != 1 || got[0] != v1alpha1.Finalizer || w.pool.connects != 1 {
		t.Errorf("finalizers %v, %d connects", got, w.pool.connects)
	}
}

func TestRemovalStepByStep(t *testing.T) {
	for policy, want := range map[v1alpha1.ClusterDeletionPolicy]string{"": "Orphan", v1alpha1.ClusterDeletionOrphan: "Orphan", v1alpha1.ClusterDeletionDelete: "Delete"} {
		t.Run(string(policy), func(t *testing.T) {
			w := start(t, cluster(deleted(policy)), secret("value", testKubeconfig),
				assigned(v1alpha1.AssignmentEntry{Name: "apps", Suspend: true}, v1alpha1.AssignmentEntry{Name: "base", Remove: true, DeletionPolicy: "Delete"}))
			w.pool.state = well
			w.reconcile()
			if got := w.entries(); got != "apps remove "+want+", base remove "+want {
				t.Errorf("entries %s", got)
			}
			if got := w.says("Ready"); !strings.HasSuffix(got, ": waits for Kustomizations apps, base") || !strings.HasPrefix(got, "False Removing: ") {
				t.Errorf("ready: %s", got)
			}
			w.removed("base")
			w.reconcile()
			if got := w.says("Ready"); !strings.HasSuffix(got, ": waits for Kustomization apps") || w.pool.retired > 0 {
				t.Errorf("ready: %s, retired %d times", got, w.pool.retired)
			}

			// A Kustomization that had not seen the deletion puts its entry back.
			a := w.assignment()
			a.Spec.Entries[0].Remove = false
			if err := w.client.Update(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			w.reconcile()
			if got := w.entries(); got != "apps remove "+want+", base remove "+want {
				t.Errorf("entries %s", got)
			}

			w.removed("apps")
			w.pool.retireErr = engine.ErrNotRemoved
			if res := w.reconcile(); res.RequeueAfter != finalizeRetry || w.gone() {
				t.Errorf("again in %s", res.RequeueAfter)
			}
			if got := w.says("Ready"); !strings.HasPrefix(got, "False Retiring: ") {
				t.Errorf("ready: %s", got)
			}
			w.pool.retireErr = nil
			w.reconcile()
			if !w.gone() || w.pool.disconnected != 1 {
				t.Errorf("gone: %t, disconnected %d times", w.gone(), w.pool.disconnected)
			}
		})
	}
}

// TestTheLastStepHoldsNoWorker: an agent behind a slow link takes seconds to answer, and others are to be removed meanwhile.
func TestTheLastStepHoldsNoWorker(t *testing.T) {
	another := well
	another.UID = "u2"
	for name, state := range map[string]engine.State{"what is left of its own": well, "what was claimed by mistake": another} {
		t.Run(name, func(t *testing.T) {
			w := start(t, cluster(deleted(v1alpha1.ClusterDeletionDelete)), secret("value", testKubeconfig))
			w.pool.state, w.now = state, time.Unix(10300, 0)
			answer := make(chan error)
			w.pool.retire = func() error { return <-answer }
			request := reconcile.Request{NamespacedName: key}
			for range 2 { // the second comes while the first has no answer
				if _, err := w.r.Reconcile(t.Context(), request); err != nil {
					t.Fatal(err)
				}
			}
			if w.gone() {
				t.Error("it goes before the answer")
			}
			answer <- nil
			w.r.purges.Wait()
			if !w.gone() || w.pool.retired != 1 {
				t.Errorf("gone: %t, retired %d times", w.gone(), w.pool.retired)
			}
		})
	}
}

func TestAClusterThatDoesNotAnswerIsForgottenInTheEnd(t *testing.T) {
	unreachable := engine.State{Known: true, Reason: "Unreachable", Message: "connection refused", UID: "u1"}
	another := well
	another.UID = "u2"
	for name, state := range map[string]engine.State{
		"unreachable":  unreachable,
		"unauthorized": {Known: true, Reachable: true, Reason: "Unauthorized", Message: "connection refused", LastSeen: time.Unix(10299, 0)},
		"another one":  another,
		"being tried":  {},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, cluster(deleted(v1alpha1.ClusterDeletionDelete)), secret("value", testKubeconfig), assigned(v1alpha1.AssignmentEntry{Name: "apps"}))
			w.pool.state = state
			if res := w.reconcile(); res.RequeueAfter != 5*time.Minute {
				t.Errorf("again in %s", res.RequeueAfter)
			}
			if got := w.says("Ready"); !strings.HasPrefix(got, "False Removing: Delete: waits for the cluster, until 02:51:40 UTC: ") {
				t.Errorf("ready: %s", got)
			}
			w.told()
			w.now = time.Unix(10299, 0)
			if res := w.reconcile(); res.RequeueAfter != time.Second || w.gone() {
				t.Errorf("again in %s", res.RequeueAfter)
			}
			w.now = time.Unix(10300, 0)
			w.reconcile()
			if got := w.told(); !w.gone() || !strings.HasPrefix(got, "Warning Abandoned Abandoned after 5m0s without an answer: ") ||
				!strings.HasSuffix(got, "What stays there: 3 objects of Kustomization apps, and the hub's inventories, claim and account") {
				t.Errorf("gone: %t, event %s", w.gone(), got)
			}
		})
	}
	for name, state := range map[string]engine.State{
		"an agent that never returns": {Known: true, Message: "The agent is not connected", UID: "u1"},
		"an agent whose key was taken away": {
			Known: true, Reason: v1alpha1.AgentNotConnectedReason, Message: "It waits for an agent to join", Agent: link.AgentInfo{Pending: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, cluster(deleted(v1alpha1.ClusterDeletionDelete), byAgent), assigned(v1alpha1.AssignmentEntry{Name: "apps"}))
			w.pool.state = state
			w.reconcile()
			if got := w.says("Ready"); got != "False Removing: Delete: waits for the cluster, until 02:51:40 UTC: "+state.Message {
				t.Errorf("ready: %s", got)
			}
			w.told()
			w.now = time.Unix(10299, 0)
			if w.reconcile(); w.gone() || w.told() != "" {
				t.Error("it is let go of before its time")
			}
			w.now = time.Unix(10300, 0)
			w.reconcile()
			if got := w.told(); !w.gone() || got != "Warning Abandoned Abandoned after 5m0s without an answer: "+state.Message+". What stays there: 3 objects of Kustomization apps, "+
				"and the hub's inventories and claim, and the agent, which goes on putting back drift until its Deployment skerry-agent is deleted there" {
				t.Errorf("gone: %t, event %s", w.gone(), got)
			}
		})
	}
	t.Run("an agent that was told to take away the last", func(t *testing.T) {
		w := start(t, cluster(deleted(v1alpha1.ClusterDeletionDelete), byAgent, retiring), assigned(v1alpha1.AssignmentEntry{Name: "apps"}))
		w.pool.state = engine.State{Known: true, Message: "The agent is not connected", UID: "u1"}
		w.now = time.Unix(10300, 0)
		w.reconcile()
		if got := w.told(); !w.gone() || !strings.Contains(got, "without an answer: The agent is not connected. It was told to take away what was left, and did not say that it has: what may stay there is the hub's inventories") {
			t.Errorf("gone: %t, event %s", w.gone(), got)
		}
	})
	t.Run("one that has answered meanwhile", func(t *testing.T) {
		w := start(t, cluster(deleted(v1alpha1.ClusterDeletionDelete)), secret("value", testKubeconfig))
		w.pool.state = unreachable
		w.pool.state.LastSeen = time.Unix(10200, 0)
		w.now = time.Unix(10300, 0)
		if res := w.reconcile(); res.RequeueAfter != 200*time.Second || w.gone() {
			t.Errorf("again in %s", res.RequeueAfter)
		}
	})
	t.Run("its Secret has gone with it", func(t *testing.T) {
		w := start(t, cluster(deleted(v1alpha1.ClusterDeletionOrphan)))
		w.pool.state, w.pool.conn = well, &engine.Connection{}
		w.reconcile()
		if !w.gone() || w.pool.retired != 1 {
			t.Errorf("gone: %t, retired %d times", w.gone(), w.pool.retired)
		}
	})
}

// retiring makes a Cluster one whose cluster was told to take away the last.
func retiring(c *v1alpha1.Cluster) {
	c.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "False", Reason: v1alpha1.RetiringReason}}
}

// byAgent makes a Cluster one whose agent dials out.
func byAgent(c *v1alpha1.Cluster) { c.Spec.KubeConfig, c.Spec.Agent = nil, &v1alpha1.Agent{} }

func TestWhatIsNotWaitedFor(t *testing.T) {
	never := func(c *v1alpha1.Cluster) { c.Status.UID = "" }
	refused := engine.State{Known: true, Reachable: true, Reason: "DuplicateCluster", UID: "u1"}
	unreachable := engine.State{Known: true, Reason: "Unreachable"}
	tests := map[string]struct {
		policy v1alpha1.ClusterDeletionPolicy
		change func(*v1alpha1.Cluster)
		state  engine.State
		event  string
		sent   bool
	}{
		"forget": {policy: v1alpha1.ClusterDeletionAbandon, state: well, event: "Normal Abandoned Abandoned, as spec.deletionPolicy says. What stays there: 3 objects of Kustomization apps"},
		"an agent that is abandoned": {
			policy: v1alpha1.ClusterDeletionAbandon, state: well, change: byAgent,
			event: "Normal Abandoned Abandoned, as spec.deletionPolicy says. What stays there: 3 objects of Kustomization apps, and the hub's inventories and claim, " +
				"and the agent, which goes on putting back drift until its Deployment skerry-agent is deleted there",
		},
		"suspended": {
			policy: v1alpha1.ClusterDeletionDelete, state: well, change: func(c *v1alpha1.Cluster) { c.Spec.Suspend = true },
			event: "Warning Abandoned Abandoned, because a suspended cluster is left as it is",
		},
		"no agent ever joined": {
			policy: v1alpha1.ClusterDeletionDelete, state: engine.State{Known: true, Agent: link.AgentInfo{Pending: true}}, sent: true,
			change: func(c *v1alpha1.Cluster) { never(c); c.Spec.KubeConfig, c.Spec.Agent = nil, &v1alpha1.Agent{} },
		},
		"never reached":        {policy: v1alpha1.ClusterDeletionDelete, change: never, state: unreachable, sent: true},
		"never had a Secret":   {policy: v1alpha1.ClusterDeletionDelete, change: func(c *v1alpha1.Cluster) { never(c); c.Spec.KubeConfig.SecretRef.Name = "none" }, sent: true},
		"somebody else has it": {policy: v1alpha1.ClusterDeletionDelete, state: refused, sent: true},
		"the account has gone": {
			policy: v1alpha1.ClusterDeletionDelete, state: engine.State{Known: true, Reachable: true, Reason: "Unauthorized"}, sent: true,
			change: retiring,
			event:  "Normal Removed Its objects are deleted; nothing of the hub is left there but the namespace skerry-system",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			changes := []func(*v1alpha1.Cluster){deleted(tt.policy)}
			if tt.change != nil {
				changes = append(changes, tt.change)
			}
			w := start(t, cluster(changes...), secret("value", testKubeconfig), assigned(v1alpha1.AssignmentEntry{Name: "apps"}))
			w.pool.state = tt.state
			w.reconcile()
			if !w.gone() {
				t.Fatalf("it waits: %s", w.says("Ready"))
			}
			if got := w.told(); !strings.HasPrefix(got, tt.event) || tt.event == "" && got != "" {
				t.Errorf("event %q", got)
			}
			if sent := w.entries() != "apps"; sent != tt.sent {
				t.Errorf("entries %s", w.entries())
			}
			if w.pool.retired > 0 {
				t.Error("the engine was asked to retire")
			}
		})
	}
}

func TestForgetReleasesAtOnce(t *testing.T) {
	w := start(t, cluster(deleted(v1alpha1.ClusterDeletionDelete)), secret("value", testKubeconfig), assigned(v1alpha1.AssignmentEntry{Name: "apps"}))
	w.pool.state = engine.State{Known: true, Reason: "Unreachable", UID: "u1"}
	w.reconcile()
	c := w.get()
	c.Spec.DeletionPolicy = v1alpha1.ClusterDeletionAbandon
	if err := w.client.Update(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if !w.gone() {
		t.Error("it waits")
	}
	if len(w.r.reported)+len(w.r.requests)+len(w.r.removals)+len(w.r.secrets.read) > 0 {
		t.Error(fmt.Sprint("something of it is held: ", w.r.reported, w.r.requests, w.r.removals, len(w.r.secrets.read)))
	}
}

// TestALinkThatDropsAtTheLastStepIsNoEnd: that the account has gone shows by its refusal. Silence says
// nothing, and is waited for.
func TestALinkThatDropsAtTheLastStepIsNoEnd(t *testing.T) {
	w := start(t, cluster(deleted(v1alpha1.ClusterDeletionDelete), retiring), secret("value", testKubeconfig), assigned(v1alpha1.AssignmentEntry{Name: "apps"}))
	w.pool.state = engine.State{Known: true, Reason: v1alpha1.UnreachableReason, UID: "u1"}
	w.reconcile()
	if w.gone() {
		t.Errorf("it is let go, with: %s", w.told())
	}
}

// TestAFinalizerThatCannotBeRemovedBeginsNoSession: what was taken away last is the claim, which a session would write
// again.
func TestAFinalizerThatCannotBeRemovedBeginsNoSession(t *testing.T) {
	w := start(t, cluster(deleted(v1alpha1.ClusterDeletionDelete)), secret("value", testKubeconfig))
	w.pool.state = well
	w.pool.retire = func() error { w.pool.claimed = false; return nil }
	refused := 0
	w.funcs.Patch = func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
		if _, ours := o.(*v1alpha1.Cluster); ours && refused < 3 {
			refused++
			return apierrors.NewServiceUnavailable("the API server is away")
		}
		return c.Patch(ctx, o, p, opts...)
	}
	for i := 0; i < 10 && !w.gone(); i++ {
		_, _ = w.try()
	}
	if !w.gone() || refused != 3 || w.pool.begun != 1 || w.pool.claimed {
		t.Errorf("gone %t, refused %d times, %d sessions, claimed %t", w.gone(), refused, w.pool.begun, w.pool.claimed)
	}
}

// denied lets the engine report that the account of an entry is not there.
func (w *world) denied(name string) {
	w.t.Helper()
	a := w.assignment()
	for i := range a.Status.Entries {
		if s := &a.Status.Entries[i]; s.Name == name {
			s.Ready, s.Reason, s.Message = metav1.ConditionFalse, v1alpha1.ServiceAccountNotFoundReason, "there is no ServiceAccount team/deployer"
		}
	}
	if err := w.client.Status().Update(w.t.Context(), a); err != nil {
		w.t.Fatal(err)
	}
}

// What was reported before a hub was there to remove the Cluster is no answer to the removal, however long ago the
// Cluster was deleted.
func TestARemovalThatBeginsLateGivesNothingUpAtOnce(t *testing.T) {
	w := start(t, cluster(deleted(v1alpha1.ClusterDeletionDelete)), secret("value", testKubeconfig),
		assigned(v1alpha1.AssignmentEntry{Name: "apps"}, v1alpha1.AssignmentEntry{Name: "team/shop"}))
	w.pool.state = well
	a := w.assignment()
	a.Status.Entries = []v1alpha1.AssignmentEntryStatus{{Name: "team/shop", Ready: metav1.ConditionFalse, Reason: v1alpha1.ForbiddenReason}}
	if err := w.client.Status().Update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	c := w.get()
	c.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReachableCondition, Status: metav1.ConditionTrue, Reason: "Connected", LastTransitionTime: metav1.Unix(9000, 0)}}
	if err := w.client.Status().Update(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	w.now = time.Unix(10360, 0)
	for range 3 {
		w.reconcile()
	}
	if got := w.entries(); got != "apps remove Delete, team/shop remove Delete" {
		t.Errorf("entries %s", got)
	}
	w.now = time.Unix(10660, 0)
	w.reconcile()
	if got := w.entries(); got != "apps remove Delete, team/shop remove Orphan" {
		t.Errorf("entries %s when the time is over", got)
	}
}

// A tenant whose account is gone holds up the removal of a Cluster for five minutes, in which the Cluster says what to
// do. Then what the tenant has is left there, and everything else is deleted.
func TestAnAccountThatIsGoneHoldsUpNoRemoval(t *testing.T) {
	for _, byAdministrator := range []bool{false, true} {
		w := start(t, cluster(deleted(v1alpha1.ClusterDeletionDelete)), secret("value", testKubeconfig),
			assigned(v1alpha1.AssignmentEntry{Name: "apps"}, v1alpha1.AssignmentEntry{Name: "team/shop"}))
		w.pool.state = well
		w.reconcile()
		w.removed("apps")
		w.denied("team/shop")
		w.now = time.Unix(10060, 0)
		if res := w.reconcile(); res.RequeueAfter != 4*time.Minute {
			t.Errorf("looks again after %s", res.RequeueAfter)
		}
		want := "False Removing: Delete: waits for Kustomization team/shop. team/shop: ServiceAccountNotFound: there is no ServiceAccount team/deployer; " +
			"give the ServiceAccount what it lacks there, or set spec.deletionPolicy to Orphan, which leaves the objects; that happens by itself at 02:51:40 UTC"
		if got := w.says("Ready"); got != want {
			t.Errorf("ready: %s", got)
		}
		for w.told() != "" {
		}
		if byAdministrator {
			c := w.get()
			c.Spec.DeletionPolicy = v1alpha1.ClusterDeletionOrphan
			if err := w.client.Update(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			w.reconcile()
			if got := w.entries(); got != "apps remove Orphan, team/shop remove Orphan" {
				t.Errorf("entries %s", got)
			}
			continue
		}
		w.now = time.Unix(10300, 0)
		w.reconcile()
		if got := w.entries(); got != "apps remove Delete, team/shop remove Orphan" {
			t.Errorf("entries %s", got)
		}
		w.reconcile()
		if got := w.entries(); got != "apps remove Delete, team/shop remove Orphan" || w.gone() {
			t.Errorf("entries %s, gone %v", got, w.gone())
		}
		w.removed("team/shop")
		w.reconcile()
		if !w.gone() {
			t.Errorf("it waits: %s", w.says("Ready"))
		}
		last := ""
		for said := w.told(); said != ""; said = w.told() {
			last = said
		}
		if !strings.HasPrefix(last, "Warning Removed ") || !strings.Contains(last, "but for those of Kustomization team/shop") {
			t.Errorf("event %q", last)
		}
	}
}
