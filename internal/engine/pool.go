package engine

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Pool keeps one engine per cluster, and sees to it that no two of them work on the same one.
type Pool struct {
	o      PoolOptions
	limits *limits

	mu      sync.Mutex // guards what follows
	engines map[Key]*runningEngine
	claims  map[string]Key // uid of a cluster → the Cluster that works on it, and shares it with none
	sharing map[Key]string // Cluster that shares one → uid of that
	// ending are closed when the engines that were asked to end have ended: until then they may write to
	// their clusters, which are theirs so long.
	ending  map[Key]chan struct{}
	stopped bool
}

type runningEngine struct {
	engine *Engine // guarded by the pool's mutex: one that panics is replaced
	conn   Connection
	// published means that conn was handed over, and assigned that entries were.
	configured bool
	assigned   bool
	entries    []v1alpha1.AssignmentEntry
	owners     map[string]bool // owner labels of entries, where other Clusters may lead to the same cluster
	cancel     context.CancelFunc
	done       chan struct{}
}

var _ Pooled = (*Pool)(nil)

// NewPool returns a pool without clusters.
func NewPool(o PoolOptions) *Pool {
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the default of an injected clock
	}
	if o.Random == nil {
		o.Random = mathrand.Float64
	}
	if o.Inflight == 0 {
		o.Inflight = 8
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = 15 * time.Second
	}
	if o.Process == "" {
		o.Process = strings.ToLower(rand.Text()[:12])
	}
	if o.Since.IsZero() {
		o.Since = o.Now()
	}
	if o.ClaimGrace == 0 {
		o.ClaimGrace = 10 * time.Second
	}
	if o.OrphanedAfter == 0 {
		o.OrphanedAfter = 2 * time.Minute
	}
	if o.PassTimeout == 0 {
		o.PassTimeout = 2 * time.Minute
	}
	return &Pool{o: o, limits: newLimits(), engines: map[Key]*runningEngine{}, claims: map[string]Key{}, sharing: map[Key]string{}, ending: map[Key]chan struct{}{}}
}

// Connect implements Pooled.
func (p *Pool) Connect(key Key, c Connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	p.claimKnown(key, c)
	m := p.engines[key]
	switch {
	case m == nil:
		m = p.start(key)
	case m.conn.Fingerprint == c.Fingerprint && m.conn.sameSettings(&c):
		return
	}
	m.conn, m.configured = c, true
	p.setOwners(key, m)
	m.engine.send(func(in *inbox) { in.conn = &c })
}

// claimKnown claims the cluster that the status of a Cluster knows. Another Cluster that has it and whose
// status knew another one, or none, is made to connect anew, and is refused: a cluster may answer with
// the uid of another one to keep the hub from that.
func (p *Pool) claimKnown(key Key, c Connection) {
	if c.Shared {
		p.forgetClaims(key)
		return
	}
	if c.KnownUID == "" || c.Local {
		return
	}
	by, taken := p.claims[c.KnownUID]
	switch {
	case !taken:
		p.claims[c.KnownUID] = key
	case by != key && p.ending[by] == nil && !p.knew(by, c.KnownUID):
		p.claims[c.KnownUID] = key
		if m := p.engines[by]; m != nil {
			m.engine.send(func(in *inbox) { in.displaced = true })
		}
	}
}

// knew reports whether the status of a Cluster named a uid when it was connected.
func (p *Pool) knew(key Key, uid string) bool {
	m := p.engines[key]
	return m != nil && m.conn.KnownUID == uid
}

func (p *Pool) start(key Key) *runningEngine {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // an engine lives until Disconnect or Stop, not as long as a request
	m := &runningEngine{cancel: cancel, done: make(chan struct{})}
	m.engine = p.engineOf(key)
	p.engines[key] = m
	former := p.ending[key]
	go func() { // ends with Disconnect or Stop
		defer close(m.done)
		if former != nil { // two engines of one Cluster would write to it side by side
			<-former
		}
		p.supervise(ctx, key, m)
	}()
	return m
}

func (p *Pool) engineOf(key Key) *Engine {
	return newEngine(key, p.o, p.limits, func(uid string, local bool) error { return p.admit(key, uid, local) }, siblings{p, key})
}

// admit lets an engine work on the cluster with a uid: not on the hub's own by mistake, and not on one
// that another engine works on.
func (p *Pool) admit(key Key, uid string, local bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if local {
		return nil
	}
	if uid == p.o.HubUID {
		return &refusedError{reason: v1alpha1.HubItselfReason, message: "the kubeconfig leads to the hub's own cluster, which is the Cluster named " + v1alpha1.HubCluster}
	}
	if by, taken := p.claims[uid]; taken && by != key {
		return duplicate(by)
	}
	if p.o.BetterClaim != nil {
		if by, taken := p.o.BetterClaim(key, uid); taken {
			return duplicate(by)
		}
	}
	if m := p.engines[key]; m != nil && m.conn.Shared {
		p.forgetClaims(key)
		p.sharing[key] = uid
		return nil
	}
	for by, shared := range p.sharing {
		if shared == uid && by != key {
			return duplicate(by)
		}
	}
	delete(p.sharing, key)
	for other, by := range p.claims {
		if by == key && other != uid { // what was at the address is another cluster now
			delete(p.claims, other)
		}
	}
	p.claims[uid] = key
	return nil
}

