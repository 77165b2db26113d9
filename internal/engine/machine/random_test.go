package machine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// TestRandom lets a thousand engines (a quarter of them with -short) live through whatever may happen in any order, and holds what must
// never happen: two passes over one entry, more passes than may be under way, an action while the process
// may not act, a pass in a session that is over. Then nothing more happens and everything succeeds: every
// entry has to be applied or removed, and the machine has to come to rest.
func TestRandom(t *testing.T) {
	seeds := uint64(1000)
	if testing.Short() {
		seeds = 250
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			c := newChaos(t, rand.New(rand.NewPCG(seed, 1)))
			for range 150 {
				for range 1 + c.IntN(3) { // what comes together
					c.happen()
				}
				c.settle()
				if c.IntN(3) == 0 {
					c.advance(time.Duration(c.IntN(5000)) * time.Millisecond)
				}
			}
			c.calm()
		})
	}
}

// chaos is a world in which things happen at random, and which knows what is on the cluster.
type chaos struct {
	*world
	*rand.Rand
	list    map[string]v1alpha1.AssignmentEntry
	commits int

	dialling, checking, claiming, purging bool
	calmed                                bool
	// applied is what the cluster has recorded, by entry, and began the spec of each pass.
	applied map[string]string
	began   map[string]v1alpha1.AssignmentEntry
	// drifted are the entries of which an object has changed since the last pass over them began.
	drifted map[string]bool
}

func newChaos(t *testing.T, r *rand.Rand) *chaos {
	c := &chaos{
		world: newWorld(t), Rand: r, list: map[string]v1alpha1.AssignmentEntry{}, applied: map[string]string{},
		began: map[string]v1alpha1.AssignmentEntry{}, drifted: map[string]bool{},
	}
	c.m = New(Options{Random: r.Float64, Phase: r.Float64(), ClaimGrace: 10 * time.Second})
	c.answer = c.execute
	c.step(Configure{})
	return c
}

// execute begins what an action asks for; some of it is answered at once.
func (c *chaos) execute(action Action) []Event {
	switch a := action.(type) {
	case Dial:
		if c.dialling {
			c.t.Error("two tries at once")
		}
		c.dialling = true
	case Check:
		c.checking = true
	case LookAtClaim:
		c.claiming = true
	case Purge:
		c.purging = true
		if len(c.running) > 0 {
			c.t.Error("finalizes during a pass")
		}
	case Disconnect:
		c.checking = false
	case Prepare:
		if c.calmed || c.IntN(2) == 0 {
			return []Event{c.prepare(a)}
		}
	case RequestSlot:
		if c.calmed || c.IntN(2) == 0 {
			return []Event{c.grant(a.Priority)}
		}
	case Start:
		c.began[a.Name] = c.m.Entry(a.Name).Spec
		delete(c.drifted, a.Name)
	}
	return nil
}

func (c *chaos) prepare(a Prepare) Event {
	reason := ""
	if !c.calmed && c.IntN(5) == 0 {
		reason = v1alpha1.BundleNotFoundReason
	}
	return c.prepared(a, reason, c.IntN(2) == 0)
}

// happen lets one thing happen.
func (c *chaos) happen() {
	switch c.IntN(20) {
	case 0, 1:
		c.commit()
	case 2, 3, 4, 5:
		c.end()
	case 6, 7:
		c.drift()
	case 8:
		c.step(Verify{})
	case 9:
		if c.session != 0 {
			c.step(SessionFailed{Session: c.session, Why: "lost", ForeignWrite: c.IntN(4) == 0})
		}
	case 10:
		lost := c.IntN(3) == 0
		c.step(Fence{Lost: lost})
		if !lost {
			c.step(Resume{})
		}
	case 11:
		c.step(Configure{Suspended: c.IntN(4) == 0})
	case 12:
		c.step(pick[Event](c, Suspect{}, WatchEnded{}, NewConnection{}, ClaimChanged{}, DesiresChanged{}, Displaced{}))
	case 13:
		if c.IntN(5) == 0 {
			c.step(FinalizeRequested{})
		}
	case 14:
		c.heard = c.now
	case 15:
		if names := c.m.Names(); len(names) > 0 {
			c.step(Health{Name: pick(c, names...), Ready: c.IntN(2) == 0})
		}
	default:
		c.answers(false)
	}
}

func pick[T any](c *chaos, of ...T) T { return of[c.IntN(len(of))] }

// commit changes what is assigned.
func (c *chaos) commit() {
	name := pick(c, "a", "b", "c", "d", "e")
	c.commits++
	s := spec(c.t, fmt.Sprintf("%s=%d", name, c.commits))
	switch c.IntN(8) {
	case 0:
		delete(c.list, name)
		c.assign()
		return
	case 1:
		s.Remove, s.Digest = true, ""
	case 2:
		s.Suspend = true
	case 3:
		s.HoldPrune = true
	case 4:
		if name != "a" { // a to e, so that there is no circle
			s.DependsOn = []string{string(name[0] - 1)}
		}
	}
	c.list[name] = s
	c.assign()
}

