package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
)

// view is what one identity sees of a cluster, and the client that asks in its name. Watches are not shared
// between identities: what a Kustomization learns of the cluster, its health and drift included, is what its
// ServiceAccount may see. A cluster on which no Kustomization names an account has one view, that of the
// credentials.
type view struct {
	// account is in whose name everything is asked; none: that of the credentials.
	account edge.Account
	// limited means that there may be rights in some namespaces only: each is listed and watched by itself.
	limited    bool
	client     *edge.Client
	live       *live
	watches    *watches
	references *references

	// life ends with the session, or when no Kustomization has the account any more.
	life context.Context //nolint:containedctx // see above
	drop context.CancelFunc
	// admittedAt is when the account was looked at last, in nanoseconds since 1970; zero: it is not admitted.
	admittedAt atomic.Int64
	// passes counts those that look through it. Only the loop touches it.
	passes int

	mu sync.Mutex
	// scopeModes holds the kinds with objects in more namespaces than are watched one by one; guarded by mu.
	scopeModes map[schema.GroupKind]scopeMode
}

// scopeMode is how a kind with objects in many namespaces is watched.
type scopeMode uint8

const (
	// allNamespaces is one watch of all namespaces.
	allNamespaces scopeMode = iota + 1
	// perNamespace is one watch for each namespace all the same: the account has no right to all of them.
	perNamespace
)

func (v *view) scopeModeOf(gk schema.GroupKind) scopeMode {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.scopeModes[gk]
}

func (v *view) setScopeMode(gk schema.GroupKind, mode scopeMode) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.scopeModes == nil {
		v.scopeModes = map[schema.GroupKind]scopeMode{}
	}
	v.scopeModes[gk] = mode
}

// uses reports of an object where it is watched, once that is settled.
func (v *view) uses(id object.ID, use func(watchScope)) {
	mode := v.scopeModeOf(kindOf(id))
	if mode != perNamespace || id.Namespace == "" {
		use(watchScope{kindOf(id), ""})
	}
	if v.limited && mode != allNamespaces {
		use(watchScope{kindOf(id), id.Namespace})
	}
}

// scope is where the objects of a kind with a namespace are watched.
func (v *view) scope(m edge.Mapping, namespace string) watchScope {
	gk := m.GVK.GroupKind()
	if !v.limited || !m.Namespaced || v.scopeModeOf(gk) == allNamespaces {
		namespace = ""
	}
	return watchScope{gk, namespace}
}

// newView returns what is seen through a client, which is nothing yet.
func (e *Engine) newView(s *session, account edge.Account, client *edge.Client, limited bool) *view {
	v := &view{account: account, limited: limited, client: client, live: newLive()}
	v.life, v.drop = context.WithCancel(s.ctx)
	v.live.hasStatus = s.expressions.HasStatus
	v.watches = newWatches(v.life, client, v.live, s.store.Revision(), e.o.Now, watchEvents{
		touch:      e.objectsChanged,
		shown:      s.shown,
		overflowed: func() { e.send(func(in *inbox) { in.overflowed = append(in.overflowed, s) }) },
		backwards:  func() { e.send(func(in *inbox) { in.suspect = true }) },
		ended:      func() { e.send(func(in *inbox) { in.ended = true }) },
		unserved:   func(gk schema.GroupKind) { e.send(func(in *inbox) { in.unserved = append(in.unserved, gk) }) },
		crashed: func(err error) {
			e.logPanic("watch", err)
			e.send(func(in *inbox) { in.crashed = append(in.crashed, crash{s, err}) })
		},
	})
	v.references = newReferences(v, s.now, func(ref reference) { e.objectsChanged(edge.Observed{ID: ref.id, Owner: ref.owner}) })
	return v
}

// viewOf returns the view of an account. It never falls back to that of the credentials.
func (e *Engine) viewOf(s *session, account edge.Account) *view {
	if account == (edge.Account{}) {
		return s.view
	}
	s.viewing.Lock()
	defer s.viewing.Unlock()
	if v := s.views[account]; v != nil {
		return v
	}
	client, err := s.client.As(account)
	if err != nil { // which the first pass reports
		client = nil
	}
	v := e.newView(s, account, client, true)
	if s.views == nil {
		s.views = map[edge.Account]*view{}
	}
	s.views[account] = v
	return v
}

// allViews returns all that are looked through.
func (s *session) allViews() []*view {
	s.viewing.Lock()
	defer s.viewing.Unlock()
	all := []*view{s.view}
	for _, v := range s.views {
		all = append(all, v)
	}
	return all
}

