package engine

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/plan"
)

// passesAtOnce bounds the passes under way on one cluster.
const passesAtOnce = 2

// passSlots are those among the passes of all clusters that one engine has or waits for.
type passSlots struct {
	waiting [2][]*slot // by lane
	granted []*slot
}

// onGranted takes up places that were waited for.
func (p *passSlots) onGranted(granted []*slot) {
	for _, t := range granted {
		for l := range p.waiting {
			p.waiting[l] = slices.DeleteFunc(p.waiting[l], func(w *slot) bool { return w == t })
		}
	}
	p.granted = append(p.granted, granted...)
}

// release leaves the places that nothing needs any more; what is waited for is waited for on.
func (p *passSlots) release() {
	for _, t := range p.granted {
		t.leave()
	}
	p.granted = nil
}

// releaseAll leaves all.
func (p *passSlots) releaseAll() {
	p.release()
	for l := range p.waiting {
		for _, t := range p.waiting[l] {
			t.leave()
		}
		p.waiting[l] = nil
	}
}

// startPasses starts the passes that are due, as many as may be under way: on this cluster, and on all of
// them together. Who has waited longest since its last turn comes first, so that an entry which is
// always due keeps no other from its own.
func (e *Engine) startPasses(ctx context.Context, now time.Time) {
	if e.conn.session == nil || e.stop.Load() || e.conn.target.Suspend || e.conn.finalizing || e.fenced() {
		e.slots.releaseAll()
		return
	}
	due := e.due(now)
	missing := [2]int{}
	for _, en := range due {
		if e.passes+missing[0]+missing[1] >= passesAtOnce {
			break
		}
		if !e.prepare(ctx, en, now) {
			continue
		}
		if t := e.acquireSlot(en.urgent, missing); t != nil {
			e.start(ctx, en, t, now)
		} else {
			missing[priority(en.urgent)]++
		}
	}
	e.slots.release()
}

// due returns the entries of which a pass is due, in the order of their turns.
func (e *Engine) due(now time.Time) []*entry {
	var due []*entry
	e.reconsider(now)
	for _, name := range e.order {
		en := e.entries[name]
		e.block(en, now)
		if en.isDue(now) {
			due = append(due, en)
		}
	}
	slices.SortStableFunc(due, func(a, b *entry) int { return cmp.Compare(a.lastPass, b.lastPass) })
	return due
}

// prepare says whether an entry has all that its pass needs.
func (e *Engine) prepare(ctx context.Context, en *entry, now time.Time) bool {
	if err := e.load(ctx, en); err != nil {
		en.bundleFailed(err, now)
		return false
	}
	if en.blocked != "" && !en.hasLastGood() {
		en.due = time.Time{} // what it waits for makes it due
		return false
	}
	return true
}

// acquireSlot returns one, or asks for one unless enough are asked for: as many as are missing already, and
// this one.
func (e *Engine) acquireSlot(urgent bool, missing [2]int) *slot {
	p, l := &e.slots, priority(urgent)
	if n := len(p.granted); n > 0 {
		t := p.granted[n-1]
		p.granted = p.granted[:n-1]
		return t
	}
	if len(p.waiting[l]) > missing[l] {
		return nil
	}
	t, in := e.limits.passes.ask(urgent, func(t *slot) {
		e.send(func(in *inbox) { in.granted = append(in.granted, t) })
	})
	if in {
		return t
	}
	p.waiting[l] = append(p.waiting[l], t)
	return nil
}

// start begins a pass.
func (e *Engine) start(ctx context.Context, en *entry, t *slot, now time.Time) {
	interest := e.interest(ctx, en)
	en.desires = e.desires
	j := en.begin(now)
	j.interest, j.count, j.timeout = interest, e.count, e.o.PassTimeout
	if e.conn.target.Local {
		j.tenancy = &plan.Tenancy{Namespace: v1alpha1.ResolveName(e.key.Namespace, en.spec.Name).Namespace, Hub: e.o.HubNamespace}
	}
	e.passes++
	e.passCount++
	en.lastPass = e.passCount
	s := e.conn.session
	e.workers.Go(func() {
		defer t.leave()
		out := s.run(s.ctx, j)
		e.noted("pass", out.err)
		e.send(func(in *inbox) { in.done = append(in.done, out) })
	})
}
