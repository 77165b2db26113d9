package engine

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
)

// entry is one Kustomization on one cluster, as the loop sees it.
type entry struct {
	spec    v1alpha1.AssignmentEntry
	owner   string
	session *session
	inv     *inventory.Inventory
	phase   float64 // of the cluster, which spreads the verifications of a fleet
	corrupt bool    // what is recorded could not be read

	// desired is the assigned bundle, once loaded, with the identities that the cluster gives.
	desired bundle
	// lastGood is the last bundle that was applied as a whole. While a newer one is refused or waits, it
	// is what is kept on the cluster.
	lastGood bundle

	running      bool
	urgent       bool      // the next pass is for something new, not to verify what stands
	lastPass     uint64    // when the last pass began, by the count of passes
	rerun        bool      // something happened while a pass was running
	unprocessed  bool      // the spec has not been through a pass yet
	relist       bool      // ask the cluster again before the next pass
	due          time.Time // of the next pass; zero for none
	verify       time.Time // when the cluster is to be asked next whether its watches have told everything
	tries        int       // failed passes in a row
	final        bool      // the last pass was refused what only a change of the input helps against
	shortRetries int       // passes in a row that waited for what no event tells

	appliedRevision string
	appliedAt       time.Time
	verifiedAt      time.Time
	handledAt       string
	removed         bool

	blocked  string // name of the dependency that is waited for
	waiting  string // definition that a later stage waits for
	reason   string // of the last pass, "" when it went well
	message  string
	failures []failure

	retained  map[object.ID]bool // objects that the last pass kept for another Kustomization
	undecided bool               // some of them, for as long as it is not known whether another one desires them
	unread    bool               // a bundle that another Kustomization desires could not be loaded then
	desires   uint64             // Engine.desires when the last pass began
	ceded     bool               // another entry has released objects since the last pass began

	drift int64
	loops map[object.ID]*loop

	dirty     bool      // status must be told anew
	recheck   time.Time // when it must be told anew without cause; zero for never
	unhealthy time.Time // since when; zero when healthy
	status    v1alpha1.AssignmentEntryStatus

	objectsReady  bool                 // whether what depends on the entry may go on, whatever it still deletes
	deleting      deletions            // what it still deletes
	deleted       map[object.ID]string // uids of what passes have deleted, until it is off the inventory
	deletingSince time.Time            // since when an object that was deleted is not gone; zero when none is
	toldDeletion  bool                 // an event has told of it
}

// bundle is a set of objects under the digest of what was rendered.
type bundle struct {
	digest  string
	objects []object.Object
	index   map[object.ID]*object.Object
	// bare holds the IDs of custom resources that name a namespace, without it.
	bare map[object.ID]bool
	// hosts are the names of the Namespaces and definitions of the objects.
	hosts map[string]bool
	// autoscaled names the objects whose spec.replicas was left out, with the autoscaler that sets it.
	autoscaled map[object.ID]object.ID
}

// loadBundle makes a bundle of objects as they were rendered.
func loadBundle(digest string, objects []object.Object) bundle {
	objects, autoscaled := object.WithoutReplicas(objects)
	b := newBundle(digest, objects)
	b.autoscaled = autoscaled
	return b
}

func newBundle(digest string, objects []object.Object) bundle {
	b := bundle{digest: digest, objects: objects, index: make(map[object.ID]*object.Object, len(objects)), hosts: map[string]bool{}}
	for i := range objects {
		id := objects[i].ID
		b.index[id] = &objects[i]
		b.hosts[id.Namespace] = true
		if strings.Contains(id.Group, ".") {
			b.hosts[plan.Definition(id)] = true
		}
		if id.Namespace == "" || !strings.Contains(id.Group, ".") {
			continue
		}
		if b.bare == nil {
			b.bare = map[object.ID]bool{}
		}
		id.Namespace = ""
		b.bare[id] = true
	}
	return b
}