// shown returns how many objects are seen through all of them.
func (s *session) shown() int {
	s.viewing.Lock()
	defer s.viewing.Unlock()
	n := s.live.size()
	for _, v := range s.views {
		n += v.live.size()
	}
	return n
}

// dropViews ends the views of accounts that no entry has any more, once no pass looks through them.
func (e *Engine) dropViews(s *session) {
	used := map[*view]bool{}
	for _, en := range e.entries {
		used[en.view] = true
	}
	s.viewing.Lock()
	defer s.viewing.Unlock()
	for account, v := range s.views {
		if !used[v] && v.passes == 0 {
			v.drop()
			delete(s.views, account)
		}
	}
}

// accountOf returns in whose name an entry is to be applied; none: in that of the credentials. It is an account of
// the namespace of the Kustomization, on whichever cluster.
func accountOf(key Key, spec v1alpha1.AssignmentEntry) edge.Account {
	if spec.ServiceAccountName == "" {
		return edge.Account{}
	}
	return edge.Account{Namespace: v1alpha1.ResolveName(key.Namespace, spec.Name).Namespace, Name: spec.ServiceAccountName}
}

// admit refuses a pass whose account is not there or may not be impersonated, or in whose name the cluster would
// do what the credentials may. It asks once in a session, and again at each verification.
func (p *pass) admit(ctx context.Context) error {
	v := p.view
	if p.entry.Remove && len(p.inventory.Objects) == 0 && !p.reload {
		return nil // nothing will be asked in its name
	}
	if v.account == (edge.Account{}) && needsAccount(p.tenancy, p.entry) {
		p.out.refusal = plan.Refusal{Reason: v1alpha1.ServiceAccountRequiredReason, Message: plan.AccountRequired}
		return nil
	}
	if v.account == (edge.Account{}) || v.admittedAt.Load() != 0 && !p.verify {
		return nil
	}
	if v.client == nil {
		p.out.refusal = plan.Refusal{Reason: v1alpha1.ImpersonationFailedReason, Message: fmt.Sprintf("ServiceAccount %s cannot be impersonated", v.account)}
		return nil
	}
	there, err := p.session.client.HasAccount(ctx, v.account)
	if err != nil {
		return fmt.Errorf("cannot look at ServiceAccount %s: %w", v.account, err)
	}
	if !there {
		p.admitted(0)
		p.out.refusal = plan.Refusal{Reason: v1alpha1.ServiceAccountNotFoundReason, Message: fmt.Sprintf(
			"there is no ServiceAccount %s on the cluster, which spec.serviceAccountName, or the hub's --default-service-account, names: create it there, with the rights that the Kustomization is to have", v.account)}
		return nil
	}
	err = v.client.IsAccount(ctx, v.account, p.session.client)
	var other *edge.WrongUserError
	switch {
	case err == nil:
		p.admitted(p.now().UnixNano())
		return nil
	case errors.As(err, &other), apierror.MayNotImpersonate(err):
		p.admitted(0)
		message := fmt.Sprintf("ServiceAccount %s cannot be impersonated: ", v.account)
		if other != nil {
			message += other.Error()
		} else {
			message += apierror.Explain(err, noObject) + "; the credentials of the Cluster need the verb impersonate for it"
		}
		p.out.refusal = plan.Refusal{Reason: v1alpha1.ImpersonationFailedReason, Message: message}
		return nil
	}
	return fmt.Errorf("cannot ask in the name of ServiceAccount %s: %w", v.account, err)
}

// admitted notes when the account of the pass was admitted, or with zero that it is not.
func (p *pass) admitted(at int64) {
	if was := p.view.admittedAt.Swap(at); (was == 0) != (at == 0) {
		p.session.admissions.Add(1)
	}
}

// needsAccount reports whether an entry must name an account to have anything done. The rights of the credentials are
// lent to it for one thing only: to leave what it has to itself.
func needsAccount(t *plan.Tenancy, spec v1alpha1.AssignmentEntry) bool {
	return (t.NeedsAccount() || spec.RequireServiceAccount) && !isOrphaning(spec)
}

// isOrphaning reports whether an entry is to release all that it has, and to delete none of it.
func isOrphaning(spec v1alpha1.AssignmentEntry) bool {
	return spec.Remove && spec.DeletionPolicy == v1alpha1.DeletionOrphan
}

// noteDenied notes that the account cannot let go of what the entry is to leave. The next pass does it with the
// credentials: it takes Skerry's own label off and forgets the objects, for which a tenant's rights are not needed,
// and without which one whose account is gone would hold up a removal for ever.
func (p *pass) noteDenied() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.denied = p.out.denied || isOrphaning(p.entry) && p.account != (edge.Account{})
}

