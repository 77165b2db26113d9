package assignment

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/pacing"
)

var key = types.NamespacedName{Namespace: "fleet", Name: "edge-1"}

// pool is an engine that reports what the test says.
type pool struct {
	engine.Pooled
	connected bool
	assigned  [][]v1alpha1.AssignmentEntry
	report    []v1alpha1.AssignmentEntryStatus
	told      bool
}

func (p *pool) State(engine.Key) (engine.State, bool) { return engine.State{}, p.connected }
func (p *pool) Assign(_ engine.Key, e []v1alpha1.AssignmentEntry) {
	p.assigned = append(p.assigned, e)
}
func (p *pool) Report(engine.Key) ([]v1alpha1.AssignmentEntryStatus, bool) { return p.report, p.told }

type world struct {
	t      *testing.T
	client client.Client
	pool   *pool
	now    time.Time
	writes int
	took   time.Duration // that a write takes
	answer client.Object // to the last write
	r      *Reconciler
}

func start(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, pool: &pool{connected: true, told: true}, now: time.Unix(10000, 0)}
	w.client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&v1alpha1.Assignment{}).
		WithInterceptorFuncs(interceptor.Funcs{SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			w.writes++
			w.answer = o
			w.now = w.now.Add(w.took)
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		}}).Build()
	w.r = New(Options{Hub: hubapi.Hub{Client: w.client}, Pool: w.pool, Now: func() time.Time { return w.now }})
	return w
}

func (w *world) reconcile() reconcile.Result {
	w.t.Helper()
	res, err := w.r.Reconcile(w.t.Context(), reconcile.Request{NamespacedName: key})
	if err = errors.Join(err, w.r.writes.Drain(w.t.Context()), w.r.after.Err(key)); err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) get() (*v1alpha1.Assignment, error) {
	a := &v1alpha1.Assignment{}
	return a, w.client.Get(w.t.Context(), key, a)
}

func assignment(owner types.UID) *v1alpha1.Assignment {
	return &v1alpha1.Assignment{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: "of " + owner, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "skerry.dev/v1alpha1", Kind: "Cluster", Name: key.Name, UID: owner},
		}},
		Spec: v1alpha1.AssignmentSpec{Entries: []v1alpha1.AssignmentEntry{{Name: "apps", Revision: "r1"}}},
	}
}

func cluster(uid types.UID, change ...func(*v1alpha1.Cluster)) *v1alpha1.Cluster {
	c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: uid}}
	for _, f := range change {
		f(c)
	}
	return c
}

func status(ready string, verified int64) []v1alpha1.AssignmentEntryStatus {
	at := metav1.NewTime(time.Unix(verified, 0))
	return []v1alpha1.AssignmentEntryStatus{{Name: "apps", Ready: metav1.ConditionStatus(ready), Reason: "X", VerifiedAt: &at}}
}

// TestNewsOfAnEngineThatHasNotReportedWakeNobody: there is nothing to write before.
func TestNewsOfAnEngineThatHasNotReportedWakeNobody(t *testing.T) {
	w := start(t, assignment("u1"), cluster("u1"))
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	if err := w.r.trigger.Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	w.pool.told = false
	if w.r.Reported(key); queue.Len() != 0 {
		t.Error("woken by news of the connection")
	}
	w.pool.told = true
	if w.r.Reported(key); queue.Len() != 1 {
		t.Error("not woken by a report")
	}
}

