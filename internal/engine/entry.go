package engine

import (
	"slices"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/drift"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
)

// entry is one Kustomization on one cluster: what is known of it, and its status. When its
// passes are due is the machine's to decide.
type entry struct {
	*machine.Entry
	owner   string
	session *session
	view    *view // of the account of the entry; nil without a session
	inv     *inventory.Inventory
	corrupt bool // what is recorded could not be read
	// denied means that its account cannot let go of what the entry is to leave: the credentials do.
	denied bool
	// rules are the ignore rules of drift, compiled.
	rules *drift.Rules
	drift *v1alpha1.Drift

	// desired is the assigned bundle, once loaded, with the identities that the cluster gives.
	desired bundle
	// lastGood is the last bundle that was applied as a whole. While a newer one is refused or waits, it
	// is what is kept on the cluster.
	lastGood bundle
	// loading is what is being read for the next pass; nil when nothing is.
	loading *preparation
	// expected are the bundles that other Kustomizations are going to have here (keepFor), by digest, as
	// far as the next pass needs them.
	expected map[string]bundle

	appliedRevision string
	appliedAt       time.Time
	verifiedAt      time.Time
	handledAt       string

	waiting  string // definition that a later stage waits for
	message  string // of the last pass, with Reason
	failures []failure

	awaits    *int32             // the wave that waits for the ones before
	heldBack  map[object.ID]bool // objects whose deletion waits for later waves
	retained  map[object.ID]bool // objects that the last pass kept for another Kustomization
	undecided bool               // some of them, for as long as it is not known whether another one desires them
	unread    bool               // a bundle that another Kustomization desires could not be loaded then

	left        map[object.ID]difference // objects that have drifted and are left as they are
	corrected   []v1alpha1.DriftRecord   // the last corrections, the oldest first
	corrections int64                    // since the engine started
	loops       map[object.ID]*loop

	// changed are objects that have changed on the cluster during the pass that is under way: what it will have recorded of
	// them is known when it ends. With manyChanged they are too many to note one by one, and all are looked at then.
	changed     map[object.ID]bool
	manyChanged bool

	recheck     time.Time // when the status must be computed again without an event; zero for never
	kindMissing time.Time // since when a kind is not served; zero when all are
	status      v1alpha1.AssignmentEntryStatus

	since            machine.Since
	objectsReady     bool                 // whether what depends on the entry may go on, whatever it still deletes
	deleting         deletions            // what it still deletes
	deleted          map[object.ID]string // uids of what passes have deleted, until it is off the inventory
	deletionReported bool                 // an event has reported it
}

// bundle is a set of objects under the digest of what was rendered.
type bundle struct {
	digest string
	plan.Set
	// autoscaled names the objects whose spec.replicas was left out, with the autoscaler that sets it.
	autoscaled map[object.ID]object.ID
	// hidden maps texts that may be part of a path to what is shown in their place.
	hidden map[string]string
	// ignored holds the objects of which fields are ignored.
	ignored map[object.ID]*drift.Ignored
	// differs holds for each object a digest that was recorded and is not its own; nil when none was looked at.
	differs []string
	// shared keeps the bundle that others of the digest share for as long as this one is kept; nil where it is one by itself.
	shared *bundle
}

// hasDigest reports whether a digest that was recorded is that of an object. During a pass the loop asks it of all objects
// with each one that changes, and under a seal a digest is dear to compare.
func (b *bundle) hasDigest(i int, recorded string) bool {
	if recorded != "" && b.differs != nil && b.differs[i] == recorded {
		return false
	}
	if b.Objects[i].HasDigest(recorded) {
		return true
	}
	if recorded != "" {
		if b.differs == nil {
			b.differs = make([]string, len(b.Objects))
		}
		b.differs[i] = recorded
	}
	return false
}

// loadBundle makes a bundle of one as it was rendered.
func loadBundle(digest string, of *object.Bundle) bundle {
	objects, autoscaled := object.WithoutReplicas(of.Objects)
	b := newBundle(digest, objects)
	b.autoscaled, b.hidden = autoscaled, of.Hidden
	return b
}

// under returns the bundle with the ignore rules of an entry.
func (b bundle) under(rules *drift.Rules) bundle {
	objects, ignored := rules.Apply(b.Objects)
	if len(ignored) == 0 {
		return b
	}
	out := newBundle(b.digest, objects)
	out.autoscaled, out.ignored = b.autoscaled, ignored
	return out
}

