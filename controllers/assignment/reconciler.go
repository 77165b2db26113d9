// Package assignment hands each Assignment to the engine of its cluster and writes down what the
// engine reports. It decides nothing.
package assignment

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/pacing"
)

// writeTimeout bounds one write.
const writeTimeout = 3 * time.Second

// Options are what a Reconciler works with.
type Options struct {
	Hub  hubapi.Hub
	Pool engine.Pooled
	Now  func() time.Time
	// Holder decides which Clusters this process works on; nil for all.
	Holder Holder
	// Decisions returns how many Assignments wait for their spec to be written, which reports yield to; nil for none.
	Decisions func() int
}

// Holder decides which Clusters this process works on, where several share a fleet.
type Holder interface {
	// First reports whether this process also takes care of what belongs to no Cluster.
	First() bool
	// Enter begins work on a Cluster that is this process's; leave ends it.
	Enter(key engine.Key) (leave func(), ok bool)
}

// Reconciler reconciles Assignments.
type Reconciler struct {
	Options
	trigger hubapi.Trigger
	writes  *hubapi.Writer[types.NamespacedName, report]
	after   *hubapi.Continuations

	mu    sync.Mutex
	wrote map[types.NamespacedName]written
	sent  map[types.NamespacedName][]digest // of the last statuses that were written: each comes back through the watch
	// unexpected is the last status that the watch delivered before the API server answered the write of it, and that is
	// not the one that was sent.
	unexpected map[types.NamespacedName]seen
}

// digest stands for the entries of a status.
type digest = [sha256.Size]byte

// seen is a status at a resource version.
type seen struct {
	version string
	of      digest
}

// remembered is how many writes of one status may be on their way through the watch at once.
const remembered = 4

// written is the status that was written last, which the cache may not show yet.
type written struct {
	uid     types.UID
	entries []v1alpha1.AssignmentEntryStatus
}

// report is what is to be written to the status of an Assignment.
type report struct {
	of      *v1alpha1.Assignment
	entries []v1alpha1.AssignmentEntryStatus
}

// writers is how many statuses are written at a time: enough to keep the hub's API server busy. What waits for
// one is not written yet, and newer reports replace it.
const writers = 16

// New returns a Reconciler.
func New(o Options) *Reconciler {
	r := &Reconciler{Options: o, wrote: map[types.NamespacedName]written{}, sent: map[types.NamespacedName][]digest{}, unexpected: map[types.NamespacedName]seen{}}
	w := hubapi.WriterOptions[types.NamespacedName, report]{Write: r.write, Pace: pacing.AssignmentStatus, Concurrency: writers, Now: o.Now}
	if o.Decisions != nil {
		w.Allowed = func(waited time.Duration) int { return pacing.AllowedWrites(writers, o.Decisions(), waited) }
	}
	r.writes = hubapi.NewWriter(w)
	r.after = hubapi.NewContinuations(&r.trigger)
	return r
}

// Changed is called when there is an engine for a cluster, or its report has changed. It does not
// block.
func (r *Reconciler) Changed(key engine.Key) { r.trigger.Enqueue(key) }

// Reported is called when an engine has news: of the connection, or of what it was assigned. Before its first report there is
// nothing to write. It does not block.
func (r *Reconciler) Reported(key engine.Key) {
	if _, reported := r.Pool.Report(key); reported {
		r.trigger.Enqueue(key)
	}
}

// Waiting returns how many Assignments wait for their status to be written.
func (r *Reconciler) Waiting() int { return r.writes.Waiting() }

// Leaving is called when this process is about to give up a cluster, when what is being written about it is written.
func (r *Reconciler) Leaving(key engine.Key) { r.writes.Prioritise(key) }

// Lost is called when this process does not work on a cluster any more. It forgets what it wrote last: when
// this process works on the cluster again, the status may be another one.
func (r *Reconciler) Lost(key engine.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.wrote, key)
}

// foreign reports whether a status is none that this process wrote. If so, it forgets what it wrote last,
// which the status does not hold any more.
func (r *Reconciler) foreign(a *v1alpha1.Assignment) bool {
	key, of := client.ObjectKeyFromObject(a), digestOf(a.Status.Entries)
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.sent[key], of) {
		return false
	}
	r.unexpected[key] = seen{a.ResourceVersion, of}
	delete(r.wrote, key)
	return true
}

// answered records the answer to a write. It holds no status: that is large, and mostly as it was sent. An API server
// that keeps another one than it was sent, as one whose definition is older does, shows it in the watch at the
// resource version of the answer.
func (r *Reconciler) answered(key types.NamespacedName, version string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if unexpected, ok := r.unexpected[key]; ok && unexpected.version == version {
		r.keep(key, unexpected.of)
	}
	delete(r.unexpected, key)
}

