package targeting

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func admitting(matches ...map[string]string) *v1alpha1.AccessFrom {
	a := &v1alpha1.AccessFrom{}
	for _, m := range matches {
		a.NamespaceSelectors = append(a.NamespaceSelectors, v1alpha1.NamespaceSelector{MatchLabels: m})
	}
	return a
}

func TestAccess(t *testing.T) {
	known := map[string]labels.Set{"team-a": {"tier": "web", "kubernetes.io/metadata.name": "team-a"}, "team-b": {"kubernetes.io/metadata.name": "forged"}}
	for name, tt := range map[string]struct {
		from         string
		acl          *v1alpha1.AccessFrom
		open, closed bool
	}{
		"the own namespace, whatever accessFrom says": {"shared", admitting(map[string]string{"tier": "db"}), true, true},
		"no accessFrom":                              {"team-a", nil, true, false},
		"a label that matches":                       {"team-a", admitting(map[string]string{"tier": "web"}), true, true},
		"a label that does not":                      {"team-a", admitting(map[string]string{"tier": "db"}), false, false},
		"one of several selectors":                   {"team-a", admitting(map[string]string{"tier": "db"}, map[string]string{"tier": "web"}), true, true},
		"all labels of a selector":                   {"team-a", admitting(map[string]string{"tier": "web", "zone": "x"}), false, false},
		"the name of a namespace":                    {"team-a", admitting(map[string]string{"kubernetes.io/metadata.name": "team-a"}), true, true},
		"the name of one whose labels are not known": {"team-c", admitting(map[string]string{"kubernetes.io/metadata.name": "team-c"}), true, true},
		"the name of another one, as a label":        {"team-b", admitting(map[string]string{"kubernetes.io/metadata.name": "forged"}), false, false},
		"a selector without labels":                  {"team-c", admitting(nil), true, true},
		"no selector at all":                         {"team-a", admitting(), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, closed := range []bool{false, true} {
				want := tt.open
				if closed {
					want = tt.closed
				}
				if got := (Access{Closed: closed, Namespaces: known}).Admits(tt.from, "shared", tt.acl); got != want {
					t.Errorf("closed %v: admitted %v", closed, got)
				}
			}
		})
	}
}

