package status

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// TestAReportThatWasCarriedIsTheLastWord unless the agent was heard after that; of one second it is.
func TestAReportThatWasCarriedIsTheLastWord(t *testing.T) {
	imported := metav1.NewTime(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	for name, tt := range map[string]struct {
		heard time.Duration
		want  bool
	}{"before": {-time.Second, true}, "in the same second": {0, true}, "after": {time.Second, false}} {
		heard := metav1.NewTime(imported.Add(tt.heard))
		c := &v1alpha1.Cluster{Spec: v1alpha1.ClusterSpec{Agent: &v1alpha1.Agent{}}, Status: v1alpha1.ClusterStatus{
			Agent: &v1alpha1.AgentStatus{DisconnectedAt: &heard, CarriedReport: &v1alpha1.CarriedReport{Number: 1, ImportedAt: &imported}},
		}}
		if got := agentReport(c, nil, true, nil).CarriedAt; (got != nil) != tt.want {
			t.Errorf("heard %s: carried at %v", name, got)
		}
	}
}
