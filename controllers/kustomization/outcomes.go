package kustomization

import (
	"hash/maphash"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// outcomes are those of all Kustomizations in their last reconciles, and which wait for them to change. They are kept in
// memory only: after a start of the hub nothing is known until each has been reconciled, and what is not known holds others
// back. The Reconciler's lock guards them.
type outcomes struct {
	known     map[types.NamespacedName]*targeting.Outcome
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
func outcomeOf(o *observed, d *decision) *targeting.Outcome {
	v := &targeting.Outcome{Generation: o.ks.Generation, Digests: map[string]string{}, Failed: map[string]string{}, Assigned: map[string]string{}, Inputs: map[string]uint64{}}
	if o.source != nil {
		v.Artifact = artifactKey(client.ObjectKeyFromObject(o.source), o.source.Status.Artifact)
	}
	came := d
	if d.suspended != nil {
		came = d.suspended
	}
	switch {
	case came.silent:
		return nil
	case came.err != nil:
		v.Problem = "cannot be rendered: " + report.Line(came.err.Error())
	}
	for _, t := range came.targets {
		v.Inputs[t.Name] = inputOf(o.ks, o.byName[t.Name], t.Target)
		if t.err != nil {
			v.Failed[t.Name] = "cannot be rendered for it: " + report.Line(t.err.Error())
		} else if t.digest != "" {
			v.Digests[t.Name] = t.digest
		}
	}
	for _, t := range d.targets {
		if t.want != nil {
			v.Assigned[t.Name] = t.want.Digest
		}
	}
	return v
}

// publish lets the others see what a Kustomization has come to, and wakes those that wait for it.
func (r *Reconciler) publish(o *observed, v *targeting.Outcome) {
	digest := digestOfOutcome(o, v)
	r.mu.Lock()
	changed := r.outcomes.published[o.key] != digest
	if v == nil {
		delete(r.outcomes.known, o.key)
		delete(r.outcomes.published, o.key)
	} else {
		v.LastGood = r.outcomes.known[o.key].LastGoodFor(v)
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

// digestOfOutcome digests what others see of an outcome, with what the clusters have applied.
func digestOfOutcome(o *observed, v *targeting.Outcome) uint64 {
	if v == nil {
		return 0
	}
	sum := maphash.Comparable(seed, struct {
		generation        int64
		artifact, problem string
	}{v.Generation, v.Artifact, v.Problem})
	for name, have := range o.assigned {
		if have.status != nil {
			sum += maphash.Comparable(seed, [3]string{"applied", name, have.status.AppliedDigest})
		}
	}
	return sum + digestOfMap("digest", v.Digests) + digestOfMap("failed", v.Failed) + digestOfMap("assigned", v.Assigned) + digestOfInputs(v.Inputs)
}

func (r *Reconciler) outcomeAt(key types.NamespacedName) *targeting.Outcome {
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
