package agent

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// effective returns what the engine is to apply, given what is assigned, what it was given before and which
// bundles are on the disk, and the names of the entries that are held.
//
// An entry whose bundle has not arrived is held: the engine keeps what stood before, drift included. While
// one is held, it is not known what it will want, and an object that another entry drops may be its: the
// entries that go on delete nothing. Both sets are sorted by name.
//
// Example: r1 of apps and web are on the cluster, r2 of both is assigned, and an object moves from apps to
// web. The bundle of apps arrives first: the engine gets apps at r2 with holdPrune, and web at r1. The object
// stays. When the bundle of web is there, it gets both at r2, and hands the object over.
func effective(assigned, before []v1alpha1.AssignmentEntry, has func(digest string) bool) (now []v1alpha1.AssignmentEntry, held []string) {
	was := make(map[string]v1alpha1.AssignmentEntry, len(before))
	for _, e := range before {
		was[e.Name] = e
	}
	now = slices.Clone(assigned)
	for i := range now {
		if e := &now[i]; !e.Remove && e.Digest != "" && !has(e.Digest) {
			held = append(held, e.Name)
			if old, there := was[e.Name]; there && old.Digest != "" && !old.Remove && has(old.Digest) {
				now[i] = lastAssigned(*e, old)
			}
		}
	}
	if len(held) > 0 {
		for i := range now {
			now[i].HoldPrune = true
		}
	}
	slices.SortFunc(now, func(a, b v1alpha1.AssignmentEntry) int { return strings.Compare(a.Name, b.Name) })
	return now, held
}

// lastAssigned returns an entry as it was before, with the fields of the new one that hold at once.
func lastAssigned(e, old v1alpha1.AssignmentEntry) v1alpha1.AssignmentEntry {
	old.Suspend = e.Suspend
	return old
}

// wantedDigests returns the digests of the bundles that the entries name, in the order in which they are fetched:
// first those that hold an entry back.
func wantedDigests(entries []v1alpha1.AssignmentEntry) []string {
	var first, then []string
	for i := range entries {
		e := &entries[i]
		if e.Remove {
			then = append(then, e.KeepFor...)
			continue
		}
		first = append(first, e.Digest)
		then = append(append(then, e.KeepFor...), e.Undone)
	}
	var all []string
	for _, d := range append(first, then...) {
		if d != "" && !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}

// digestsToKeep returns the digests of the bundles that the agent needs to go on from its disk: what is assigned, what
// the engine was given, what is on the cluster, and what the hub goes back to when a change is undone.
func digestsToKeep(assigned, given []v1alpha1.AssignmentEntry, report []v1alpha1.AssignmentEntryStatus) map[string]bool {
	keep := map[string]bool{}
	for _, d := range append(wantedDigests(assigned), wantedDigests(given)...) {
		keep[d] = true
	}
	for i := range assigned {
		if f := assigned[i].Fallback; f != nil {
			keep[f.Digest] = true
		}
	}
	for i := range report {
		keep[report[i].AppliedDigest] = true
	}
	return keep
}

// withHeld returns the report with what keeps entries back: a bundle that was refused, or cannot be fetched.
// failures are by digest.
func withHeld(report []v1alpha1.AssignmentEntryStatus, assigned []v1alpha1.AssignmentEntry, held []string, failures map[string]failure) []v1alpha1.AssignmentEntryStatus {
	if len(held) == 0 {
		return report
	}
	out := slices.Clone(report)
	for i := range assigned {
		e := &assigned[i]
		f, failed := failures[e.Digest]
		at := slices.IndexFunc(out, func(s v1alpha1.AssignmentEntryStatus) bool { return s.Name == e.Name })
		if at < 0 || !slices.Contains(held, e.Name) {
			continue
		}
		s := &out[at]
		s.Revision, s.Digest = e.Revision, e.Digest
		s.Ready, s.Reason, s.Message = metav1.ConditionUnknown, v1alpha1.ProgressingReason, "the bundle is being fetched from the hub"
		if failed {
			s.Ready, s.Reason, s.Message = metav1.ConditionFalse, f.reason, f.message
		}
	}
	return out
}

// failure is why a bundle could not be fetched.
type failure struct{ reason, message string }
