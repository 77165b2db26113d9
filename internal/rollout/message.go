package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

const (
	isPaused           = "the rollout is paused"
	noReachableCluster = "waits for a cluster that can be reached"
	// maxNames and maxWords bound what a message quotes from clusters: edges write part of it.
	maxNames   = 3
	maxMessage = 160
)

// explainHolds sets the phase and, for each cluster that is held, the reason why.
func (p *planner) explainHolds(wait *member) {
	reason := p.setPhase(wait)
	for _, m := range p.members {
		switch {
		case m.verb != hold:
		case m.Unrenderable:
			m.reason = cannotRender(m)
		case m.follows() && !m.absent():
			m.reason = m.Waits
		case p.in.Paused && !m.absent():
			m.reason = isPaused
		case m.absent():
			m.reason = absentReason(m)
		case wait != nil:
			m.reason = waitsFor([]*member{wait})
		case !m.stage.begun:
			m.reason = reason
		case m.stage.closed:
			m.reason = p.windowMessage()
		default:
			m.reason = fmt.Sprintf("waits for its turn: at most %d of stage %s at a time", m.stage.MaxConcurrent.Clusters, m.stage.Name)
		}
	}
}

// setPhase sets phase, stage and message of the status, and returns what clusters of later stages wait for.
func (p *planner) setPhase(wait *member) string {
	at := slices.IndexFunc(p.stages, func(s *stage) bool { return !s.begun || !s.record.Done })
	s := p.stages[max(at, 0)]
	p.status.Stage, p.status.Phase = s.Name, v1alpha1.RolloutProgressing
	state, reason := p.state(s), ""
	switch {
	case at < 0: // those of stages that are done already
		p.status.Stage = ""
		p.status.Message = waitsFor(p.unsettled())
	case !s.begun:
		reason = "waits for approval of stage " + s.Name + ": " + strings.TrimSpace("skerry rollout promote "+p.in.Name)
		p.status.Phase, p.status.Message = v1alpha1.RolloutAwaitingApproval, reason
	case wait != nil:
		p.status.Message = waitsFor([]*member{wait})
	case s.closed:
		p.status.Phase, p.status.Message = v1alpha1.RolloutAwaitingWindow, p.windowMessage()
	case p.soaks(s):
		p.status.Phase, p.status.Message = v1alpha1.RolloutSoaking, state
	default:
		p.status.Message = state
	}
	if reason == "" {
		reason = "waits for " + state
	}
	if p.in.Paused {
		p.describePause()
	}
	return reason
}

// describePause names the clusters that would be started if the rollout were not paused.
func (p *planner) describePause() {
	var next []*member
	for _, m := range p.members {
		if m.paused {
			next = append(next, m)
		}
	}
	p.status.Phase, p.status.Message = v1alpha1.RolloutPaused, "paused; "+p.status.Message
	if len(next) > 0 {
		p.status.Message = "paused; next: " + names(next)
	}
}

// unsettled returns the clusters that stages wait for.
func (p *planner) unsettled() []*member {
	var list []*member
	for _, m := range p.members {
		if p.participates(m) && !p.settled(m) {
			list = append(list, m)
		}
	}
	return list
}

// soaks reports whether a stage waits only for the end of its soak.
func (p *planner) soaks(s *stage) bool {
	return s.record.HealthySince != nil && !slices.ContainsFunc(s.members, func(m *member) bool { return p.participates(m) && !p.settled(m) })
}

// state describes a stage: "stage canary: 1/1 updated, soaking until 10:42 UTC".
func (p *planner) state(s *stage) string {
	of, updated, ready, failed := 0, 0, 0, 0
	for _, m := range s.members {
		if !p.participates(m) {
			continue
		}
		of++
		updated += int(oneIf(m.hasChange()))
		ready += int(oneIf(m.hasChange() && !m.failed && p.settled(m)))
		failed += int(oneIf(m.failed))
	}
	if p.soaks(s) {
		return fmt.Sprintf("stage %s: %d/%d updated, soaking until %s", s.Name, updated, of, clock(p.soaksUntil(s), s.record.HealthySince.Time))
	}
	text := fmt.Sprintf("stage %s: %d/%d updated, %d ready", s.Name, updated, of, ready)
	if failed > 0 {
		text += fmt.Sprintf(", %d failed", failed)
	}
	return text
}

