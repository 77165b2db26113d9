package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/text"
)

const (
	// patience is how long a deleted Cluster waits for one that does not answer.
	patience = 5 * time.Minute
	// finalizeTimeout is how long a reconcile of the Cluster is put off until the last of what the hub keeps on a cluster
	// is taken away; the engine goes on without it. finalizeRetry is the time until the next look.
	finalizeTimeout = 2 * time.Second
	finalizeRetry   = time.Second
)

// errPurging means that the engine is still at it.
var errPurging = errors.New("the last is being taken away")

// removal is what is known of one deleted Cluster.
type removal struct {
	key     engine.Key
	cluster *v1alpha1.Cluster
	assign  *v1alpha1.Assignment // nil when nothing was ever assigned
	conn    report.Connection
	err     error // reportable: why it cannot be reached
	// denials are those of the entries of the Assignment, in their order.
	denials []report.Denial
}

// remove brings the removal of a deleted Cluster one step further. Everything that it goes by is on
// the hub's API server or on the cluster itself, so that it may be stopped between any two steps:
//
//	all entries of the Assignment get `remove`; the engine deletes or releases, and reports
//	the status says that it retires; the engine takes away inventories, the claim and the account
//	the finalizer goes, and Cluster and Assignment with it
func (r *Reconciler) remove(ctx context.Context, key engine.Key, c *v1alpha1.Cluster) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(c, v1alpha1.Finalizer) {
		r.forget(key)
		return reconcile.Result{}, nil
	}
	why, err := r.TearDown(ctx, hubapi.Subject{Namespace: c.Namespace, Plural: "clusters", Created: c.CreationTimestamp.Time})
	if err != nil {
		hubapi.Record(r.Recorder, c, "Remove", []report.Event{hubapi.InDoubt(err)})
		return reconcile.Result{}, err
	}
	if why != "" {
		return r.letGo(ctx, key, c, why)
	}
	c.Status = r.known(c).Status // of a removal that is under way, the status says how far it is
	m, err := r.observeRemoval(ctx, key, c)
	if err != nil {
		return reconcile.Result{}, err
	}
	switch {
	case c.Spec.DeletionPolicy == v1alpha1.ClusterDeletionAbandon:
		return r.release(ctx, m, m.leftEvent(false, "Abandoned, as spec.deletionPolicy says"))
	case c.Spec.Suspend:
		return r.release(ctx, m, m.leftEvent(true, "Abandoned, because a suspended cluster is left as it is"))
	}
	m.denials = r.denials(m)
	if err := r.removeEntries(ctx, m); err != nil {
		return hubapi.ResultForError(err)
	}
	if err := r.reach(ctx, m); err != nil {
		return reconcile.Result{}, err
	}
	if !m.answers() {
		return r.awaitAnswer(ctx, m)
	}
	if left := m.left(); len(left) > 0 {
		denied, wait := m.denied(r.Now())
		return reconcile.Result{RequeueAfter: wait}, r.reportProgress(ctx, m, false, fmt.Sprintf("%s: waits for %s%s", m.policy(), few(left), denied))
	}
	return r.finalize(ctx, m)
}

// letGo releases a Cluster that goes with its namespace, its kind or the hub. Nothing is sent to the
// cluster: objects, inventories and the claim stay for the hub that is set up next.
func (r *Reconciler) letGo(ctx context.Context, key engine.Key, c *v1alpha1.Cluster, why string) (reconcile.Result, error) {
	r.forget(key)
	after := c.DeepCopy()
	controllerutil.RemoveFinalizer(after, v1alpha1.Finalizer)
	if err := hubapi.PatchFinalizers(ctx, r.Hub, after); err != nil {
		return hubapi.ResultForError(err)
	}
	hubapi.Record(r.Recorder, c, "Remove", []report.Event{hubapi.TornDown(why)})
	return reconcile.Result{}, nil
}

// addFinalizer makes sure that a Cluster does not go before what is put on its cluster is dealt with.
func (r *Reconciler) addFinalizer(ctx context.Context, c *v1alpha1.Cluster) error {
	if !controllerutil.AddFinalizer(c, v1alpha1.Finalizer) {
		return nil
	}
	return hubapi.PatchFinalizers(ctx, r.Hub, c)
}

func (r *Reconciler) observeRemoval(ctx context.Context, key engine.Key, c *v1alpha1.Cluster) (*removal, error) {
	m := &removal{key: key, cluster: c}
	a := &v1alpha1.Assignment{}
	err := r.Hub.Get(ctx, key, a)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("cannot read Assignment: %w", err)
	}
	if err == nil && metav1.IsControlledBy(a, c) {
		m.assign = a
	}
	return m, nil
}