func TestSelectAcrossNamespaces(t *testing.T) {
	at := func(namespace, name string, with ...func(*v1alpha1.Cluster)) v1alpha1.Cluster {
		c := cluster(name, with...)
		c.Namespace = namespace
		return c
	}
	private := func(c *v1alpha1.Cluster) { c.Spec.AccessFrom = admitting(map[string]string{"tier": "web"}) }
	clusters := []v1alpha1.Cluster{
		at("fleet", "a"), at("fleet", "hub"), at("north", "a"), at("north", "b"), at("north", "hub"), at("south", "c", private), at("south", "d", going),
	}
	known := map[string]labels.Set{"north": {"zone": "cold"}, "south": {"zone": "warm"}}
	for name, tt := range map[string]struct {
		namespaces *v1alpha1.ClusterNamespaces
		names      []string
		closed     bool
		want       string
		denied     string
		missing    string
		message    string
		err        string
	}{
		"absent":                         {want: "a"},
		"by name":                        {namespaces: &v1alpha1.ClusterNamespaces{Names: []string{"north"}}, want: "north/a north/b"},
		"by name, the own one included":  {namespaces: &v1alpha1.ClusterNamespaces{Names: []string{"north", "fleet"}}, want: "a north/a north/b"},
		"by label":                       {namespaces: &v1alpha1.ClusterNamespaces{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"zone": "cold"}}}, want: "north/a north/b"},
		"an empty selector is all":       {namespaces: &v1alpha1.ClusterNamespaces{Selector: &metav1.LabelSelector{}}, want: "a north/a north/b", denied: "south/c"},
		"neither picks nothing":          {namespaces: &v1alpha1.ClusterNamespaces{}, message: "There is no Cluster in the namespaces of spec.clusters.namespaces"},
		"a namespace that is not there":  {namespaces: &v1alpha1.ClusterNamespaces{Names: []string{"west"}}, message: "There is no Cluster in the namespaces of spec.clusters.namespaces"},
		"a hub that is locked down":      {namespaces: &v1alpha1.ClusterNamespaces{Names: []string{"north"}}, closed: true, denied: "north/a north/b", message: "No Cluster that is selected admits this namespace"},
		"a name in each namespace":       {namespaces: &v1alpha1.ClusterNamespaces{Names: []string{"north", "fleet"}}, names: []string{"a", "z"}, want: "a north/a", missing: "z"},
		"the hub of another is not ours": {namespaces: &v1alpha1.ClusterNamespaces{Names: []string{"north"}}, names: []string{"hub"}, missing: "hub", message: "No Cluster in the namespaces of spec.clusters.namespaces has a name in spec.clusters.names"},
		"a selector that cannot be read": {namespaces: &v1alpha1.ClusterNamespaces{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a b": "c"}}}, err: "cannot read spec.clusters.namespaces.selector"},
	} {
		t.Run(name, func(t *testing.T) {
			targets := &v1alpha1.ClusterTargets{Names: tt.names, Namespaces: tt.namespaces}
			if tt.names == nil {
				targets.Selector = &metav1.LabelSelector{}
			}
			ks := &v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "apps"}, Spec: v1alpha1.KustomizationSpec{Clusters: targets}}
			got, err := Select(ks, clusters, Access{Closed: tt.closed, Namespaces: known})
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			list := func(targets []Target) string {
				var words []string
				for _, target := range targets {
					words = append(words, target.Name)
				}
				return strings.Join(words, " ")
			}
			want := []string{tt.want, tt.denied, tt.missing, tt.message}
			if diff := cmp.Diff(want, []string{list(got.Targets), list(got.Denied), strings.Join(got.NotFound, " "), got.Message}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCycleAcrossNamespaces(t *testing.T) {
	all := graph("a:b b")
	all[1].Spec.DependsOn = []v1alpha1.DependencyReference{{Name: "c", Namespace: "infra"}}
	c := graph("c")[0]
	c.Namespace, c.Spec.DependsOn = "infra", []v1alpha1.DependencyReference{{Name: "a", Namespace: "fleet"}}
	if got := strings.Join(names(Cycle(&all[0], append(all, c))), " "); got != "a b infra/c" {
		t.Errorf("cycle %q", got)
	}
	c.Spec.DependsOn = []v1alpha1.DependencyReference{{Name: "a"}} // infra/a, which is another one
	if got := Cycle(&all[0], append(all, c)); got != nil {
		t.Errorf("cycle %v", got)
	}
}

func TestDependenciesAreNamedAsTheAssignmentOfTheClusterNamesThem(t *testing.T) {
	ks := graph("a:b,z")[0]
	ks.Spec.DependsOn = append(ks.Spec.DependsOn, v1alpha1.DependencyReference{Name: "b", Namespace: "infra"}, v1alpha1.DependencyReference{Name: "b", Namespace: "fleet"})
	for namespace, want := range map[string]string{"fleet": "b infra/b z", "infra": "b fleet/b fleet/z", "edge": "fleet/b fleet/z infra/b"} {
		if got := strings.Join(DependsOnEntries(&ks, namespace), " "); got != want {
			t.Errorf("%s: %q, want %q", namespace, got, want)
		}
	}
}

func TestSecretsOfVarsFromDoNotCrossNamespaces(t *testing.T) {
	c := cluster("edge")
	c.Namespace = "north"
	c.Spec.Vars = map[string]v1alpha1.VarValue{"own": "1"}
	c.Spec.VarsFrom = []v1alpha1.SubstituteReference{{Kind: "ConfigMap", Name: "config"}, {Kind: "Secret", Name: "secret"}}
	lookup := func(kind, _ string) (*Content, error) {
		if kind == "Secret" {
			return &Content{Data: map[string]string{"password": "swordfish", "region": "hidden"}, Secret: true}, nil
		}
		return &Content{Data: map[string]string{"region": "north", "zone": "z"}}, nil
	}
	for name, want := range map[string]string{"edge": "cluster_name cluster_namespace own password region zone", "north/edge": "cluster_name cluster_namespace own zone"} {
		target := Target{Name: name, Namespace: "north"}
		if err := SetVars(&target, &c, lookup); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(slices.Sorted(maps.Keys(target.Vars)), " "); got != want {
			t.Errorf("%s sees %q, want %q: what a Secret sets must be unset and not what it overrides", name, got, want)
		}
	}
}
