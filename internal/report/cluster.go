package report

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
)

// lastSeenEvery is how often lastSeen is written while nothing changes.
const lastSeenEvery = 5 * time.Minute

// Connection is what is known of the connection to a cluster.
type Connection struct {
	// Reachable reports whether the last try was answered.
	Reachable bool
	// Known means that there was a try at all.
	Known bool
	// Usable is false when the cluster answers but must not be worked on, for Reason.
	Usable  bool
	Reason  string
	Message string
	UID     string
	Version string
	// LastSeen is the time of the last answer.
	LastSeen time.Time
	// Orphaned names inventories that no Kustomization claims, once they are Examined; empty when there
	// are none.
	Orphaned string
	Examined bool
	// Agent is what is known of the agent, where one works on the cluster.
	Agent link.AgentInfo
}

// ClusterFacts is what is known of one cluster.
type ClusterFacts struct {
	// Object is the Cluster with its status before.
	Object *v1alpha1.Cluster
	Now    time.Time
	// Connection as the engine knows it.
	Connection Connection
	// Handled is the request for a reconciliation that was handled last.
	Handled string
	// Err explains why there is no connection to try.
	Err error
	// Renewal is what became of the token of the kubeconfig, where the hub renews it.
	Renewal Renewal
	// Removal describes how far the removal of a deleted Cluster is; nil for one that is not.
	Removal *Removal
}

// Renewal describes the renewal of a token; the zero value where there is none.
type Renewal struct {
	// After is the time until the next look.
	After time.Duration
	// Err is why the token could not be renewed, and Expires when it expires then.
	Err     error
	Expires time.Time
}

// Removal is what is waited for before a deleted Cluster goes.
type Removal struct {
	// Retiring means that only the hub's own is left.
	Retiring bool
	Message  string
}

// Cluster reports what is known of a cluster.
func Cluster(f ClusterFacts) Report[v1alpha1.ClusterStatus] {
	c, conn := f.Object, f.Connection
	status := *c.Status.DeepCopy()
	status.ObservedGeneration = c.Generation
	status.LastHandledReconcileAt = f.Handled
	status.Agent = agentStatus(f)
	if f.Err == nil && conn.Known && f.Removal == nil { // which cluster it was is not to change then
		takeOver(&status, conn)
		status.LastSeen = lastSeen(c.Status, conn)
	}
	status.Conditions = settle(c.Status.Conditions, clusterConditions(f), c.Generation, f.Now)
	r := Report[v1alpha1.ClusterStatus]{Status: status, Events: clusterEvents(c.Status, status)}
	if f.Err == nil && conn.Reachable {
		r.Requeue = nextLastSeen(c.UID)
	}
	if p := explain(f.Err); p != nil && p.after > 0 {
		r.Requeue = p.after
	}
	if n := f.Renewal; n.After > 0 && (r.Requeue == 0 || n.After < r.Requeue) {
		r.Requeue = n.After
	}
	if n := f.Renewal; n.Err != nil {
		r.Events = append(r.Events, Event{Warning: true, Reason: v1alpha1.TokenRenewalFailedReason, Message: Line(fmt.Sprintf(
			"%v; it expires at %s, and 'skerry cluster rotate %s' makes another", n.Err, n.Expires.UTC().Format(time.RFC3339), c.Name))})
	}
	return r
}

// nextLastSeen is when lastSeen of a Cluster is due to be written the next time: between 4m30s and 7m, at
// another time for each. A fleet that connected at once would be written at once every five minutes otherwise.
func nextLastSeen(uid types.UID) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid)) // never fails
	return lastSeenEvery - lastSeenEvery/10 + time.Duration(h.Sum32()%150)*time.Second
}

