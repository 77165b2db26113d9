package fleet

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// maxHalted bounds status.halted.
const maxHalted = 5

// Next says which clusters move now, and why the others do not. It knows no clock and no chance: the
// same input gives the same plan, and so does what it said last, while nothing has happened. What was
// asked for and is lost is asked for again. The error is that of CheckRollout; then nothing moves.
func Next(now time.Time, r Rollout) (Plan, error) {
	t, err := newTurn(now, r)
	if err != nil {
		return Plan{}, err
	}
	t.begin()
	t.obey()
	t.judge()
	through := false
	switch {
	case t.stopped():
		t.goBack()
	case t.verified():
		t.catchUp()
	case len(t.stages) == 0:
		through = t.allAtOnce()
	default:
		through = t.staged()
	}
	t.count()
	if through { // what is verified goes to everybody by other rules
		r.Status = &t.status
		r.Status.Verified = &v1alpha1.RolloutChange{ID: r.Change.ID, Revision: r.Change.Revision}
		return Next(now, r)
	}
	return t.plan(), nil
}

// turn is one Next under way.
type turn struct {
	now      time.Time
	in       Rollout
	deadline time.Duration
	failure  v1alpha1.FailurePolicy
	windows  windows
	stages   []*stage
	members  []*member
	status   v1alpha1.RolloutStatus
	again    time.Time
}

// stage is a Stage with its clusters and what is recorded of it.
type stage struct {
	Stage
	members   []*member
	record    *v1alpha1.RolloutStageStatus
	hadFailed bool // some of it had failed when Next looked last
	begun     bool
	closed    bool // some of it would start, if a window were open
}

// member is a Member with what becomes of it.
type member struct {
	Member
	stage  *stage // nil where there are no stages, and for one that catches up first
	failed bool
	verb   verb
	reason string // it is held
}

// verb is what a plan does to a cluster.
type verb int

const (
	hold verb = iota
	start
	catchUp
	giveBack
	leave // it has the change
)

func newTurn(now time.Time, r Rollout) (*turn, error) {
	if err := CheckRollout(r.Spec); err != nil {
		return nil, err
	}
	t := &turn{now: now, in: r, deadline: defaultDeadline}
	if r.Spec != nil {
		t.failure = r.Spec.OnFailure
		if r.Spec.ProgressDeadline != nil {
			t.deadline = r.Spec.ProgressDeadline.Duration
		}
		var err error
		if t.windows, err = readWindows(r.Spec.Windows); err != nil {
			return nil, err
		}
	}
	return t, t.line(byName(r.Clusters))
}

// line puts the clusters into their stages. Those that are new and catch up first take nobody's place
// while they have nothing: else a stage would be done because somebody new came who is first by name.
func (t *turn) line(sorted []Member) error {
	taking := slices.Clone(sorted)
	if s := t.in.Status; s != nil && s.Verified != nil && s.Verified.ID != t.in.Change.ID {
		taking = slices.DeleteFunc(taking, func(m Member) bool { return m.Position == None })
	}
	stages, err := divide(t.in.Spec, taking, len(sorted))
	if err != nil {
		return err
	}
	of := make(map[string]*stage, len(sorted))
	for _, s := range stages {
		t.stages = append(t.stages, &stage{Stage: s})
		for _, name := range s.Clusters {
			of[name] = t.stages[len(t.stages)-1]
		}
	}
	for _, m := range sorted {
		one := &member{Member: m, stage: of[m.Name]}
		t.members = append(t.members, one)
		if one.stage != nil {
			one.stage.members = append(one.stage.members, one)
		}
	}
	return nil
}

