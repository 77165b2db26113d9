package rollout

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Action is what a plan does with one cluster.
type Action int

const (
	// Keep leaves it what it has.
	Keep Action = iota
	// Start sends it the change.
	Start
	// Return sends it back to its fallback.
	Return
	// CatchUp sends it, which is new, the verified change.
	CatchUp
)

// Instruction is what a plan does with one cluster.
type Instruction struct {
	Action Action
	// Reason why the cluster does not get the change now; "" where it does, or has it.
	Reason string
}

// Instructions returns the plan by cluster. One that is not in it keeps what it has, which is the change.
func (p Plan) Instructions() map[string]Instruction {
	all := map[string]Instruction{}
	for _, name := range p.Start {
		all[name] = Instruction{Action: Start}
	}
	for _, name := range p.Return {
		all[name] = Instruction{Action: Return}
	}
	for _, name := range p.CatchUp {
		all[name] = Instruction{Action: CatchUp, Reason: "new; gets what was verified before, and then the change"}
	}
	for _, h := range p.Hold {
		all[h.Cluster] = Instruction{Reason: h.Reason}
	}
	return all
}

// Assignment is all that NextContent decides from: what a cluster is assigned, and what it may be assigned instead.
type Assignment struct {
	// Entry is the present one; nil for none.
	Entry *v1alpha1.AssignmentEntry
	// Forgetting means that there is no entry, and that the engine still reports one that was removed.
	Forgetting bool
	// Revision and Digest are what was rendered for the cluster; Unrenderable means that nothing could be.
	Revision, Digest string
	Unrenderable     bool
	// VerifiedDigest is what the verified change renders for a cluster that catches up; "" where that is not known.
	VerifiedDigest string
	// Before is the status that is recorded, and Status the one of the plan; nil where there is no plan, which keeps what is there.
	Before, Status *v1alpha1.RolloutStatus
	Now            time.Time
}

// Content is what of an entry the rollout decides.
type Content struct {
	v1alpha1.Bundle
	// Change is the id of the change that assigned it.
	Change     string
	AssignedAt *metav1.Time
	Fallback   *v1alpha1.Bundle
	// Kept means that it is what the entry has.
	Kept bool
}

// NextContent returns what a cluster is assigned next, by the instruction for it; nil for nothing. Wait means that it must
// wait, as the report on an earlier entry would be taken for one on the new one.
//
// Example: edge-1 has revision 1, which is verified, and is started with revision 2: its fallback is revision 1. When the
// change is halted, it is sent back to that, as content of the verified change. A cluster that is new meanwhile gets
// revision 1 as well, at once.
func NextContent(in Instruction, a Assignment) (next *Content, wait bool) {
	was := a.Entry
	starts := in.Action == Start
	catchesUp := in.Action == CatchUp && a.VerifiedDigest != ""
	switch {
	case a.Unrenderable:
		next = kept(was)
	case was == nil && a.Forgetting && (starts || catchesUp):
		return nil, true
	case starts:
		next = a.content(a.Revision, a.Digest, a.Status.ID)
		next.Fallback = Fallback(was, a.Before)
	case in.Action == Return && was != nil && was.Fallback != nil:
		next = a.content(was.Fallback.Revision, was.Fallback.Digest, "")
		if v := a.Status.Verified; v != nil {
			next.Change = v.ID // so that it is what the next change falls back to
		}
	case catchesUp:
		next = a.content(a.Status.Verified.Revision, a.VerifiedDigest, a.Status.Verified.ID)
	default:
		next = kept(was)
	}
	if next != nil && was != nil && next.Digest == was.Digest {
		if at := Unverify(was, a.Digest, a.Before, a.Status); at != nil {
			next.AssignedAt = at
		}
	}
	return next, false
}

// content returns what is assigned now. What has the digest already was assigned before.
func (a Assignment) content(revision, digest, change string) *Content {
	c := &Content{Bundle: v1alpha1.Bundle{Revision: revision, Digest: digest}, Change: change}
	if was := a.Entry; was != nil && !was.Remove && was.Digest == digest && was.AssignedAt != nil {
		c.AssignedAt = was.AssignedAt
	} else {
		c.AssignedAt = AssignedAt(a.Now, was, a.Before)
	}
	return c
}

func kept(was *v1alpha1.AssignmentEntry) *Content {
	if was == nil {
		return nil
	}
	return &Content{
		Bundle: v1alpha1.Bundle{Revision: was.Revision, Digest: was.Digest},
		Change: was.Change, AssignedAt: was.AssignedAt, Fallback: was.Fallback, Kept: true,
	}
}
