package kustomization

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// edges are clusters that do what their Assignments say, as an engine does: they apply what is assigned, release
// what another entry desires, keep what an entry is to keep, and delete the rest of what it drops.
type edges struct {
	*world
	uids     map[string]map[string]int             // of the objects, by cluster and name
	recorded map[string]map[string]map[string]bool // by cluster and entry
	made     int
	deleted  []string
}

func newEdges(w *world, clusters ...string) *edges {
	e := &edges{world: w, uids: map[string]map[string]int{}, recorded: map[string]map[string]map[string]bool{}}
	for _, c := range clusters {
		e.uids[c], e.recorded[c] = map[string]int{}, map[string]map[string]bool{}
	}
	return e
}

func (e *edges) names(digests ...string) map[string]bool {
	e.t.Helper()
	names := map[string]bool{}
	for _, digest := range digests {
		b, err := e.store.Get(e.t.Context(), digest)
		if err != nil {
			e.t.Fatal(err)
		}
		for i := range b.Objects {
			names[b.Objects[i].Name] = true
		}
	}
	return names
}

// act lets every cluster do all that it can do, and report.
func (e *edges) act() {
	e.t.Helper()
	for cluster := range e.uids {
		a := e.assignment(cluster)
		if a.Name == "" {
			continue
		}
		for range 2 { // what one entry releases another one takes
			for i := range a.Spec.Entries {
				e.pass(cluster, a, &a.Spec.Entries[i])
			}
		}
		a.Status.Entries = nil
		for _, s := range a.Spec.Entries {
			st := v1alpha1.AssignmentEntryStatus{Name: s.Name, AppliedRevision: s.Revision, AppliedDigest: s.Digest, Ready: metav1.ConditionTrue, Reason: "Succeeded",
				Removed: s.Remove && len(e.recorded[cluster][s.Name]) == 0}
			if !s.Remove {
				for name := range e.names(s.Digest) {
					if !e.recorded[cluster][s.Name][name] {
						st.AppliedRevision, st.AppliedDigest, st.Ready, st.Reason = "", "", metav1.ConditionUnknown, v1alpha1.ProgressingReason
					}
				}
			}
			a.Status.Entries = append(a.Status.Entries, st)
		}
		if err := e.client.Status().Update(e.t.Context(), a); err != nil {
			e.t.Fatal(err)
		}
	}
}

func (e *edges) pass(cluster string, a *v1alpha1.Assignment, s *v1alpha1.AssignmentEntry) {
	desired := map[string]bool{}
	if !s.Remove {
		desired = e.names(s.Digest)
	}
	all := e.recorded[cluster]
	if all[s.Name] == nil {
		all[s.Name] = map[string]bool{}
	}
	for name := range desired {
		taken := slices.ContainsFunc(slices.Collect(maps.Keys(all)), func(other string) bool { return other != s.Name && all[other][name] })
		if taken {
			continue // OwnershipConflict
		}
		if e.uids[cluster][name] == 0 {
			e.made++
			e.uids[cluster][name] = e.made
		}
		all[s.Name][name] = true
	}
	var others []string
	for _, o := range a.Spec.Entries {
		if o.Name != s.Name && !o.Remove {
			others = append(others, o.Digest)
		}
	}
	wanted, retained := e.names(others...), e.names(s.KeepFor...)
	for name := range all[s.Name] {
		switch {
		case desired[name]:
		case wanted[name]:
			delete(all[s.Name], name) // released
		case s.HoldPrune, retained[name]:
		default:
			delete(all[s.Name], name)
			delete(e.uids[cluster], name)
			e.deleted = append(e.deleted, cluster+"/"+name)
		}
	}
}

// A commit moves an object from apps to shared. The giving side is reached first, and the clusters do so much
// before the receiving side is: nothing, what they were told, or all of it, reported and seen by the hub. Each with
// a receiver that goes everywhere at once or in stages, on a hub that runs, that was restarted before the commit or
// between the two. No cluster ever deletes the object.
func TestAMoveIsNoDeleteInWhateverOrderBothSidesAreReached(t *testing.T) {
	for rollout, how := range map[string][]func(*v1alpha1.Kustomization){"all at once": nil, "staged": {staged}} {
		for _, restart := range []string{"never", "before", "between"} {
			for _, ahead := range []int{0, 1, 3} {
				t.Run(fmt.Sprintf("%s/restart %s/ahead by %d", rollout, restart, ahead), func(t *testing.T) {
					w := newWorld(t, cluster("edge-1"), cluster("edge-2"), kustomization(), other("shared", how...))
					e := newEdges(w, "edge-1", "edge-2")
					w.push("1", "apps/a.yaml", configMap("stays", "1"), "apps/b.yaml", configMap("settings", "1"), "shared/a.yaml", configMap("base", "1"))
					for range 5 {
						w.reconcileOf("apps", "shared")
						e.act()
					}
					before := map[string]int{"edge-1": e.uids["edge-1"]["settings"], "edge-2": e.uids["edge-2"]["settings"]}
					w.move()
					if restart == "before" {
						w.restart()
					}
					w.reconcileOf("apps")
					for range ahead {
						e.act()
						w.reconcileOf("apps")
					}
					if restart == "between" {
						w.restart()
						w.reconcileOf("apps")
						e.act()
					}
					for range 8 {
						w.reconcileOf("shared", "apps")
						e.act()
					}
					if len(e.deleted) > 0 {
						t.Errorf("deleted %v", e.deleted)
					}
					for cluster, uid := range before {
						if got := e.uids[cluster]["settings"]; got != uid || !e.recorded[cluster]["shared"]["settings"] || e.recorded[cluster]["apps"]["settings"] {
							t.Errorf("on %s settings has uid %d, was %d; recorded %v", cluster, got, uid, e.recorded[cluster])
						}
					}
				})
			}
		}
	}
}
