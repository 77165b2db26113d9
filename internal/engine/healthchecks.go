package engine

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/expression"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/sleep"
)

// expressions are those of spec.healthCheckExprs on one cluster, by the owner label of the Kustomization
// whose objects they judge. The watches ask them, the loop sets them.
type expressions struct {
	now   func() time.Time
	steps *steps
	// hub is what they may take with those of all other clusters, and random spreads the waits of these.
	hub         *hubSteps
	random      func() float64
	assessments *assessments
	// exhausted is called when objects are no longer judged, and does not block.
	exhausted func()

	mu      sync.RWMutex
	byOwner map[string]*health.Expressions // guarded by mu
	skipped map[schema.GroupKind]bool      // guarded by mu: kinds of objects that were not judged
	due     time.Time                      // guarded by mu: when they are judged
}

// steps are what the expressions of one cluster may still take, by owner. They outlive a session: a
// cluster that disconnects does not get them back by that.
type steps struct {
	mu      sync.Mutex
	byOwner map[string]*expression.Budget // guarded by mu
}

func (s *steps) allow(owner string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byOwner == nil {
		s.byOwner = map[string]*expression.Budget{}
	}
	if s.byOwner[owner] == nil {
		s.byOwner[owner] = expression.NewBudget(expression.ClusterLimits)
	}
	return s.byOwner[owner].Allows(now, len(s.byOwner))
}

func (s *steps) charge(owner string, now time.Time, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.byOwner[owner]; b != nil {
		b.Charge(now, len(s.byOwner), n)
	}
}

// refilled is when everything is given back that was spent.
func (s *steps) refilled(owner string, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.byOwner[owner]; b != nil {
		return now.Add(b.Refilled(len(s.byOwner)))
	}
	return now
}

func (s *steps) forget(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byOwner, owner)
}

func (x *expressions) of(owner string) *health.Expressions {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.byOwner[owner]
}

// Health implements edge.Assessor. What an edge shows decides how many steps an expression takes: once those of
// a Kustomization have taken what they may on this cluster, or on all, its objects are not judged until that is
// given back. An object that has not changed since it was judged takes none.
func (x *expressions) Health(owner string, u *unstructured.Unstructured, addManagedFields func()) health.Status {
	gk := u.GroupVersionKind().GroupKind()
	e := x.of(owner)
	if !e.Covers(gk) {
		if health.ReadsManagedFields(gk) {
			addManagedFields()
		}
		return health.Of(u)
	}
	key, version := assessed{e, string(u.GetUID())}, u.GetResourceVersion()
	if s, known := x.assessments.get(key, version); known {
		return s
	}
	now := x.now()
	if !x.steps.allow(owner, now) {
		x.skip(gk, x.steps.refilled(owner, now))
		return health.Unevaluated("on this cluster")
	}
	if !x.hub.allow(owner, now) {
		// Those of many clusters wait for the same: they come back over as long a time again.
		wait := x.hub.refilled(owner)
		x.skip(gk, now.Add(wait/2+time.Duration(x.random()*float64(wait))))
		return health.Unevaluated("on all clusters")
	}
	addManagedFields() // an expression may ask for any field
	s, n := e.Of(u)
	x.steps.charge(owner, x.now(), n)
	x.hub.charge(owner, x.now(), n)
	x.assessments.put(key, version, s)
	return s
}

// skip notes that an object of a kind was not judged, and when it can be.
func (x *expressions) skip(gk schema.GroupKind, due time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	first := len(x.skipped) == 0
	if first {
		x.skipped = map[schema.GroupKind]bool{}
		x.due = due
	}
	x.skipped[gk] = true
	if first {
		x.exhausted()
	}
}

// retrySkipped returns the kinds of objects that were not judged, once they can be.
func (x *expressions) retrySkipped(now time.Time) []schema.GroupKind {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.skipped) == 0 || now.Before(x.due) {
		return nil
	}
	kinds := slices.Collect(maps.Keys(x.skipped))
	x.skipped, x.due = nil, time.Time{}
	return kinds
}

// next is when retrySkipped returns something; zero when nothing was skipped.
func (x *expressions) next() time.Time {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.due
}

