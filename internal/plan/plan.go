// Package plan decides what to do about the objects of one Kustomization on one cluster: what to
// apply and why, what to delete and why, and what to refuse. It is pure: desired + recorded + live
// → Plan, the same input giving the same plan.
package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/text"
)

// Live is what the cluster shows of an object that carries our owner label.
type Live struct {
	UID string
	// Fields is the digest of the fields that our manager owns.
	Fields string
	// Terminating objects have been deleted and wait for their finalizers.
	Terminating bool
	// Keep explains why the object must not be deleted, by its metadata on the cluster; "" when it may be.
	Keep object.Keep
	// Ignored objects carry an annotation on the cluster that asks to leave them alone.
	Ignored bool
}

// Options of the Kustomization that decide.
type Options struct {
	// Prune deletes what is no longer desired; otherwise it is released.
	Prune bool
	// MaxPrune is how many objects may be lost: a number, or a percentage of those that are there. nil:
	// half of them, and a single one.
	MaxPrune *intstr.IntOrString
	// LeaveDrift applies only what a commit changes: what was changed or deleted on the cluster is left.
	LeaveDrift bool
	// AllowPrune lifts the guard against deleting most objects.
	AllowPrune bool
	// Remove means that nothing is desired any more, on purpose: the guard does not apply.
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
	// Bundle is the digest of what is desired.
	Bundle string
	// Live objects that carry our owner label, of every kind that Desired and Recorded name.
	Live map[object.ID]Live
	// Ended holds the Jobs that were seen to go, and how they had ended then; "" when they had not.
	Ended map[object.ID]health.Outcome
	// Interest returns what the other Kustomizations on the cluster desire; nil: none has any.
	Interest func(object.ID) Interest
	Options  Options
}

// Interest is the relation of the other Kustomizations on a cluster to an object.
type Interest uint8

const (
	// NoInterest is in an object that no other Kustomization desires.
	NoInterest Interest = iota
	// Assigned objects are in a bundle that is assigned to the cluster: its Kustomization adopts them.
	Assigned
	// Expected objects are in a bundle that another Kustomization renders for the cluster at the same
	// revision and that is not assigned there yet: a later stage of its rollout, say.
	Expected
	// Undecided objects may be desired by a Kustomization whose bundle is not known at this revision.
	Undecided
)

// Verb is what to do with an object.
type Verb string

// Verbs.
const (
	Apply   Verb = "apply"
	Delete  Verb = "delete"
	Release Verb = "release" // take the owner label off and leave the object
	Await   Verb = "await"   // deleted already, not yet gone
	Forget  Verb = "forget"  // not there, or not ours: strike it off the inventory
	Leave   Verb = "leave"   // no request; the object has drifted and stays as it is
	Hold    Verb = "hold"    // no request; it is deleted when the objects of later waves are gone
	Retain  Verb = "retain"  // no request; the object keeps its label and its place in the inventory
)

// Why is the reason for an Action.
type Why string

// Reasons to apply.
const (
	New         Why = "new"
	Changed     Why = "changed"     // the commit changed it
	Unconfirmed Why = "unconfirmed" // written ahead, never known to be applied
	Missing     Why = "missing"     // deleted by another client
	Recreated   Why = "recreated"   // deleted and created by another client
	Drifted     Why = "drifted"     // a field of ours was changed by another client
)

// drift reports whether the reason is something that happened on the cluster, and not in Git.
func (w Why) drift() bool { return w == Missing || w == Recreated || w == Drifted }

