package kustomization

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
		// The halt is recorded first: who is back does not show any more what the change did.
		plan.Return, d.checkAt = nil, now
	}
	moves := orders(plan)
	if len(plan.CatchUp) > 0 {
		if err := r.renderVerified(ctx, o, d, moves); err != nil {
			return err
		}
	}
	for _, t := range d.targets {
		d.order(o, t, moves[t.Name], now)
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

// move is what the planner says of one cluster.
type move struct {
	start, back, catchUp bool

	verified string // digest of what was verified, for a cluster that is to catch up
	why      string // it does not get the change now
}

func orders(plan rollout.Plan) map[string]*move {
	all := map[string]*move{}
	of := func(name string) *move {
		if all[name] == nil {
			all[name] = &move{}
		}
		return all[name]
	}
	for _, name := range plan.Start {
		of(name).start = true
	}
	for _, name := range plan.Return {
		of(name).back = true
	}
	for _, name := range plan.CatchUp {
		of(name).catchUp, of(name).why = true, "new; gets what was verified before, and then the change"
	}
	for _, h := range plan.Hold {
		of(h.Cluster).why = h.Reason
	}
	return all
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

// order decides the entry of one target.
func (d *decision) order(o *observed, t *target, m *move, now time.Time) {
	have := o.assigned[t.Name]
	if m == nil {
		m = &move{}
	}
	t.held = m.why
	was := have.entry
	switch {
	case t.err != nil:
		d.stay(o, t)
	case was == nil && have.status != nil && have.status.Removed && (m.start || m.verified != ""):
		// What an engine said of an entry that is gone must not be taken for a word on the new one.
		t.err = &report.Waiting{Reason: v1alpha1.ProgressingReason, Err: errors.New("an earlier assignment is being forgotten")}
	case m.start:
		t.want = o.entry(t, d.revision, t.digest)
		t.want.Change, t.want.Fallback = d.rollout.ID, rollout.Fallback(was, o.ks.Status.Rollout)
		t.want.AssignedAt = assignedAt(o, was, t.digest, now)
	case m.back && was != nil && was.Fallback != nil:
		t.want = o.entry(t, was.Fallback.Revision, was.Fallback.Digest)
		t.want.AssignedAt = assignedAt(o, was, t.want.Digest, now)
		if v := d.rollout.Verified; v != nil {
			t.want.Change = v.ID // so that it is what the next change falls back to
		}
	case m.verified != "":
		v := d.rollout.Verified
		t.want = o.entry(t, v.Revision, m.verified)
		t.want.Change, t.want.AssignedAt = v.ID, assignedAt(o, was, m.verified, now)
	default:
		d.stay(o, t)
	}
	if t.want != nil && was != nil && t.want.Digest == was.Digest {
		if at := rollout.Unverify(was, t.digest, o.ks.Status.Rollout, d.rollout); at != nil {
			t.want.AssignedAt = at
		}
	}
}

// stay leaves a target at the revision that it has; what else the spec says still holds.
func (d *decision) stay(o *observed, t *target) {
	was := o.assigned[t.Name].entry
	if was == nil {
		return
	}
	t.want = o.entry(t, was.Revision, was.Digest)
	t.want.Change, t.want.AssignedAt, t.want.Fallback = was.Change, was.AssignedAt, was.Fallback
	// The acknowledgement stands for the digest: a later commit that renders the same does not end it.
	t.want.AllowPrune = o.acknowledges(was, t.digest) || was.AllowPrune && o.ks.Annotations[v1alpha1.AllowPruneAnnotation] != ""
}

// assignedAt is when the entry that follows another is assigned: what has the digest already was.
func assignedAt(o *observed, was *v1alpha1.AssignmentEntry, digest string, now time.Time) *metav1.Time {
	if was != nil && !was.Remove && was.Digest == digest && was.AssignedAt != nil {
		return was.AssignedAt
	}
	return rollout.AssignedAt(now, was, o.ks.Status.Rollout)
}

// renderVerified renders the verified revision for clusters that are new while a change is under way.
// Where that cannot be told any more, they wait for the change.
func (r *Reconciler) renderVerified(ctx context.Context, o *observed, d *decision, moves map[string]*move) error {
	var todo []*target
	for _, t := range d.targets {
		if m := moves[t.Name]; m != nil && m.catchUp && t.err == nil {
			todo = append(todo, &target{Target: t.Target})
		}
	}
	v := d.rollout.Verified
	if v == nil || !rendersAs(*v, d.rollout.RolloutChange) {
		for _, t := range todo {
			moves[t.Name].why = "new; gets the change when its turn comes"
		}
		return nil
	}
	err := r.renderAnew(ctx, o, &v1alpha1.Artifact{Revision: v.Revision}, r.options(o), todo)
	if err != nil && !errors.Is(err, git.ErrNotStored) && !report.IsReportable(err) {
		return fmt.Errorf("cannot render the verified revision: %w", err)
	}
	for _, t := range todo {
		if err == nil && t.err == nil {
			moves[t.Name].verified = t.digest
			continue
		}
		moves[t.Name].why = "new; the verified revision cannot be rendered for it, so it waits for the change"
	}
	return nil
}