func (c *chaos) assign() {
	var list []Assignment
	for _, name := range slices.Sorted(maps.Keys(c.list)) {
		list = append(list, Assignment{Spec: c.list[name], Applied: c.applied[name]})
	}
	c.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	c.step(Assign{Entries: list})
}

func (c *chaos) drift() {
	names := c.m.Names()
	if len(names) == 0 || c.session == 0 {
		return
	}
	name := pick(c, names...)
	c.drifted[name] = true
	c.step(pick[Event](c, Touched{Name: name}, Touched{Name: name}, KindUnserved{Name: name}))
}

// end ends a pass in any way.
func (c *chaos) end() {
	if len(c.running) == 0 {
		return
	}
	name := pick(c, slices.Sorted(maps.Keys(c.running))...)
	o := Outcome{
		Retains: c.IntN(8) == 0, Unread: c.IntN(8) == 0, Contested: c.IntN(8) == 0, Cleaned: c.IntN(4) == 0, RetrySoon: c.IntN(8) == 0,
		Empty: c.began[name].Remove && c.IntN(2) == 0,
	}
	switch c.IntN(6) {
	case 0:
		o.Failed, o.Reason = true, v1alpha1.UnreachableReason
	case 1:
		o.Reason = pick(c, v1alpha1.ApplyFailedReason, v1alpha1.PruneHeldReason, v1alpha1.EmptyBuildReason)
		o.Final = c.IntN(2) == 0
	case 2:
		o.Waiting = true
	}
	c.finish(name, o)
}

func (c *chaos) finish(name string, o Outcome) {
	s := c.began[name]
	if o.Reason == "" && !o.Waiting && !c.running[name].LastGood {
		c.applied[name] = s.Digest
	}
	c.done(name, o)
}

// answers ends what waits for an answer, well or in any way.
func (c *chaos) answers(well bool) {
	bad := func() bool { return !well && c.IntN(3) == 0 }
	if c.dialling {
		c.dialling = false
		ev := Dialled{Connected: !bad(), Applied: maps.Clone(c.applied)}
		if !ev.Connected && c.IntN(2) == 0 {
			ev.Contested, ev.Waiting, ev.Nonce = true, c.IntN(2) == 0, fmt.Sprint(c.IntN(3))
		}
		c.step(ev)
	}
	if c.checking {
		c.checking = false
		answer := SameCluster
		if bad() {
			answer = pick(c, AnotherCluster, EarlierState, NoAnswer, Unidentified)
		}
		c.step(Checked{Session: c.session, Answer: answer})
	}
	if c.claiming {
		c.claiming = false
		claim := ClaimStands
		if bad() {
			claim = pick(c, ClaimGone, ClaimYielded, ClaimTaken)
		}
		c.step(ClaimAnswered{Session: c.session, Claim: claim})
	}
	if c.purging {
		c.purging = false
		c.step(PurgeDone{Succeeded: !bad()})
	}
	for _, a := range slices.Clone(c.preparing) {
		if well || c.IntN(2) == 0 {
			c.step(c.prepare(a))
		}
	}
	for len(c.asked) > 0 && (well || c.IntN(2) == 0) {
		c.step(c.grant(c.asked[0]))
	}
}

// calm lets nothing happen any more, and everything succeed: nothing that was due may be lost.
func (c *chaos) calm() {
	c.calmed = true
	c.step(Fence{})
	c.step(Resume{})
	for name, s := range c.list {
		s.Suspend, s.HoldPrune = false, false
		c.list[name] = s
	}
	for name := range c.list { // dependencies exist
		for _, dep := range c.list[name].DependsOn {
			if _, ok := c.list[dep]; !ok || c.list[dep].Remove {
				c.list[dep] = spec(c.t, dep+"=last")
			}
		}
	}
	if c.m.Connection() == Finalized || c.m.conn.suspended || c.purging {
		c.step(Configure{})
	}
	c.assign()
	for i := 0; ; i++ {
		if i > 500 {
			c.t.Fatalf("it never comes to rest:\n%s", c.log.String()[max(0, c.log.Len()-3000):])
		}
		c.settle()
		c.heard = c.now
		c.answers(true)
		for _, name := range slices.Sorted(maps.Keys(c.running)) {
			c.finish(name, Outcome{Empty: c.began[name].Remove})
		}
		for _, name := range c.m.Names() {
			c.step(Health{Name: name, Ready: true})
		}
		c.settle()
		if !c.dialling && !c.checking && !c.claiming && !c.purging && len(c.running) == 0 && c.arrived() {
			return
		}
		if len(c.running) == 0 && i%3 == 2 { // else what is due waits for its time
			c.advance(20 * time.Second)
		}
	}
}

// arrived reports whether every entry is as assigned, and nothing is due before its interval.
func (c *chaos) arrived() bool {
	if c.session == 0 {
		return false
	}
	for name, s := range c.list {
		en := c.m.Entry(name)
		switch {
		case en.State() != Idle, en.Result != Succeeded, c.drifted[name]:
			return false
		case s.Remove && (!en.Removed || !en.Due().At.IsZero()):
			return false
		case !s.Remove && (!en.Matches() || c.applied[name] != s.Digest || en.Due().At.IsZero() || !en.Due().At.After(c.now)):
			return false
		}
	}
	return true
}
