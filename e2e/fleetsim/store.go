package fleetsim

import (
	"slices"
	"sort"
	"strings"
)

// collection is all objects of a kind on one edge, by namespace and name. The edge's lock guards it.
type collection struct {
	objects  []*instance
	watchers []*watcher
}

func (c *collection) search(namespace, name string) (int, bool) {
	i := sort.Search(len(c.objects), func(i int) bool { return !c.objects[i].before(namespace, name) })
	return i, i < len(c.objects) && c.objects[i].c.namespace == namespace && c.objects[i].c.name == name
}

func (c *collection) get(namespace, name string) *instance {
	if i, ok := c.search(namespace, name); ok {
		return c.objects[i]
	}
	return nil
}

func (c *collection) put(o *instance) {
	i, ok := c.search(o.c.namespace, o.c.name)
	if ok {
		c.objects[i] = o
		return
	}
	c.objects = slices.Insert(c.objects, i, o)
}

func (c *collection) remove(o *instance) {
	if i, ok := c.search(o.c.namespace, o.c.name); ok {
		c.objects = slices.Delete(c.objects, i, i+1)
	}
}

// change is what a watch tells of: an object as it was and as it is. One of them may be nil.
type change struct {
	version  uint64
	old, now *instance
}

func (c *change) kind() *kind {
	if c.now != nil {
		return c.now.c.kind
	}
	return c.old.c.kind
}

// historySize bounds the changes that an edge remembers for watches that come back. An API server
// keeps at least a hundred for each kind.
const historySize = 128

func (e *Edge) collection(k *kind) *collection {
	c := e.store[k]
	if c == nil {
		c = &collection{}
		e.store[k] = c
	}
	return c
}

// commit makes the outcome of a write the object of this edge and says whether anything changed.
func (e *Edge) commit(k *kind, old *instance, out *outcome) (*instance, bool) {
	if old != nil && (old.c == out.content || old.c.sum == out.content.sum) {
		return old, false
	}
	now := e.fleet.seconds()
	o := &instance{c: out.content, version: e.nextVersion()}
	if old == nil {
		o.born, o.created, o.generation = o.version, now, 1
	} else {
		o.born, o.created, o.generation, o.deleted = old.born, old.created, old.generation, old.deleted
		if out.counts {
			o.generation++
		}
	}
	for i := range min(len(out.from), timed) {
		o.times[i] = now
		if from := out.from[i]; from >= 0 && old != nil {
			o.times[i] = old.times[min(int(from), timed-1)]
		}
	}
	if o.deleted > 0 && !o.c.finalizers && !e.holds(k) {
		e.record(change{version: o.version, old: old})
		e.collection(k).remove(o)
		e.gone(o)
		answered := *o
		answered.version = old.version // what is not written gets no version
		return &answered, true
	}
	e.collection(k).put(o)
	e.record(change{version: o.version, old: old, now: o})
	return o, true
}

func (e *Edge) nextVersion() uint64 {
	e.version++
	return e.version
}

// record remembers a change and tells the watches of it.
func (e *Edge) record(c change) {
	if len(e.history) == historySize {
		half := historySize / 2
		e.forgotten = e.history[half-1].version
		e.history = append(make([]change, 0, historySize), e.history[half:]...)
	}
	e.history = append(e.history, c)
	for _, w := range e.collection(c.kind()).watchers {
		w.tell(&c)
	}
}

// holds says whether objects of the kind hold others, which go first when they are deleted.
func (e *Edge) holds(k *kind) bool {
	return k == e.fleet.kinds.namespace || k == e.fleet.kinds.definition
}

// remove deletes an object. One with finalizers, or that may hold others, is marked, and goes later.
func (e *Edge) remove(o *instance) *instance {
	k := o.c.kind
	if !o.c.finalizers && !e.holds(k) {
		return e.drop(o)
	}
	if o.deleted > 0 {
		return o
	}
	now := *o
	if k == e.fleet.kinds.definition {
		now.c = e.finalized(o.c)
	} else if k.counted {
		now.generation++
	}
	now.version = e.nextVersion()
	now.deleted = e.fleet.seconds() + 1
	e.collection(k).put(&now)
	e.record(change{version: now.version, old: o, now: &now})
	return &now
}

// drop takes an object out of the store.
func (e *Edge) drop(o *instance) *instance {
	now := *o
	now.version = e.nextVersion()
	e.collection(o.c.kind).remove(o)
	e.record(change{version: now.version, old: o})
	e.gone(o)
	return &now
}

// finalized is a definition that waits for its objects to go.
func (e *Edge) finalized(c *content) *content {
	out := e.fleet.transitions.outcome(c, &write{
		kind: c.kind, name: c.name, verb: verbPatch, json: true, manager: "kube-apiserver",
		body: []byte(`[{"op":"add","path":"/metadata/finalizers","value":["customresourcecleanup.apiextensions.k8s.io"]}]`),
	})
	if out.refused != nil {
		e.fleet.fault(out.refused)
		return c
	}
	return out.content
}

// inside returns the objects of a namespace, or those of a definition, sorted by kind.
func (e *Edge) inside(o *instance) []*instance {
	var out []*instance
	for k, c := range e.store {
		switch {
		case o.c.kind == e.fleet.kinds.namespace && k.namespaced:
			for i, _ := c.search(o.c.name, ""); i < len(c.objects) && c.objects[i].c.namespace == o.c.name; i++ {
				out = append(out, c.objects[i])
			}
		case o.c.kind == e.fleet.kinds.definition && k.custom && k.resource+"."+k.gvk.Group == o.c.name:
			out = append(out, c.objects...)
		}
	}
	slices.SortFunc(out, func(a, b *instance) int {
		return strings.Compare(a.c.kind.gvk.String()+a.c.namespace+a.c.name, b.c.kind.gvk.String()+b.c.namespace+b.c.name)
	})
	return out
}