// OnlyLastSeenDiffers reports whether a Cluster's status differs from the one before in lastSeen, and in when its agent's
// connections began and ended, and in nothing else: nothing depends on these times.
func OnlyLastSeenDiffers(old, now v1alpha1.ClusterStatus) bool {
	if old.LastSeen == nil || now.LastSeen == nil || (old.Agent == nil) != (now.Agent == nil) {
		return false
	}
	same := *now.DeepCopy()
	same.LastSeen = old.LastSeen
	if before := old.Agent; before != nil && (before.ConnectedSince == nil) == (same.Agent.ConnectedSince == nil) {
		same.Agent.ConnectedSince, same.Agent.DisconnectedAt = before.ConnectedSince, before.DisconnectedAt
	}
	return equality.Semantic.DeepEqual(old, same) && !equality.Semantic.DeepEqual(old, now)
}

// takeOver keeps what was known where the cluster did not report it.
func takeOver(status *v1alpha1.ClusterStatus, conn Connection) {
	if conn.UID != "" {
		status.UID = conn.UID
	}
	if conn.Version != "" {
		status.Version = Line(conn.Version)
	}
}

func lastSeen(old v1alpha1.ClusterStatus, conn Connection) *metav1.Time {
	if conn.LastSeen.IsZero() {
		return old.LastSeen
	}
	seen := seconds(conn.LastSeen)
	was := condition(old.Conditions, v1alpha1.ReachableCondition).Status == metav1.ConditionTrue
	if old.LastSeen != nil && was == conn.Reachable && seen.Sub(old.LastSeen.Time) < lastSeenEvery-lastSeenEvery/10 {
		return old.LastSeen
	}
	return &seen
}

func clusterConditions(f ClusterFacts) []metav1.Condition {
	if f.Removal != nil {
		return removal(f)
	}
	list := connectionConditions(f)
	if meta.FindStatusCondition(list, v1alpha1.OrphanedCondition) == nil {
		list = append(list, orphaned(f)...)
	}
	return list
}

// orphaned keeps what was known while the cluster does not answer, and while a hub that has started has
// not examined it.
func orphaned(f ClusterFacts) []metav1.Condition {
	if f.Err != nil || !f.Connection.Known || !f.Connection.Usable || !f.Connection.Examined {
		if before := meta.FindStatusCondition(f.Object.Status.Conditions, v1alpha1.OrphanedCondition); before != nil {
			return []metav1.Condition{*before}
		}
		return nil
	}
	if f.Connection.Orphaned == "" {
		return nil
	}
	return []metav1.Condition{v1alpha1.Condition(v1alpha1.OrphanedCondition, metav1.ConditionTrue, v1alpha1.InventoryOrphanedReason,
		Line("No Kustomization of this hub claims, and nothing keeps or deletes: "+f.Connection.Orphaned))}
}

func connectionConditions(f ClusterFacts) []metav1.Condition {
	conn := f.Connection
	switch p := explain(f.Err); {
	case p != nil:
		unknown := v1alpha1.Condition(v1alpha1.ReachableCondition, metav1.ConditionUnknown, p.reason, "The cluster was not tried")
		return append(about(p), unknown)
	case !conn.Known:
		return notKnown(f.Object)
	case conn.Agent.Pending:
		return clusterState(metav1.ConditionUnknown, metav1.ConditionUnknown, cmp.Or(conn.Reason, v1alpha1.AgentNotConnectedReason), Line(conn.Message))
	case !conn.Reachable:
		return clusterState(metav1.ConditionFalse, metav1.ConditionFalse, v1alpha1.UnreachableReason, Line(cmp.Or(conn.Message, "The cluster does not answer")+carriedSince(agentStatus(f))))
	case !conn.Usable:
		return clusterState(metav1.ConditionFalse, metav1.ConditionTrue, cmp.Or(conn.Reason, v1alpha1.FailedReason), Line(conn.Message))
	case f.Object.Spec.Suspend:
		return clusterState(metav1.ConditionUnknown, metav1.ConditionTrue, v1alpha1.SuspendedReason, "Suspended; the cluster is left as it is")
	}
	message := cmp.Or(prefixed("Connected to Kubernetes ", Line(conn.Version)), "Connected")
	if conn.Agent.Idle {
		message += "; nothing is assigned to it"
	}
	if conn.Agent.DiskReason != "" { // the agent works from memory, and would not survive a restart while it is cut off
		message = Line(fmt.Sprintf("%s; the agent's disk: %s: %s", message, conn.Agent.DiskReason, conn.Agent.DiskMessage))
	}
	return clusterState(metav1.ConditionTrue, metav1.ConditionTrue, v1alpha1.SucceededReason, message)
}