// HasStatus implements edge.Assessor.
func (x *expressions) HasStatus(gk schema.GroupKind) bool {
	if health.HasStatus(gk) {
		return true
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, e := range x.byOwner {
		if e.Covers(gk) {
			return true
		}
	}
	return false
}

// set replaces the expressions of an owner and returns the kinds whose objects are to be judged anew.
func (x *expressions) set(owner string, e *health.Expressions) []schema.GroupKind {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.byOwner[owner]
	if old == e {
		return nil
	}
	if x.byOwner == nil {
		x.byOwner = map[string]*health.Expressions{}
	}
	x.byOwner[owner] = e
	if e == nil {
		delete(x.byOwner, owner)
		x.steps.forget(owner)
	}
	return append(old.Kinds(), e.Kinds()...)
}

// reference is an object that spec.healthChecks of an owner names.
type reference struct {
	owner string
	gvk   schema.GroupVersionKind
	id    object.ID
}

// references watches the objects that healthChecks name and that are not in the bundle of the
// Kustomization which names them: each by itself, by name.
type references struct {
	of     *view
	now    func() time.Time
	health func(reference) // called when what is known of one has changed; does not block

	mu    sync.Mutex
	known map[reference]health.Status // guarded by mu; a missing one is not known yet
	stop  map[reference]context.CancelFunc
	// answered is when the cluster last answered about a reference, and told is closed with the next answer
	// about any; both guarded by mu.
	answered map[reference]time.Time
	answer   chan struct{}
}

func newReferences(v *view, now func() time.Time, changed func(reference)) *references {
	return &references{
		of: v, now: now, health: changed, known: map[reference]health.Status{}, stop: map[reference]context.CancelFunc{},
		answered: map[reference]time.Time{}, answer: make(chan struct{}),
	}
}

// noteAnswer notes an answer of the cluster about a reference.
func (r *references) noteAnswer(ctx context.Context, ref reference) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil { // it is not watched any more, or by another watch
		return
	}
	r.answered[ref] = r.now()
	close(r.answer)
	r.answer = make(chan struct{})
}

// oldest is the time of the oldest answer about what an owner refers to; false where nothing is known of any.
func (r *references) oldest(owner string) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest, found := time.Time{}, false
	for ref, at := range r.answered {
		if ref.owner == owner && (!found || at.Before(oldest)) {
			oldest, found = at, true
		}
	}
	return oldest, found
}

// verify asks the cluster about the references of an owner of which it has not told since a time: each is
// watched anew, and so listed, for a watch that is silent may be stuck. It returns when all are answered, or
// when that takes too long; then the time of the last answer stays as it is.
func (r *references) verify(ctx context.Context, owner string, since time.Time) {
	r.mu.Lock()
	waiting := map[reference]bool{}
	for ref, at := range r.answered {
		if ref.owner == owner && at.Before(since) {
			r.stop[ref]()
			r.stop[ref] = r.start(ref) //nolint:contextcheck // a watch outlives the pass
			waiting[ref] = true
		}
	}
	begun, answer := r.now(), r.answer
	r.mu.Unlock()
	late := time.NewTimer(referenceTimeout)
	defer late.Stop()
	for len(waiting) > 0 {
		select {
		case <-answer:
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
		r.mu.Lock()
		answer = r.answer
		for ref := range waiting {
			if at, known := r.answered[ref]; !known || !at.Before(begun) {
				delete(waiting, ref)
			}
		}
		r.mu.Unlock()
	}
}

// referencePatience is how long a verification waits for what an object shows that nothing here applies.
const referenceTimeout = 10 * time.Second

// get returns the health of a reference, as far as it is known.
func (r *references) get(ref reference) health.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.known[ref]
	if !ok {
		return health.Status{Message: "is not looked at yet"}
	}
	return s
}

// watch starts the watches of what is wanted and stops all others.
func (r *references) watch(wanted map[reference]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ref, stop := range r.stop {
		if !wanted[ref] {
			stop()
			delete(r.stop, ref)
			delete(r.known, ref)
			delete(r.answered, ref)
		}
	}
	for ref := range wanted {
		if r.stop[ref] == nil {
			r.stop[ref] = r.start(ref)
		}
	}
}

