package plan

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestMaxPruneIsNeverRoundedUp(t *testing.T) {
	for _, tc := range []struct {
		limit      string // "": none
		lost, live int
		exceeds    bool
	}{
		{"", 1, 1, false}, {"", 2, 4, false}, {"", 2, 3, true},
		{"0", 1, 100, true}, {"1", 1, 1, false}, {"4", 4, 4, false}, {"4", 5, 1000, true},
		{"0%", 1, 1000, true}, {"10%", 1, 5, true}, {"10%", 1, 10, false}, {"10%", 2, 19, true},
		{"50%", 1, 1, true}, {"50%", 2, 4, false}, {"50%", 3, 5, true}, {"33%", 33, 100, false}, {"33%", 1, 3, true},
		{"33%", 2, 3, true}, {"100%", 5, 5, false},
	} {
		var limit *intstr.IntOrString
		if tc.limit != "" {
			limit = new(intstr.Parse(tc.limit))
		}
		if got := exceeds(tc.lost, tc.live, limit); got != tc.exceeds {
			t.Errorf("a loss of %d of %d with maxPrune %q exceeds it: %v", tc.lost, tc.live, tc.limit, got)
		}
	}
}