// removeEntries sets `remove` on every entry of the Assignment. A Kustomization passes over clusters
// that are being deleted; one that had not seen the deletion yet and puts an entry back wakes this
// controller, which takes it again.
func (r *Reconciler) removeEntries(ctx context.Context, m *removal) error {
	if m.assign == nil {
		return nil
	}
	want := m.assign.DeepCopy().Spec.Entries
	for i := range want {
		e := &want[i]
		e.Remove, e.Suspend, e.DeletionPolicy = true, false, m.deletionPolicy()
		if m.denials[i].GivenUp {
			e.DeletionPolicy = v1alpha1.DeletionOrphan
		}
	}
	if equality.Semantic.DeepEqual(want, m.assign.Spec.Entries) {
		return nil
	}
	// After a conflict, the watch of what was written since wakes this controller, and so does the error.
	return hubapi.PatchEntries(ctx, r.Hub, m.assign, want)
}

// reach keeps the connection, or makes one. A Secret that went with its Cluster does no harm as long
// as the engine has what was in it.
func (r *Reconciler) reach(ctx context.Context, m *removal) error {
	conn, err := r.connection(ctx, m.cluster)
	if err != nil && !report.IsReportable(err) {
		return err
	}
	_, known := r.Pool.State(m.key)
	if err == nil {
		r.Pool.Connect(m.key, conn)
		if !known {
			r.Connected(m.key)
		}
	} else if !known {
		m.err = err
		return nil
	}
	state, _ := r.Pool.State(m.key)
	m.conn = report.Connection(state)
	r.mu.Lock()
	r.reported[m.key] = digestOf(state)
	r.mu.Unlock()
	return nil
}

// answers reports whether the cluster can be worked on, and is the one that it was.
func (m *removal) answers() bool {
	return m.err == nil && m.conn.Known && m.conn.Usable && !m.another()
}

func (m *removal) another() bool {
	return m.cluster.Status.UID != "" && m.conn.UID != "" && m.conn.UID != m.cluster.Status.UID
}

// awaitAnswer waits for a cluster that does not answer, but not for ever, and not for one on which
// this hub has nothing.
func (r *Reconciler) awaitAnswer(ctx context.Context, m *removal) (reconcile.Result, error) {
	switch {
	case m.conn.Known && slices.Contains([]string{v1alpha1.HubItselfReason, v1alpha1.DuplicateClusterReason, v1alpha1.OwnedByAnotherHubReason, v1alpha1.DuplicateHubReason}, m.conn.Reason):
		return r.release(ctx, m, nil) // nothing was ever put there in its name
	case m.conn.Agent.Pending && m.cluster.Status.UID == "":
		return r.release(ctx, m, nil) // no agent has ever joined
	case m.cluster.Status.UID == "" && m.conn.UID == "" && (m.conn.Known || m.err != nil):
		return r.release(ctx, m, nil) // it was never reached
	case m.retiring() && m.conn.Known && m.conn.Reason == v1alpha1.UnauthorizedReason:
		return r.release(ctx, m, m.done()) // the account was the last to go, and has gone
	}
	until := m.deadline(r.RemovalTimeout)
	if wait := until.Sub(r.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, r.reportProgress(ctx, m, false, fmt.Sprintf("%s: waits for the cluster, until %s: %s", m.policy(), until.UTC().Format("15:04:05 MST"), m.whySilent()))
	}
	return r.release(ctx, m, m.leftEvent(true, fmt.Sprintf("Abandoned after %s without an answer: %s", r.RemovalTimeout, m.whySilent())))
}

// deadline is when the wait for an answer ends: counted from the deletion, or from the last answer of
// a cluster on which the removal went on since.
func (m *removal) deadline(patience time.Duration) time.Time {
	from := m.cluster.DeletionTimestamp.Time
	if !m.conn.Reachable && m.conn.LastSeen.After(from) {
		from = m.conn.LastSeen
	}
	return from.Add(patience)
}

// whySilent says why the cluster does not answer.
func (m *removal) whySilent() string {
	switch {
	case m.err != nil:
		return m.err.Error()
	case m.another():
		return "another cluster answers in its place"
	case !m.conn.Known:
		return "it is being tried"
	}
	return m.conn.Message
}

