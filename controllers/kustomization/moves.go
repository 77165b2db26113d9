package kustomization

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/rollout"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// dropped is what a Kustomization drops on a cluster and may still stand there.
type dropped struct {
	all     bool // it is not known what
	ids     map[object.ID]bool
	objects map[object.ID]object.Object // with their namespaces, as the bundles had them
	// confidential means that one of those bundles was.
	confidential bool
}

// errNotKnown means that it cannot be known what a neighbour names.
var errNotKnown = errors.New("not known")

// anywhere strikes the namespace off an identity: the hub does not know which kinds have one.
func anywhere(id object.ID) object.ID {
	id.Namespace = ""
	return id
}

// retain adds to the entries that drop objects what the clusters keep of them for other Kustomizations. An
// entry that drops nothing costs nothing, whatever the commit.
func (r *Reconciler) retain(ctx context.Context, o *observed, d *decision) error {
	waits := d.followed
	drops := map[string]*dropped{}
	for _, t := range d.targets {
		if have := o.assigned[t.Name]; t.want != nil && t.want != have.entry && !settled(have, t.want) {
			held, err := r.retainOn(ctx, o, d, t.Name, t.want, t.digest, drops)
			if err != nil {
				return err
			}
			waits = waits || held
		}
	}
	for _, l := range d.leaving {
		if l.want == nil || l.want.DeletionPolicy == v1alpha1.DeletionOrphan {
			continue
		}
		l.want.AllowPrune = o.acknowledges(l.want, "")
		held, err := r.retainOn(ctx, o, d, l.cluster, l.want, "", drops)
		if err != nil {
			return err
		}
		waits = waits || held
	}
	o.memo.dropped = drops
	r.setWaiting(o, waits)
	return nil
}

// settled reports whether nothing which the entry drops stands on the cluster any more.
func settled(have assigned, want *v1alpha1.AssignmentEntry) bool {
	if have.entry == nil {
		return true
	}
	if have.entry.Remove || have.entry.Digest != want.Digest || keepsDropped(have.entry) || have.status == nil {
		return false
	}
	_, attempted := have.status.Attempted()
	return attempted == want.Digest && have.status.AppliedDigest == want.Digest
}

// keepsDropped reports whether an entry keeps some of what it dropped.
func keepsDropped(e *v1alpha1.AssignmentEntry) bool {
	return len(e.KeepFor) > 0 || e.HoldPrune || e.Undone != ""
}

// retainOn decides what a cluster keeps of what an entry drops there; rendered is the digest of what the
// Kustomization comes to there at its source's revision, "" where that is not known.
func (r *Reconciler) retainOn(ctx context.Context, o *observed, d *decision, cluster string, want *v1alpha1.AssignmentEntry, rendered string, drops map[string]*dropped) (bool, error) {
	want.KeepFor, want.HoldPrune, want.Undone = nil, false, ""
	drop := r.drops(ctx, o, o.assigned[cluster], o.memo.dropped[cluster], want)
	if !drop.all && len(drop.ids) == 0 {
		return false, nil
	}
	drops[cluster] = drop
	want.Undone = r.undone(ctx, o, o.assigned[cluster].entry, want, rendered, drop)
	all, err := r.neighbours(ctx, o)
	if err != nil {
		return false, err
	}
	var list []targeting.Neighbour
	for _, n := range all {
		if !n.selects[cluster] || n.denied {
			continue
		}
		related := targeting.SourceOf(n.ks) == targeting.SourceOf(o.ks)
		one := targeting.Neighbour{Name: n.name()}
		why, problem := n.unknown(o, cluster)
		if why != "" {
			// Of another source, only what is new may be this Kustomization under another name.
			if !want.AllowPrune && (related || want.Remove && !problem) {
				one.Unknown = why
				if !problem || r.mayTake(ctx, o, n, cluster, drop, &one) {
					list = append(list, one)
				}
			}
			continue
		}
		one.Digest = n.outcome.Digests[n.local(cluster)]
		if _, one.Arrived, err = r.has(ctx, n, cluster); err != nil {
			return false, err
		}
		one.Takes = !one.Arrived && r.takes(ctx, o, one.Digest, drop)
		list = append(list, one)
	}
	retained := targeting.Retain(list)
	want.KeepFor, want.HoldPrune = retained.KeepFor, retained.Hold != "" && !want.AllowPrune
	if d.pruneHeld == "" && !want.AllowPrune {
		d.pruneHeld = retained.Held(cluster, want.Revision)
	}
	if want.Remove && len(retained.Waits) > 0 && d.pruneHeld == "" {
		d.pruneHeld = fmt.Sprintf("%s keeps objects for Kustomization %s, which has not arrived there", cluster, retained.Waits[0])
	}
	return want.HoldPrune || len(retained.KeepFor) > 0, nil
}

