package kustomization

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/rollout"
)

// planRollout asks the planner which of the targets get what was rendered now, and decides their entries by
// its answer.
func (r *Reconciler) planRollout(ctx context.Context, o *observed, d *decision) error {
	change, err := r.changeOf(o)
	if err != nil {
		return err
	}
	now := r.Now()
	exprs, err := r.readyExprs(ctx, o)
	if err != nil {
		if !report.IsReportable(err) {
			return err
		}
		d.err = err
		d.keep(o)
		return nil
	}
	for _, t := range d.targets {
		if t.waits, err = r.follow(ctx, o, t); err != nil {
			return err
		}
		if t.waits == "" {
			if t.waits, err = r.awaitReadyExprs(ctx, o, t, exprs); err != nil {
				return err
			}
		}
		d.followed = d.followed || t.waits != ""
	}
	plan, err := rollout.Next(now, rollout.Rollout{
		Name: o.ks.Name, Spec: o.ks.Spec.Rollout, Status: o.ks.Status.Rollout, Change: change, Clusters: members(o, d, change.ID, now),
		Paused:  o.ks.Annotations[v1alpha1.RolloutPausedAnnotation] == "true",
		Promote: o.ks.Annotations[v1alpha1.RolloutPromoteAnnotation],
		Undo:    o.ks.Annotations[v1alpha1.RolloutUndoAnnotation],
	})
	if err != nil {
		d.err = &report.Stalled{Reason: v1alpha1.InvalidRolloutReason, Err: err}
		d.keep(o)
		return nil //nolint:nilerr // d carries it: it is one to be reported
	}
	d.rollout, d.checkAt = &plan.Status, plan.RecheckAt
	if len(plan.Return) > 0 && !isHalted(o.ks.Status.Rollout, change.ID) {
		// The halt is recorded first: a cluster that has returned reports the state after that, so it cannot be used to judge the change.
		plan.Return, d.checkAt = nil, now
	}
	instructions, verified := plan.Instructions(), map[string]string{}
	if len(plan.CatchUp) > 0 {
		if verified, err = r.renderVerified(ctx, o, d, instructions); err != nil {
			return err
		}
	}
	for _, t := range d.targets {
		d.decideEntry(o, t, instructions[t.Name], verified[t.Name], now)
	}
	return nil
}

func isHalted(status *v1alpha1.RolloutStatus, id string) bool {
	return status != nil && slices.ContainsFunc(status.Halted, func(c v1alpha1.RolloutChange) bool { return c.ID == id })
}

// changeOf names what is to be rolled out. Of its id, the first part stands for the commit and the
// second for everything else that goes into the render of all clusters.
func (r *Reconciler) changeOf(o *observed) (v1alpha1.RolloutChange, error) {
	artifact := o.source.Status.Artifact
	source, err := digestOf(artifact.Revision, artifact.Digest)
	if err != nil {
		return v1alpha1.RolloutChange{}, err
	}
	how, err := digestOf(r.options(o), o.ks.Spec.Patches, o.ks.Spec.Images)
	if err != nil {
		return v1alpha1.RolloutChange{}, err
	}
	return v1alpha1.RolloutChange{
		ID: hex.EncodeToString(source[:5]) + "-" + hex.EncodeToString(how[:5]), Revision: artifact.Revision,
	}, nil
}

// rendersAs reports whether two changes differ in nothing but the commit.
func rendersAs(a, b v1alpha1.RolloutChange) bool {
	_, one, _ := strings.Cut(a.ID, "-")
	_, other, _ := strings.Cut(b.ID, "-")
	return one == other
}

// members are the targets as the planner sees them.
func members(o *observed, d *decision, change string, now time.Time) []rollout.Member {
	all := make([]rollout.Member, 0, len(d.targets))
	for _, t := range d.targets {
		have := o.assigned[t.Name]
		m := rollout.Member{Name: t.Name, Labels: t.Labels, Position: position(have.entry, t), Unrenderable: t.err != nil, Waits: t.waits}
		m.Observe(rollout.Observation{
			Now: now, Cluster: o.byName[t.Name], Entry: have.entry, Reported: have.status, Err: t.err, Status: o.ks.Status.Rollout, Change: change,
		})
		if m.Waits != "" {
			m.Message = m.Waits
		}
		all = append(all, m)
	}
	return all
}

