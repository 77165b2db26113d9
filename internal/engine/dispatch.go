package engine

import (
	"context"
	"slices"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/plan"
)

// passSlots are those among the passes of all clusters that one engine has or waits for. How many it
// needs, the machine decides.
type passSlots struct {
	waiting [2][]*slot // by priority
	granted []*slot
}

// take returns a slot that was granted.
func (p *passSlots) take() *slot {
	t := p.granted[len(p.granted)-1]
	p.granted = p.granted[:len(p.granted)-1]
	return t
}

// release gives back the slots that were granted, and with waiting those that are asked for.
func (p *passSlots) release(waiting bool) {
	for _, t := range p.granted {
		t.release()
	}
	p.granted = nil
	for l := range p.waiting {
		if !waiting {
			break
		}
		for _, t := range p.waiting[l] {
			t.release()
		}
		p.waiting[l] = nil
	}
}

// requestSlot asks for a slot.
func (e *Engine) requestSlot(ctx context.Context, l machine.Priority, now time.Time) {
	t, in := e.limits.passes.request(l == machine.Urgent, func(t *slot) {
		e.send(func(in *inbox) { in.granted = append(in.granted, t) })
	})
	e.slots.waiting[l] = append(e.slots.waiting[l], t)
	if in {
		e.onGranted(ctx, t, now)
	}
}

// onGranted takes up a slot that was asked for, unless it was given back meanwhile.
func (e *Engine) onGranted(ctx context.Context, t *slot, now time.Time) {
	for l := range e.slots.waiting {
		i := slices.Index(e.slots.waiting[l], t)
		if i < 0 {
			continue
		}
		e.slots.waiting[l] = slices.Delete(e.slots.waiting[l], i, i+1)
		e.slots.granted = append(e.slots.granted, t)
		e.stepAgain = true
		e.step(ctx, machine.SlotGranted{Priority: machine.Priority(l)}, now)
		return
	}
}

// start begins a pass.
func (e *Engine) start(a machine.Start, now time.Time) {
	en, t := e.entries[a.Name], e.slots.take()
	interest := e.interest(en)
	j := en.begin(a, now)
	j.view.passes++
	j.interest, j.timeout, j.tally = interest, e.o.PassTimeout, &tally{}
	j.count = func(c Counter, n int) { j.tally.add(c, n); e.count(c, n) }
	e.reportStart(a)
	j.tenancy = e.tenancyOf(en)
	s := e.conn.session
	j.ofSibling = e.siblings.has(en.owner, s.store.Writer(en.owner))
	e.workers.Go(func() { // ends with the pass, or with the session
		defer t.release()
		out := s.run(s.ctx, j)
		e.logPanic("pass", out.err)
		e.send(func(in *inbox) { in.done = append(in.done, out) })
	})
}

// tenancyOf bounds what an entry may have on the cluster.
func (e *Engine) tenancyOf(en *entry) *plan.Tenancy {
	t := &plan.Tenancy{
		Namespace: v1alpha1.ResolveName(e.key.Namespace, en.Spec.Name).Namespace, Hub: e.o.HubNamespace,
		Cluster: e.key.Namespace, Local: e.conn.target.Local, RequireAccount: e.o.RequireServiceAccount, Namespaces: e.conn.target.Namespaces,
	}
	if e.o.HubNamespace == "" { // it is not known who administers the hub: the hub has refused
		t.Namespace = v1alpha1.SystemNamespace
	}
	return t
}
