package fleetsim

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// Health says what becomes of the workloads of an edge.
type Health string

const (
	// Healthy workloads are ready as soon as they are written.
	Healthy Health = "healthy"
	// NeverReady workloads stay on their way for ever.
	NeverReady Health = "never-ready"
	// Failing workloads say that they will not get there: the deadline of a Deployment is exceeded.
	Failing Health = "failing"
)

// workload names a workload; empty: all.
type workload struct{ namespace, name string }

// SetHealth sets the health of all workloads of the edge that SetWorkloadHealth says nothing of, at
// once and for what is written later.
func (e *Edge) SetHealth(h Health) { e.setMood(workload{}, h) }

// SetWorkloadHealth does so for the workloads of one name: Deployments, StatefulSets and so on.
func (e *Edge) SetWorkloadHealth(namespace, name string, h Health) {
	e.setMood(workload{namespace, name}, h)
}

func (e *Edge) setMood(t workload, h Health) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.moods == nil {
		e.moods = map[workload]Health{}
	}
	e.moods[t] = h
	for k, c := range e.store {
		if statusOf(k) == nil {
			continue
		}
		for _, o := range slices.Clone(c.objects) {
			e.react(o)
		}
	}
}

func (e *Edge) mood(o *instance) Health {
	if h, ok := e.moods[workload{o.c.namespace, o.c.name}]; ok {
		return h
	}
	if h, ok := e.moods[workload{}]; ok {
		return h
	}
	return Healthy
}

// react does what the controllers of a cluster do about an object that was written. The lock is held.
func (e *Edge) react(o *instance) {
	k := o.c.kind
	switch {
	case o.deleted > 0:
		e.empty(o)
	case k == e.fleet.kinds.definition:
		if o = e.setStatus(o, "kube-apiserver", establishedStatus(o.c)); o != nil {
			e.serveKinds(o)
		}
	case statusOf(k) != nil:
		e.setStatus(o, "kube-controller-manager", statusOf(k)(o, e.mood(o)))
	}
}

// setStatus writes the status of an object as a controller does. It returns the object as it is then.
func (e *Edge) setStatus(o *instance, manager, status string) *instance {
	if status == "" {
		return o
	}
	out := e.fleet.transitions.outcome(o.c, &write{
		kind: o.c.kind, namespace: o.c.namespace, name: o.c.name, verb: verbPatch, json: true, status: true, manager: manager,
		body: []byte(`[{"op":"add","path":"/status","value":` + status + `}]`),
	})
	if out.refused != nil {
		e.fleet.fault(fmt.Errorf("cannot set status of %s %s/%s: %w", o.c.kind.gvk.Kind, o.c.namespace, o.c.name, out.refused))
		return o
	}
	now, _ := e.commit(o.c.kind, o, out)
	return now
}

// empty deletes what a namespace or a definition that is being deleted holds, and then itself unless
// something has to wait.
func (e *Edge) empty(o *instance) {
	if !e.holds(o.c.kind) {
		return
	}
	for _, x := range e.inside(o) {
		e.remove(x)
	}
	e.finish(o.c.kind, o.c.name)
}

// finish removes a holder that is being deleted once nothing is in it.
func (e *Edge) finish(k *kind, name string) {
	holder := e.collection(k).get("", name)
	if holder != nil && holder.deleted > 0 && len(e.inside(holder)) == 0 {
		e.drop(holder)
	}
}

// gone is called when an object has been removed: what held it may wait for that.
func (e *Edge) gone(o *instance) {
	k := o.c.kind
	if k == e.fleet.kinds.definition {
		e.dropKinds(o)
		return
	}
	if k.custom {
		e.finish(e.fleet.kinds.definition, k.resource+"."+k.gvk.Group)
	}
	if k.namespaced {
		e.finish(e.fleet.kinds.namespace, o.c.namespace)
	}
}

func (o *instance) uidFor(e *Edge) types.UID { return types.UID(e.writer.uid(o)) }