// desires says whether an object of the cluster is in the bundle. An object without a namespace is of a
// kind that has none, so that a namespace in a bundle which no pass has settled yet means nothing.
func (b bundle) desires(id object.ID) bool {
	return b.index[id] != nil || id.Namespace == "" && b.bare[id]
}

// ownerOf returns the owner label of an entry. It holds the namespace of the Kustomization, which need not
// be that of the Cluster.
func ownerOf(hub string, key Key, entry string) string {
	ks := v1alpha1.ResolveName(key.Namespace, entry)
	return object.Owner{Hub: hub, Namespace: ks.Namespace, Name: ks.Name}.Label()
}

func newEntry(hub string, key Key, name string) *entry {
	return &entry{owner: ownerOf(hub, key, name), phase: phaseOf(key), loops: map[object.ID]*loop{}}
}

// assign takes a new spec. One that asks for other work makes a pass due.
func (en *entry) assign(spec v1alpha1.AssignmentEntry, now time.Time) {
	old := en.spec
	en.spec, en.dirty = spec, true
	if same(old, spec) {
		if en.applied() {
			en.appliedRevision = spec.Revision
		}
		if old.HoldPrune != spec.HoldPrune || !slices.Equal(old.KeepFor, spec.KeepFor) {
			en.reconsider(now)
		}
		return
	}
	if old.RequestedAt != spec.RequestedAt && old.Name != "" {
		en.relist = true
	}
	en.unprocessed, en.urgent, en.removed, en.tries, en.due = true, old.Name != "", false, 0, now
	en.waiting = ""
}

// reconsider makes a pass due when what other Kustomizations desire has changed, and the last pass kept
// objects for them or was refused for want of knowing.
func (en *entry) reconsider(now time.Time) {
	switch {
	case en.reason == v1alpha1.PruneHeldReason:
		en.unprocessed = true
	case len(en.retained) == 0 && !en.running:
		return
	}
	en.due, en.rerun = now, en.running
}

// same says whether two specs ask for the same work, whatever commit it comes from, whatever the
// hub remembers with it, and whatever is kept for other Kustomizations meanwhile.
func same(a, b v1alpha1.AssignmentEntry) bool {
	for _, e := range []*v1alpha1.AssignmentEntry{&a, &b} {
		e.Revision, e.Change, e.AssignedAt, e.Fallback = "", "", nil, nil
		e.KeepFor, e.HoldPrune = nil, false
	}
	return equality.Semantic.DeepEqual(a, b)
}

// startSession takes up a new session: what the cluster has recorded, and a pass to compare it.
func (en *entry) startSession(s *session) {
	en.session, en.inv, en.corrupt = s, s.inventories[en.owner], s.corrupt[en.owner] != nil
	if en.inv == nil {
		en.inv = inventory.New(en.owner)
	}
	if en.lastGood.digest != en.inv.Bundle {
		en.lastGood = bundle{digest: en.inv.Bundle}
		en.appliedRevision = en.inv.Revision
	}
	en.verify = time.Time{}
	en.due, en.unprocessed, en.relist, en.urgent, en.tries, en.dirty = time.Unix(0, 1), true, false, false, 0, true
}

// applied says whether the assigned bundle is on the cluster as a whole.
func (en *entry) applied() bool {
	return en.spec.Digest != "" && en.lastGood.digest == en.spec.Digest && !en.spec.Remove
}

// load brings in the bundles. That the good one is gone from the store is no error: it only stands in.
func (en *entry) load(ctx context.Context, bundles Bundles) error {
	if en.spec.Remove {
		en.desired = bundle{}
		return nil
	}
	if en.lastGood.digest != "" && en.lastGood.objects == nil && en.lastGood.digest != en.spec.Digest {
		if b, err := bundles.Get(ctx, en.lastGood.digest); err == nil {
			en.lastGood = loadBundle(en.lastGood.digest, b.Objects)
		}
	}
	if en.spec.Digest == en.desired.digest && en.desired.digest != "" {
		return nil
	}
	b, err := bundles.Get(ctx, en.spec.Digest)
	if err != nil {
		return err
	}
	en.desired = loadBundle(en.spec.Digest, b.Objects)
	return nil
}

