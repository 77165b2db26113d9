package rollout

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// TestRandom lets a thousand fleets (a quarter of them with -short) live through whatever comes to mind, with a hub that stops
// between any two steps, and looks only at what must never happen. Then nothing more happens, and
// every cluster has to arrive or to be held for a reason.
func TestRandom(t *testing.T) {
	seeds := uint64(1000)
	if testing.Short() {
		seeds = 250
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			c := newChaos(t, rand.New(rand.NewPCG(seed, 1)))
			for range 40 {
				c.event()
				for range 1 + c.IntN(2) {
					c.step()
				}
			}
			c.calm()
		})
	}
}

// chaos is a world in which things happen at random.
type chaos struct {
	*world
	*rand.Rand
	joined int
}

func newChaos(t *testing.T, r *rand.Rand) *chaos {
	c := &chaos{Rand: r, world: newWorld(t, nil, time.Date(2026, 3, 28, 22, 0, 0, 0, time.UTC))}
	c.order = func(m []Member) { r.Shuffle(len(m), func(i, j int) { m[i], m[j] = m[j], m[i] }) }
	c.spec = c.anySpec()
	for range r.IntN(12) {
		c.join()
	}
	c.commit()
	return c
}

func (c *chaos) anySpec() *v1alpha1.Rollout {
	if c.IntN(5) == 0 {
		return nil
	}
	spec := &v1alpha1.Rollout{ProgressDeadline: &metav1.Duration{Duration: 10 * time.Minute}}
	spec.OnFailure = pick(c, v1alpha1.FailureHalt, v1alpha1.FailureHalt, v1alpha1.FailureRollback, v1alpha1.FailureContinue)
	if c.IntN(6) == 0 {
		spec.Windows = []v1alpha1.RolloutWindow{
			{Schedule: "*/30 2 * * *", Duration: metav1.Duration{Duration: 20 * time.Minute}, TimeZone: "Europe/Berlin"},
			{Schedule: "0 12 * * *", Duration: metav1.Duration{Duration: time.Hour}},
		}
	}
	if c.IntN(8) == 0 {
		spec.Strategy = v1alpha1.RolloutAllAtOnce
		return spec
	}
	for i := range c.IntN(4) {
		s := v1alpha1.RolloutStage{Name: fmt.Sprintf("s%d", i), Approval: pick(c, "", "", v1alpha1.ApprovalManual)}
		if c.IntN(2) == 0 {
			s.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"zone": pick(c, "a", "b", "nowhere")}}
		}
		s.Size, s.MaxConcurrent = c.amount(1), c.amount(1)
		s.MaxFailures = c.amount(0)
		if c.IntN(3) == 0 {
			s.Soak = &metav1.Duration{Duration: time.Duration(c.IntN(40)) * time.Minute}
		}
		spec.Stages = append(spec.Stages, s)
	}
	return spec
}

func (c *chaos) amount(least int) *intstr.IntOrString {
	switch c.IntN(3) {
	case 0:
		return nil
	case 1:
		v := intstr.FromInt32(int32(least + c.IntN(3)))
		return &v
	}
	v := intstr.FromString(fmt.Sprintf("%d%%", least+c.IntN(101-least)))
	return &v
}

func pick[T any](c *chaos, of ...T) T { return of[c.IntN(len(of))] }

func (c *chaos) join() {
	c.joined++
	name := fmt.Sprintf("edge-%02d", (c.joined*7)%50) // not in the order of their coming
	c.edges[name] = &edge{name: name, labels: map[string]string{"zone": pick(c, "a", "b", "c")}}
}

func (c *chaos) commit() {
	c.change = fmt.Sprintf("c%d", len(c.commits))
	c.commits = append(c.commits, c.change)
	if c.IntN(3) == 0 {
		c.alters[c.change] = slices.DeleteFunc(c.names(), func(string) bool { return c.IntN(2) == 0 })
		c.alters[c.change] = append(c.alters[c.change], "nobody")
	}
	c.paused, c.undo = c.IntN(10) == 0, ""
}

