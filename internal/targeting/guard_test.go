package targeting

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func TestGuardOfDepartures(t *testing.T) {
	tests := map[string]struct {
		selected, leaving string
		assigned          int
		policy            v1alpha1.DeletionPolicy
		allowed           string
		want              string // "" when nothing is refused
	}{
		"nobody leaves":           {selected: "a b", assigned: 2},
		"the only one":            {leaving: "a", assigned: 1},
		"half":                    {selected: "c d", leaving: "a b", assigned: 4},
		"more than half":          {selected: "d", leaving: "c b a", assigned: 4, want: "3 of 4 clusters that have its objects are selected no longer, and all of them would be deleted there (a, b, c); "},
		"all":                     {leaving: "a b", assigned: 2, want: "2 of 2 clusters"},
		"many are counted":        {leaving: "a b c d e", assigned: 5, want: "5 of 5 clusters that have its objects are selected no longer, and all of them would be deleted there (a, b, c, and 2 more); "},
		"orphans may":             {leaving: "a b", assigned: 2, policy: v1alpha1.DeletionOrphan},
		"acknowledged":            {leaving: "a b", assigned: 2, allowed: "clusters-none"},
		"another one was":         {selected: "x", leaving: "a b", assigned: 2, allowed: "clusters-none", want: "2 of 2 clusters"},
		"a revision was":          {leaving: "a b", assigned: 2, allowed: "main@sha1:1", want: "2 of 2 clusters"},
		"in whatever order":       {selected: "y x", leaving: "a b", assigned: 2, allowed: Deselection{Selected: []string{"x", "y"}}.token()},
		"and however far it went": {selected: "x y", leaving: "b c", assigned: 3, allowed: Deselection{Selected: []string{"x", "y"}, Leaving: []string{"a"}, Assigned: 9}.token()},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ks := &v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.AllowPruneAnnotation: tt.allowed}}}
			ks.Spec.DeletionPolicy = tt.policy
			d := Deselection{Selected: strings.Fields(tt.selected), Leaving: strings.Fields(tt.leaving), Assigned: tt.assigned}
			got := d.Guard(ks)
			if tt.want == "" && got != "" || !strings.HasPrefix(got, tt.want) {
				t.Errorf("refusal %q", got)
			}
			if got != "" && !strings.HasSuffix(got, "skerry.dev/allow-prune="+d.token()) {
				t.Errorf("it does not say how to acknowledge it: %q", got)
			}
		})
	}
}