// undone returns the digest of the bundle that was undone, if it holds some of what is dropped: the
// revision wants that still. What the change has created goes with it all the same.
//
// One commit moves a ConfigMap from apps to shared, and makes a Deployment in shared that crashes. On
// edge-1 both arrive, apps lets go of the ConfigMap, and shared is rolled back: the Deployment is deleted,
// the ConfigMap stays, though neither bundle that is assigned there has it.
func (r *Reconciler) undone(ctx context.Context, o *observed, have, want *v1alpha1.AssignmentEntry, rendered string, drop *dropped) string {
	switch {
	case want.Remove || want.AllowPrune || want.Digest == rendered:
		return ""
	case rendered == "":
		return have.Undone // it is not known what the revision wants
	case r.takes(ctx, o, rendered, drop):
		return rendered
	}
	return ""
}

// drops returns what the entry drops of what may stand on the cluster: of all bundles that were assigned
// to it or attempted there since it last stood as assigned.
func (r *Reconciler) drops(ctx context.Context, o *observed, have assigned, before *dropped, want *v1alpha1.AssignmentEntry) *dropped {
	if have.entry == nil {
		return &dropped{}
	}
	digests := map[string]bool{have.entry.Digest: true}
	if have.status != nil {
		_, attempted := have.status.Attempted()
		digests[have.status.AppliedDigest], digests[attempted] = true, true
	}
	delete(digests, "")
	var stays map[object.ID]bool
	var ok bool
	if !want.Remove {
		delete(digests, want.Digest)
		if stays, ok = r.identities(ctx, o, want.Digest); !ok {
			return &dropped{all: true}
		}
	}
	found := &dropped{ids: map[object.ID]bool{}, objects: map[object.ID]object.Object{}}
	if before != nil {
		found.all, found.confidential = before.all, before.confidential
		maps.Copy(found.ids, before.ids)
		maps.Copy(found.objects, before.objects)
	} else if keepsDropped(have.entry) { // decided by a hub that has ended since
		found.all = have.entry.HoldPrune
		for _, digest := range append([]string{have.entry.Undone}, have.entry.KeepFor...) {
			digests[digest] = true
		}
		delete(digests, "")
	}
	for _, digest := range slices.Sorted(maps.Keys(digests)) {
		b, err := r.Bundles.Get(ctx, digest)
		if err != nil {
			found.all = true
			continue
		}
		found.confidential = found.confidential || b.Confidential
		for i := range b.Objects {
			if id := anywhere(b.Objects[i].ID); !stays[id] {
				found.ids[id], found.objects[b.Objects[i].ID] = true, b.Objects[i]
			}
		}
	}
	for id := range stays {
		delete(found.ids, id)
	}
	maps.DeleteFunc(found.objects, func(id object.ID, _ object.Object) bool { return stays[anywhere(id)] })
	return found
}

// identities returns the identities in a bundle, without namespaces; false when it cannot be read.
func (r *Reconciler) identities(ctx context.Context, o *observed, digest string) (map[object.ID]bool, bool) {
	if ids, read := o.bundles[digest]; read {
		return ids, ids != nil
	}
	b, err := r.Bundles.Get(ctx, digest)
	if err != nil {
		return nil, false
	}
	ids := make(map[object.ID]bool, len(b.Objects))
	for i := range b.Objects {
		ids[anywhere(b.Objects[i].ID)] = true
	}
	if o.bundles == nil {
		o.bundles = map[string]map[object.ID]bool{}
	}
	o.bundles[digest] = ids
	return ids, true
}

// takes reports whether a bundle holds some of what is dropped. One that cannot be read may.
func (r *Reconciler) takes(ctx context.Context, o *observed, digest string, drop *dropped) bool {
	ids, ok := r.identities(ctx, o, digest)
	if !ok || drop.all {
		return true
	}
	for id := range drop.ids {
		if ids[id] {
			return true
		}
	}
	return false
}

// follow holds the clusters back on which a dependency of the same source has not been assigned what the
// commit made of it. Digests decide: one that the commit did not change holds no cluster back.
func (r *Reconciler) follow(ctx context.Context, o *observed, t *target) (string, error) {
	have := o.assigned[t.Name].entry
	if len(o.ks.Spec.DependsOn) == 0 || t.digest == "" || have != nil && !have.Remove && have.Digest == t.digest {
		return "", nil // it gets nothing new
	}
	all, err := r.neighbours(ctx, o)
	if err != nil {
		return "", err
	}
	names := targeting.Dependencies(o.ks)
	for _, n := range all {
		if !n.selects[t.Name] || targeting.SourceOf(n.ks) != targeting.SourceOf(o.ks) || !slices.Contains(names, client.ObjectKeyFromObject(n.ks)) {
			continue
		}
		first, err := r.isFirst(ctx, n, t.Name)
		if err != nil {
			return "", err
		}
		if first {
			continue
		}
		why, _ := n.unknown(o, t.Name)
		if why == "" {
			assigned, _, err := r.has(ctx, n, t.Name)
			if err != nil {
				return "", err
			}
			if assigned {
				continue
			}
			return fmt.Sprintf("waits for Kustomization %s, %s", n.name(), rollout.NotHereYet(n.ks.Status.Rollout)), nil
		}
		return fmt.Sprintf("waits for Kustomization %s, which %s", n.name(), why), nil
	}
	return "", nil
}