func newBundle(digest string, objects []object.Object) bundle {
	return bundle{digest: digest, Set: plan.NewSet(objects)}
}

// ownerOf returns the owner label of an entry. It holds the namespace of the Kustomization, which need not
// be that of the Cluster.
func ownerOf(hub string, key Key, entry string) string {
	ks := v1alpha1.ResolveName(key.Namespace, entry)
	return object.Owner{Hub: hub, Namespace: ks.Namespace, Name: ks.Name}.Label()
}

func newEntry(hub string, key Key, scheduled *machine.Entry, name string) *entry {
	return &entry{Entry: scheduled, owner: ownerOf(hub, key, name), loops: map[object.ID]*loop{}}
}

// pending reports whether the spec has not been through a pass yet.
func (en *entry) pending() bool { return en.Result == machine.Pending }

// startSession takes up what the cluster has recorded.
func (en *entry) startSession(s *session) {
	en.session, en.inv, en.corrupt = s, s.inventories[en.owner], s.corrupt[en.owner] != nil
	if en.inv == nil {
		en.inv = inventory.New(en.owner)
	}
	en.loading, en.expected = nil, nil
	if en.lastGood.digest != en.inv.Bundle {
		en.lastGood = bundle{digest: en.inv.Bundle}
		en.appliedRevision = en.inv.Revision
	}
}

// setDrift takes what is to become of drift. With other ignore rules the bundles are loaded anew: the rules
// are part of how an object is applied. The hub has checked that they can be followed.
func (en *entry) setDrift(d *v1alpha1.Drift) {
	if en.drift.Equal(d) {
		return
	}
	en.drift = d
	en.rules, _ = drift.Compile(d.Rules())
	en.desired, en.lastGood = bundle{}, bundle{digest: en.lastGood.digest}
}

// hasLastGood reports whether there is a good bundle other than the assigned one.
func (en *entry) hasLastGood() bool {
	return len(en.lastGood.Objects) > 0 && en.lastGood.digest != en.Spec.Digest
}

// enforced is the bundle whose objects are to be on the cluster now.
func (en *entry) enforced() bundle {
	if en.UsesLastGood() && en.hasLastGood() {
		return en.lastGood
	}
	return en.desired
}

// begin makes the snapshot that a pass works from.
func (en *entry) begin(a machine.Start, now time.Time) job {
	b := en.desired
	if a.LastGood {
		b = en.lastGood
	}
	en.expected = nil
	return job{
		of: en, entry: en.Spec, owner: en.owner, session: en.session, view: en.view, inventory: en.inv, reload: en.corrupt, held: en.held(now),
		relist: a.Relist, verify: a.Verify, why: a.Why, begun: now,
		bundle: b.digest, desired: b.Objects, autoscaled: b.autoscaled, ignored: b.ignored, left: en.left, whole: !a.LastGood,
	}
}

// finish takes what a pass came back with, and returns what matters of it for the next one.
func (en *entry) finish(o outcome, now time.Time) machine.Outcome {
	if en.session != o.job.session {
		return machine.Outcome{}
	}
	if !o.corrupt() {
		en.inv, en.corrupt = o.inventory, false
	}
	if o.job.of != en { // of an earlier entry of the same name
		en.startSession(en.session)
		return machine.Outcome{}
	}
	en.corrections += int64(len(o.drifted))
	en.count(o.drifted, now)
	en.noteDrift(o, now)
	en.noteDeleted(o.deleted)
	if o.job.whole && machine.Same(o.job.entry, en.Spec) {
		if o.job.bundle == en.desired.digest && o.err == nil && !sameObjects(o.desired, en.desired.Objects) {
			settled := newBundle(en.desired.digest, o.desired)
			settled.autoscaled, settled.ignored = en.desired.autoscaled, en.desired.ignored
			en.desired = settled
		}
		en.recordOutcome(o, now)
	}
	en.denied = en.denied || o.denied
	reason, _ := reasonForOutcome(o)
	return machine.Outcome{
		Failed: o.err != nil, Reason: reason, Final: o.final(), Waiting: o.waiting != "", RetrySoon: o.retrySoon || o.denied, Stopped: o.stopped,
		Empty: len(o.inventory.Objects) == 0, Retains: len(o.retained) > 0, Unread: en.unread, Contested: en.contested(),
		Cleaned: o.cleaned, Release: en.nextRelease(now),
	}
}

