// Package removal decides how the removal of a deleted Cluster goes on. It is pure: what is known of the Cluster, its
// Assignment and the connection, and the time, lead to the next step and the reason for it.
//
// It promises that every Cluster is released in the end, and that what stays on a cluster is named.
package removal

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/report"
)

// DefaultTimeout is how long a deleted Cluster waits for one that does not answer.
const DefaultTimeout = 5 * time.Minute

// State is what is known of the removal of one Cluster.
type State struct {
	// Cluster is the deleted one.
	Cluster *v1alpha1.Cluster
	// Assignment is that of the Cluster; nil when nothing was ever assigned.
	Assignment *v1alpha1.Assignment
	// Connection as the engine knows it. Err explains why there is none to try, and is reportable.
	Connection report.Connection
	Err        error
	// Denials are those of the entries of the Assignment, in their order, as Denials returns them.
	Denials []report.Denial
	// Since is when this process began with the removal.
	Since time.Time
	// Timeout is how long a cluster that does not answer, and an account that cannot delete, are waited for.
	Timeout time.Duration
	Now     time.Time
}

// Action is what is done next.
type Action int

const (
	// Wait reports what is waited for.
	Wait Action = iota
	// Finalize has the engine take away what the hub keeps on the cluster for itself.
	Finalize
	// Release removes the finalizer.
	Release
)

// Step is the next step of a removal.
type Step struct {
	Action Action
	// Message of the condition, with Wait and Finalize.
	Message string
	// After is the time until the next step, with Wait; zero where a watch shows it.
	After time.Duration
	// Event is recorded, with Release; nil for none.
	Event *report.Event
	// Withdraw means, with Release, that another cluster answers: what the hub claimed there by mistake is taken away first.
	Withdraw bool
}

// Abandon returns the step that ends the removal of a Cluster on whose cluster nothing is to be changed, and false for any
// other Cluster.
func Abandon(s State) (Step, bool) {
	switch {
	case s.Cluster.Spec.DeletionPolicy == v1alpha1.ClusterDeletionAbandon:
		return s.release(s.abandoned(false, "Abandoned, as spec.deletionPolicy says")), true
	case s.Cluster.Spec.Suspend:
		return s.release(s.abandoned(true, "Abandoned, because a suspended cluster is left as it is")), true
	}
	return Step{}, false
}

// Denials returns what is denied to the accounts of the entries that are to be deleted; see report.DenialOf. A tenant
// whose account is gone does not keep a Cluster from going.
func Denials(s State) []report.Denial {
	if s.Assignment == nil {
		return nil
	}
	deletion := report.Deletion{Deleted: s.Cluster.DeletionTimestamp.Time, Since: s.Since, Now: s.Now, GracePeriod: s.Timeout}
	all := make([]report.Denial, len(s.Assignment.Spec.Entries))
	if s.deletionPolicy() == v1alpha1.DeletionOrphan {
		return all
	}
	for i := range all {
		e := &s.Assignment.Spec.Entries[i]
		all[i] = report.DenialOf(e, s.reported(e.Name), s.Cluster, deletion)
	}
	return all
}

// Entries returns the entries that the Assignment is to have: every one of them is removed.
func Entries(s State) []v1alpha1.AssignmentEntry {
	want := s.Assignment.DeepCopy().Spec.Entries
	for i := range want {
		e := &want[i]
		e.Remove, e.Suspend, e.DeletionPolicy = true, false, s.deletionPolicy()
		if s.Denials[i].GivenUp {
			e.DeletionPolicy = v1alpha1.DeletionOrphan
		}
	}
	return want
}

// Next returns the step of a removal whose entries are all to be removed.
//
//	deleted at 12:00, the cluster answers                 waits for the Kustomizations, then finalizes
//	unreachable since 11:00                               waits until 12:05, and is abandoned then
//	answers at 12:03, unreachable since                   waits until 12:08
//	never reached, or nothing of this hub is on it        is released at once
func Next(s State) Step {
	if !s.answers() {
		return s.awaitAnswer()
	}
	if remaining := s.remaining(); len(remaining) > 0 {
		denied, wait := s.denied()
		return Step{Action: Wait, After: wait, Message: fmt.Sprintf("%s: waits for %s%s", s.policy(), few(remaining), denied)}
	}
	return Step{Action: Finalize, Message: "Taking away what the hub keeps there for itself"}
}

// Finalized returns the step after the engine has taken away the last.
func Finalized(s State) Step { return s.release(s.removed()) }

func (s State) release(e *report.Event) Step {
	return Step{Action: Release, Event: e, Withdraw: s.isOtherCluster()}
}

// answers reports whether the cluster can be worked on, and is the one that it was.
func (s State) answers() bool {
	return s.Err == nil && s.Connection.Known && s.Connection.Usable && !s.isOtherCluster()
}

