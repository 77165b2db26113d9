package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
)

// own is the kind of what Skerry keeps on a cluster for itself. It is watched from the beginning of a
// session: what another hub writes there is seen at once, and a claim or an inventory that does not change
// costs no request.
var own = edge.OwnMapping.GVK.GroupKind()

// claimChecked is the answer to the question whether the claim still stands.
type claimChecked struct {
	session *session
	state   edge.ClaimState
	err     error
}

// onOwnTouched looks at a ConfigMap of Skerry's own that has changed on the cluster.
func (e *Engine) onOwnTouched(ctx context.Context, id object.ID, now time.Time) {
	e.own[id] = true
	e.examineOwn(ctx, now)
}

// examineOwn finds out whether something else has written the claim or an inventory.
func (e *Engine) examineOwn(ctx context.Context, now time.Time) {
	l := &e.conn
	if l.session == nil || e.m.Connection() == machine.Finalizing || len(e.own) == 0 {
		clear(e.own)
		return
	}
	for id := range e.own {
		seen, there := l.session.live.get(id)
		if l.session.store.Rival(id.Name) {
			delete(e.own, id)
			if there {
				e.sessionFailed(ctx, l.session, machine.SessionFailed{Why: "another hub claims the cluster"}, now)
				return
			}
			continue
		}
		if l.session.store.IsClaim(id.Name) {
			delete(e.own, id)
			if !there || !l.session.store.ClaimKnown(seen.ResourceVersion) {
				e.step(ctx, machine.ClaimChanged{}, now)
			}
			continue
		}
		byOther, certain := l.session.store.ForeignWrite(id.Name, there, seen.ResourceVersion, e.owns)
		if !certain {
			continue // the pass that is under way ends, and then it is
		}
		delete(e.own, id)
		if byOther {
			// It knows more than this session does, and may be another hub of the same identity. The next
			// session asks before it reads.
			e.sessionFailed(ctx, l.session, machine.SessionFailed{Why: "something else wrote an inventory", ForeignWrite: true}, now)
			return
		}
	}
}

// lookAtClaim looks at the claim, and answers a hub that asks whether this one works.
func (e *Engine) lookAtClaim() {
	s := e.conn.session
	e.workers.Go(func() { // ends with the answer, or with the session
		ctx, cancel := context.WithTimeout(s.ctx, probeTimeout)
		defer cancel()
		state := edge.ClaimStands
		err := e.guard("claim", func() (err error) {
			state, err = s.store.CheckClaim(ctx)
			return err
		})
		e.send(func(in *inbox) { in.claimsChecked = append(in.claimsChecked, claimChecked{s, state, err}) })
	})
}

var claims = map[edge.ClaimState]machine.Claim{
	edge.ClaimStands: machine.ClaimStands, edge.ClaimGone: machine.ClaimGone, edge.ClaimYielded: machine.ClaimYielded, edge.ClaimTaken: machine.ClaimTaken,
}

// onClaimChecked takes the answer about the claim.
func (e *Engine) onClaimChecked(ctx context.Context, s claimChecked, now time.Time) {
	l := &e.conn
	ev := machine.ClaimAnswered{Claim: claims[s.state], Failed: s.err != nil}
	if s.session == l.session {
		ev.Session = l.number
	}
	e.step(ctx, ev, now)
	if s.session != l.session || l.session == nil || s.err != nil || s.state != edge.ClaimStands || e.m.Connection() == machine.Finalizing {
		return
	}
	claimID := object.ID{Group: own.Group, Kind: own.Kind, Namespace: v1alpha1.SystemNamespace, Name: l.session.store.ClaimName()}
	if seen, there := l.session.live.get(claimID); there && !l.session.store.ClaimKnown(seen.ResourceVersion) {
		e.own[claimID] = true // it changed meanwhile; the next event, or the next pass, looks again
	}
}

// unclaimed are inventories on the cluster that no Kustomization claims.
type unclaimed struct {
	changed bool                 // they must be looked for again
	since   map[string]time.Time // by owner
	due     time.Time            // when the next of them is reported
}