// sameObjects reports whether two lists are one.
func sameObjects(a, b []object.Object) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// recordOutcome records how a pass over the assigned bundle went.
func (en *entry) recordOutcome(o outcome, now time.Time) {
	en.waiting, en.awaits, en.failures = o.waiting, o.awaits, o.failures
	en.heldBack = o.heldBack
	en.retained, en.undecided = o.retained, o.undecided
	reason, message := reasonForOutcome(o)
	en.message = message
	switch {
	case reason != v1alpha1.KindNotFoundReason:
		en.kindMissing = time.Time{}
	case en.kindMissing.IsZero():
		en.kindMissing = now
	}
	if o.err == nil && !o.timedOut {
		en.handledAt = o.job.entry.RequestedAt
	}
	switch {
	case reason != "":
	case o.waiting != "":
		if en.appliedAt.IsZero() || en.lastGood.digest != "" {
			en.appliedAt = now
		}
	case en.Spec.Remove:
		en.lastGood = bundle{}
	case !o.stopped:
		if en.lastGood.digest != en.Spec.Digest {
			en.appliedAt, en.since.Unhealthy = now, now
		}
		en.lastGood, en.appliedRevision = en.desired, en.Spec.Revision
		if o.verified.After(en.verifiedAt) {
			en.verifiedAt = o.verified
		}
	}
}

// maxChanged is how many objects that change during a pass are noted one by one.
const maxChanged = 256

// touched reports whether an object that has changed on the cluster asks for a pass. While one is under way that is known
// when it ends.
func (en *entry) touched(id object.ID, now time.Time) bool {
	if !en.Running() {
		return en.asksForPass(id, now)
	}
	if en.changed == nil {
		en.changed = map[object.ID]bool{}
	}
	if en.manyChanged = en.manyChanged || len(en.changed) >= maxChanged; !en.manyChanged {
		en.changed[id] = true
	}
	return false
}

// touchedMeanwhile reports whether an object that has changed during the pass which has just ended asks for another one.
// Mostly the pass has made the change itself.
func (en *entry) touchedMeanwhile(now time.Time) bool {
	changed, many := en.changed, en.manyChanged
	en.changed, en.manyChanged = nil, false
	if en.session == nil {
		return false
	}
	asks := func(id object.ID) bool { return en.asksForPass(id, now) }
	if !many {
		return containsKey(changed, asks)
	}
	return containsKey(en.inv.Objects, asks) || containsKey(en.enforced().ByID, asks)
}

func containsKey[K comparable, V any](m map[K]V, is func(K) bool) bool {
	for key := range m {
		if is(key) {
			return true
		}
	}
	return false
}

// asksForPass reports whether a change of an object asks for a pass now.
func (en *entry) asksForPass(id object.ID, now time.Time) bool {
	if !en.needsPass(id) {
		return false
	}
	l := en.loops[id]
	return l == nil || !now.Before(l.until)
}

// endsWait reports whether an object that has changed may let a wave begin: one of an earlier wave that is healthy
// now.
func (en *entry) endsWait(id object.ID) bool {
	o := en.desired.ByID[id]
	if en.awaits == nil || o == nil || o.Wave >= *en.awaits {
		return false
	}
	s, there := en.view.live.get(id)
	return there && s.Owner == en.owner && (s.Health.Phase == health.Current || s.Health.Class != "")
}

// needsPass reports whether the change asks for a pass: drift, something that was waited for, something
// that is gone. That an object becomes healthy shows in the status without one.
func (en *entry) needsPass(id object.ID) bool {
	if en.session == nil {
		return false
	}
	if en.waiting != "" && id.Kind == "CustomResourceDefinition" {
		return true
	}
	if en.endsWait(id) {
		return true
	}
	record, recorded := en.inv.Objects[id]
	s, there := en.view.live.get(id)
	there = there && s.Owner == en.owner
	if en.enforced().ByID[id] == nil {
		return recorded && !there
	}
	if record.Digest == "" {
		// Of what was refused, only that it is gone makes a difference: it can be created then.
		return !there && slices.ContainsFunc(en.failures, func(f failure) bool { return f.id == id })
	}
	leaves := en.Spec.Drift.GetMode() != v1alpha1.DriftCorrect
	if !there {
		return record.Finished == "" && (!leaves || en.needsComparison(id, "", "", true))
	}
	if s.UID == record.UID && s.Health.Finished != "" && record.Finished == "" {
		return true // a Job has ended, which the inventory is to know before it is removed
	}
	differs := s.UID != record.UID || s.Fields.Digest != record.Fields
	if leaves {
		return en.needsComparison(id, s.UID, s.Fields.Digest, differs)
	}
	return differs
}
