package rollout

import (
	"reflect"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// look holds a plan against what must never happen. It asks the world, not the planner, how things
// are.
func (c *chaos) look(p Plan) {
	c.t.Helper()
	r := c.rollout()
	by := map[string]Member{}
	for _, m := range r.Clusters {
		by[m.Name] = m
	}
	c.lookAtLists(p, by)
	if (c.paused || c.isHalted(p)) && len(p.Start) > 0 {
		c.t.Fatalf("paused or halted, and %v start: %+v", p.Start, p.Status)
	}
	if c.paused && len(p.CatchUp) > 0 {
		c.t.Fatalf("paused, and %v catch up", p.CatchUp)
	}
	for _, name := range p.Return {
		if m := by[name]; m.Position != AtTarget || !m.Returns {
			c.t.Fatalf("%s returns from nowhere to nothing", name)
		}
	}
	for name, m := range by {
		undone := c.undo == c.change || m.Health == Unreachable && !m.Applied
		if c.isHalted(p) && undone && m.Position == AtTarget && m.Returns && !m.Unrenderable && !slices.Contains(p.Return, name) {
			c.t.Fatalf("%s keeps what is halted: %+v", name, p)
		}
	}
	for name, e := range c.edges {
		if v := c.status; IsVerified(e.entry.assigned(), v) && !c.verified[name+" "+e.entry.digest] && (v.Verified == nil || e.entry.digest != c.digest(v.Verified.ID, name)) {
			c.t.Fatalf("%s has %s of %s, which is taken for verified: %+v", name, e.entry.digest, e.entry.change, v)
		}
	}
	stages, err := Stages(c.spec, r.Clusters)
	if err != nil {
		c.t.Fatal(err)
	}
	if v := p.Status.Verified; stages != nil && (v == nil || v.ID != c.change) {
		c.lookAtStages(p, by)
	}
	c.lookAtTime(p)
}

// lookAtLists sees that every cluster is somewhere, once, and why.
func (c *chaos) lookAtLists(p Plan, by map[string]Member) {
	c.t.Helper()
	seen := map[string]int{}
	var held []string
	for _, h := range p.Hold {
		if held = append(held, h.Cluster); h.Reason == "" {
			c.t.Fatalf("%s is held for no reason: %+v", h.Cluster, p.Status)
		}
	}
	for _, list := range [][]string{p.Start, p.CatchUp, p.Return, held} {
		if !slices.IsSorted(list) {
			c.t.Fatalf("not sorted: %v", list)
		}
		for _, name := range list {
			seen[name]++
		}
	}
	for name, m := range by {
		has := m.Position == AtTarget && !m.Unrenderable
		if seen[name] > 1 || seen[name] == 0 && !has {
			c.t.Fatalf("%s (%+v) is in %d lists", name, m, seen[name])
		}
	}
	if p.Status.Message == "" || p.Status.Phase == "" {
		c.t.Fatalf("the status says nothing: %+v", p.Status)
	}
}

func (c *chaos) isHalted(p Plan) bool {
	return slices.ContainsFunc(p.Status.Halted, func(h v1alpha1.RolloutChange) bool { return h.ID == c.change })
}

// lookAtStages sees that a staged rollout starts nobody out of turn.
func (c *chaos) lookAtStages(p Plan, by map[string]Member) {
	c.t.Helper()
	windows, err := readWindows(specOf(c.spec).Windows)
	if err != nil {
		c.t.Fatal(err)
	}
	heedless := p.Status.Promoted || specOf(c.spec).OnFailure == v1alpha1.FailureContinue
	before, harmed := true, false
	starts := map[string]bool{}
	for _, name := range p.Start {
		m := by[name]
		if m.Health == Unreachable || m.Health == Suspended || m.Unrenderable {
			c.t.Fatalf("%s is away, and starts: %+v", name, m)
		}
		starts[name] = m.Position != AtTarget
	}
	total, r := 0, c.rollout()
	stages := c.stagesOf(p, by)
	for _, s := range stages {
		n, flying, failed := 0, 0, 0
		for _, name := range s.Clusters {
			m := by[name]
			n += int(oneIf(starts[name]))
			flying += int(oneIf(c.flies(m)))
			failed += int(oneIf(c.failed(m)))
		}
		total += failed
		record := p.Status.Stages[slices.IndexFunc(p.Status.Stages, func(r v1alpha1.RolloutStageStatus) bool { return r.Name == s.Name })]
		promoted := p.Status.Promoted || record.Approved
		switch {
		case n == 0:
		case n+flying > s.MaxConcurrent.Clusters:
			c.t.Fatalf("stage %s: %d in flight and %d start, where %d may: %+v", s.Name, flying, n, s.MaxConcurrent.Clusters, p)
		case !promoted && !before:
			c.t.Fatalf("stage %s starts before those before it are done: %+v", s.Name, p.Status)
		case !promoted && s.Spec.Approval == v1alpha1.ApprovalManual:
			c.t.Fatalf("stage %s starts without approval: %+v", s.Name, p.Status)
		case !promoted && !windows.open(c.now):
			c.t.Fatalf("stage %s starts outside the windows", s.Name)
		}
		before = before && record.Done
		if n > 0 && !heedless && slices.ContainsFunc(r.Clusters, c.mayHeal) {
			c.t.Fatalf("stage %s starts while somebody fails who may heal: %+v", s.Name, r.Clusters)
		}
		c.lookAtSoak(p, s, record, by)
		harmed = harmed || failed > s.MaxFailures.Clusters && !s.Overall || s.Overall && total > s.MaxFailures.Clusters
	}
	if harmed && !heedless && (len(p.Start) > 0 || !c.isHalted(p)) {
		c.t.Fatalf("too many failed, and it goes on: %+v", p)
	}
}

// stagesOf divides the clusters, but for those that catch up first.
func (c *chaos) stagesOf(p Plan, by map[string]Member) []Stage {
	var members []Member
	for _, m := range by {
		if v := p.Status.Verified; v == nil || v.ID == c.change || m.Position != None {
			members = append(members, m)
		}
	}
	stages, err := divide(c.spec, byName(members), len(by))
	if err != nil {
		c.t.Fatal(err)
	}
	return stages
}

func specOf(spec *v1alpha1.Rollout) *v1alpha1.Rollout {
	if spec == nil {
		return &v1alpha1.Rollout{}
	}
	return spec
}

// suspect reports whether the cluster is there, and has what is not verified.
func (c *chaos) suspect(m Member) bool {
	e := c.edges[m.Name]
	if m.Position != AtTarget || m.Health == Unreachable || m.Health == Suspended || m.Unrenderable {
		return false
	}
	v := c.status
	return v == nil || v.Verified == nil || e.entry.digest != c.digest(v.Verified.ID, m.Name)
}

func (c *chaos) late(m Member) bool {
	from := m.Since
	if m.Back.After(from) {
		from = m.Back
	}
	return !c.now.Before(from.Add(10 * time.Minute))
}

func (c *chaos) flies(m Member) bool {
	return c.suspect(m) && (m.Health == Progressing || m.Health == Failing) && !c.late(m)
}

func (c *chaos) mayHeal(m Member) bool { return c.suspect(m) && m.Health == Failing && !c.late(m) }

// lookAtSoak sees that a stage is not done before its time.
func (c *chaos) lookAtSoak(p Plan, s Stage, is v1alpha1.RolloutStageStatus, by map[string]Member) {
	c.t.Helper()
	was := c.status
	if s.Spec.Soak == nil || !is.Done || is.HealthySince == nil || p.Status.Promoted || was == nil || was.ID != p.Status.ID ||
		slices.ContainsFunc(p.Status.Stages, func(r v1alpha1.RolloutStageStatus) bool { return r.Approved }) ||
		slices.ContainsFunc(was.Stages, func(r v1alpha1.RolloutStageStatus) bool { return r.Name == s.Name && r.Done && r.HealthySince != nil }) {
		return
	}
	if c.now.Before(is.HealthySince.Add(s.Spec.Soak.Duration)) && slices.ContainsFunc(s.Clusters, func(name string) bool { return c.suspect(by[name]) }) {
		c.t.Fatalf("stage %s is done before its soak is over: %+v", s.Name, p.Status)
	}
}

// failed reports whether there is no doubt that the change failed on the cluster.
func (c *chaos) failed(m Member) bool {
	return c.suspect(m) && (m.Health == Failed || m.Health == Failing && c.late(m))
}

// lookAtTime sees that time alone alters nothing before Next asked to be asked again.
func (c *chaos) lookAtTime(p Plan) {
	c.t.Helper()
	if !p.RecheckAt.IsZero() && !p.RecheckAt.After(c.now) {
		c.t.Fatalf("it is %s, and it asks for %s", c.now, p.RecheckAt)
	}
	if len(p.Start) > 0 || c.paused { // a window may close before they start
		return
	}
	later := c.now.Add(time.Duration(c.IntN(1000)) * time.Hour)
	if !p.RecheckAt.IsZero() {
		later = p.RecheckAt.Add(-time.Second)
	}
	if later.Before(c.now) {
		return
	}
	r := c.rollout()
	r.Status = &p.Status
	then, err := Next(later, r)
	if err != nil {
		c.t.Fatal(err)
	}
	if !reflect.DeepEqual(p, then) {
		c.t.Fatalf("time alone alters what it says, and it did not ask to be asked: at %s, %s, %s:\n%s\n%+v", c.now, later, p.RecheckAt, cmp.Diff(p, then), r.Clusters)
	}
}
