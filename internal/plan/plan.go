// Package plan decides what to do about the objects of one Kustomization on one cluster: what to
// apply and why, what to delete and why, and what to refuse. It is pure: desired + recorded + live
// → Plan, the same input giving the same plan.
package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
)

// Live is what the cluster shows of an object that carries our owner label.
type Live struct {
	UID string
	// Fields is the digest of the fields that our manager owns.
	Fields string
	// Terminating objects have been deleted and wait for their finalizers.
	Terminating bool
}

// Options of the Kustomization that decide.
type Options struct {
	// Prune deletes what is no longer desired; otherwise it is released.
	Prune bool
	// AllowPrune lifts the guard against deleting most objects.
	AllowPrune bool
	// Remove says that nothing is desired any more, on purpose: the guard does not apply.
	Remove bool
	// Orphan releases what Remove would delete.
	Orphan bool
}

// Input is all that a plan depends on.
type Input struct {
	// Desired objects, in the order in which they are to be applied within a stage.
	Desired []object.Object
	// Recorded is the inventory; what it names may exist.
	Recorded *inventory.Inventory
	// Live objects that carry our owner label, of every kind that Desired and Recorded name.
	Live map[object.ID]Live
	// Claimed says whether another Kustomization on the same cluster desires the object; nil: none.
	Claimed func(object.ID) bool
	Options Options
}

// Verb is what to do with an object.
type Verb string

// Verbs.
const (
	Apply   Verb = "apply"
	Delete  Verb = "delete"
	Release Verb = "release" // take the owner label off and leave the object
	Await   Verb = "await"   // deleted already, not yet gone
	Forget  Verb = "forget"  // not there, or not ours: strike it off the inventory
)

// Why is the reason for an Action.
type Why string

// Reasons to apply.
const (
	New         Why = "new"
	Changed     Why = "changed"     // the commit changed it
	Unconfirmed Why = "unconfirmed" // written ahead, never known to be applied
	Missing     Why = "missing"     // deleted by somebody else
	Recreated   Why = "recreated"   // deleted and created by somebody else
	Drifted     Why = "drifted"     // a field of ours was changed by somebody else
)

// Reasons to delete, release, await or forget.
const (
	NotDesired  Why = "no longer desired"
	Removed     Why = "kustomization removed"
	Moved       Why = "desired by another kustomization"
	NoPrune     Why = "prune is off"
	Orphaned    Why = "deletion policy is Orphan"
	Terminating Why = "terminating"
	Gone        Why = "not on the cluster"
)

// Action is one thing to do.
type Action struct {
	Verb Verb
	Why  Why
	ID   object.ID
	// Object is what to apply.
	Object object.Object
	// UID is the precondition of Delete and Release.
	UID string
}

func (a Action) String() string { return fmt.Sprintf("%s %s (%s)", a.Verb, a.ID, a.Why) }

// Plan is what to do, in order. A refused plan has nothing else.
type Plan struct {
	// Refusal says why nothing may be done; empty when something may.
	Refusal Refusal
	// Stages of applies; a stage waits until the definitions of the one before are established.
	Stages [][]Action
	// Cleanup comes after all applies have gone well: deletes, releases and forgets.
	Cleanup []Action
	// Unchanged counts the objects that stand as desired.
	Unchanged int
}

// Refusal names a reason of the API, and says what would have happened.
type Refusal struct{ Reason, Message string }

// Applies counts the objects to apply.
func (p *Plan) Applies() int {
	n := 0
	for _, s := range p.Stages {
		n += len(s)
	}
	return n
}

// Make plans.
func Make(in Input) *Plan {
	cleanup := cleanups(in)
	if refusal, no := guard(in, cleanup); no {
		return &Plan{Refusal: refusal}
	}
	p := &Plan{Cleanup: cleanup}
	stages := map[int][]Action{}
	for _, o := range in.Desired {
		record, recorded := in.Recorded.Objects[o.ID]
		live, isLive := in.Live[o.ID]
		why := Judge(o, record, recorded, live, isLive)
		if why == "" {
			p.Unchanged++
			continue
		}
		stage := object.Stage(o.ID)
		stages[stage] = append(stages[stage], Action{Verb: Apply, Why: why, ID: o.ID, Object: o, UID: live.UID})
	}
	for _, n := range sortedKeys(stages) {
		p.Stages = append(p.Stages, stages[n])
	}
	return p
}

