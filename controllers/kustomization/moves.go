package kustomization

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/rollout"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// outcome is what a Kustomization came to in its last reconcile: what the other ones need to know to drop an
// object that may have moved there, or to follow it in a rollout. It is kept in memory only; after a start
// of the hub nothing is known until each has been reconciled, and what is not known holds others back.
type outcome struct {
	generation int64
	artifact   string            // what was rendered, as artifactKey writes it
	digests    map[string]string // by cluster
	failed     map[string]string // by cluster: why there is none
	problem    string            // why there is none for any cluster
	assigned   map[string]string // digest, by cluster, once it is written
	inputs     map[string]uint64 // by cluster, as inputOf digests them
	lastGood   map[string]string // digest at the same generation, artifact and input, of clusters without one now
}

// outcomes are those of all Kustomizations, and who waits for them to change. The Reconciler's lock guards it.
type outcomes struct {
	known     map[types.NamespacedName]*outcome
	published map[types.NamespacedName]uint64 // digests of the outcomes that others saw last
	waiting   map[types.NamespacedName]bool   // Kustomizations that wait for another one, which may be of another namespace
}

// artifactKey names what a source has fetched.
func artifactKey(source types.NamespacedName, a *v1alpha1.Artifact) string {
	if a == nil {
		return source.String()
	}
	return source.String() + " " + a.Revision + " " + a.Digest
}

// outcomeOf is the outcome of a decision; nil when it came to nothing that is known.
func outcomeOf(o *observed, d *decision) *outcome {
	v := &outcome{generation: o.ks.Generation, digests: map[string]string{}, failed: map[string]string{}, assigned: map[string]string{}, inputs: map[string]uint64{}}
	if o.source != nil {
		v.artifact = artifactKey(client.ObjectKeyFromObject(o.source), o.source.Status.Artifact)
	}
	came := d
	if d.suspended != nil {
		came = d.suspended
	}
	switch {
	case came.silent:
		return nil
	case came.err != nil:
		v.problem = "cannot be rendered: " + report.Line(came.err.Error())
	}
	for _, t := range came.targets {
		v.inputs[t.Name] = inputOf(o.ks, o.byName[t.Name], t.Target)
		if t.err != nil {
			v.failed[t.Name] = "cannot be rendered for it: " + report.Line(t.err.Error())
		} else if t.digest != "" {
			v.digests[t.Name] = t.digest
		}
	}
	for _, t := range d.targets {
		if t.want != nil {
			v.assigned[t.Name] = t.want.Digest
		}
	}
	return v
}

// publish lets the others see what a Kustomization has come to, and wakes those that wait for it.
func (r *Reconciler) publish(o *observed, v *outcome) {
	digest := digestOfOutcome(o, v)
	r.mu.Lock()
	changed := r.outcomes.published[o.key] != digest
	if v == nil {
		delete(r.outcomes.known, o.key)
		delete(r.outcomes.published, o.key)
	} else {
		v.lastGood = r.outcomes.known[o.key].goodAt(v)
		r.outcomes.known[o.key], r.outcomes.published[o.key] = v, digest
	}
	var wake []types.NamespacedName
	for key, crosses := range r.outcomes.waiting {
		if changed && key != o.key && (key.Namespace == o.key.Namespace || crosses || crossing(o)) {
			wake = append(wake, key)
		}
	}
	r.mu.Unlock()
	for _, key := range wake {
		r.trigger.Enqueue(key)
	}
}

// goodAt returns the digests that an outcome, which may be nil, knows of clusters for which the next one has none,
// where both are of the same generation, artifact and input: of other variables it may come to anything.
func (v *outcome) goodAt(next *outcome) map[string]string {
	if v == nil || v.generation != next.generation || v.artifact != next.artifact {
		return nil
	}
	lastGood := map[string]string{}
	for _, known := range []map[string]string{v.lastGood, v.digests} {
		for cluster, digest := range known {
			if next.digests[cluster] == "" && next.inputs[cluster] != 0 && next.inputs[cluster] == v.inputs[cluster] {
				lastGood[cluster] = digest
			}
		}
	}
	return lastGood
}