// agentStatus keeps what is known of an agent while nothing newer is. When its connection began is written when
// something else is, or with lastSeen: of thousands that come back at once, each would otherwise be a write.
func agentStatus(f ClusterFacts) *v1alpha1.AgentStatus {
	if f.Object.Spec.Agent == nil {
		return nil
	}
	old, agent := f.Object.Status.Agent, f.Connection.Agent
	if f.Err != nil || !f.Connection.Known || f.Removal != nil {
		return old
	}
	status := &v1alpha1.AgentStatus{Version: Line(agent.Version), KeyFingerprint: agent.Fingerprint}
	if status.Version == "" && old != nil && old.KeyFingerprint == agent.Fingerprint {
		status.Version = old.Version
	}
	if agent.DiskReason != "" {
		status.Disk = Line(agent.DiskReason + ": " + agent.DiskMessage)
	}
	switch {
	case !agent.Connected && f.Connection.Reachable && old != nil && old.KeyFingerprint == agent.Fingerprint:
		status.ConnectedSince = old.ConnectedSince // it has a moment to return: a carrier that is away for that long costs no write
	case agent.Connected && !agent.Since.IsZero():
		since := seconds(agent.Since)
		status.ConnectedSince = &since
		if seen := f.Object.Status.LastSeen; old != nil && old.ConnectedSince != nil && seen != nil && f.Connection.LastSeen.Sub(seen.Time) < lastSeenEvery-lastSeenEvery/10 {
			status.ConnectedSince = old.ConnectedSince
		}
	}
	status.DisconnectedAt = disconnectedAt(f, status)
	status.CarriedReport = carriedReport(f)
	return status
}

// carriedReport keeps what is known of the last report that came by medium: a hub that has started does not know it.
func carriedReport(f ClusterFacts) *v1alpha1.CarriedReport {
	var old *v1alpha1.CarriedReport
	if a := f.Object.Status.Agent; a != nil && a.KeyFingerprint == f.Connection.Agent.Fingerprint { // else it is another agent's
		old = a.CarriedReport
	}
	carried := f.Connection.Agent.Carried
	number := int64(min(carried.Number, math.MaxInt64))
	if number == 0 || old != nil && old.Number == number && carried.Imported.IsZero() {
		return old
	}
	now := &v1alpha1.CarriedReport{Number: number}
	if !carried.Imported.IsZero() {
		made, imported := seconds(carried.Made), seconds(carried.Imported)
		now.MadeAt, now.ImportedAt = &made, &imported
	}
	return now
}

// carriedSince describes that the last that is known of an agent which is not connected came by medium; "" when it did not. What
// is carried before the connection counts as lost is itself the last that was heard of the agent, of the same second maybe.
func carriedSince(a *v1alpha1.AgentStatus) string {
	if a == nil || a.CarriedReport == nil || a.CarriedReport.ImportedAt == nil || a.DisconnectedAt != nil && a.CarriedReport.ImportedAt.Before(a.DisconnectedAt) {
		return ""
	}
	return "; what is known of it was carried here by medium"
}