// event is anything that can happen.
func (c *chaos) event() {
	switch c.IntN(16) {
	case 0, 1, 2, 3, 4:
		c.some(4, func(e *edge) { e.heal() })
	case 5:
		c.some(1, func(e *edge) {
			e.health, e.message = pick(c, Failed, Failing, Failing, Progressing), "something is wrong"
		})
	case 6:
		c.some(3, func(e *edge) { e.away = true })
	case 7, 8:
		c.some(3, func(e *edge) {
			if e.away {
				e.away, e.back = false, c.now
			}
		})
	case 9:
		c.some(2, func(e *edge) { e.labels["zone"] = pick(c, "a", "b", "c") })
		c.some(1, func(e *edge) { e.suspended = !e.suspended })
	case 10:
		c.join()
	case 11:
		c.some(1, func(e *edge) { delete(c.edges, e.name) })
		c.some(1, func(e *edge) { c.broken[e.name] = !c.broken[e.name] && c.IntN(3) == 0 })
	case 12:
		if c.commit(); c.IntN(4) == 0 {
			c.change = pick(c, c.commits...)
		}
	default:
		c.person()
	}
	c.now = c.now.Add(time.Duration(c.IntN(400)) * time.Second)
}

func (c *chaos) person() {
	switch c.IntN(9) {
	case 0:
		c.paused = !c.paused
	case 1:
		c.undo = c.change
	case 2:
		c.undo, c.promote = "", ""
	case 3:
		c.promote = c.change + "/*"
	case 4:
		c.spec = c.anySpec()
	default:
		c.promote = c.change + "/" + pick(c, "s0", "s1", "s2", "canary", "rest")
	}
}

func (c *chaos) some(n int, do func(*edge)) {
	for range n {
		if names := c.world.names(); len(names) > 0 {
			do(c.edges[pick(c, names...)])
		}
	}
}

// step is a pass of the hub, which may stop in the middle. It records first what it halts, and last what
// it verifies.
func (c *chaos) step() {
	c.t.Helper()
	p := c.ask()
	c.look(p)
	halts := c.status == nil || !slices.Equal(c.status.Halted, p.Status.Halted)
	verifies := c.status == nil || !reflect.DeepEqual(c.status.Verified, p.Status.Verified)
	switch lost := c.IntN(6); {
	case lost == 0 && !verifies: // the status is recorded, and some moves are made
		c.do(p, func() bool { return c.IntN(2) == 0 })
		c.status = p.Status.DeepCopy()
	case lost == 1 && !halts: // some moves are made, and the status is lost
		c.do(p, func() bool { return c.IntN(2) == 0 })
	default:
		c.do(p, always)
		c.status = p.Status.DeepCopy()
	}
}

// calm lets nothing happen any more but time, and that what is not ill becomes healthy.
func (c *chaos) calm() {
	c.t.Helper()
	c.paused, c.undo = false, ""
	var p Plan
	for range 400 {
		p = c.ask()
		c.look(p)
		c.do(p, always)
		c.status = p.Status.DeepCopy()
		moved := len(p.Start)+len(p.CatchUp)+len(p.Return) > 0
		for _, e := range c.edges {
			if !e.away && !e.suspended && e.entry != nil && e.health == Progressing {
				e.heal()
				moved = true
			}
		}
		switch {
		case p.Status.Phase == v1alpha1.RolloutAwaitingApproval:
			c.promote = c.change + "/" + p.Status.Stage
		case moved:
		case p.RecheckAt.IsZero():
			c.arrived(p)
			return
		default:
			c.now = p.RecheckAt
		}
	}
	c.t.Fatalf("it never ends: %+v", p)
}

func (c *chaos) arrived(p Plan) {
	c.t.Helper()
	if len(p.Start)+len(p.CatchUp)+len(p.Return) > 0 {
		c.t.Fatalf("something still moves: %+v", p)
	}
	here, has := 0, 0
	for _, m := range c.rollout().Clusters {
		if m.Health != Unreachable && m.Health != Suspended {
			here++
			has += int(oneIf(m.Position == AtTarget && !m.Unrenderable))
		}
	}
	switch p.Status.Phase {
	case v1alpha1.RolloutCompleted:
		if has != here && !slices.ContainsFunc(c.rollout().Clusters, func(m Member) bool { return m.Unrenderable }) {
			c.t.Fatalf("%d of %d clusters have the change, and it is completed", has, here)
		}
	case v1alpha1.RolloutHalted, v1alpha1.RolloutRolledBack:
	case v1alpha1.RolloutProgressing:
		stuck := c.spec == nil || c.spec.Strategy == v1alpha1.RolloutAllAtOnce || len(c.edges) == 1
		if has > 0 && !stuck {
			c.t.Fatalf("it never ends: %+v\n%s", p, cmp.Diff(Rollout{}, c.rollout()))
		}
	default:
		c.t.Fatalf("it never ends: %+v\n%s", p, cmp.Diff(Rollout{}, c.rollout()))
	}
}
