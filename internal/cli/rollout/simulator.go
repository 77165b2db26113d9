package rollout

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/rollout"
)

// Scenario is a rollout to be simulated: what the hub's planner would do with a change that every
// cluster gets other objects from.
type Scenario struct {
	// Name of the Kustomization.
	Name string
	Spec *v1alpha1.Rollout
	// Members as they are: what they have is verified.
	Members []rollout.Member
	Start   time.Time
	// HealthAfter is how long a cluster takes to be healthy, FailedAfter until one of Fails is known
	// to have failed, ApproveAfter until a person lets a stage begin.
	HealthAfter, FailedAfter, ApproveAfter time.Duration
	// Fails names the clusters that never become healthy.
	Fails map[string]bool
}

// Limits of a simulation. A window that never opens would go on for ever.
const (
	maxSteps = 100_000
	maxTime  = 366 * 24 * time.Hour
)

// The change that is simulated, and the one before it.
const (
	simulatedID = "simulated"
	beforeID    = "before"
)

// EventKind is the kind of an Event.
type EventKind string

// Kinds of events.
const (
	EventStarted  EventKind = "Started"  // the change was sent to clusters
	EventDeferred EventKind = "Deferred" // clusters get the change when they are back
	EventReady    EventKind = "Ready"    // clusters became healthy with it
	EventFailed   EventKind = "Failed"   // clusters failed with it
	EventReturned EventKind = "Returned" // clusters were sent back
	EventBack     EventKind = "Back"     // clusters are healthy again with what they had before
	EventApproved EventKind = "Approved" // a person let a stage begin
	EventPhase    EventKind = "Phase"    // the rollout as a whole
)

// Event is one step of a simulated rollout.
type Event struct {
	At    time.Time `json:"at"`
	Kind  EventKind `json:"kind"`
	Stage string    `json:"stage,omitempty"`
	// Clusters that it happens to, sorted.
	Clusters []string `json:"clusters,omitempty"`
	// Phase and Message are those of the rollout.
	Phase   v1alpha1.RolloutPhase `json:"phase,omitempty"`
	Message string                `json:"message,omitempty"`
}

// Outcome is how a simulated rollout went.
type Outcome struct {
	Events []Event
	// Last is what the planner returned last, and Ended when that was.
	Last  rollout.Plan
	Ended time.Time
	// Endless means that the simulation was cut off at maxTime.
	Endless bool
}

// simulator stands in for the clusters, the clock and the person who approves stages.
type simulator struct {
	scenario Scenario
	now      time.Time
	rollout  rollout.Rollout
	at       map[string]int // index of a cluster in rollout.Clusters
	stageOf  map[string]int // by cluster; stages holds their names
	stages   []string
	due      map[string]time.Time // when a cluster is healthy or has failed
	approve  time.Time            // when the person approves
	asked    string               // the stage whose approval was requested last
	outcome  Outcome
}

// Run simulates a rollout to its end, on a clock of its own. The error means that the spec cannot
// be followed, or that ctx ended.
func Run(ctx context.Context, p Scenario) (Outcome, error) {
	stages, err := rollout.Stages(p.Spec, p.Members)
	if err != nil {
		return Outcome{}, err
	}
	h := newSimulator(p, stages)
	for range maxSteps {
		if err := h.settle(ctx); err != nil {
			return Outcome{}, err
		}
		next := h.next()
		if next.IsZero() {
			return h.outcome, nil
		}
		if next.Sub(p.Start) > maxTime {
			break
		}
		h.now = next
		h.advance()
	}
	h.outcome.Endless = true
	return h.outcome, nil
}

func newSimulator(p Scenario, stages []rollout.Stage) *simulator {
	h := &simulator{
		scenario: p, now: p.Start.UTC().Truncate(time.Second), at: map[string]int{}, stageOf: map[string]int{},
		due: map[string]time.Time{}, stages: []string{""}, // where there are none
		rollout: rollout.Rollout{
			Name: p.Name, Spec: p.Spec, Change: v1alpha1.RolloutChange{ID: simulatedID, Revision: "the next change"}, Clusters: slices.Clone(p.Members),
			Status: &v1alpha1.RolloutStatus{
				RolloutChange: v1alpha1.RolloutChange{ID: beforeID, Revision: "the change before"}, Phase: v1alpha1.RolloutCompleted,
				Verified: &v1alpha1.RolloutChange{ID: beforeID, Revision: "the change before"},
			},
		},
	}
	for i := range h.rollout.Clusters {
		h.at[h.rollout.Clusters[i].Name] = i
	}
	for _, s := range stages {
		for _, name := range s.Clusters {
			h.stageOf[name] = len(h.stages)
		}
		h.stages = append(h.stages, s.Name)
	}
	return h
}

