package rollout

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// maxHalted bounds status.halted.
const maxHalted = 5

// Next returns which clusters move now, and for each other cluster the reason why it does not. It reads
// no clock and draws no random number: the same input gives the same plan, and the plan's own status as
// input gives that plan again. A step that was planned and got lost is therefore planned again. The
// error is that of CheckRollout; then no cluster moves.
func Next(now time.Time, r Rollout) (Plan, error) {
	p, err := newPlanner(now, r)
	if err != nil {
		return Plan{}, err
	}
	p.restoreStatus()
	p.applyAnnotations()
	p.markFailed()
	done := false
	switch {
	case p.stopped():
		p.rollBack()
	case p.verified():
		p.catchUp()
	case len(p.stages) == 0:
		done = p.allAtOnce()
	default:
		done = p.staged()
	}
	p.countStages()
	if done { // a verified change goes to every cluster, by other rules than an unverified one
		r.Status = &p.status
		r.Status.Verified = &v1alpha1.RolloutChange{ID: r.Change.ID, Revision: r.Change.Revision}
		r.Status.VerifiedAt = p.verifiedAt()
		return Next(now, r)
	}
	return p.plan(), nil
}

// planner is the state of one call of Next.
type planner struct {
	now      time.Time
	in       Rollout
	deadline time.Duration
	failure  v1alpha1.FailurePolicy
	windows  windows
	stages   []*stage
	members  []*member
	status   v1alpha1.RolloutStatus
	recheck  time.Time
}

// stage is a Stage with its clusters and its record in the status.
type stage struct {
	Stage
	members   []*member
	record    *v1alpha1.RolloutStageStatus
	hadFailed bool // at least one of its clusters had failed at the call before
	begun     bool
	closed    bool // at least one of its clusters would start if a window were open
}

// member is a Member with the decision about it.
type member struct {
	Member
	stage  *stage // nil where there are no stages, and for one that catches up first
	failed bool
	verb   verb
	paused bool   // it would start if the rollout were not paused
	reason string // why it is held
}

// verb is the decision about one cluster.
type verb int

const (
	hold verb = iota
	start
	catchUp
	revert
	leave // it has the change already
)

func newPlanner(now time.Time, r Rollout) (*planner, error) {
	if err := CheckRollout(r.Spec); err != nil {
		return nil, err
	}
	p := &planner{now: now, in: r, deadline: defaultDeadline}
	if r.Spec != nil {
		p.failure = r.Spec.OnFailure
		if r.Spec.ProgressDeadline != nil {
			p.deadline = r.Spec.ProgressDeadline.Duration
		}
		var err error
		if p.windows, err = readWindows(r.Spec.Windows); err != nil {
			return nil, err
		}
	}
	return p, p.assignStages(byName(r.Clusters))
}

// assignStages puts the clusters into their stages. A new cluster, which gets the verified revision
// first, takes no place in a stage until it has that. Otherwise a new cluster that is first by name would
// take the place of the canary, and the first stage would be done without one.
func (p *planner) assignStages(sorted []Member) error {
	taking := slices.Clone(sorted)
	if s := p.in.Status; s != nil && s.Verified != nil && s.Verified.ID != p.in.Change.ID {
		taking = slices.DeleteFunc(taking, func(m Member) bool { return m.Position == None })
	}
	stages, err := divide(p.in.Spec, taking, len(sorted))
	if err != nil {
		return err
	}
	of := make(map[string]*stage, len(sorted))
	for _, s := range stages {
		p.stages = append(p.stages, &stage{Stage: s})
		for _, name := range s.Clusters {
			of[name] = p.stages[len(p.stages)-1]
		}
	}
	for _, m := range sorted {
		one := &member{Member: m, stage: of[m.Name]}
		p.members = append(p.members, one)
		if one.stage != nil {
			one.stage.members = append(one.stage.members, one)
		}
	}
	return nil
}