func position(have *v1alpha1.AssignmentEntry, t *target) rollout.Position {
	at := rollout.PositionOf(have, t.digest)
	if t.err != nil && at == rollout.AtTarget {
		return rollout.Other
	}
	return at
}

// decideEntry decides the entry of one target by the instruction of the plan. Verified is the digest of what the verified
// change renders for it, where it catches up.
func (d *decision) decideEntry(o *observed, t *target, in rollout.Instruction, verified string, now time.Time) {
	have := o.assigned[t.Name]
	t.held = in.Reason
	next, wait := rollout.NextContent(in, rollout.Assignment{
		Entry: have.entry, Forgetting: have.status != nil && have.status.Removed,
		Revision: d.revision, Digest: t.digest, Unrenderable: t.err != nil, VerifiedDigest: verified,
		Before: o.ks.Status.Rollout, Status: d.rollout, Now: now,
	})
	if wait {
		t.err = &report.Waiting{Reason: v1alpha1.ProgressingReason, Err: errors.New("an earlier assignment is being forgotten")}
		return
	}
	t.want = o.entryWith(t, next)
}

// keepContent leaves a target at the revision that it has; what else the spec holds still applies.
func (d *decision) keepContent(o *observed, t *target) {
	next, _ := rollout.NextContent(rollout.Instruction{}, rollout.Assignment{Entry: o.assigned[t.Name].entry})
	t.want = o.entryWith(t, next)
}

// entryWith is what the Kustomization wants on a cluster with the content; nil where that is nil.
func (o *observed) entryWith(t *target, c *rollout.Content) *v1alpha1.AssignmentEntry {
	if c == nil {
		return nil
	}
	want := o.entry(t, c.Revision, c.Digest)
	want.Change, want.AssignedAt, want.Fallback = c.Change, c.AssignedAt, c.Fallback
	if c.Kept {
		// The acknowledgement stands for the digest: a later commit that renders the same does not end it.
		was := o.assigned[t.Name].entry
		want.AllowPrune = o.acknowledges(was, t.digest) || was.AllowPrune && o.ks.Annotations[v1alpha1.AllowPruneAnnotation] != ""
	}
	return want
}

// renderVerified renders the verified revision for clusters that are new while a change is under way, and returns the
// digests. Where there is none, the clusters wait for the change, and their instructions name the reason.
func (r *Reconciler) renderVerified(ctx context.Context, o *observed, d *decision, instructions map[string]rollout.Instruction) (map[string]string, error) {
	digests := map[string]string{}
	wait := func(t *target, reason string) {
		instructions[t.Name] = rollout.Instruction{Action: rollout.CatchUp, Reason: reason}
	}
	var todo []*target
	for _, t := range d.targets {
		if instructions[t.Name].Action == rollout.CatchUp && t.err == nil {
			todo = append(todo, &target{Target: t.Target})
		}
	}
	v := d.rollout.Verified
	if v == nil || !rendersAs(*v, d.rollout.RolloutChange) {
		for _, t := range todo {
			wait(t, "new; gets the change when its turn comes")
		}
		return digests, nil
	}
	err := r.renderAnew(ctx, o, &v1alpha1.Artifact{Revision: v.Revision}, r.options(o), todo)
	if err != nil && !errors.Is(err, git.ErrNotStored) && !report.IsReportable(err) {
		return nil, fmt.Errorf("cannot render the verified revision: %w", err)
	}
	for _, t := range todo {
		if err == nil && t.err == nil {
			digests[t.Name] = t.digest
			continue
		}
		wait(t, "new; the verified revision cannot be rendered for it, so it waits for the change")
	}
	return digests, nil
}