// begin takes up what was recorded, from its start when the change is another one.
func (t *turn) begin() {
	var old v1alpha1.RolloutStatus
	if t.in.Status != nil {
		t.in.Status.DeepCopyInto(&old)
	}
	t.status = old
	if old.ID != t.in.Change.ID || old.StartedAt == nil {
		t.status = v1alpha1.RolloutStatus{StartedAt: t.moment(t.now), Verified: old.Verified, Halted: old.Halted}
	}
	t.status.RolloutChange = t.in.Change
	before := t.status.Stages
	t.status.Stages = nil
	if len(t.stages) > 0 {
		t.status.Stages = make([]v1alpha1.RolloutStageStatus, len(t.stages))
	}
	for i, s := range t.stages {
		s.record = &t.status.Stages[i]
		s.record.Name = s.Name
		at := slices.IndexFunc(before, func(b v1alpha1.RolloutStageStatus) bool { return b.Name == s.Name })
		if at < 0 {
			continue
		}
		was := before[at]
		s.record.Approved, s.record.HealthySince = was.Approved, was.HealthySince
		// A stage that was done because nobody was there proves nothing once somebody is.
		s.record.Done = was.Done && was.HealthySince != nil
		s.hadFailed = was.Failed > 0
	}
}

// obey does what a person has asked for by annotation.
func (t *turn) obey() {
	id, stage, _ := strings.Cut(t.in.Promote, "/")
	if t.in.Undo == t.status.ID {
		t.halt("a person has undone the change")
		t.status.Promoted = false
		if v := t.status.Verified; v != nil && v.ID == t.status.ID {
			t.status.Verified = nil
		}
		return
	}
	if id != t.status.ID {
		return
	}
	if stage == "*" {
		t.status.Promoted = true
		t.status.Halted = slices.DeleteFunc(t.status.Halted, t.isChange)
	}
	for _, s := range t.stages {
		s.record.Approved = s.record.Approved || s.Name == stage
	}
}

// halt notes the change among those that no cluster is sent any more.
func (t *turn) halt(cause string) {
	rest := slices.DeleteFunc(t.status.Halted, t.isChange)
	t.status.Halted = append([]v1alpha1.RolloutChange{t.status.RolloutChange}, rest...)
	t.status.Halted = t.status.Halted[:min(len(t.status.Halted), maxHalted)]
	t.status.Message = sentence(v1alpha1.RolloutHalted, cause)
}

func (t *turn) isChange(c v1alpha1.RolloutChange) bool { return c.ID == t.status.ID }

func (t *turn) stopped() bool { return slices.ContainsFunc(t.status.Halted, t.isChange) }

func (t *turn) verified() bool {
	return t.status.Verified != nil && t.status.Verified.ID == t.status.ID
}

// count tells of each stage how many clusters are where, and looks again when that may be otherwise.
func (t *turn) count() {
	for _, s := range t.stages {
		s.record.Clusters = int32(len(s.members))
		s.record.Updated, s.record.Ready, s.record.Failed, s.record.Absent = 0, 0, 0, 0
		for _, m := range s.members {
			has := m.has()
			s.record.Updated += one(has)
			s.record.Ready += one(has && m.Health == Healthy)
			s.record.Failed += one(m.failed)
			s.record.Absent += one(m.absent())
			if t.inFlight(m) {
				t.lookAgain(t.due(m))
			}
		}
	}
}

func one(is bool) int32 {
	if is {
		return 1
	}
	return 0
}

// plan sorts the clusters by what becomes of them.
func (t *turn) plan() Plan {
	p := Plan{Status: t.status, CheckAgainAt: t.again}
	for _, m := range t.members {
		switch m.verb {
		case start:
			p.Start = append(p.Start, m.Name)
		case catchUp:
			p.CatchUp = append(p.CatchUp, m.Name)
		case giveBack:
			p.Return = append(p.Return, m.Name)
		case hold:
			p.Hold = append(p.Hold, Held{Cluster: m.Name, Reason: m.reason})
		case leave:
		}
	}
	return p
}

// lookAgain makes sure that Next is asked again at a time that is still to come.
func (t *turn) lookAgain(at time.Time) {
	if at.After(t.now) && (t.again.IsZero() || at.Before(t.again)) {
		t.again = at
	}
}

// moment is a time as a status keeps it: to the second, so that it is the same once it was written.
func (*turn) moment(at time.Time) *metav1.Time {
	cut := metav1.NewTime(at.Truncate(time.Second).UTC())
	return &cut
}