// clock writes a time of day, with the date where it differs from that of the known time.
func clock(at, known time.Time) string {
	at, known = at.UTC(), known.UTC()
	layout := "15:04"
	if at.Second() != 0 {
		layout = "15:04:05"
	}
	if at.YearDay() != known.YearDay() || at.Year() != known.Year() {
		layout = "2006-01-02 " + layout
	}
	return at.Format(layout) + " UTC"
}

// windowMessage names when the next window opens.
func (p *planner) windowMessage() string {
	at := p.windows.next(p.now)
	p.recheckAt(at)
	return "outside the rollout windows, the next opens " + at.Format("2006-01-02 15:04 ") + at.Location().String()
}

// haltedReason returns why a cluster does not get a halted change.
func (p *planner) haltedReason(m *member, undo bool) string {
	switch {
	case m.Unrenderable:
		return cannotRender(m)
	case undo:
		return "the change was undone"
	case p.status.Stage != "":
		return "the rollout halted in stage " + p.status.Stage
	}
	return "the change was halted before"
}

func absentReason(m *member) string {
	if m.Health == Suspended {
		return "suspended; gets the change when it is verified"
	}
	return "unreachable; gets the change when it is verified"
}

func cannotRender(m *member) string { return withMessage("the change cannot be rendered for it", m) }

// budgetMessage names the clusters that exceeded the failure budget.
func (p *planner) budgetMessage(failed []*member, where string, may int) string {
	var each []string
	for _, m := range failed[:min(len(failed), maxNames)] {
		what := withMessage(m.Name, m)
		if m.Health != Failed && !m.Unrenderable {
			what = withMessage(m.Name+" is not healthy after "+Short(p.deadline), m)
		}
		each = append(each, what)
	}
	allowed := "none"
	if may > 0 {
		allowed = strconv.Itoa(may)
	}
	text := fmt.Sprintf("%d failed in %s, where %s may: %s", len(failed), where, allowed, strings.Join(each, "; "))
	if more := len(failed) - maxNames; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// Short writes a duration without what is zero at its end: "1h", and not "1h0m0s".
func Short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func waitsFor(members []*member) string {
	if len(members) == 0 {
		return noReachableCluster
	}
	if len(members) == 1 {
		return withMessage("waits for "+members[0].Name, members[0])
	}
	text := "waits for " + names(members)
	if at := slices.IndexFunc(members, (*member).follows); at >= 0 {
		text += "; " + members[at].Name + " " + members[at].Waits
	}
	return text
}

// withMessage appends the message of the cluster, shortened.
func withMessage(text string, m *member) string {
	if m.Message == "" {
		return text
	}
	runes := []rune(m.Message)
	if len(runes) > maxMessage {
		runes = append(runes[:maxMessage:maxMessage], '…')
	}
	return text + ": " + string(runes)
}

func names(members []*member) string {
	var list []string
	for _, m := range members[:min(len(members), maxNames)] {
		list = append(list, m.Name)
	}
	text := strings.Join(list, ", ")
	if more := len(members) - maxNames; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// phasePrefixes begin the message of a rollout that goes no further.
var phasePrefixes = map[v1alpha1.RolloutPhase]string{
	v1alpha1.RolloutHalted:      "halted",
	v1alpha1.RolloutRollingBack: "rolling back",
	v1alpha1.RolloutRolledBack:  "rolled back",
}

// haltedBefore is the cause where none is recorded: the source came back to a change that was halted.
const haltedBefore = "the change was halted before; it needs another commit, or to be promoted in full"

func phaseMessage(phase v1alpha1.RolloutPhase, cause string) string {
	return phasePrefixes[phase] + ": " + cmp.Or(cause, haltedBefore)
}