// start watches one object until it is stopped or the session ends. The goroutine belongs to the
// session's watches, which wait for it.
func (r *references) start(ref reference) context.CancelFunc {
	ctx, cancel := context.WithCancel(r.of.life)
	r.of.watches.wg.Go(func() {
		if err := recovery.Run(func() error { r.follow(ctx, ref); return nil }); err != nil && r.of.watches.crashed != nil {
			r.of.watches.crashed(err)
		}
	})
	return cancel
}

// follow waits until the kind of the object is served, in whichever version, and watches the object until that
// version is served no longer. Manifests live longer than the beta versions that they name.
func (r *references) follow(ctx context.Context, ref reference) {
	for n := 1; ctx.Err() == nil; n++ {
		m, err := r.of.client.MappingOfAnyVersion(ctx, ref.gvk)
		if err == nil {
			r.observe(ctx, m, ref)
		} else {
			r.set(ctx, ref, health.Status{Phase: health.InProgress, Message: "its kind is not served by the cluster"})
			if !edge.Unanswered(err) {
				r.noteAnswer(ctx, ref)
			}
		}
		_ = sleep.For(ctx, machine.Backoff(n, unservedRetry))
	}
}

// observe watches one object until ctx ends, or the cluster serves the version of the mapping no longer.
func (r *references) observe(ctx context.Context, m edge.Mapping, ref reference) {
	id := ref.id
	if !m.Namespaced {
		id.Namespace = ""
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	r.of.client.WatchObject(watching, m, id, ref.owner, &referenceHandler{of: r, ctx: ctx, ref: ref, gone: func() {
		r.of.client.ForgetMapping(m.GVK)
		stop()
	}})
}

// unservedRetry bounds the wait for the next look at a kind that is not served.
const unservedRetry = 10 * time.Second

func (r *references) set(ctx context.Context, ref reference, s health.Status) {
	r.mu.Lock()
	old, known := r.known[ref]
	changed := ctx.Err() == nil && (!known || old != s)
	if changed {
		r.known[ref] = s
	}
	r.mu.Unlock()
	if changed {
		r.health(ref)
	}
}

// referenceHandler takes what the watch of one object shows.
type referenceHandler struct {
	of  *references
	ctx context.Context //nolint:containedctx // of the watch
	ref reference
	// gone ends the watch, so that the kind is looked up anew.
	gone func()
}

func (h *referenceHandler) Listing() {}

func (h *referenceHandler) Listed(all []edge.Observed) {
	if len(all) == 0 {
		h.Deleted(edge.Observed{})
		return
	}
	h.Changed(all[0])
}

func (h *referenceHandler) Changed(seen edge.Observed) { h.of.set(h.ctx, h.ref, seen.Health) }

func (h *referenceHandler) Deleted(edge.Observed) {
	h.of.set(h.ctx, h.ref, health.Status{Phase: health.InProgress, Message: "is not there"})
}

func (h *referenceHandler) Progress(string) { h.of.noteAnswer(h.ctx, h.ref) }

func (h *referenceHandler) Failed(err error) {
	if edge.KindGone(err) || edge.Refused(err) {
		defer h.of.noteAnswer(h.ctx, h.ref)
	}
	switch {
	case edge.KindGone(err): // with its definition the object is gone
		h.of.set(h.ctx, h.ref, health.Status{Phase: health.InProgress, Message: "its kind is not served by the cluster"})
		h.gone()
	case edge.Refused(err):
		h.of.set(h.ctx, h.ref, health.Status{Phase: health.InProgress, Message: "the cluster does not let it be read"})
	}
}

// referencesOf returns what an entry's healthChecks name, in their order. An object without a namespace is
// in that of the Kustomization, if its kind has any; clusters is the namespace of the Cluster.
func (en *entry) referencesOf(clusters string) []reference {
	namespace := v1alpha1.ResolveName(clusters, en.Spec.Name).Namespace
	refs := make([]reference, 0, len(en.Spec.HealthChecks))
	for _, check := range en.Spec.HealthChecks {
		gvk := schema.FromAPIVersionAndKind(check.APIVersion, check.Kind)
		id := object.ID{Group: gvk.Group, Kind: gvk.Kind, Namespace: check.Namespace, Name: check.Name}
		if id.Namespace == "" && !en.desired.desires(id) {
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
			if !en.desired.desires(ref.id) && e.mayRequest(en) {
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
		case !en.desired.desires(ref.id):
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