func (en *entry) bundleFailed(err error, now time.Time) {
	en.tries++
	en.due, en.dirty = now.Add(backoff(en.tries, 10*time.Second)), true
	en.reason, en.message = v1alpha1.BundleNotFoundReason, "the rendered bundle cannot be read: "+health.Clean(err.Error())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		en.message = "the rendered bundle is not in the store yet"
	case isPanic(err):
		en.reason = v1alpha1.InternalErrorReason
	}
}

// isDue says whether a pass is due.
func (en *entry) isDue(now time.Time) bool {
	return !en.running && en.session != nil && !en.spec.Suspend && !en.due.IsZero() && !now.Before(en.due)
}

// refusals are the reasons for which nothing of a bundle is applied.
var refusals = []string{
	v1alpha1.EmptyBuildReason, v1alpha1.PruneLimitExceededReason, v1alpha1.DuplicateObjectReason, v1alpha1.ReservedObjectReason,
	v1alpha1.NotPermittedReason, v1alpha1.PruneHeldReason, v1alpha1.HubStateOutdatedReason,
}

// usesLastGood says whether the good bundle must stand in for the assigned one: that one waits for a
// dependency, or the guard has refused it and nobody has lifted that since.
func (en *entry) usesLastGood() bool {
	return en.blocked != "" || !en.unprocessed && slices.Contains(refusals, en.reason)
}

// hasLastGood says whether there is a good bundle other than the assigned one.
func (en *entry) hasLastGood() bool {
	return len(en.lastGood.objects) > 0 && en.lastGood.digest != en.spec.Digest
}

// enforced is the bundle whose objects are to be on the cluster now.
func (en *entry) enforced() bundle {
	if en.usesLastGood() && en.hasLastGood() {
		return en.lastGood
	}
	return en.desired
}

// begin makes the snapshot that a pass works from.
func (en *entry) begin(now time.Time) job {
	b := en.enforced()
	j := job{
		entry: en.spec, owner: en.owner, session: en.session, inventory: en.inv, reload: en.corrupt, held: en.held(now), relist: en.relist,
		verify: !en.verify.IsZero() && !now.Before(en.verify),
		bundle: b.digest, desired: b.objects, autoscaled: b.autoscaled, whole: en.spec.Remove || b.digest == en.spec.Digest,
	}
	en.running, en.rerun, en.relist, en.urgent, en.dirty, en.due = true, false, false, false, true, time.Time{}
	en.ceded = false
	return j
}

// finish takes what a pass came back with.
func (en *entry) finish(o outcome, now time.Time) {
	en.running, en.dirty = false, true
	if en.session != o.job.session {
		return
	}
	if !o.corrupt() {
		en.inv, en.corrupt = o.inventory, false
	}
	if o.err == nil && (o.job.verify || en.verify.IsZero()) {
		en.verify = nextVerification(now, en.spec.Interval.Duration, en.phase)
	}
	en.drift += int64(len(o.drifted))
	en.count(o.drifted, now)
	en.noteDeleted(o.deleted)
	switch {
	case !same(o.job.entry, en.spec):
		en.due = now
		return
	case o.job.whole:
		if o.job.bundle == en.desired.digest && o.err == nil {
			autoscaled := en.desired.autoscaled
			en.desired = newBundle(en.desired.digest, o.desired)
			en.desired.autoscaled = autoscaled
		}
		en.unprocessed = false
		en.recordOutcome(o, now)
	}
	en.schedule(now)
	switch {
	case en.ceded && en.contested():
		en.due = now
	case en.rerun && en.tries <= 1 || o.stopped: // what fails time and again waits for its turn
		en.due = now
	case o.retrySoon:
		en.shortRetries++
		en.due = now.Add(shortBackoff(en.shortRetries))
	default:
		en.shortRetries = 0
	}
}