// mayRequest reports whether anything may be asked for an entry outside of its passes, which find out whether its account
// is there and the cluster takes it for itself.
func (e *Engine) mayRequest(en *entry) bool {
	if en.view.account == (edge.Account{}) {
		return !needsAccount(e.tenancyOf(en), en.Spec)
	}
	return en.view.admittedAt.Load() != 0
}

const (
	// maxNamespaces is in how many namespaces a view watches a kind by itself. Beyond that it watches all of them at once,
	// where the account has the right to.
	maxNamespaces = 32
	// maxPerNamespace is in how many it does so where the account has not: what one push can make a hub and a cluster keep up
	// is bounded.
	maxPerNamespace = 256
)

// watchScopes returns where the objects of a kind are watched that are desired or recorded.
func (p *pass) watchScopes(m edge.Mapping) []watchScope {
	gk := m.GVK.GroupKind()
	if !p.limited || !m.Namespaced || p.scopeModeOf(gk) == allNamespaces {
		return []watchScope{p.view.scope(m, "")}
	}
	var out []watchScope
	add := func(id object.ID) {
		if at := (watchScope{gk, id.Namespace}); at.has(id) && id.Namespace != "" && !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	for id := range p.inventory.Objects {
		add(id)
	}
	for i := range p.desired {
		add(p.desired[i].ID)
	}
	if len(out) <= maxNamespaces || p.scopeModeOf(gk) == perNamespace && len(out) <= maxPerNamespace {
		return out
	}
	p.setScopeMode(gk, allNamespaces)
	p.noteScopesChanged()
	return []watchScope{{GroupKind: gk}}
}

// errPerNamespace means that a kind is watched in each namespace by itself from now on.
var errPerNamespace = errors.New("the kind is watched in each namespace by itself")

// watchPerNamespace watches a kind in each of its namespaces by itself where an error means that the account may not do so in all
// at once, and reports whether it does. The watch of all is stopped when no pass is under way.
func (p *pass) watchPerNamespace(ctx context.Context, at watchScope, err error) bool {
	m := p.mappings[at.GroupKind]
	if !p.limited || !m.Namespaced || at.namespace != "" || !apierror.Refused(err) || !apierror.OfCollection(err) {
		return false
	}
	p.setScopeMode(at.GroupKind, perNamespace)
	list := p.watchScopes(m)
	if p.scopeModeOf(at.GroupKind) == allNamespaces { // there are too many for that
		return false
	}
	p.noteScopesChanged()
	for _, at := range list {
		p.follow(ctx, m, at)
	}
	return true
}

// awaitPerNamespace waits until the namespaces of a kind are listed.
func (p *pass) awaitPerNamespace(ctx context.Context, m edge.Mapping) error {
	for _, at := range p.watchScopes(m) {
		if err := p.awaitFirstList(ctx, at); err != nil {
			return err
		}
	}
	return nil
}

func (p *pass) noteScopesChanged() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.scopesChanged = true
}

// whyUncertain explains why nothing is known of what the cluster has of an object; "" when it is known.
func (p *pass) whyUncertain(id object.ID) string {
	if why := p.uncertain[kindOf(id)]; why != "" {
		return why
	}
	return p.forbidden[watchScope{kindOf(id), id.Namespace}].message
}

// noteForbidden notes that the account may not see the objects of a scope: none of them is recorded, applied or deleted.
func (p *pass) noteForbidden(at watchScope, err error) bool {
	if at.namespace == "" || !p.limited || !apierror.Refused(err) || !apierror.OfCollection(err) {
		return false
	}
	p.noteDenied()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.forbidden == nil {
		p.forbidden = map[watchScope]failure{}
	}
	p.forbidden[at] = failure{reason: v1alpha1.ForbiddenReason, message: fmt.Sprintf(
		"objects of kind %s cannot be listed and watched in namespace %s: %s", at.Kind, at.namespace, p.explainForAccount(apierror.Explain(err, noObject)))}
	return true
}

// reasonIfDenied is the reason of a refusal: that the account has no right to it, or else.
func (p *pass) reasonIfDenied(err error, reason string) string {
	if p.account != (edge.Account{}) && apierror.Denied(err) {
		return v1alpha1.ForbiddenReason
	}
	return reason
}

// explainForAccount names the account in an explanation of what the credentials may not do.
func (p *pass) explainForAccount(explained string) string {
	if p.account == (edge.Account{}) {
		return explained
	}
	return strings.ReplaceAll(explained, "the credentials of the hub", "ServiceAccount "+p.account.String())
}

func kindOf(id object.ID) schema.GroupKind { return schema.GroupKind{Group: id.Group, Kind: id.Kind} }