// Reasons to delete, release, await or forget.
const (
	NotDesired    Why = "no longer desired"
	Removed       Why = "kustomization removed"
	Moved         Why = "desired by another kustomization"
	Moving        Why = "another kustomization desires it and has not arrived"
	Unknown       Why = "whether another kustomization desires it is not known"
	NoPrune       Why = "prune is off"
	Orphaned      Why = "deletion policy is Orphan"
	PruneDisabled Why = "prune is disabled for it"
	BuiltIn       Why = "it belongs to the cluster"
	InUse         Why = "it holds objects that stay"
	LaterWave     Why = "objects of a later wave go first"
	Terminating   Why = "terminating"
	Absent        Why = "not on the cluster"
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
	// Refusal explains why nothing may be done; empty when something may.
	Refusal Refusal
	// Stages of applies; a stage waits until the definitions of the one before are established.
	Stages [][]Action
	// Gates belong to the stages: the wave of each, and whether it waits for the waves before.
	Gates []Gate
	// Cleanup comes after all applies have gone well: deletes, releases and forgets.
	Cleanup []Action
	// Left are the objects that drifted and are left as they are.
	Left []Action
	// Unchanged counts the objects that stand as desired.
	Unchanged int
	// Finished holds the desired Jobs that are gone because they had ended, and how.
	Finished map[object.ID]health.Outcome
}

// Refusal names a reason of the API, and describes what would have happened.
type Refusal struct{ Reason, Message string }

// Retained returns the objects that stay for another Kustomization, and whether it is not known of some
// whether one desires them.
func (p *Plan) Retained() (ids map[object.ID]bool, undecided bool) {
	for _, a := range p.Cleanup {
		if a.Verb != Retain {
			continue
		}
		if ids == nil {
			ids = map[object.ID]bool{}
		}
		ids[a.ID], undecided = true, undecided || a.Why == Unknown
	}
	return ids, undecided
}

// Make plans.
func Make(in Input) *Plan {
	cleanup := cleanups(in)
	if refusal, no := guard(in, cleanup); no {
		return &Plan{Refusal: refusal}
	}
	releaseUsed(in, cleanup)
	retainAround(cleanup)
	holdEarlierWaves(in, cleanup)
	p := &Plan{Cleanup: cleanup, Finished: map[object.ID]health.Outcome{}}
	stages, first := map[at][]Action{}, firstWave(in.Desired)
	for _, o := range in.Desired {
		record, recorded := in.Recorded.Objects[o.ID]
		live, isLive := in.Live[o.ID]
		why := Compare(o, record, recorded, live, isLive)
		if why == Missing {
			if outcome := finished(in, o, record); outcome != "" {
				p.Finished[o.ID], why = outcome, ""
			}
		}
		if why == "" {
			p.Unchanged++
			continue
		}
		if in.Options.LeaveDrift && why.drift() {
			p.Left = append(p.Left, Action{Verb: Leave, Why: why, ID: o.ID, Object: o, UID: live.UID})
			continue
		}
		stage := at{wave: o.Wave, stage: object.Stage(o.ID), waits: o.Wave > first && !why.drift()}
		stages[stage] = append(stages[stage], Action{Verb: Apply, Why: why, ID: o.ID, Object: o, UID: live.UID})
	}
	for _, stage := range slices.SortedFunc(maps.Keys(stages), at.compare) {
		p.Stages = append(p.Stages, stages[stage])
		p.Gates = append(p.Gates, Gate{Wave: stage.wave, Waits: stage.waits})
	}
	return p
}