// shortBackoff returns the wait before the n-th look at what no event tells: short, for a definition is
// served a moment after it is established, and long when that does not come.
func shortBackoff(n int) time.Duration {
	if n > 30 {
		return jitter(20 * time.Second)
	}
	return min(20*time.Millisecond<<min(n, 8), time.Second)
}

// recordOutcome records how a pass over the assigned bundle went.
func (en *entry) recordOutcome(o outcome, now time.Time) {
	en.waiting, en.failures = o.waiting, o.failures
	en.retained, en.undecided = o.retained, o.undecided
	en.reason, en.message = reasonForOutcome(o)
	en.final = o.final()
	if o.err == nil && !o.timedOut {
		en.handledAt = o.job.entry.RequestedAt
	}
	switch {
	case en.reason != "":
		en.tries++
	case o.waiting != "":
		if en.appliedAt.IsZero() || en.lastGood.digest != "" {
			en.appliedAt = now
		}
		en.tries = 0
	case en.spec.Remove:
		en.removed, en.lastGood = len(o.inventory.Objects) == 0, bundle{}
		en.tries = 0
	case !o.stopped:
		if en.lastGood.digest != en.spec.Digest {
			en.appliedAt, en.unhealthy = now, now
		}
		en.lastGood, en.appliedRevision = en.desired, en.spec.Revision
		en.tries = 0
		if o.verified.After(en.verifiedAt) {
			en.verifiedAt = o.verified
		}
	}
}

// unreadRetry is the wait for a bundle of another Kustomization without which nothing is deleted.
const unreadRetry = 10 * time.Second

// schedule sets when the next pass is due: soon after a failure, else at the next verification.
func (en *entry) schedule(now time.Time) {
	switch {
	case en.removed:
		en.due = time.Time{}
		return
	case en.usesLastGood() || en.tries == 0 || en.final:
		en.due = now.Add(jitter(en.spec.Interval.Duration))
		if en.verify.After(now) {
			en.due = en.verify
		}
	default:
		en.due = now.Add(jitter(backoff(en.tries, en.retryInterval())))
	}
	if at := now.Add(jitter(unreadRetry)); en.unread && at.Before(en.due) {
		en.due, en.unprocessed = at, en.unprocessed || en.reason == v1alpha1.PruneHeldReason
	}
	if at := en.nextRelease(now); !at.IsZero() && at.Before(en.due) {
		en.due = at
	}
}

func (en *entry) retryInterval() time.Duration {
	if en.spec.RetryInterval != nil {
		return en.spec.RetryInterval.Duration
	}
	return en.spec.Interval.Duration
}

// objectChanged looks at one object that has changed on the cluster and makes a pass due where it matters.
func (en *entry) objectChanged(seen edge.Observed, now time.Time) {
	en.dirty = true
	if en.running { // what the pass will have recorded is not known yet: let the next one judge
		en.rerun = true
		return
	}
	if !en.needsPass(seen) {
		return
	}
	if l := en.loops[seen.ID]; l == nil || !now.Before(l.until) {
		en.due, en.urgent = now, true
	}
}

// needsPass says whether the change asks for a pass: drift, something that was waited for, something
// that is gone. That an object becomes healthy shows in the status without one.
func (en *entry) needsPass(seen edge.Observed) bool {
	if en.session == nil {
		return false
	}
	if en.waiting != "" && seen.ID.Kind == "CustomResourceDefinition" {
		return true
	}
	record, recorded := en.inv.Objects[seen.ID]
	s, there := en.session.live.get(seen.ID)
	there = there && s.Owner == en.owner
	if en.enforced().index[seen.ID] == nil {
		return recorded && !there
	}
	if record.Digest == "" {
		// Of what was refused, only that it is gone makes a difference: it can be created then.
		return !there && slices.ContainsFunc(en.failures, func(f failure) bool { return f.id == seen.ID })
	}
	if !there {
		return record.Finished == ""
	}
	if s.UID == record.UID && s.Health.Finished != "" && record.Finished == "" {
		return true // a Job has ended, which the inventory is to know before it is removed
	}
	return s.UID != record.UID || s.Fields.Digest != record.Fields
}