// isOtherCluster reports whether another cluster answers at the address.
func (s State) isOtherCluster() bool {
	return s.Cluster.Status.UID != "" && s.Connection.UID != "" && s.Connection.UID != s.Cluster.Status.UID
}

// notOurs are the reasons of a connection to a cluster on which nothing was ever put in the name of the Cluster.
var notOurs = []string{v1alpha1.HubItselfReason, v1alpha1.DuplicateClusterReason, v1alpha1.OwnedByAnotherHubReason, v1alpha1.DuplicateHubReason}

// awaitAnswer waits for a cluster that does not answer, but not for ever, and not for one on which this hub has nothing.
func (s State) awaitAnswer() Step {
	c, conn := s.Cluster, s.Connection
	switch {
	case conn.Known && slices.Contains(notOurs, conn.Reason):
		return s.release(nil)
	case conn.Agent.Pending && c.Status.UID == "":
		return s.release(nil) // no agent has ever joined
	case c.Status.UID == "" && conn.UID == "" && (conn.Known || s.Err != nil):
		return s.release(nil) // it was never reached
	case s.retiring() && conn.Known && conn.Reason == v1alpha1.UnauthorizedReason:
		return s.release(s.removed()) // the account was the last to go, and has gone
	}
	until := s.deadline()
	if wait := until.Sub(s.Now); wait > 0 {
		return Step{Action: Wait, After: wait, Message: fmt.Sprintf("%s: waits for the cluster, until %s: %s", s.policy(), until.UTC().Format("15:04:05 MST"), s.unavailableReason())}
	}
	return s.release(s.abandoned(true, fmt.Sprintf("Abandoned after %s without an answer: %s", s.Timeout, s.unavailableReason())))
}

// deadline is when the wait for an answer ends: counted from the deletion, or from the last answer of a cluster on which
// the removal went on since.
func (s State) deadline() time.Time {
	from := s.Cluster.DeletionTimestamp.Time
	if !s.Connection.Reachable && s.Connection.LastSeen.After(from) {
		from = s.Connection.LastSeen
	}
	return from.Add(s.Timeout)
}

// unavailableReason explains why the cluster does not answer.
func (s State) unavailableReason() string {
	switch {
	case s.Err != nil:
		return s.Err.Error()
	case s.isOtherCluster():
		return "another cluster answers in its place"
	case !s.Connection.Known:
		return "it is being tried"
	}
	return s.Connection.Message
}

// reported returns what was reported of an entry; nil for nothing.
func (s State) reported(name string) *v1alpha1.AssignmentEntryStatus {
	at := slices.IndexFunc(s.Assignment.Status.Entries, func(e v1alpha1.AssignmentEntryStatus) bool { return e.Name == name })
	if at < 0 {
		return nil
	}
	return &s.Assignment.Status.Entries[at]
}

// denied describes the first entry whose account cannot delete what it has, and what ends the wait; "" when there is
// none. It returns the time until the next step as well.
func (s State) denied() (string, time.Duration) {
	wait := DefaultTimeout
	message := ""
	for i, d := range s.Denials {
		if d.Until.IsZero() {
			continue
		}
		wait = min(wait, d.Until.Sub(s.Now))
		name := s.Assignment.Spec.Entries[i].Name
		if status := s.reported(name); message == "" && status != nil { // nil: the write of the entries read another status
			message = fmt.Sprintf(". %s: %s: %s; %s", name, status.Reason, report.Line(status.Message), d.Remedy())
		}
	}
	return message, max(wait, time.Second)
}

// remaining names the Kustomizations that are not removed yet.
func (s State) remaining() []string {
	if s.Assignment == nil {
		return nil
	}
	removed := map[string]bool{}
	for i := range s.Assignment.Status.Entries {
		removed[s.Assignment.Status.Entries[i].Name] = s.Assignment.Status.Entries[i].Removed
	}
	var names []string
	for i := range s.Assignment.Spec.Entries {
		if name := s.Assignment.Spec.Entries[i].Name; !removed[name] {
			names = append(names, name)
		}
	}
	return names
}

func (s State) policy() v1alpha1.ClusterDeletionPolicy {
	if s.Cluster.Spec.DeletionPolicy == "" {
		return v1alpha1.ClusterDeletionOrphan
	}
	return s.Cluster.Spec.DeletionPolicy
}

func (s State) deletionPolicy() v1alpha1.DeletionPolicy {
	if s.policy() == v1alpha1.ClusterDeletionDelete {
		return v1alpha1.DeletionDelete
	}
	return v1alpha1.DeletionOrphan
}

// retiring reports whether the engine was told to take away the last.
func (s State) retiring() bool {
	ready := meta.FindStatusCondition(s.Cluster.Status.Conditions, v1alpha1.ReadyCondition)
	return ready != nil && ready.Reason == v1alpha1.RetiringReason
}