func TestHandsOverAndWritesWhatIsNews(t *testing.T) {
	w := start(t, assignment("u1"), cluster("u1"))
	w.pool.report = status("True", 9000)
	w.reconcile()
	a, err := w.get()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]v1alpha1.AssignmentEntry{a.Spec.Entries}, w.pool.assigned); diff != "" {
		t.Errorf("assigned (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(w.pool.report, a.Status.Entries); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}

	if res := w.reconcile(); w.writes != 1 || res.RequeueAfter != 0 {
		t.Errorf("a repeat: %d writes, again in %s", w.writes, res.RequeueAfter)
	}

	w.pool.report = status("True", 9970) // verified once more
	w.now = time.Unix(9040, 0)
	if res := w.reconcile(); w.writes != 1 || res.RequeueAfter != 20*time.Second {
		t.Errorf("only a time, soon: %d writes, again in %s", w.writes, res.RequeueAfter)
	}
	w.now = time.Unix(9060, 0)
	if w.reconcile(); w.writes != 2 {
		t.Errorf("only a time, after a minute: %d writes", w.writes)
	}
	w.pool.report = status("False", 9970)
	if w.reconcile(); w.writes != 3 {
		t.Errorf("news: %d writes", w.writes)
	}
	w.pool.report = nil
	if w.reconcile(); w.writes != 4 {
		t.Errorf("an entry that is gone: %d writes", w.writes)
	}
}

func TestTheFirstVerificationOfAProcessIsWrittenAtOnce(t *testing.T) {
	a := assignment("u1")
	a.Status.Entries = status("True", 9000) // by the process before
	w := start(t, a, cluster("u1"))
	w.pool.report, w.now = status("True", 9010), time.Unix(9010, 0)
	if w.reconcile(); w.writes != 1 {
		t.Errorf("%d writes, want that of the first verification", w.writes)
	}
	w.pool.report = status("True", 9020)
	if res := w.reconcile(); w.writes != 1 || res.RequeueAfter != time.Minute {
		t.Errorf("the second one: %d writes, again in %s", w.writes, res.RequeueAfter)
	}
}

// TestSlowWritesAreFewer: what an API server under load takes long for is not asked of it at once
// again, and is not forgotten either.
func TestSlowWritesAreFewer(t *testing.T) {
	for entries, cooldown := range map[int]time.Duration{1: 100 * time.Millisecond, pacing.AssignmentStatus.Light: 100 * time.Millisecond, pacing.AssignmentStatus.Light + 1: 400 * time.Millisecond} {
		t.Run(fmt.Sprintf("%d entries", entries), func(t *testing.T) {
			w := start(t, assignment("u1"), cluster("u1"))
			w.took = 100 * time.Millisecond
			say := func(message string) {
				w.pool.report = nil
				for i := range entries {
					w.pool.report = append(w.pool.report, v1alpha1.AssignmentEntryStatus{
						Name: fmt.Sprintf("app-%d", i), Ready: metav1.ConditionUnknown, Reason: "Progressing", Message: message,
					})
				}
			}
			say("first")
			w.reconcile()
			say("second")
			if res := w.reconcile(); w.writes != 1 || res.RequeueAfter != cooldown {
				t.Fatalf("after a write of 100 ms: %d writes, again after %v; want 1, and again after %v", w.writes, res.RequeueAfter, cooldown)
			}
			say("third")
			w.now = w.now.Add(cooldown)
			w.took = time.Minute
			w.reconcile()
			if a, err := w.get(); err != nil || w.writes != 2 || a.Status.Entries[0].Message != "third" {
				t.Fatalf("%d writes, and the status is %v (%v); want the second with the third report", w.writes, a.Status.Entries, err)
			}
			say("fourth")
			if res := w.reconcile(); res.RequeueAfter != pacing.AssignmentStatus.CostMax {
				t.Errorf("after a write of a minute again after %v, want %v", res.RequeueAfter, pacing.AssignmentStatus.CostMax)
			}
		})
	}
}

func TestWhatIsNotKnownYetLeavesTheStatus(t *testing.T) {
	a := assignment("u1")
	a.Status.Entries = status("True", 9000)
	w := start(t, a, cluster("u1"))
	w.pool.connected, w.pool.told = false, false
	w.reconcile()
	got, err := w.get()
	if err != nil || w.writes != 0 || len(got.Status.Entries) != 1 {
		t.Errorf("%d writes, %v, %v", w.writes, got.Status, err)
	}
	if len(w.pool.assigned) != 0 {
		t.Error("assigned without a connection")
	}
}

func TestOfClustersThatAreGone(t *testing.T) {
	for name, objects := range map[string][]client.Object{
		"the Cluster is gone":         {assignment("u1")},
		"another one bears its name":  {assignment("u1"), cluster("u2")},
		"another one, with an engine": {assignment("u1"), cluster("u2")},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, objects...)
			w.reconcile()
			if _, err := w.get(); !apierrors.IsNotFound(err) {
				t.Errorf("the Assignment is still there: %v", err)
			}
			if len(w.pool.assigned) != 1 || w.pool.assigned[0] != nil {
				t.Errorf("assigned %v", w.pool.assigned)
			}
			if w.writes != 0 {
				t.Error("its status was written")
			}
			w.reconcile() // and again, when it is gone
		})
	}
}

func TestAnAgentIsAssignedAndReportsAsAnEngineDoes(t *testing.T) {
	w := start(t, assignment("u1"), cluster("u1", func(c *v1alpha1.Cluster) { c.Spec.KubeConfig, c.Spec.Agent = nil, &v1alpha1.Agent{} }))
	w.pool.report = status("True", 9000)
	w.reconcile()
	if len(w.pool.assigned) != 1 || w.writes != 1 {
		t.Errorf("assigned %v, %d writes", w.pool.assigned, w.writes)
	}
}

