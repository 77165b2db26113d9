package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/report"
)

// TestAnAgentsAbsenceIsKnownAfterItsReturn: disconnectedAt is the hub's last word from the connection before, and
// stays when the next one begins.
func TestAnAgentsAbsenceIsKnownAfterItsReturn(t *testing.T) {
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	c := &v1alpha1.Cluster{Spec: v1alpha1.ClusterSpec{Agent: &v1alpha1.Agent{}}}
	for _, step := range []struct {
		what                   string
		known, connected       bool
		now, since, heard      time.Duration
		key                    string
		wantSince, wantAbsence string
	}{
		{"it connects", true, true, 0, 0, 0, "a", "12:00:00", ""},
		{"it goes on", true, true, 5 * time.Minute, 0, 5 * time.Minute, "a", "12:00:00", ""},
		{"the connection ends", true, false, 9 * time.Minute, 0, 8 * time.Minute, "a", "", "12:08:00"},
		{"it stays away", true, false, 20 * time.Minute, 0, 8 * time.Minute, "a", "", "12:08:00"},
		{"it returns", true, true, time.Hour, time.Hour, time.Hour, "a", "13:00:00", "12:08:00"},
		{"the hub starts", false, false, 2 * time.Hour, 0, 0, "a", "13:00:00", "12:08:00"},
		{"it returns to the hub, which has not seen the end", true, true, 2 * time.Hour, 2 * time.Hour, 2 * time.Hour, "a", "14:00:00", "13:00:00"},
		{"another key joins", true, true, 3 * time.Hour, 3 * time.Hour, 3 * time.Hour, "b", "15:00:00", ""},
	} {
		conn := report.Connection{Known: step.known}
		if step.known {
			conn.Reachable, conn.Usable, conn.LastSeen = step.connected, step.connected, start.Add(step.heard)
			conn.Agent = link.AgentInfo{Connected: step.connected, Since: start.Add(step.since), Fingerprint: step.key, Version: "v1"}
		}
		c.Status = report.Cluster(report.ClusterFacts{Object: c, Now: start.Add(step.now), Connection: conn}).Status
		got := [2]string{clock(c.Status.Agent.ConnectedSince), clock(c.Status.Agent.DisconnectedAt)}
		if diff := cmp.Diff([2]string{step.wantSince, step.wantAbsence}, got); diff != "" {
			t.Errorf("%s: connectedSince, disconnectedAt: %s", step.what, diff)
		}
	}
}

// TestAMomentWithoutAConnectionChangesNothing: thousands lose their carrier at once, and each would be two writes.
func TestAMomentWithoutAConnectionChangesNothing(t *testing.T) {
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	c := &v1alpha1.Cluster{Spec: v1alpha1.ClusterSpec{Agent: &v1alpha1.Agent{}}}
	for i, step := range []struct {
		what             string
		connected        bool
		since, now, seen time.Duration
	}{
		{"it connects", true, 0, 0, 0},
		{"the connection ends, and it may return", false, 0, time.Minute, 30 * time.Second},
		{"it returns", true, 2 * time.Minute, 2 * time.Minute, 2 * time.Minute},
	} {
		before := *c.Status.DeepCopy()
		c.Status = report.Cluster(report.ClusterFacts{Object: c, Now: start.Add(step.now), Connection: report.Connection{
			Known: true, Reachable: true, Usable: true, LastSeen: start.Add(step.seen),
			Agent: link.AgentInfo{Connected: step.connected, Since: start.Add(step.since), Fingerprint: "a", Version: "v1"},
		}}).Status
		if diff := cmp.Diff(before, c.Status); i > 0 && diff != "" {
			t.Errorf("%s: %s", step.what, diff)
		}
	}
}

func clock(t *metav1.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.TimeOnly)
}

// TestAReportThatWasCarriedIsKept: over a restart of the hub, until the agent tells of a later one or another joins; and
// what is known of the cluster is said to come from there, until the agent was connected again.
func TestAReportThatWasCarriedIsKept(t *testing.T) {
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	at := func(hours int) time.Time { return start.Add(time.Duration(hours) * time.Hour) }
	c := &v1alpha1.Cluster{Spec: v1alpha1.ClusterSpec{Agent: &v1alpha1.Agent{}}}
	for _, step := range []struct {
		what            string
		connected       bool
		now             int
		key             string
		carried         link.Carried
		number          int64
		made, imported  string
		reportedCarried bool
	}{
		{"it is connected", true, 0, "a", link.Carried{}, 0, "", "", false},
		{"the link is cut", false, 1, "a", link.Carried{}, 0, "", "", false},
		{"a report is carried", false, 3, "a", link.Carried{Number: 7, Made: at(2), Imported: at(3)}, 7, "14:00:00", "15:00:00", true},
		{"the hub starts", false, 4, "a", link.Carried{}, 7, "14:00:00", "15:00:00", true},
		{"it returns, and tells of that report", true, 5, "a", link.Carried{Number: 7}, 7, "14:00:00", "15:00:00", false},
		{"the link is cut again", false, 6, "a", link.Carried{Number: 7}, 7, "14:00:00", "15:00:00", false},
		{"it returns, and tells of a report that never came", true, 7, "a", link.Carried{Number: 9}, 9, "", "", false},
		{"another agent joins", true, 8, "b", link.Carried{}, 0, "", "", false},
	} {
		conn := report.Connection{Known: true, Reachable: step.connected, Usable: step.connected, LastSeen: at(step.now)}
		if !step.connected {
			conn.LastSeen, conn.Message = at(step.now).Add(-time.Minute), "The agent is not connected"
		}
		conn.Agent = link.AgentInfo{Connected: step.connected, Since: at(step.now), Fingerprint: step.key, Carried: step.carried}
		c.Status = report.Cluster(report.ClusterFacts{Object: c, Now: at(step.now), Connection: conn}).Status
		got := c.Status.Agent.CarriedReport
		if got == nil {
			got = &v1alpha1.CarriedReport{}
		}
		if got.Number != step.number || clock(got.MadeAt) != step.made || clock(got.ImportedAt) != step.imported {
			t.Errorf("%s: %d %s %s", step.what, got.Number, clock(got.MadeAt), clock(got.ImportedAt))
		}
		if ready := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ReadyCondition); strings.Contains(ready.Message, "by medium") != step.reportedCarried {
			t.Errorf("%s: %s", step.what, ready.Message)
		}
	}
}