// denials returns what is denied to the accounts of the entries that are to be deleted; see report.DenialOf. A tenant
// whose account is gone does not keep a Cluster from going.
func (r *Reconciler) denials(m *removal) []report.Denial {
	if m.assign == nil {
		return nil
	}
	r.mu.Lock()
	since, begun := r.removals[m.key]
	if !begun {
		since = r.Now()
		r.removals[m.key] = since
	}
	r.mu.Unlock()
	deletion := report.Deletion{Deleted: m.cluster.DeletionTimestamp.Time, Since: since, Now: r.Now(), GracePeriod: r.RemovalTimeout}
	all := make([]report.Denial, len(m.assign.Spec.Entries))
	if m.deletionPolicy() == v1alpha1.DeletionOrphan {
		return all
	}
	for i := range all {
		e := &m.assign.Spec.Entries[i]
		all[i] = report.DenialOf(e, m.reported(e.Name), m.cluster, deletion)
	}
	return all
}

// reported returns what was reported of an entry; nil for nothing.
func (m *removal) reported(name string) *v1alpha1.AssignmentEntryStatus {
	at := slices.IndexFunc(m.assign.Status.Entries, func(s v1alpha1.AssignmentEntryStatus) bool { return s.Name == name })
	if at < 0 {
		return nil
	}
	return &m.assign.Status.Entries[at]
}

// denied describes the first entry whose account cannot delete what it has, and what ends the wait; "" when there is
// none. It returns when to look again as well.
func (m *removal) denied(now time.Time) (string, time.Duration) {
	wait := patience
	what := ""
	for i, d := range m.denials {
		if d.Until.IsZero() {
			continue
		}
		wait = min(wait, d.Until.Sub(now))
		name := m.assign.Spec.Entries[i].Name
		if said := m.reported(name); what == "" && said != nil { // nil: the write of the entries read another status
			what = fmt.Sprintf(". %s: %s: %s; %s", name, said.Reason, report.Line(said.Message), d.Remedy())
		}
	}
	return what, max(wait, time.Second)
}

// givenUp names the Kustomizations whose objects stay though they were to be deleted.
func (m *removal) givenUp() []string {
	var names []string
	if m.assign == nil || m.deletionPolicy() == v1alpha1.DeletionOrphan {
		return nil
	}
	for i := range m.assign.Spec.Entries {
		if e := &m.assign.Spec.Entries[i]; e.Remove && e.DeletionPolicy == v1alpha1.DeletionOrphan {
			names = append(names, e.Name)
		}
	}
	return names
}

// left names the Kustomizations that are not removed yet.
func (m *removal) left() []string {
	if m.assign == nil {
		return nil
	}
	removed := map[string]bool{}
	for i := range m.assign.Status.Entries {
		removed[m.assign.Status.Entries[i].Name] = m.assign.Status.Entries[i].Removed
	}
	var names []string
	for i := range m.assign.Spec.Entries {
		if name := m.assign.Spec.Entries[i].Name; !removed[name] {
			names = append(names, name)
		}
	}
	return names
}

// finalize lets the engine take away the last, once the status says so: a hub that is stopped after the
// account has gone would otherwise wait for an answer that it cannot get any more.
func (r *Reconciler) finalize(ctx context.Context, m *removal) (reconcile.Result, error) {
	if err := r.reportProgress(ctx, m, true, "Taking away what the hub keeps there for itself"); err != nil {
		return hubapi.ResultForError(err)
	}
	return r.purge(ctx, m, func(ctx context.Context, err error) (reconcile.Result, error) {
		switch {
		case err == nil:
			return r.release(ctx, m, m.done())
		case errors.Is(err, engine.ErrNotRemoved), errors.Is(err, engine.ErrNotConnected), errors.Is(err, errPurging):
			return reconcile.Result{RequeueAfter: finalizeRetry}, nil // it has not got the news yet, or is at it
		}
		return reconcile.Result{RequeueAfter: finalizeRetry}, r.reportProgress(ctx, m, true, "Cannot take away what the hub keeps there for itself: "+report.Line(err.Error()))
	})
}

// purge asks the engine to take away the last beside the reconcile, since a slow link must hold no worker, and then runs
// the rest.
func (r *Reconciler) purge(ctx context.Context, m *removal, then hubapi.Then) (reconcile.Result, error) {
	done := r.statuses.Begin(ctx, m.key, 1, then)
	r.purges.Go(func() { // ends within finalizeTimeout
		short, cancel := context.WithTimeout(ctx, finalizeTimeout)
		defer cancel()
		err := recovery.Run(func() error { return r.Pool.Finalize(short, m.key) })
		if err != nil && short.Err() != nil {
			err = errPurging
		}
		done(err)
	})
	return reconcile.Result{}, nil
}