// Compare explains why an object must be applied, or "" when it stands as desired.
func Compare(o object.Object, record inventory.Record, recorded bool, live Live, isLive bool) Why {
	switch {
	case o.Policy.Mode == object.Ignore, isLive && live.Ignored, isLive && o.Policy.Mode == object.IfNotPresent:
		return ""
	case !recorded:
		return New
	case record.Digest == "":
		return Unconfirmed
	case !o.HasDigest(record.Digest) || record.Version != o.Version:
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

// finished describes how a Job ended that is not there any more; "" where its absence is drift. Kubernetes
// removes a Job with ttlSecondsAfterFinished some time after its end, and to apply it again would run it
// again, until Git changes it.
//
//	the inventory records that it ended       that is how it ended, whatever removed it
//	it was seen to go after its end           likewise
//	it was seen to go before its end          drift: it is applied again
//	it was not seen to go, and has a TTL      its TTL has removed it while no watch was open
//	it was not seen to go, and has no TTL     drift
func finished(in Input, o object.Object, record inventory.Record) health.Outcome {
	if record.Finished != "" {
		return health.Outcome(record.Finished)
	}
	if outcome, seen := in.Ended[o.ID]; seen {
		return outcome
	}
	if o.RemovedWhenFinished {
		return health.Unseen
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
	releaseAround(out)
	// What was applied last goes first: workloads before the configuration, the namespace and the
	// definition that they need.
	slices.SortStableFunc(out, func(a, b Action) int {
		return cmp.Or(cmp.Compare(in.Recorded.Objects[b.ID].Wave, in.Recorded.Objects[a.ID].Wave), object.Order(b.ID, a.ID))
	})
	return out
}

func cleanup(in Input, id object.ID) Action {
	live, isLive := in.Live[id]
	interest := NoInterest
	if in.Interest != nil {
		interest = in.Interest(id)
	}
	a := Action{ID: id, UID: live.UID}
	switch {
	case !isLive:
		a.Verb, a.Why = Forget, Absent
	case live.Terminating && in.Options.Remove && in.Options.Orphan:
		// What is left to itself is not waited for. A Kustomization can be among its own objects, as the one
		// is that holds the hub, and then waits for itself.
		a.Verb, a.Why = Release, Orphaned
	case live.Terminating:
		a.Verb, a.Why = Await, Terminating
	case interest == Assigned:
		a.Verb, a.Why = Release, Moved
	case keep(in, id) == object.KeepBuiltIn:
		a.Verb, a.Why = Release, BuiltIn
	case keep(in, id) == object.KeepPruneDisabled:
		a.Verb, a.Why = Release, PruneDisabled
	case in.Options.Remove && in.Options.Orphan:
		a.Verb, a.Why = Release, Orphaned
	case !in.Options.Remove && !in.Options.Prune:
		a.Verb, a.Why = Release, NoPrune
	case interest == Expected:
		a.Verb, a.Why = Retain, Moving
	case interest == Undecided:
		a.Verb, a.Why = Retain, Unknown
	case in.Options.Remove:
		a.Verb, a.Why = Delete, Removed
	default:
		a.Verb, a.Why = Delete, NotDesired
	}
	return a
}

// keep explains why an object must not be deleted: for what its manifest asked, or for what the cluster
// shows of it, even if another client asked for it there.
func keep(in Input, id object.ID) object.Keep {
	switch {
	case in.Live[id].Keep != "":
		return in.Live[id].Keep
	case in.Recorded.Objects[id].PruneDisabled:
		return object.KeepPruneDisabled
	}
	return object.KeepOf(id, nil, nil)
}

// releaseAround releases the Namespaces and definitions that would take with them an object that prune
// is disabled for: the API server deletes all that is in a Namespace, and all that a definition defines.
//
// Of `Namespace web` and `claim web/data` with the annotation skerry.dev/prune=disabled, both dropped by
// one commit, the claim is released, and so the Namespace is too.
func releaseAround(cleanup []Action) {
	namespaces, groups := map[string]bool{}, map[string]bool{}
	for _, a := range cleanup {
		if a.Why == PruneDisabled {
			namespaces[a.ID.Namespace], groups[a.ID.Group] = true, true
		}
	}
	release(cleanup, func(id object.ID) bool {
		_, group, _ := strings.Cut(id.Name, ".")
		return isNamespace(id) && namespaces[id.Name] || isDefinition(id) && groups[group]
	})
}

// releaseUsed releases the Namespaces and definitions of objects that are desired still. The guard has
// looked before: that the last of them leaves Git is a mistake more often than not.
func releaseUsed(in Input, cleanup []Action) {
	namespaces, definitions := map[string]bool{}, map[string]bool{}
	for _, o := range in.Desired {
		namespaces[o.Namespace], definitions[Definition(o.ID)] = true, true
	}
	release(cleanup, func(id object.ID) bool {
		return isNamespace(id) && namespaces[id.Name] || isDefinition(id) && definitions[id.Name]
	})
}

func release(cleanup []Action, which func(object.ID) bool) {
	for i, a := range cleanup {
		if a.Verb == Delete && which(a.ID) {
			cleanup[i].Verb, cleanup[i].Why = Release, InUse
		}
	}
}

// retainAround retains the Namespaces and definitions of objects that are retained, which would else be
// deleted with them. Of `Namespace web` and `ConfigMap web/settings`, both dropped by one commit, the
// ConfigMap waits for another Kustomization to arrive, and so the Namespace waits too.
func retainAround(cleanup []Action) {
	namespaces, groups := map[string]Why{}, map[string]Why{}
	for _, a := range cleanup {
		if a.Verb == Retain {
			namespaces[a.ID.Namespace], groups[a.ID.Group] = a.Why, a.Why
		}
	}
	for i, a := range cleanup {
		_, group, _ := strings.Cut(a.ID.Name, ".")
		why, retained := Why(""), false
		switch {
		case isNamespace(a.ID):
			why, retained = namespaces[a.ID.Name]
		case isDefinition(a.ID):
			why, retained = groups[group]
		}
		if a.Verb == Delete && retained {
			cleanup[i].Verb, cleanup[i].Why = Retain, why
		}
	}
}

func isNamespace(id object.ID) bool { return id.Group == "" && id.Kind == "Namespace" }

func isDefinition(id object.ID) bool {
	return id.Group == "apiextensions.k8s.io" && id.Kind == "CustomResourceDefinition"
}

// Definition returns the name that the definition of an object has by the rules of English, which is
// what nearly all definitions follow.
func Definition(id object.ID) string {
	plural, _ := meta.UnsafeGuessKindToResource(schema.GroupVersionKind{Group: id.Group, Kind: id.Kind})
	return plural.Resource + "." + id.Group
}

// irreplaceable kinds lose what they hold when they are deleted, whatever comes under another name.
func irreplaceable(id object.ID) bool {
	return isNamespace(id) || isDefinition(id) || id.Group == "" && (id.Kind == "PersistentVolumeClaim" || id.Kind == "PersistentVolume")
}

// kindScope is where one object can take the place of another.
type kindScope struct{ group, kind, namespace string }

// losses returns which of the objects to delete are lost. One that is replaced by a new one of its kind
// in its namespace is not: it has another name, as generators and people give them.
//
// A Deployment and two generated ConfigMaps, whose contents a commit changes: two of three objects are
// deleted, two new ones come, nothing is lost. Three generated ConfigMaps of which a commit keeps one
// under a new name: three are deleted, one comes, two are lost.
func losses(in Input, cleanup []Action) []object.ID {
	fresh, named := map[kindScope]int{}, map[object.ID]int{}
	for _, o := range in.Desired {
		if _, recorded := in.Recorded.Objects[o.ID]; !recorded {
			fresh[kindScope{o.Group, o.Kind, o.Namespace}]++
			named[unhashed(o.ID)]++
		}
	}
	var rest, lost []object.ID
	for _, a := range cleanup {
		at := kindScope{a.ID.Group, a.ID.Kind, a.ID.Namespace}
		switch {
		case a.Verb != Delete && a.Why != Unknown:
		case irreplaceable(a.ID):
			lost = append(lost, a.ID)
		case named[unhashed(a.ID)] > 0: // first those that are replaced under the same name but for its end
			named[unhashed(a.ID)]--
			fresh[at]--
		default:
			rest = append(rest, a.ID)
		}
	}
	for _, id := range rest {
		if at := (kindScope{id.Group, id.Kind, id.Namespace}); fresh[at] > 0 {
			fresh[at]--
		} else {
			lost = append(lost, id)
		}
	}
	return lost
}

// unhashed returns the identity without what a generator appends to the name: "settings-7h2k" was made
// as "settings".
func unhashed(id object.ID) object.ID {
	if at := strings.LastIndexByte(id.Name, '-'); at > 0 {
		id.Name = id.Name[:at]
	}
	return id
}

// guard refuses what looks like a mistake: an empty build, a build without most of the objects, or
// without any of the kinds that take others with them. What must not be deleted anyway does not count.
func guard(in Input, cleanup []Action) (Refusal, bool) {
	if in.Options.Remove || in.Options.AllowPrune || in.Bundle != "" && in.Recorded.Accepted == in.Bundle {
		return Refusal{}, false
	}
	live := 0
	takers := map[string]int{}
	for id := range in.Recorded.Objects {
		if l, ok := in.Live[id]; ok && !l.Terminating && keep(in, id) == "" {
			live++
			takers[id.Kind]++
		}
	}
	lost := losses(in, cleanup)
	refusal, no := limit(in, lost, live, takers)
	if no && refusal.Reason == v1alpha1.PruneLimitExceededReason && slices.ContainsFunc(cleanup, func(a Action) bool { return a.Why == Unknown }) {
		// What has moved is not lost, and whether it has is known in a moment.
		refusal.Reason = v1alpha1.PruneHeldReason
		refusal.Message += "; whether another Kustomization desires them is not known yet"
	}
	return refusal, no
}

// limit refuses a loss that is too large.
func limit(in Input, lost []object.ID, live int, takers map[string]int) (Refusal, bool) {
	deleted := map[string]int{}
	for _, id := range lost {
		deleted[id.Kind]++
	}
	if len(in.Desired) == 0 {
		return Refusal{v1alpha1.EmptyBuildReason, "the build has no objects and would delete " + text.Count(len(lost), "object")}, true
	}
	if len(lost) == 0 || percent(in.Options.MaxPrune) == 100 {
		return Refusal{}, false
	}
	for _, kind := range []string{"Namespace", "CustomResourceDefinition"} {
		if n := deleted[kind]; n > 0 && n == takers[kind] {
			return Refusal{v1alpha1.PruneLimitExceededReason, fmt.Sprintf("would delete every %s (%s)", kind, list(lost, kind))}, true
		}
	}
	if !exceeds(len(lost), live, in.Options.MaxPrune) {
		return Refusal{}, false
	}
	message := fmt.Sprintf("would delete %d of %s (%s)", len(lost), text.Count(live, "object"), list(lost, ""))
	if in.Options.MaxPrune != nil {
		message += fmt.Sprintf(", and maxPrune is %s", in.Options.MaxPrune)
	}
	return Refusal{v1alpha1.PruneLimitExceededReason, message}, true
}

// exceeds returns whether a loss is above the limit. A percentage is never rounded up.
//
//	of 5 objects:  none   2 may go, and 3 not
//	               50%    likewise
//	               10%    none may go
//	               4      4 may go, and 5 not
//	of 1 object:   none   it may go: it has been replaced by something of another kind
//	               50%    it may not
func exceeds(lost, live int, limit *intstr.IntOrString) bool {
	switch {
	case limit == nil:
		return lost > 1 && 2*lost > live
	case limit.Type == intstr.Int:
		return lost > limit.IntValue()
	}
	return 100*lost > percent(limit)*live
}

// percent returns the percentage of a limit. Of one that is none, which the API server does not accept,
// it is 0; of a number it is -1.
func percent(limit *intstr.IntOrString) int {
	if limit == nil || limit.Type == intstr.Int {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSuffix(limit.StrVal, "%"))
	if err != nil {
		return 0
	}
	return n
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