// TestAReportThatIsCarriedAtOnce, within the second in which it was made, and before the connection counts as lost, is what
// is known of the agent.
func TestAReportThatIsCarriedAtOnce(t *testing.T) {
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "edge"}, Spec: v1alpha1.ClusterSpec{Agent: &v1alpha1.Agent{}}}
	conn := report.Connection{Known: true, Reachable: true, Usable: true, LastSeen: at, Agent: link.AgentInfo{Connected: true, Since: at, Fingerprint: "a"}}
	c.Status = report.Cluster(report.ClusterFacts{Object: c, Now: at, Connection: conn}).Status
	carried := at.Add(20 * time.Second)
	conn.LastSeen, conn.Agent.Connected, conn.Agent.Carried = carried, false, link.Carried{Number: 1, Made: carried, Imported: carried}
	c.Status = report.Cluster(report.ClusterFacts{Object: c, Now: carried, Connection: conn}).Status
	conn.Reachable, conn.Usable, conn.Message = false, false, "The agent is not connected"
	c.Status = report.Cluster(report.ClusterFacts{Object: c, Now: at.Add(2 * time.Minute), Connection: conn}).Status
	if ready := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ReadyCondition); !strings.Contains(ready.Message, "by medium") {
		t.Errorf("it is %s, disconnected at %v", ready.Message, c.Status.Agent.DisconnectedAt)
	}
}

// TestOnlyLastSeenDiffers: what a status says beside the times of connections is news.
func TestOnlyLastSeenDiffers(t *testing.T) {
	at := func(minute int) *metav1.Time {
		return &metav1.Time{Time: time.Date(2026, 1, 1, 12, minute, 0, 0, time.UTC)}
	}
	old := v1alpha1.ClusterStatus{
		ObservedGeneration: 1, UID: "u", Version: "v1.37.2", LastSeen: at(0),
		Agent:      &v1alpha1.AgentStatus{Version: "v1", ConnectedSince: at(0)},
		Conditions: []metav1.Condition{{Type: v1alpha1.ReadyCondition, Status: metav1.ConditionTrue, LastTransitionTime: *at(0)}},
	}
	for name, tt := range map[string]struct {
		change func(*v1alpha1.ClusterStatus)
		want   bool
	}{
		"nothing":                           {func(*v1alpha1.ClusterStatus) {}, false},
		"it was heard from":                 {func(s *v1alpha1.ClusterStatus) { s.LastSeen = at(5) }, true},
		"its agent has another connection":  {func(s *v1alpha1.ClusterStatus) { s.Agent.ConnectedSince, s.Agent.DisconnectedAt = at(5), at(4) }, true},
		"it was heard from, and its agent":  {func(s *v1alpha1.ClusterStatus) { s.LastSeen, s.Agent.ConnectedSince = at(5), at(4) }, true},
		"its agent is gone":                 {func(s *v1alpha1.ClusterStatus) { s.LastSeen, s.Agent.ConnectedSince = at(5), nil }, false},
		"it has no agent any more":          {func(s *v1alpha1.ClusterStatus) { s.LastSeen, s.Agent = at(5), nil }, false},
		"its agent is another one":          {func(s *v1alpha1.ClusterStatus) { s.LastSeen, s.Agent.Version = at(5), "v2" }, false},
		"a report came by medium":           {func(s *v1alpha1.ClusterStatus) { s.Agent.CarriedReport = &v1alpha1.CarriedReport{Number: 1} }, false},
		"it is not ready":                   {func(s *v1alpha1.ClusterStatus) { s.LastSeen, s.Conditions[0].Status = at(5), metav1.ConditionFalse }, false},
		"another change of it was observed": {func(s *v1alpha1.ClusterStatus) { s.LastSeen, s.ObservedGeneration = at(5), 2 }, false},
		"a person's request is handled":     {func(s *v1alpha1.ClusterStatus) { s.LastSeen, s.LastHandledReconcileAt = at(5), "now" }, false},
		"nothing is known of it":            {func(s *v1alpha1.ClusterStatus) { s.LastSeen = nil }, false},
	} {
		now := *old.DeepCopy()
		if tt.change(&now); report.OnlyLastSeenDiffers(old, now) != tt.want {
			t.Errorf("%s: %v", name, !tt.want)
		}
	}
	first := *old.DeepCopy()
	if first.LastSeen = nil; report.OnlyLastSeenDiffers(first, old) {
		t.Error("a cluster that is heard from for the first time is no news")
	}
}
