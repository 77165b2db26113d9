package kustomization

import (
	"hash/maphash"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/report"
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