// note records what is about to be written.
func (r *Reconciler) note(key types.NamespacedName, entries []v1alpha1.AssignmentEntryStatus) {
	of := digestOf(entries)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(key, of)
}

// keep remembers a status as one of this process. The caller holds the lock.
func (r *Reconciler) keep(key types.NamespacedName, of digest) {
	if list := r.sent[key]; !slices.Contains(list, of) {
		r.sent[key] = append(list[max(0, len(list)-remembered+1):], of)
	}
}

func digestOf(entries []v1alpha1.AssignmentEntryStatus) digest {
	data, err := json.Marshal(entries)
	if err != nil || len(entries) == 0 { // these are strings and numbers
		return digest{}
	}
	return sha256.Sum256(data)
}

// shared lets what is read share its memory with the cache. Neither this controller nor an engine changes any of it.
var shared = client.UnsafeDisableDeepCopy

// Reconcile hands over one Assignment and takes the report on it. It waits for no write.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if err := r.after.Err(req.NamespacedName); err != nil {
		return reconcile.Result{}, err
	}
	a := &v1alpha1.Assignment{}
	if err := r.Hub.Get(ctx, req.NamespacedName, a, shared); err != nil {
		if apierrors.IsNotFound(err) {
			r.release(req.NamespacedName)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("cannot read Assignment: %w", err)
	}
	c := &v1alpha1.Cluster{}
	err := r.Hub.Get(ctx, req.NamespacedName, c, shared)
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		return reconcile.Result{}, fmt.Errorf("cannot read Cluster: %w", err)
	case err != nil && r.Holder != nil && !r.Holder.First():
		r.release(req.NamespacedName)
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, r.drop(ctx, a)
	}
	leave := func() {}
	if r.Holder != nil {
		var ours bool
		if leave, ours = r.Holder.Enter(req.NamespacedName); !ours {
			return reconcile.Result{}, nil
		}
	}
	writing := false
	defer func() {
		if !writing { // else the end of the write leaves
			leave()
		}
	}()
	if !ownedBy(a, c.UID) {
		return reconcile.Result{}, r.drop(ctx, a)
	}
	if _, connected := r.Pool.State(req.NamespacedName); connected {
		r.Pool.Assign(req.NamespacedName, a.Spec.Entries)
	}
	wait := r.due(a)
	if wait == 0 {
		writing = r.begin(ctx, a, leave)
	}
	return reconcile.Result{RequeueAfter: max(wait, 0)}, nil
}

// ownedBy reports whether the Assignment is one of this very Cluster, and not of one of its name that is
// gone. The uid is empty where there is none to compare.
func ownedBy(a *v1alpha1.Assignment, uid types.UID) bool {
	for _, owner := range a.OwnerReferences {
		if owner.Kind == v1alpha1.ClusterKind && owner.UID != uid {
			return false
		}
	}
	return true
}

// drop deletes the Assignment of a Cluster that is gone. What stands on that cluster stays.
func (r *Reconciler) drop(ctx context.Context, a *v1alpha1.Assignment) error {
	r.release(client.ObjectKeyFromObject(a))
	err := r.Hub.Delete(ctx, a.DeepCopy(), client.Preconditions{UID: &a.UID})
	if err := client.IgnoreNotFound(err); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("cannot delete the Assignment of a Cluster that is gone: %w", err)
	}
	return nil
}

// release takes the entries from an engine, if there is one: they are forgotten, not pruned.
func (r *Reconciler) release(key engine.Key) {
	r.mu.Lock()
	delete(r.wrote, key)
	delete(r.sent, key)
	delete(r.unexpected, key)
	r.mu.Unlock()
	r.writes.Forget(key)
	if _, there := r.Pool.State(key); there {
		r.Pool.Assign(key, nil)
	}
}

// due returns how long the report has to wait to be written: zero for now, negative when there is nothing to
// write. While a write is under way there is nothing to do: the Assignment is reconciled again when it ends.
func (r *Reconciler) due(a *v1alpha1.Assignment) time.Duration {
	key := client.ObjectKeyFromObject(a)
	entries, reported := r.Pool.Report(key)
	if !reported {
		return -1
	}
	last, ours := r.last(a)
	if r.after.Busy(key) {
		if failsAnew(last.entries, entries) { // what waits for its turn may be older, and good
			r.writes.Prioritise(key)
		}
		return -1
	}
	if wait := statusDelay(last.entries, entries, r.Now()); wait < 0 || wait > 0 && ours {
		return wait
	}
	return r.writes.Wait(key, len(entries), pacing.Decisive)
}