// forgetClaims frees what a Cluster has to itself. The lock is held.
func (p *Pool) forgetClaims(key Key) {
	for uid, by := range p.claims {
		if by == key {
			delete(p.claims, uid)
		}
	}
}

// setOwners notes whose objects a Cluster has that may have siblings. The lock is held.
func (p *Pool) setOwners(key Key, m *runningEngine) {
	if key.Name != v1alpha1.HubCluster && !m.conn.Shared {
		m.owners = nil
		return
	}
	m.owners = make(map[string]bool, len(m.entries))
	for i := range m.entries {
		m.owners[ownerOf(p.o.Hub, key, m.entries[i].Name)] = true
	}
}

func duplicate(by Key) error {
	return &refusedError{reason: v1alpha1.DuplicateClusterReason, message: fmt.Sprintf("the Cluster %s leads to the same cluster, or did: delete one of the two, or let both say sharing: Shared. The other one gives way when it is not Ready for ten minutes, unless it has an agent", by)}
}

// Disconnect implements Pooled. The cluster is free for another Cluster when the engine has ended, and not
// before: until then a pass may have a write under way.
func (p *Pool) Disconnect(key Key) {
	p.mu.Lock()
	m, ended := p.engines[key], p.ending[key]
	delete(p.engines, key)
	if m != nil {
		ended = m.done
		p.ending[key] = ended
	}
	p.mu.Unlock()
	if m != nil {
		m.cancel()
	}
	if ended != nil {
		<-ended
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending[key] == ended {
		delete(p.ending, key)
	}
	if p.engines[key] != nil || p.ending[key] != nil { // it was connected anew meanwhile
		return
	}
	p.forgetClaims(key)
	delete(p.sharing, key)
}

// sameSpec reports whether two entries say the same. An Assignment is handed over again with each report of its engine,
// and to take up all of its entries anew is dear.
func sameSpec(a, b v1alpha1.AssignmentEntry) bool { return a.Equal(&b) }

// Assign implements Pooled.
func (p *Pool) Assign(key Key, entries []v1alpha1.AssignmentEntry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	m := p.engines[key]
	if m == nil {
		m = p.start(key)
	}
	if m.assigned && slices.EqualFunc(m.entries, entries, sameSpec) {
		return
	}
	m.entries, m.assigned = entries, true
	p.setOwners(key, m)
	m.engine.send(func(in *inbox) { in.entries, in.assign = entries, true })
}

// Report implements Pooled.
func (p *Pool) Report(key Key) ([]v1alpha1.AssignmentEntryStatus, bool) {
	e := p.engine(key)
	if e == nil {
		return nil, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.report, e.published
}

// Unreported returns how many engines have entries and have not reported on them yet, as those of a hub that has
// started: their reports are still to be written.
func (p *Pool) Unreported() int { return int(p.limits.unreported.Load()) }

// State implements Pooled.
func (p *Pool) State(key Key) (State, bool) {
	e := p.engine(key)
	if e == nil {
		return State{}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.state
	if at := time.Unix(0, e.answeredAt.Load()); s.Reachable && at.After(s.LastSeen) {
		s.LastSeen = at
	}
	return s, true
}

// Resume connects every cluster anew, after a fence that was closed for a while has opened. What was
// tried meanwhile failed for no fault of the clusters, so none of it counts.
func (p *Pool) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.engines {
		m.engine.send(func(in *inbox) { in.resume = true })
	}
}

// Verify implements Pooled.
func (p *Pool) Verify(key Key) {
	if e := p.engine(key); e != nil {
		e.send(func(in *inbox) { in.verify = true })
	}
}

func (p *Pool) engine(key Key) *Engine {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.engines[key]; m != nil {
		return m.engine
	}
	return nil
}

// Stop implements Pooled. Passes under way finish the object at hand and record what they did; what
// has not ended when ctx is done is cut off.
func (p *Pool) Stop(ctx context.Context) {
	p.mu.Lock()
	p.stopped = true
	members, engines := make([]*runningEngine, 0, len(p.engines)), make([]*Engine, 0, len(p.engines))
	for _, m := range p.engines {
		members, engines = append(members, m), append(engines, m.engine)
	}
	p.mu.Unlock()
	for _, e := range engines {
		e.stop.Store(true)
		e.send(func(*inbox) {})
	}
	for _, e := range engines {
		select {
		case <-e.idle():
		case <-ctx.Done():
		}
	}
	for _, m := range members {
		m.cancel()
	}
	for _, m := range members {
		<-m.done
	}
}
