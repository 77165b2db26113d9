package fleet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

const (
	isPaused = "the rollout is paused"
	nobody   = "waits for a cluster that can be reached"
	// maxNames and maxWords bound what a message says of clusters; edges write some of it.
	maxNames = 3
	maxWords = 160
)

// explain says what the rollout waits for, and why each cluster that is not started is not.
func (t *turn) explain(wait *member) {
	reason := t.phase(wait)
	for _, m := range t.members {
		switch {
		case m.verb == start && !t.in.Paused:
		case m.has():
			m.verb = leave
		case m.Unrenderable:
			m.reason = cannotRender(m)
		case m.follows() && !m.absent():
			m.verb, m.reason = hold, m.Waits
		case t.in.Paused && !m.absent():
			m.verb, m.reason = hold, isPaused
		case t.newcomer(m) && !t.in.Paused:
			m.verb = catchUp
		case m.absent():
			m.reason = away(m)
		case m.Position == Unchanged:
			m.verb = start
		case wait != nil:
			m.reason = waitsFor([]*member{wait})
		case !m.stage.begun:
			m.reason = reason
		case m.stage.closed:
			m.reason = t.outside()
		default:
			m.reason = fmt.Sprintf("waits for its turn: at most %d of stage %s at a time", m.stage.MaxConcurrent.Clusters, m.stage.Name)
		}
	}
}

// phase tells where the rollout stands, and returns what the clusters of later stages wait for.
func (t *turn) phase(wait *member) string {
	at := slices.IndexFunc(t.stages, func(s *stage) bool { return !s.begun || !s.record.Done })
	s := t.stages[max(at, 0)]
	t.status.Stage, t.status.Phase = s.Name, v1alpha1.RolloutProgressing
	state, reason := t.state(s), ""
	switch {
	case at < 0: // those of stages that are done already
		t.status.Stage = ""
		t.status.Message = waitsFor(t.unsettled())
	case !s.begun:
		reason = "waits for approval of stage " + s.Name + ": " + strings.TrimSpace("skerry rollout promote "+t.in.Name)
		t.status.Phase, t.status.Message = v1alpha1.RolloutAwaitingApproval, reason
	case wait != nil:
		t.status.Message = waitsFor([]*member{wait})
	case s.closed:
		t.status.Phase, t.status.Message = v1alpha1.RolloutAwaitingWindow, t.outside()
	case t.soaks(s):
		t.status.Phase, t.status.Message = v1alpha1.RolloutSoaking, state
	default:
		t.status.Message = state
	}
	if reason == "" {
		reason = "waits for " + state
	}
	if t.in.Paused {
		t.pause()
	}
	return reason
}

// pause says what would be next.
func (t *turn) pause() {
	var next []*member
	for _, m := range t.members {
		if m.verb == start {
			next = append(next, m)
		}
	}
	t.status.Phase, t.status.Message = v1alpha1.RolloutPaused, "paused; "+t.status.Message
	if len(next) > 0 {
		t.status.Message = "paused; next: " + names(next)
	}
}

// unsettled are those that are waited for.
func (t *turn) unsettled() []*member {
	var list []*member
	for _, m := range t.members {
		if t.counts(m) && !t.settled(m) {
			list = append(list, m)
		}
	}
	return list
}

// soaks says that a stage waits for nothing but time.
func (t *turn) soaks(s *stage) bool {
	return s.record.HealthySince != nil && !slices.ContainsFunc(s.members, func(m *member) bool { return t.counts(m) && !t.settled(m) })
}

// state says where a stage is: "stage canary: 1/1 updated, soaking until 10:42 UTC".
func (t *turn) state(s *stage) string {
	of, updated, ready, failed := 0, 0, 0, 0
	for _, m := range s.members {
		if !t.counts(m) {
			continue
		}
		of++
		updated += int(one(m.has()))
		ready += int(one(m.has() && !m.failed && t.settled(m)))
		failed += int(one(m.failed))
	}
	if t.soaks(s) {
		return fmt.Sprintf("stage %s: %d/%d updated, soaking until %s", s.Name, updated, of, clock(t.soaksUntil(s), s.record.HealthySince.Time))
	}
	text := fmt.Sprintf("stage %s: %d/%d updated, %d ready", s.Name, updated, of, ready)
	if failed > 0 {
		text += fmt.Sprintf(", %d failed", failed)
	}
	return text
}

// clock writes a time for people who know what day it is at another one.
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

// outside says when the windows open.
func (t *turn) outside() string {
	at := t.windows.next(t.now)
	t.lookAgain(at)
	return "outside the rollout windows, the next opens " + at.Format("2006-01-02 15:04 ") + at.Location().String()
}

// stays says why a cluster is not sent a change that is halted.
func (t *turn) stays(m *member, undo bool) string {
	switch {
	case m.Unrenderable:
		return cannotRender(m)
	case undo:
		return "the change was undone"
	case t.status.Stage != "":
		return "the rollout halted in stage " + t.status.Stage
	}
	return "the change was halted before"
}

func away(m *member) string {
	if m.Health == Suspended {
		return "suspended; gets the change when it is verified"
	}
	return "unreachable; gets the change when it is verified"
}

func cannotRender(m *member) string { return said("the change cannot be rendered for it", m) }

// complaint says that more clusters failed than may.
func (t *turn) complaint(failed []*member, where string, may int) string {
	var each []string
	for _, m := range failed[:min(len(failed), maxNames)] {
		what := said(m.Name, m)
		if m.Health != Failed && !m.Unrenderable {
			what = said(m.Name+" is not healthy after "+Short(t.deadline), m)
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
		return nobody
	}
	if len(members) == 1 {
		return said("waits for "+members[0].Name, members[0])
	}
	text := "waits for " + names(members)
	if at := slices.IndexFunc(members, (*member).follows); at >= 0 {
		text += "; " + members[at].Name + " " + members[at].Waits
	}
	return text
}

// said adds what is said of the cluster.
func said(text string, m *member) string {
	if m.Message == "" {
		return text
	}
	words := []rune(m.Message)
	if len(words) > maxWords {
		words = append(words[:maxWords:maxWords], '…')
	}
	return text + ": " + string(words)
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

// words that begin the message of a rollout that goes no further.
var words = map[v1alpha1.RolloutPhase]string{
	v1alpha1.RolloutHalted:      "halted",
	v1alpha1.RolloutRollingBack: "rolling back",
	v1alpha1.RolloutRolledBack:  "rolled back",
}

func sentence(phase v1alpha1.RolloutPhase, cause string) string { return words[phase] + ": " + cause }

// causeOf reads the cause from a sentence, so that it stays as it was when it happened.
func causeOf(message string) string {
	for _, word := range words {
		if cause, ok := strings.CutPrefix(message, word+": "); ok {
			return cause
		}
	}
	return "the change was halted before; it needs another commit, or to be promoted in full"
}
