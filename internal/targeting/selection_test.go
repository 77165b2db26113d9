package targeting

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func cluster(name string, with ...func(*v1alpha1.Cluster)) v1alpha1.Cluster {
	c := v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: name}}
	for _, f := range with {
		f(&c)
	}
	return c
}

func labelled(k, v string) func(*v1alpha1.Cluster) {
	return func(c *v1alpha1.Cluster) { c.Labels = map[string]string{k: v} }
}

func suspended(c *v1alpha1.Cluster) { c.Spec.Suspend = true }
func elsewhere(c *v1alpha1.Cluster) { c.Namespace = "other" }
func going(c *v1alpha1.Cluster) {
	c.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
}

func selecting(s metav1.LabelSelector) *v1alpha1.ClusterTargets {
	return &v1alpha1.ClusterTargets{Selector: &s}
}

func TestSelect(t *testing.T) {
	north := selecting(metav1.LabelSelector{MatchLabels: map[string]string{"region": "north"}})
	tests := map[string]struct {
		targets  *v1alpha1.ClusterTargets
		clusters []v1alpha1.Cluster
		want     []string
		reason   string
		message  string
		err      string
	}{
		"absent means the hub's own":          {clusters: []v1alpha1.Cluster{cluster("edge"), cluster("hub")}, want: []string{"hub"}},
		"absent, and no hub yet":              {clusters: []v1alpha1.Cluster{cluster("edge")}, reason: "NoClustersMatched", message: "There is no Cluster named hub in this namespace yet"},
		"absent never reaches into others":    {clusters: []v1alpha1.Cluster{cluster("hub", elsewhere)}, reason: "NoClustersMatched", message: "There is no Cluster named hub in this namespace yet"},
		"empty selector, all but the hub":     {targets: selecting(metav1.LabelSelector{}), clusters: []v1alpha1.Cluster{cluster("b"), cluster("hub"), cluster("a")}, want: []string{"a", "b"}},
		"empty selector, only the hub":        {targets: selecting(metav1.LabelSelector{}), clusters: []v1alpha1.Cluster{cluster("hub")}, reason: "NoClustersMatched", message: "No Cluster in this namespace matches the selector"},
		"no cluster at all":                   {targets: north, clusters: []v1alpha1.Cluster{cluster("x", elsewhere, labelled("region", "north"))}, reason: "NoClustersMatched", message: "There is no Cluster in this namespace"},
		"by label, sorted":                    {targets: north, clusters: []v1alpha1.Cluster{cluster("b", labelled("region", "north")), cluster("c", labelled("region", "south")), cluster("a", labelled("region", "north"))}, want: []string{"a", "b"}},
		"a label may pick the hub":            {targets: north, clusters: []v1alpha1.Cluster{cluster("hub", labelled("region", "north"))}, want: []string{"hub"}},
		"suspended stays a target":            {targets: north, clusters: []v1alpha1.Cluster{cluster("a", labelled("region", "north"), suspended)}, want: []string{"a (suspended)"}},
		"one that is being deleted is none":   {targets: selecting(metav1.LabelSelector{}), clusters: []v1alpha1.Cluster{cluster("a", going), cluster("b")}, want: []string{"b"}},
		"by expression":                       {targets: selecting(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "region", Operator: "Exists"}}}), clusters: []v1alpha1.Cluster{cluster("a", labelled("region", "x")), cluster("b")}, want: []string{"a"}},
		"an invalid operator is an error":     {targets: selecting(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "region", Operator: "Near"}}}), clusters: []v1alpha1.Cluster{cluster("a")}, err: `cannot read spec.clusters.selector: "Near" is not a valid label selector operator`},
		"In without values is an error":       {targets: selecting(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "region", Operator: "In"}}}), err: "cannot read spec.clusters.selector: values: Invalid value"},
		"a label nobody may have is an error": {targets: selecting(metav1.LabelSelector{MatchLabels: map[string]string{"a b": "c"}}), err: "cannot read spec.clusters.selector: key: Invalid value"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ks := &v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "apps"}, Spec: v1alpha1.KustomizationSpec{Clusters: tt.targets}}
			got, err := Select(ks, tt.clusters, Access{})
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.err)) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			var names []string
			for _, target := range got.Targets {
				if target.Suspended {
					target.Name += " (suspended)"
				}
				names = append(names, target.Name)
			}
			if diff := cmp.Diff(tt.want, names); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
			if got.Reason != tt.reason || got.Message != tt.message {
				t.Errorf("reason %q, message %q", got.Reason, got.Message)
			}
			if got.MissingHub != (tt.targets == nil && err == nil && len(tt.want) == 0) {
				t.Errorf("missing hub: %v", got.MissingHub)
			}
		})
	}
}

// graph reads "a:b,c b:c" into Kustomizations with dependsOn.
func graph(text string) []v1alpha1.Kustomization {
	var all []v1alpha1.Kustomization
	for one := range strings.FieldsSeq(text) {
		name, needs, _ := strings.Cut(one, ":")
		ks := v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: name}}
		for _, need := range strings.FieldsFunc(needs, func(r rune) bool { return r == ',' }) {
			ks.Spec.DependsOn = append(ks.Spec.DependsOn, v1alpha1.DependencyReference{Name: need})
		}
		all = append(all, ks)
	}
	return all
}

// names returns keys as seen from the namespace of the tests.
func names(keys []types.NamespacedName) []string {
	var all []string
	for _, key := range keys {
		all = append(all, v1alpha1.RelativeName("fleet", key))
	}
	return all
}

func TestCycle(t *testing.T) {
	tests := map[string]struct {
		graph string // the first one is asked about
		want  string
	}{
		"none":                            {graph: "a"},
		"a chain":                         {graph: "a:b b:c c"},
		"a diamond":                       {graph: "a:b,c b:d c:d d"},
		"to itself":                       {graph: "a:a", want: "a"},
		"of two":                          {graph: "a:b b:a", want: "a b"},
		"of three, the long way":          {graph: "a:d,b b:c c:a d", want: "a b c"},
		"one that waits for a cycle only": {graph: "x:a a:b b:a"},
		"a dependency that is missing":    {graph: "a:nobody"},
		"named twice":                     {graph: "a:b,b b:a", want: "a b"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			all := graph(tt.graph)
			if got := strings.Join(names(Cycle(&all[0], all)), " "); got != tt.want {
				t.Errorf("cycle %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDependenciesAreSortedAndUnique(t *testing.T) {
	all := graph("a:c,b,c")
	if diff := cmp.Diff([]string{"b", "c"}, names(Dependencies(&all[0]))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