// digestOfOutcome digests what others see of an outcome, with what the clusters have applied.
func digestOfOutcome(o *observed, v *outcome) uint64 {
	if v == nil {
		return 0
	}
	sum := maphash.Comparable(seed, struct {
		generation        int64
		artifact, problem string
	}{v.generation, v.artifact, v.problem})
	for name, have := range o.assigned {
		if have.status != nil {
			sum += maphash.Comparable(seed, [3]string{"applied", name, have.status.AppliedDigest})
		}
	}
	return sum + digestOfMap("digest", v.digests) + digestOfMap("failed", v.failed) + digestOfMap("assigned", v.assigned) + digestOfInputs(v.inputs)
}

func (r *Reconciler) outcomeAt(key types.NamespacedName) *outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outcomes.known[key]
}

// setWaiting notes whether a Kustomization waits for another one.
func (r *Reconciler) setWaiting(o *observed, is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if is {
		r.outcomes.waiting[o.key] = crossing(o)
	} else {
		delete(r.outcomes.waiting, o.key)
	}
}

// crossing reports whether a Kustomization may have to do with those of other namespaces.
func crossing(o *observed) bool { return targeting.CrossesNamespaces(o.ks) || o.isElsewhere() }

// neighbour is another Kustomization that may have to do with the same clusters.
type neighbour struct {
	ks       *v1alpha1.Kustomization
	from     string   // namespace of the Kustomization that looks at it, which names the clusters
	outcome  *outcome // names clusters as the neighbour does
	source   *v1alpha1.GitRepository
	artifact string // what its source has fetched
	denied   bool   // its source does not admit it: it gets nothing of it
	selects  map[string]bool
	targets  map[string]targeting.Target // of the clusters that it selects, where its selection is valid
	assigned map[string]assigned         // names clusters as the neighbour does
}

// local is the name of a cluster as seen from the neighbour.
func (n *neighbour) local(cluster string) string {
	return v1alpha1.RelativeName(n.ks.Namespace, v1alpha1.ResolveName(n.from, cluster))
}

// name is the name of a neighbour as seen from the Kustomization that looks at it.
func (n *neighbour) name() string {
	return v1alpha1.RelativeName(n.from, client.ObjectKeyFromObject(n.ks))
}

// neighbours reads the other Kustomizations that no deletion has begun of and that may be on the same
// clusters: those of the namespace, of the namespaces of the clusters, and those that select Clusters of
// other namespaces.
func (r *Reconciler) neighbours(ctx context.Context, o *observed) ([]*neighbour, error) {
	if o.neighbours != nil {
		return o.neighbours, nil
	}
	items, err := r.neighbourhood(ctx, o)
	if err != nil {
		return nil, err
	}
	found := []*neighbour{}
	sources := map[types.NamespacedName]*v1alpha1.GitRepository{}
	for _, ks := range items {
		if client.ObjectKeyFromObject(ks) == o.key || !ks.DeletionTimestamp.IsZero() {
			continue
		}
		n := &neighbour{ks: ks, from: o.key.Namespace, outcome: r.outcomeAt(client.ObjectKeyFromObject(ks)), selects: map[string]bool{}, targets: map[string]targeting.Target{}}
		access, err := r.observeAccess(ctx, ks)
		if err != nil {
			return nil, err
		}
		selection, err := targeting.Select(ks, o.clusters, access)
		if err != nil {
			for name := range o.byName { // which of them it is to be on is not known
				n.selects[name] = true
			}
		}
		for _, t := range selection.Targets {
			name := v1alpha1.RelativeName(o.key.Namespace, v1alpha1.ResolveName(ks.Namespace, t.Name))
			n.selects[name], n.targets[name] = true, t
		}
		name := targeting.SourceOf(ks)
		if sources[name] == nil {
			source := &v1alpha1.GitRepository{}
			if err := r.Hub.Get(ctx, name, source); err != nil && !apierrors.IsNotFound(err) {
				return nil, fmt.Errorf("cannot read GitRepository: %w", err)
			}
			sources[name] = source
		}
		if n.source = sources[name]; n.source.Name != "" {
			n.artifact = artifactKey(name, n.source.Status.Artifact)
			n.denied = !access.Admits(ks.Namespace, name.Namespace, n.source.Spec.AccessFrom)
		}
		found = append(found, n)
	}
	o.neighbours = found
	return found, nil
}

