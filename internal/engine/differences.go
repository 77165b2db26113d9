package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/drift"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
)

// difference is one object that has drifted and is left as it is.
type difference struct {
	// uid and fields are what the watch has shown: as long as they stay, the object is not compared again.
	uid, fields string
	// record is what is reported; nil where every field has the value that Git names.
	record *v1alpha1.DriftRecord
}

const (
	// maxDrifts bounds the drifts in a status, and maxPaths the fields that each names. Both keep the state
	// of an entry on the hub small.
	maxDrifts   = 10
	maxPaths    = 5
	maxPathSize = 120
)

var driftChanges = map[plan.Why]v1alpha1.DriftChange{
	plan.Missing: v1alpha1.DriftDeleted, plan.Recreated: v1alpha1.DriftRecreated, plan.Drifted: v1alpha1.DriftChanged,
}

// driftRecord describes a drift within the bounds of a status.
func driftRecord(id object.ID, why plan.Why, fields, managers []string, at time.Time, action v1alpha1.DriftAction) v1alpha1.DriftRecord {
	r := v1alpha1.DriftRecord{Object: id.String(), Change: driftChanges[why], At: metav1.NewTime(at.Truncate(time.Second)), Action: action}
	for _, f := range fields[:min(len(fields), maxPaths)] {
		if len(f) > maxPathSize {
			f = strings.ToValidUTF8(f[:maxPathSize], "") + "…"
		}
		r.Paths = append(r.Paths, f)
	}
	r.MorePaths = int32(len(fields) - len(r.Paths))
	r.Manager = strings.Join(managers[:min(len(managers), 2)], ", ")
	return r
}

// compare finds out in what the objects that are left as they are differ from Git. One that was compared
// before and has not changed since costs nothing; each of the others is read once, its metadata only, and
// asked about by a dry run, of which only the conflicts are used.
func (p *pass) compare(ctx context.Context, left []plan.Action) error {
	p.out.left = map[object.ID]difference{}
	if p.entry.Drift.GetMode() != v1alpha1.DriftReport {
		return nil
	}
	for _, a := range left {
		s, there := p.live.get(a.ID)
		is := difference{}
		if there && s.Owner == p.owner {
			is.uid, is.fields = s.UID, s.Fields.Digest
		}
		if before, known := p.left[a.ID]; known && before.uid == is.uid && before.fields == is.fields {
			p.out.left[a.ID] = before
			continue
		}
		if p.mustStop() {
			return nil
		}
		fields, managers, since, err := p.differs(ctx, a)
		if err != nil {
			return fmt.Errorf("cannot compare %s: %w", a.ID, err)
		}
		if a.Why != plan.Drifted || len(fields) > 0 {
			record := driftRecord(a.ID, a.Why, fields, managers, since, v1alpha1.DriftReported)
			is.record = &record
			p.eventAbout(Object{ID: a.ID, Version: a.Object.APIVersion(), UID: a.UID}, v1alpha1.DriftDetectedReason, describeDrift(a, record))
		}
		p.out.left[a.ID] = is
	}
	return nil
}

func describeDrift(a plan.Action, r v1alpha1.DriftRecord) string {
	message := fmt.Sprintf("%s was %s and is left as it is", a.ID, described[a.Why])
	if len(r.Paths) > 0 {
		message += ": " + strings.Join(r.Paths, ", ")
	}
	if r.MorePaths > 0 {
		message += fmt.Sprintf(" and %d more", r.MorePaths)
	}
	if r.Manager != "" {
		message += " by " + r.Manager
	}
	return message
}

// differs returns the fields in which an object differs from Git, the managers that wrote them, and since when. The clock
// of a cluster may be wrong: a time that is still to come is now.
func (p *pass) differs(ctx context.Context, a plan.Action) (fields, managers []string, since time.Time, err error) {
	now := p.now()
	if a.Why != plan.Drifted {
		return nil, nil, now, nil
	}
	m, err := p.mapping(ctx, a.Object)
	if err != nil {
		return nil, nil, now, err
	}
	found, err := p.client.Find(ctx, m, a.ID, p.manager)
	if err != nil || found == nil || found.Owner != p.owner {
		return nil, nil, now, err // the watch is about to show it
	}
	c := drift.Compared{
		Object: a.Object, Manager: p.manager, Managed: found.Managed, Ignored: p.client.Ignored(p.manager, a.ID), Keep: a.Object.Policy.Mode == object.Merge,
	}
	err = p.client.DryRun(ctx, m, a.Object, p.manager)
	switch {
	case errors.As(err, &c.Conflict):
	case err != nil && (apierror.Unanswered(err) || apierror.Unauthorized(err) || apierror.Overloaded(err)):
		return nil, nil, now, err
	case err != nil: // a webhook that takes no dry runs, say
		c.Unknown = true
	}
	d := c.Difference()
	if since = d.Since; since.IsZero() || since.After(now) {
		since = now
	}
	return d.Fields, d.Managers, since, nil
}

// noteDrift takes what a pass has corrected, and what it has left.
func (en *entry) noteDrift(o outcome, now time.Time) {
	for _, c := range o.drifted {
		en.corrected = append(en.corrected, driftRecord(c.id, c.why, c.fields, c.managers, now, v1alpha1.DriftCorrected))
	}
	en.corrected = en.corrected[max(0, len(en.corrected)-maxDrifts):]
	if o.left != nil {
		en.left = o.left
	}
}

// drifts returns the drifts for the status, and how many objects differ: first what is left as it is, then
// what was corrected, each the newest first.
func (en *entry) drifts() (list []v1alpha1.DriftRecord, left int32) {
	for _, id := range slices.SortedFunc(maps.Keys(en.left), object.ID.Compare) {
		if r := en.left[id].record; r != nil {
			list = append(list, *r)
		}
	}
	left = int32(len(list))
	slices.SortStableFunc(list, newestFirst)
	corrected := slices.Clone(en.corrected)
	slices.Reverse(corrected)
	list = append(list, corrected...)
	return list[:min(len(list), maxDrifts)], left
}

func newestFirst(a, b v1alpha1.DriftRecord) int {
	return cmp.Or(b.At.Compare(a.At.Time), strings.Compare(a.Object, b.Object))
}

// needsComparison reports whether an object that differs from what is recorded asks for a pass, where drift is
// left as it is: one that is reported does when the report is not true any more.
func (en *entry) needsComparison(id object.ID, uid, fields string, differs bool) bool {
	if en.Spec.Drift.GetMode() != v1alpha1.DriftReport {
		return false
	}
	before, known := en.left[id]
	if !differs {
		return known
	}
	return !known || before.uid != uid || before.fields != fields
}

// missing returns the first of the objects that were deleted on the cluster and are left so.
func (en *entry) missing() (object.ID, bool) {
	if en.Spec.Drift.GetMode() == v1alpha1.DriftCorrect || en.session == nil || en.pending() {
		return object.ID{}, false
	}
	for i := range en.desired.Objects {
		o := &en.desired.Objects[i]
		record := en.inv.Objects[o.ID]
		if l, there := en.view.live.get(o.ID); !o.HasDigest(record.Digest) || ended(record, o) || there && l.Owner == en.owner ||
			o.Policy.Mode == object.Ignore || o.Policy.Mode == object.IfNotPresent {
			continue
		}
		return o.ID, true
	}
	return object.ID{}, false
}