func TestAReportThatAnotherHasWipedIsWrittenAgain(t *testing.T) {
	w := start(t, assignment("u1"), cluster("u1"))
	w.pool.report = status("True", 9000)
	w.reconcile()
	a, err := w.get()
	if err != nil {
		t.Fatal(err)
	}
	if w.r.foreign(a) {
		t.Error("what was written here is foreign")
	}
	w.reconcile()
	if w.writes != 1 {
		t.Errorf("%d writes", w.writes)
	}
	a.Status.Entries = nil
	if err := w.client.Status().Update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if !w.r.foreign(a) {
		t.Error("nobody notices")
	}
	w.reconcile()
	if a, err = w.get(); err != nil || len(a.Status.Entries) != 1 || w.writes != 2 {
		t.Errorf("%v, %+v, %d writes", err, a.Status, w.writes)
	}
}

// TestWhatFailsAnew: such a report may have to stop a rollout, and goes before others that yield to decisions.
func TestWhatFailsAnew(t *testing.T) {
	is := func(ready ...metav1.ConditionStatus) (list []v1alpha1.AssignmentEntryStatus) {
		for i, r := range ready {
			list = append(list, v1alpha1.AssignmentEntryStatus{Name: fmt.Sprintf("app-%d", i), Ready: r})
		}
		return list
	}
	of := func(digest string, list []v1alpha1.AssignmentEntryStatus) []v1alpha1.AssignmentEntryStatus {
		list[0].Digest = digest
		return list
	}
	for name, tt := range map[string]struct {
		old, now []v1alpha1.AssignmentEntryStatus
		want     bool
	}{
		"with the next bundle, too": {of("sha256:a", is("False")), of("sha256:b", is("False")), true},
		"ready":                     {is("Unknown"), is("True"), false},
		"failed":                    {is("True"), is("False"), true},
		"the first, failed":         {nil, is("False"), true},
		"failed still":              {is("False"), is("False"), false},
		"another one":               {is("False", "True"), is("False", "False"), true},
		"failed, and gone now":      {is("False"), nil, false},
	} {
		if got := failsAnew(tt.old, tt.now); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// TestAReportThatWaitedIsTheNewest: what an engine reports while its report waits for a place goes with that write.
func TestAReportThatWaitedIsTheNewest(t *testing.T) {
	w := start(t, assignment("u1"), cluster("u1"))
	a, err := w.get()
	if err != nil {
		t.Fatal(err)
	}
	w.pool.report = status("True", 9000)
	if err := w.r.write(t.Context(), key, []report{{a, status("Unknown", 8000)}}); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if got, err := w.get(); err != nil || w.writes != 1 || got.Status.Entries[0].Ready != metav1.ConditionTrue {
		t.Errorf("%d writes, and the status is %v (%v)", w.writes, got.Status.Entries, err)
	}
}

// TestAReportIsOfItsOwnAssignment: an Assignment that was made anew under the name, while the report waited, is left alone.
func TestAReportIsOfItsOwnAssignment(t *testing.T) {
	w := start(t, assignment("u2"), cluster("u2"))
	w.pool.told = false
	if err := w.r.write(t.Context(), key, []report{{assignment("u1"), status("True", 9000)}}); err == nil {
		t.Error("it is written")
	}
	if got, err := w.get(); err != nil || len(got.Status.Entries) > 0 {
		t.Errorf("the status is %v (%v)", got.Status.Entries, err)
	}
}

// TestAStatusThatTheAPIServerKeepsInItsOwnWayIsOurs: the definition of an older version leaves out a field. The watch
// may show that before the write is answered.
func TestAStatusThatTheAPIServerKeepsInItsOwnWayIsOurs(t *testing.T) {
	w := start(t, assignment("u1"), cluster("u1"))
	kept := func(version string, of []v1alpha1.AssignmentEntryStatus) *v1alpha1.Assignment {
		a := assignment("u1")
		a.ResourceVersion, a.Status.Entries = version, of
		return a
	}
	pruned := status("True", 9000)
	pruned[0].Message = "without a field"
	if !w.r.foreign(kept("7", pruned)) {
		t.Error("nobody has written this yet")
	}
	w.r.answered(key, "7")
	if w.r.foreign(kept("7", pruned)) {
		t.Error("what this process wrote is foreign")
	}
	if w.r.foreign(kept("8", pruned)) {
		t.Error("it is foreign at a later version")
	}
	other := status("False", 9000)
	_ = w.r.foreign(kept("9", other))
	w.r.answered(key, "10")
	if !w.r.foreign(kept("9", other)) {
		t.Error("what another wrote is taken for that of this process")
	}
}

// TestAStatusIsAnsweredWithoutIt: the answer to a write of fifty entries is as large as they are.
func TestAStatusIsAnsweredWithoutIt(t *testing.T) {
	w := start(t, assignment("u1"), cluster("u1"))
	w.pool.report = status("True", 9000)
	w.reconcile()
	if _, ok := w.answer.(*metav1.PartialObjectMetadata); !ok {
		t.Errorf("the answer is a %T", w.answer)
	}
}