// settle runs the planner and carries out its plan, until the plan has no step left.
func (h *simulator) settle(ctx context.Context) error {
	for range maxSteps {
		if err := ctx.Err(); err != nil {
			return err
		}
		plan, err := rollout.Next(h.now, h.rollout)
		if err != nil {
			return err
		}
		h.recordPhase(plan)
		status := plan.Status
		h.rollout.Status, h.outcome.Last, h.outcome.Ended = &status, plan, h.now
		if len(plan.Start)+len(plan.Return)+len(plan.CatchUp) == 0 {
			h.requestApproval()
			return nil
		}
		h.send(plan.Start, EventStarted)
		h.send(plan.Return, EventReturned)
		if len(plan.CatchUp) > 0 {
			return fmt.Errorf("the planner takes %s for new", plan.CatchUp[0])
		}
	}
	return fmt.Errorf("the planner does not settle at %s", stamp(h.now))
}

// recordPhase records a phase when it, or what it waits for, has changed. The progress within a phase
// shows in the events of its clusters.
func (h *simulator) recordPhase(plan rollout.Plan) {
	was, is := h.rollout.Status, plan.Status
	if was.ID == is.ID && was.Phase == is.Phase && (was.Message == is.Message || is.Phase == v1alpha1.RolloutProgressing) {
		return
	}
	if is.Phase == v1alpha1.RolloutProgressing {
		return
	}
	h.record(Event{Kind: EventPhase, Stage: is.Stage, Phase: is.Phase, Message: is.Message})
}

func (h *simulator) record(e Event) {
	e.At = h.now
	h.outcome.Events = append(h.outcome.Events, e)
}

// byStage records an event for the clusters of each stage, in the order of the stages.
func (h *simulator) byStage(kind EventKind, clusters []string) {
	of := make([][]string, len(h.stages))
	for _, name := range clusters {
		of[h.stageOf[name]] = append(of[h.stageOf[name]], name)
	}
	for i, names := range of {
		if len(names) > 0 {
			slices.Sort(names)
			h.record(Event{Kind: kind, Stage: h.stages[i], Clusters: names})
		}
	}
}

// send gives clusters the change, or what they had before. A cluster that cannot be reached gets it
// after the end of the simulation.
func (h *simulator) send(names []string, kind EventKind) {
	var sent, deferred []string
	for _, name := range names {
		m := &h.rollout.Clusters[h.at[name]]
		m.Since, m.Message = h.now, ""
		m.Position, m.Returns = rollout.AtTarget, true
		took := h.scenario.HealthAfter
		if kind == EventReturned {
			m.Position, m.Returns = rollout.Other, false
		} else if h.scenario.Fails[name] {
			took = h.scenario.FailedAfter
		}
		if m.Applied = !absent(*m); !m.Applied {
			deferred = append(deferred, name)
			continue
		}
		m.Health = rollout.Progressing
		h.due[name] = h.now.Add(took)
		sent = append(sent, name)
	}
	h.byStage(kind, sent)
	if kind == EventStarted {
		kind = EventDeferred
	}
	h.byStage(kind, deferred)
}

func absent(m rollout.Member) bool {
	return m.Health == rollout.Unreachable || m.Health == rollout.Suspended
}

// next is when something happens next; zero when nothing does.
func (h *simulator) next() time.Time {
	next := h.outcome.Last.RecheckAt
	if !next.After(h.now) {
		next = time.Time{}
	}
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	earlier(h.approve)
	for _, t := range h.due {
		earlier(t)
	}
	if !next.IsZero() && !next.After(h.now) { // what takes no time happens all the same
		return h.now
	}
	return next
}

// advance carries out what is due at the new time.
func (h *simulator) advance() {
	var ready, back, failed []string
	for name, t := range h.due {
		if t.After(h.now) {
			continue
		}
		delete(h.due, name)
		m := &h.rollout.Clusters[h.at[name]]
		switch {
		case m.Position != rollout.AtTarget:
			m.Health, back = rollout.Healthy, append(back, name)
		case h.scenario.Fails[name]:
			m.Health, m.Message, failed = rollout.Failed, "made to fail", append(failed, name)
		default:
			m.Health, ready = rollout.Healthy, append(ready, name)
		}
	}
	h.byStage(EventFailed, failed)
	h.byStage(EventReady, ready)
	h.byStage(EventBack, back)
	if !h.approve.IsZero() && !h.approve.After(h.now) {
		h.approve = time.Time{}
		h.rollout.Promote = simulatedID + "/" + h.asked
		h.record(Event{Kind: EventApproved, Stage: h.asked})
	}
}

// requestApproval schedules the approval of a stage, once for each.
func (h *simulator) requestApproval() {
	if h.rollout.Status.Phase != v1alpha1.RolloutAwaitingApproval {
		return
	}
	if stage := waitingStage(h.rollout.Status); stage != "" && stage != h.asked {
		h.asked, h.approve = stage, h.now.Add(h.scenario.ApproveAfter)
	}
}