// findUnclaimed reports inventories that no Kustomization of the hub claims: nothing keeps or deletes what
// they name. They are left alone.
func (e *Engine) findUnclaimed(now time.Time) {
	u, l := &e.unclaimed, &e.conn
	if l.session == nil || !e.assignmentKnown || !u.changed && (u.due.IsZero() || now.Before(u.due)) {
		return
	}
	owners, since := e.owners(), map[string]time.Time{}
	var overdue []string
	u.changed, u.due = false, time.Time{}
	for owner := range l.session.owners() {
		if owners[owner] || e.siblings.claim(owner, l.session.store.Writer(owner)) {
			continue
		}
		since[owner] = now
		if before, known := u.since[owner]; known {
			since[owner] = before
		}
		due := since[owner].Add(e.o.OrphanedAfter)
		switch {
		case !now.Before(due):
			overdue = append(overdue, owner)
		case u.due.IsZero() || due.Before(u.due):
			u.due = due
		}
	}
	u.since = since
	l.state.Orphaned, l.state.Examined = orphaned(l.session, overdue), u.due.IsZero()
}

// owners returns those of all inventories on the cluster that name an object, or that cannot be read.
func (s *session) owners() map[string]bool {
	owners := map[string]bool{}
	for owner, inv := range s.inventories {
		if len(inv.Objects) > 0 {
			owners[owner] = true
		}
	}
	for owner := range s.corrupt {
		owners[owner] = true
	}
	return owners
}

// orphaned describes what the inventories of some owners name.
func orphaned(s *session, owners []string) string {
	slices.Sort(owners)
	var lines []string
	for _, owner := range owners {
		if len(lines) == 3 {
			lines = append(lines, fmt.Sprintf("and %d more", len(owners)-3))
			break
		}
		lines = append(lines, describe(owner, s.inventories[owner]))
	}
	if len(lines) == 0 {
		return ""
	}
	return health.Clean(strings.Join(lines, "; "))
}

func describe(owner string, inv *inventory.Inventory) string {
	if inv == nil {
		return owner + " (cannot be read)"
	}
	const most = 2
	var names []string
	for _, id := range inv.IDs()[:min(most, len(inv.Objects))] {
		names = append(names, id.String())
	}
	if more := len(inv.Objects) - most; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("%s (%s)", owner, strings.Join(names, ", "))
}

// siblings are the engines of other Clusters that lead to the same cluster, which only Clusters that are
// the hub's own, or share it, may do.
type siblings struct {
	pool *Pool
	key  Key
}

// any reports whether there are any.
func (s siblings) any() bool { return s.find(func(*runningEngine) bool { return true }) }

// claim reports whether an inventory is that of a sibling: by its owner, or, where the sibling is of another
// process or not there yet, by the Cluster that wrote it last.
func (s siblings) claim(owner, cluster string) bool {
	if !s.may() {
		return false
	}
	return cluster != "" && cluster != s.key.String() || s.find(func(m *runningEngine) bool { return m.owners[owner] })
}

func (s siblings) find(is func(*runningEngine) bool) bool {
	if s.pool == nil {
		return false
	}
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	uid, own := s.pool.sharing[s.key], s.key.Name == v1alpha1.HubCluster
	if uid == "" && !own { // each pass asks: a cluster that is not shared must not look at all others
		return false
	}
	for key, m := range s.pool.engines {
		local := own && key.Name == v1alpha1.HubCluster
		if key != s.key && (local || uid != "" && s.pool.sharing[key] == uid) && is(m) {
			return true
		}
	}
	return false
}

// may reports whether there may be siblings, of this process or another.
func (s siblings) may() bool {
	if s.pool == nil {
		return s.key.Name == v1alpha1.HubCluster
	}
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return s.key.Name == v1alpha1.HubCluster || s.pool.sharing[s.key] != ""
}

// has reports whether a sibling with a better right has what an owner has, which then must not be applied here as
// well: that whose Cluster wrote the inventory, or, while there is none, the first by name.
func (s siblings) has(owner, writer string) bool {
	return s.find(func(m *runningEngine) bool {
		other := m.engine.key.String()
		return m.owners[owner] && (writer == other || writer != s.key.String() && other < s.key.String())
	})
}