// disconnectedAt returns when the hub last heard from the agent before the connection of now.
func disconnectedAt(f ClusterFacts, now *v1alpha1.AgentStatus) *metav1.Time {
	old := f.Object.Status.Agent
	switch {
	case old == nil || old.KeyFingerprint != now.KeyFingerprint: // of another agent
		return nil
	case old.ConnectedSince == nil || now.ConnectedSince != nil && now.ConnectedSince.Equal(old.ConnectedSince):
		return old.DisconnectedAt
	case now.ConnectedSince != nil: // this hub process has not seen the end of the connection before
		return f.Object.Status.LastSeen
	case f.Connection.LastSeen.IsZero():
		return f.Object.Status.LastSeen
	}
	at := seconds(f.Connection.LastSeen)
	return &at
}

func removal(f ClusterFacts) []metav1.Condition {
	reason, reachable := v1alpha1.RemovingReason, metav1.ConditionUnknown
	if f.Removal.Retiring {
		reason = v1alpha1.RetiringReason
	}
	if f.Err == nil && f.Connection.Known {
		reachable = metav1.ConditionFalse
		if f.Connection.Reachable {
			reachable = metav1.ConditionTrue
		}
	}
	message := Line(f.Removal.Message)
	return append(clusterState(metav1.ConditionFalse, reachable, reason, message), reconciling(reason, message))
}

// notKnown leaves what was said before, as long as it was said of this spec: a hub that starts knows
// nothing for a moment, which is no news.
func notKnown(c *v1alpha1.Cluster) []metav1.Condition {
	if old := c.Status.Conditions; len(old) > 0 && c.Status.ObservedGeneration == c.Generation &&
		condition(old, v1alpha1.ReachableCondition).Status != metav1.ConditionUnknown {
		return c.Status.DeepCopy().Conditions
	}
	message := "The cluster is being tried for the first time"
	if c.Spec.Agent != nil {
		message = "The hub waits for the agent to connect"
	}
	return append(clusterState(metav1.ConditionUnknown, metav1.ConditionUnknown, v1alpha1.ProgressingReason, message),
		reconciling(v1alpha1.ProgressingReason, message))
}

// clusterState returns Ready and Reachable. A reachable cluster has its own reason and message.
func clusterState(isReady, reachable metav1.ConditionStatus, reason, message string) []metav1.Condition {
	reach := v1alpha1.Condition(v1alpha1.ReachableCondition, reachable, reason, message)
	if reachable == metav1.ConditionTrue {
		reach.Reason, reach.Message = v1alpha1.SucceededReason, "The cluster answers"
	}
	return []metav1.Condition{ready(isReady, reason, message), reach}
}

func clusterEvents(old, now v1alpha1.ClusterStatus) []Event {
	var events []Event
	if old.UID != "" && old.UID != now.UID {
		events = append(events, Event{Warning: true, Reason: v1alpha1.ClusterReplacedReason, Message: fmt.Sprintf(
			"Another cluster answers: its uid is %s, it was %s. Nothing of the old one is deleted on it", Line(now.UID), Line(old.UID))})
	}
	is := condition(now.Conditions, v1alpha1.ReadyCondition)
	was := condition(old.Conditions, v1alpha1.ReadyCondition)
	if left := condition(now.Conditions, v1alpha1.OrphanedCondition); left.Message != condition(old.Conditions, v1alpha1.OrphanedCondition).Message && left.Message != "" {
		events = append(events, Event{Warning: true, Reason: left.Reason, Message: left.Message})
	}
	if is.Status == was.Status && is.Reason == was.Reason {
		return events
	}
	switch {
	case is.Reason == v1alpha1.UnreachableReason:
		events = append(events, Event{Warning: true, Reason: v1alpha1.ClusterUnreachableReason, Message: is.Message})
	case is.Reason == v1alpha1.RemovingReason, is.Reason == v1alpha1.RetiringReason:
		events = append(events, Event{Reason: v1alpha1.RemovingReason, Message: is.Message})
	case is.Status == metav1.ConditionFalse:
		events = append(events, Event{Warning: true, Reason: is.Reason, Message: is.Message})
	case is.Status == metav1.ConditionTrue:
		events = append(events, Event{Reason: v1alpha1.ClusterReachableReason, Message: is.Message})
	}
	return events
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}
