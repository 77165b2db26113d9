package engine

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
)

// referencesOf returns what an entry's healthChecks name, in their order. An object without a namespace is
// in that of the Kustomization, if its kind has any; clusters is the namespace of the Cluster.
func (en *entry) referencesOf(clusters string) []reference {
	namespace := v1alpha1.ResolveName(clusters, en.Spec.Name).Namespace
	refs := make([]reference, 0, len(en.Spec.HealthChecks))
	for _, check := range en.Spec.HealthChecks {
		gvk := schema.FromAPIVersionAndKind(check.APIVersion, check.Kind)
		id := object.ID{Group: gvk.Group, Kind: gvk.Kind, Namespace: check.Namespace, Name: check.Name}
		if id.Namespace == "" && !en.desired.Desires(id) {
			id.Namespace = namespace
		}
		refs = append(refs, reference{en.owner, gvk, id})
	}
	return refs
}

// healthChecks is as of when the session was brought in line with what entries ask for.
type healthChecks struct {
	session             *session
	desires, admissions uint64
}

// watchHealthChecks brings the session in line with the healthChecks and healthCheckExprs of the entries.
func (e *Engine) watchHealthChecks(now time.Time) {
	s := e.conn.session
	if s != nil {
		if kinds := s.expressions.retrySkipped(now); len(kinds) > 0 {
			for _, v := range s.allViews() {
				v.watches.restart(kinds)
			}
		}
	}
	if s == nil {
		return
	}
	as := healthChecks{session: s, desires: e.m.Desires(), admissions: s.admissions.Load()}
	if e.healthChecks == as {
		return
	}
	e.healthChecks = as
	wanted := map[*view]map[reference]bool{}
	anew := map[schema.GroupKind]bool{}
	for _, v := range s.allViews() {
		wanted[v] = map[reference]bool{}
	}
	for _, name := range e.m.Names() {
		en := e.entries[name]
		x, err := e.limits.expressions.Compile(en.Spec.HealthCheckExprs)
		if err != nil {
			continue // the hub has refused it before it was assigned
		}
		kinds := s.expressions.set(en.owner, x)
		en.view.live.forgetHealth(en.owner, kinds)
		for _, gk := range kinds {
			anew[gk] = true
		}
		for _, ref := range en.referencesOf(e.key.Namespace) {
			if !en.desired.Desires(ref.id) && e.mayRequest(en) {
				wanted[en.view][ref] = true
			}
		}
	}
	for v, refs := range wanted {
		if v.client != nil {
			v.references.watch(refs)
		}
		if len(anew) > 0 {
			v.watches.restart(slices.Collect(maps.Keys(anew)))
		}
	}
}

// checkedHealth returns the health of what the entry's healthChecks name. Those in the bundle are left out
// where all objects are waited for: the caller has counted them.
func (en *entry) checkedHealth(namespace string) map[object.ID]health.Status {
	if en.session == nil {
		return nil
	}
	out := map[object.ID]health.Status{}
	for _, ref := range en.referencesOf(namespace) {
		switch l, there := en.view.live.get(ref.id); {
		case !en.desired.Desires(ref.id):
			out[ref.id] = en.view.references.get(ref)
		case en.Spec.Wait:
		case there && l.Owner == en.owner:
			out[ref.id] = en.claimHealth(l.Health)
		default:
			out[ref.id] = health.Status{Message: "is not there"}
		}
	}
	return out
}

// forgetHealth makes the health of an owner's objects of some kinds unknown until their watches show it again.
// Objects of other owners are judged as before.
func (l *live) forgetHealth(owner string, kinds []schema.GroupKind) {
	if len(kinds) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, s := range l.objects {
		if s.Owner == owner && slices.Contains(kinds, kindOf(id)) {
			s.Health = health.Status{}
			l.objects[id] = s
		}
	}
}

// restart watches some kinds anew, those of them that are watched.
func (w *watches) restart(kinds []schema.GroupKind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, x := range w.running {
		if slices.Contains(kinds, at.GroupKind) {
			w.replace(at, x.mapping)
		}
	}
}
