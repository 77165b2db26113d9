package report_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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

func clock(t *metav1.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.TimeOnly)
}