// begin begins to write the report; leave is called when it is written, or could not be.
func (r *Reconciler) begin(ctx context.Context, a *v1alpha1.Assignment, leave func()) (begun bool) {
	key := client.ObjectKeyFromObject(a)
	entries, reported := r.Pool.Report(key)
	if !reported { // the engine has gone meanwhile
		return false
	}
	done := r.after.Begin(ctx, key, 1, func(_ context.Context, err error) (reconcile.Result, error) {
		if err != nil {
			return hubapi.ResultForError(err)
		}
		return reconcile.Result{}, nil
	})
	r.writes.Enqueue(key, len(entries), report{a, entries}, func(err error) {
		leave()
		done(err)
	})
	if last, _ := r.last(a); failsAnew(last.entries, entries) {
		r.writes.Prioritise(key)
	}
	return true
}

// write writes the last of the reports, or what the engine reports by now: the report may have waited for others. Only
// this controller writes the status, so that it needs no lock against those who write the spec.
func (r *Reconciler) write(ctx context.Context, key types.NamespacedName, batch []report) error {
	a, entries := batch[len(batch)-1].of, batch[len(batch)-1].entries
	if now, reported := r.Pool.Report(key); reported {
		entries = now
	}
	patch, err := statusPatch(a, entries)
	if err != nil {
		return err
	}
	r.note(key, entries) // the watch may be sooner than the answer
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	answer := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	answer.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.AssignmentKind))
	err = r.Hub.Status().Patch(ctx, answer, patch, client.DisableReadYourWritesConsistency)
	if err != nil { // as a conflict, another one of the name is there now, and its watch brings it
		return fmt.Errorf("cannot write status: %w", hubapi.ConflictOfTest(key.Name, err))
	}
	r.answered(key, answer.ResourceVersion)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrote[key] = written{a.UID, entries}
	return nil
}

// last returns the status, by the memory of this process or else by the cache. Ours means that this
// process wrote it: the verifications of another process do not delay the first one of this process.
func (r *Reconciler) last(a *v1alpha1.Assignment) (w written, ours bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w, ok := r.wrote[client.ObjectKeyFromObject(a)]; ok && w.uid == a.UID {
		return w, true
	}
	return written{uid: a.UID, entries: a.Status.Entries}, false
}

// statusPatch replaces the status. It is a JSON patch because that costs an API server a tenth less than to merge one.
func statusPatch(a *v1alpha1.Assignment, entries []v1alpha1.AssignmentEntryStatus) (client.Patch, error) {
	data, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": a.UID}, // else it is another one of the name
		{"op": "add", "path": "/status", "value": v1alpha1.AssignmentStatus{Entries: entries}},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot encode status: %w", err)
	}
	return client.RawPatch(types.JSONPatchType, data), nil
}

// statusDelay returns how long a report may wait to be written: zero for one with news, negative for one
// without any, else until the times in it are worth a write.
func statusDelay(old, now []v1alpha1.AssignmentEntryStatus, at time.Time) time.Duration {
	if slices.EqualFunc(old, now, same) {
		return -1
	}
	if !slices.EqualFunc(old, now, sameButTimes) {
		return 0
	}
	for i := range old {
		if before := old[i].VerifiedAt; before != nil && at.Sub(before.Time) < pacing.VerifiedEvery {
			return max(pacing.VerifiedEvery-at.Sub(before.Time), time.Second)
		}
	}
	return 0
}

// failsAnew reports whether an entry has failed that had not, with what it was assigned now: it may have to stop a
// rollout.
func failsAnew(old, now []v1alpha1.AssignmentEntryStatus) bool {
	return slices.ContainsFunc(now, func(e v1alpha1.AssignmentEntryStatus) bool {
		return e.Ready == metav1.ConditionFalse && !slices.ContainsFunc(old, func(before v1alpha1.AssignmentEntryStatus) bool {
			return before.Name == e.Name && before.Ready == metav1.ConditionFalse && attempted(before) == attempted(e)
		})
	})
}

// attempted returns the digest that a status is about.
func attempted(s v1alpha1.AssignmentEntryStatus) string {
	_, digest := s.Attempted()
	return digest
}

func same(a, b v1alpha1.AssignmentEntryStatus) bool { return a.Equal(&b) }

// sameButTimes reports whether two statuses differ in nothing but what changes with every verification.
func sameButTimes(a, b v1alpha1.AssignmentEntryStatus) bool {
	if a.VerifiedAt != nil && b.VerifiedAt != nil {
		a.VerifiedAt = b.VerifiedAt
	}
	return a.Equal(&b)
}