// Judge says why an object must be applied, or "" when it stands as desired.
func Judge(o object.Object, record inventory.Record, recorded bool, live Live, isLive bool) Why {
	switch {
	case !recorded:
		return New
	case record.Digest == "":
		return Unconfirmed
	case record.Digest != o.Digest || record.Version != o.Version:
		return Changed
	case !isLive:
		return Missing
	case record.UID != live.UID:
		return Recreated
	case record.Fields != live.Fields:
		return Drifted
	}
	return ""
}

func cleanups(in Input) []Action {
	wanted := make(map[object.ID]bool, len(in.Desired))
	for _, o := range in.Desired {
		wanted[o.ID] = true
	}
	var out []Action
	for _, id := range in.Recorded.IDs() {
		if !wanted[id] {
			out = append(out, cleanup(in, id))
		}
	}
	// What was applied last goes first: workloads before the configuration, the namespace and the
	// definition that they need.
	slices.SortStableFunc(out, func(a, b Action) int { return object.Order(b.ID, a.ID) })
	return out
}

func cleanup(in Input, id object.ID) Action {
	live, isLive := in.Live[id]
	claimed := in.Claimed != nil && in.Claimed(id)
	a := Action{ID: id, UID: live.UID}
	switch {
	case !isLive:
		a.Verb, a.Why = Forget, Gone
	case live.Terminating:
		a.Verb, a.Why = Await, Terminating
	case claimed:
		a.Verb, a.Why = Release, Moved
	case in.Options.Remove && in.Options.Orphan:
		a.Verb, a.Why = Release, Orphaned
	case in.Options.Remove:
		a.Verb, a.Why = Delete, Removed
	case !in.Options.Prune:
		a.Verb, a.Why = Release, NoPrune
	default:
		a.Verb, a.Why = Delete, NotDesired
	}
	return a
}

// guard refuses what looks like a mistake: an empty build, a build without most of the objects, or
// without any of the kinds that take others with them.
func guard(in Input, cleanup []Action) (Refusal, bool) {
	if in.Options.Remove || in.Options.AllowPrune {
		return Refusal{}, false
	}
	live := 0
	keepers := map[string]int{}
	for id := range in.Recorded.Objects {
		if l, ok := in.Live[id]; ok && !l.Terminating {
			live++
			keepers[id.Kind]++
		}
	}
	var doomed []object.ID
	deleted := map[string]int{}
	for _, a := range cleanup {
		if a.Verb == Delete {
			doomed = append(doomed, a.ID)
			deleted[a.ID.Kind]++
		}
	}
	if len(in.Desired) == 0 {
		return Refusal{v1alpha1.EmptyBuildReason, fmt.Sprintf("the build has no objects and would delete %d", len(doomed))}, true
	}
	if len(doomed) == 0 {
		return Refusal{}, false
	}
	for _, kind := range []string{"Namespace", "CustomResourceDefinition"} {
		if n := deleted[kind]; n > 0 && n == keepers[kind] {
			return Refusal{v1alpha1.PruneLimitExceededReason, fmt.Sprintf("would delete every %s (%s)", kind, list(doomed, kind))}, true
		}
	}
	// One object out of one is a rename, as a generator does with each change.
	if n := len(doomed); n > 1 && 2*n > live {
		return Refusal{v1alpha1.PruneLimitExceededReason, fmt.Sprintf("would delete %d of %d objects (%s)", n, live, list(doomed, ""))}, true
	}
	return Refusal{}, false
}

// list names at most three objects of a kind, or of any kind when it is empty.
func list(ids []object.ID, kind string) string {
	var names []string
	more := 0
	for _, id := range ids {
		switch {
		case kind != "" && id.Kind != kind:
		case len(names) < 3:
			names = append(names, id.String())
		default:
			more++
		}
	}
	slices.Sort(names)
	if more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

func sortedKeys(m map[int][]Action) []int {
	keys := make([]int, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