// reportProgress reports how far it is.
func (r *Reconciler) reportProgress(ctx context.Context, m *removal, retiring bool, message string) error {
	said := report.Cluster(report.ClusterFacts{
		Object: m.cluster, Now: r.Now(), Connection: m.conn, Err: m.err,
		Handled: v1alpha1.ReconcileRequest(m.cluster.Annotations), Removal: &report.Removal{Retiring: retiring, Message: message},
	})
	if equality.Semantic.DeepEqual(m.cluster.Status, said.Status) {
		return nil
	}
	after := m.cluster.DeepCopy()
	after.Status = said.Status
	if err := r.statuses.Commit(context.WithoutCancel(ctx), r.Hub, after); err != nil {
		return err
	}
	hubapi.Record(r.Recorder, after, "Remove", said.Events)
	m.cluster = after
	return nil
}

// release lets the Cluster go, and then everything that this process has of it: an engine that has taken away the last
// sends nothing any more, and one that is ended before the finalizer has gone would be begun anew, and claim the cluster,
// where the write of that fails.
func (r *Reconciler) release(ctx context.Context, m *removal, said *report.Event) (reconcile.Result, error) {
	if !m.another() {
		return r.removeFinalizer(ctx, m, said)
	}
	// What was claimed there by mistake. That it cannot be told is no reason to wait.
	return r.purge(ctx, m, func(ctx context.Context, _ error) (reconcile.Result, error) { return r.removeFinalizer(ctx, m, said) })
}

func (r *Reconciler) removeFinalizer(ctx context.Context, m *removal, said *report.Event) (reconcile.Result, error) {
	c := m.cluster.DeepCopy()
	controllerutil.RemoveFinalizer(c, v1alpha1.Finalizer)
	if err := hubapi.PatchFinalizers(ctx, r.Hub, c); err != nil {
		return hubapi.ResultForError(err)
	}
	r.forget(m.key)
	if said != nil {
		hubapi.Record(r.Recorder, m.cluster, "Remove", []report.Event{*said})
	}
	return reconcile.Result{}, nil
}

func (m *removal) policy() v1alpha1.ClusterDeletionPolicy {
	if m.cluster.Spec.DeletionPolicy == "" {
		return v1alpha1.ClusterDeletionOrphan
	}
	return m.cluster.Spec.DeletionPolicy
}

func (m *removal) deletionPolicy() v1alpha1.DeletionPolicy {
	if m.policy() == v1alpha1.ClusterDeletionDelete {
		return v1alpha1.DeletionDelete
	}
	return v1alpha1.DeletionOrphan
}

func (m *removal) retiring() bool {
	ready := meta.FindStatusCondition(m.cluster.Status.Conditions, v1alpha1.ReadyCondition)
	return ready != nil && ready.Reason == v1alpha1.RetiringReason
}

func (m *removal) done() *report.Event {
	what := "Its objects are left there and belong to nobody"
	if m.policy() == v1alpha1.ClusterDeletionDelete {
		what = "Its objects are deleted"
	}
	if stay := m.givenUp(); len(stay) > 0 {
		return &report.Event{Warning: true, Reason: v1alpha1.RemovedReason, Message: what + ", but for those of " + few(stay) + ", whose ServiceAccounts could not delete them: they are left there and belong to nobody"}
	}
	return &report.Event{Reason: v1alpha1.RemovedReason, Message: what + "; nothing of the hub is left there but the namespace " + v1alpha1.SystemNamespace}
}

// leftEvent says what is left on a cluster that is abandoned.
func (m *removal) leftEvent(warning bool, why string) *report.Event {
	var names []string
	objects := 0
	if m.assign != nil {
		for i := range m.assign.Spec.Entries {
			names = append(names, m.assign.Spec.Entries[i].Name)
		}
		for i := range m.assign.Status.Entries {
			objects += int(m.assign.Status.Entries[i].Objects.Applied)
		}
	}
	what := "the hub's inventories, claim and account"
	if m.cluster.Spec.Agent != nil { // it has no account there, and keeps what its disk has
		what = "the hub's inventories and claim, and the agent, which goes on putting back drift until its Deployment skerry-agent is deleted there"
	}
	if m.retiring() { // the Kustomizations have gone
		return &report.Event{Warning: warning, Reason: v1alpha1.AbandonedReason, Message: why + ". It was told to take away what was left, and did not say that it has: what may stay there is " + what}
	}
	if len(names) > 0 {
		what = fmt.Sprintf("%s of %s, and %s", text.Count(objects, "object"), few(names), what)
	}
	return &report.Event{Warning: warning, Reason: v1alpha1.AbandonedReason, Message: why + ". What stays there: " + what}
}

// few names Kustomizations, at most five.
func few(names []string) string {
	text := strings.Join(names[:min(len(names), 5)], ", ")
	if more := len(names) - 5; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	if len(names) == 1 {
		return "Kustomization " + text
	}
	return "Kustomizations " + text
}