// neighbourhood lists Kustomizations that may be on the clusters that one selects or is on.
func (r *Reconciler) neighbourhood(ctx context.Context, o *observed) ([]*v1alpha1.Kustomization, error) {
	namespaces := map[string]bool{o.key.Namespace: true}
	for name := range o.byName {
		namespaces[v1alpha1.ResolveName(o.key.Namespace, name).Namespace] = true
	}
	found := map[types.NamespacedName]*v1alpha1.Kustomization{}
	add := func(by ...client.ListOption) error {
		list := &v1alpha1.KustomizationList{}
		if err := r.Hub.List(ctx, list, append(by, shared)...); err != nil {
			return fmt.Errorf("cannot list Kustomizations: %w", err)
		}
		for i := range list.Items {
			found[client.ObjectKeyFromObject(&list.Items[i])] = &list.Items[i]
		}
		return nil
	}
	for namespace := range namespaces {
		if err := add(client.InNamespace(namespace)); err != nil {
			return nil, err
		}
	}
	if err := add(client.MatchingFields{crossIndex: crossClusters}); err != nil {
		return nil, err
	}
	all := make([]*v1alpha1.Kustomization, 0, len(found))
	for _, key := range slices.SortedFunc(maps.Keys(found), compareKeys) {
		all = append(all, found[key])
	}
	return all, nil
}

func compareKeys(a, b types.NamespacedName) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// unknown is the reason why it is not known what a neighbour renders for a cluster; "" when it is. A
// problem of its own is such a reason as well; problem distinguishes the two.
func (n *neighbour) unknown(o *observed, cluster string) (why string, problem bool) {
	v, seen := n.outcome, o.byName[cluster]
	t, selected := n.targets[cluster]
	cluster = n.local(cluster)
	switch {
	case v == nil || v.generation != n.ks.Generation || v.artifact != n.artifact:
		return "is not rendered at this revision yet", false
	case selected && inputOf(n.ks, seen, t) != v.inputs[cluster]:
		return "is not rendered with the variables and labels of this cluster yet", false
	case v.digests[cluster] != "":
		return "", false
	case v.problem != "":
		return v.problem, true
	case v.failed[cluster] != "":
		return v.failed[cluster], true
	}
	return "is not rendered for this cluster yet", false
}

// has reports whether a neighbour's bundle is assigned to a cluster, and whether it is applied there.
func (r *Reconciler) has(ctx context.Context, n *neighbour, cluster string) (assigned, applied bool, err error) {
	if n.assigned == nil {
		if n.assigned, err = r.observeAssigned(ctx, client.ObjectKeyFromObject(n.ks)); err != nil {
			return false, false, err
		}
	}
	cluster = n.local(cluster)
	digest, have := n.outcome.digests[cluster], n.assigned[cluster]
	if n.outcome.assigned[cluster] != digest {
		return false, false, nil
	}
	seen := have.entry != nil && !have.entry.Remove && have.entry.Digest == digest
	return true, seen && have.status != nil && have.status.AppliedDigest == digest, nil
}

// isFirst returns whether the cluster has nothing of the neighbour yet and gets it without stages. Then the
// engine there waits for it: it has no earlier digest that could pass for the new one, and no stage that
// could keep it from the cluster for long. Otherwise each link of a chain that is created at once would
// wait for a reconcile of the one before it.
func (r *Reconciler) isFirst(ctx context.Context, n *neighbour, cluster string) (bool, error) {
	if rollout := n.ks.Spec.Rollout; rollout == nil || rollout.Strategy != v1alpha1.RolloutAllAtOnce {
		return false, nil
	}
	if n.assigned == nil {
		var err error
		if n.assigned, err = r.observeAssigned(ctx, client.ObjectKeyFromObject(n.ks)); err != nil {
			return false, err
		}
	}
	cluster = n.local(cluster)
	return n.assigned[cluster].entry == nil && (n.outcome == nil || n.outcome.assigned[cluster] == ""), nil
}

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
		one.Digest = n.outcome.digests[n.local(cluster)]
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