// restoreStatus continues from the recorded status. For another change it begins anew, and keeps what was
// verified and halted before.
func (p *planner) restoreStatus() {
	var old v1alpha1.RolloutStatus
	if p.in.Status != nil {
		p.in.Status.DeepCopyInto(&old)
	}
	p.status = old
	if old.ID != p.in.Change.ID || old.StartedAt == nil {
		p.status = v1alpha1.RolloutStatus{StartedAt: p.seconds(p.now), Verified: old.Verified, VerifiedAt: old.VerifiedAt, Halted: old.Halted}
	}
	p.status.RolloutChange = p.in.Change
	before := p.status.Stages
	p.status.Stages = nil
	if len(p.stages) > 0 {
		p.status.Stages = make([]v1alpha1.RolloutStageStatus, len(p.stages))
	}
	for i, s := range p.stages {
		s.record = &p.status.Stages[i]
		s.record.Name = s.Name
		at := slices.IndexFunc(before, func(b v1alpha1.RolloutStageStatus) bool { return b.Name == s.Name })
		if at < 0 {
			continue
		}
		was := before[at]
		s.record.Approved, s.record.HealthySince = was.Approved, was.HealthySince
		// A stage that was done because none of its clusters could be reached is not done any more
		// once one of them can.
		s.record.Done = was.Done && was.HealthySince != nil
		s.hadFailed = was.Failed > 0
	}
}

// applyAnnotations carries out promote and undo, which a person sets as annotations.
func (p *planner) applyAnnotations() {
	id, stage, _ := strings.Cut(p.in.Promote, "/")
	if p.in.Undo == p.status.ID {
		p.halt("a person has undone the change")
		p.status.Promoted = false
		if v := p.status.Verified; v != nil && v.ID == p.status.ID {
			p.status.Verified = nil
		}
		return
	}
	if id != p.status.ID {
		return
	}
	if stage == "*" {
		p.status.Promoted, p.status.Cause = true, ""
		p.status.Halted = slices.DeleteFunc(p.status.Halted, p.isChange)
	}
	for _, s := range p.stages {
		s.record.Approved = s.record.Approved || s.Name == stage
	}
}

// halt records the change among those that are sent to no further cluster.
func (p *planner) halt(cause string) {
	rest := slices.DeleteFunc(p.status.Halted, p.isChange)
	p.status.Halted = append([]v1alpha1.RolloutChange{p.status.RolloutChange}, rest...)
	p.status.Halted = p.status.Halted[:min(len(p.status.Halted), maxHalted)]
	p.status.Cause = cause
}

func (p *planner) isChange(c v1alpha1.RolloutChange) bool { return c.ID == p.status.ID }

func (p *planner) stopped() bool { return slices.ContainsFunc(p.status.Halted, p.isChange) }

func (p *planner) verified() bool {
	return p.status.Verified != nil && p.status.Verified.ID == p.status.ID
}

// verifiedAt is the time of a verification: no earlier than the one before, and than what the clusters
// have was assigned, should the clock have been set back.
func (p *planner) verifiedAt() *metav1.Time {
	at := p.seconds(p.now)
	if before := p.status.VerifiedAt; at.Before(before) {
		at = before
	}
	for _, m := range p.members {
		if m.hasChange() && m.Since.After(at.Time) {
			at = p.seconds(m.Since)
		}
	}
	return at
}

// countStages counts the clusters of each stage for the status, and schedules the next look at the
// deadline of each that is in flight.
func (p *planner) countStages() {
	for _, s := range p.stages {
		s.record.Clusters = int32(len(s.members))
		s.record.Updated, s.record.Ready, s.record.Failed, s.record.Absent = 0, 0, 0, 0
		for _, m := range s.members {
			has := m.hasChange()
			s.record.Updated += oneIf(has)
			s.record.Ready += oneIf(has && m.Health == Healthy)
			s.record.Failed += oneIf(m.failed)
			s.record.Absent += oneIf(m.absent())
			if p.inFlight(m) {
				p.recheckAt(p.deadlineOf(m))
			}
		}
	}
}

func oneIf(is bool) int32 {
	if is {
		return 1
	}
	return 0
}

// plan lists the clusters by the decision about them.
func (p *planner) plan() Plan {
	out := Plan{Status: p.status, RecheckAt: p.recheck}
	for _, m := range p.members {
		switch m.verb {
		case start:
			out.Start = append(out.Start, m.Name)
		case catchUp:
			out.CatchUp = append(out.CatchUp, m.Name)
		case revert:
			out.Return = append(out.Return, m.Name)
		case hold:
			out.Hold = append(out.Hold, Held{Cluster: m.Name, Reason: m.reason})
		case leave:
		}
	}
	return out
}

// recheckAt schedules the next call of Next, if the time lies in the future.
func (p *planner) recheckAt(at time.Time) {
	if at.After(p.now) && (p.recheck.IsZero() || at.Before(p.recheck)) {
		p.recheck = at
	}
}

// seconds cuts a time to whole seconds, as the API server stores it, so that a status equals itself after
// it was written and read.
func (*planner) seconds(at time.Time) *metav1.Time {
	cut := metav1.NewTime(at.Truncate(time.Second).UTC())
	return &cut
}
