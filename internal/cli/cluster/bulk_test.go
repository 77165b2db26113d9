package cluster

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// bulk runs `cluster ARGS` for the Clusters, and returns the labels and vars that they have then.
func bulk(t *testing.T, clusters []client.Object, args ...string) (state, out string, err error) {
	t.Helper()
	scheme, err := factory.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	streams, _, _, stderr := iostreams.Test()
	hub := &factory.Hub{WithWatch: fake.NewClientBuilder().WithScheme(scheme).WithObjects(clusters...).Build()}
	f := &factory.Factory{IO: streams, Now: time.Now, Flags: &factory.Flags{Namespace: "apps"}, Hub: func() (*factory.Hub, error) { return hub, nil }}
	cmd := NewCmdCluster(f, nil)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	list := &v1alpha1.ClusterList{}
	if err := hub.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i := range list.Items {
		c := &list.Items[i]
		line := c.Name
		for _, key := range []string{"tier", "wave", "old"} {
			if v, ok := c.Labels[key]; ok {
				line += " " + key + "=" + v
			}
		}
		if v, ok := c.Spec.Vars["region"]; ok {
			line += " $region=" + string(v)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; "), stderr.String(), err
}

func TestLabelsAndVarsOfManyClusters(t *testing.T) {
	fleet := func(owner string) []client.Object {
		one := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "one", Labels: map[string]string{"tier": "shop", "old": "x"}}}
		two := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "two", Labels: map[string]string{"tier": "shop", "wave": "2"}}, Spec: v1alpha1.ClusterSpec{Vars: map[string]v1alpha1.VarValue{"region": "north"}}}
		if owner != "" {
			two.Labels[v1alpha1.OwnerLabel] = owner
		}
		return []client.Object{one, two, &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "three"}}}
	}
	const before = "one tier=shop old=x; three; two tier=shop wave=2 $region=north"
	for name, tt := range map[string]struct {
		owner       string
		args        []string
		state, says string
		code        int
	}{
		"by selector":       {"", []string{"label", "-l", "tier=shop", "wave=2", "old-"}, "one tier=shop wave=2; three; two tier=shop wave=2 $region=north", "1 cluster of 2 clusters changed", 0},
		"by name":           {"", []string{"vars", "one", "three", "region=south"}, "one tier=shop old=x $region=south; three $region=south; two tier=shop wave=2 $region=north", "2 clusters of 2", 0},
		"all, removed":      {"", []string{"vars", "--all", "region-"}, "one tier=shop old=x; three; two tier=shop wave=2", "1 cluster of 3", 0},
		"a dry run":         {"", []string{"label", "--all", "wave=3", "--dry-run"}, before, "3 clusters of 3 clusters would be changed", 0},
		"Git keeps one":     {"root.1", []string{"label", "--all", "wave=3"}, before, "Git keeps two", 1},
		"Git keeps another": {"root.1", []string{"label", "--all", "wave=2", "old-"}, "one tier=shop wave=2; three wave=2; two tier=shop wave=2 $region=north", "2 clusters of 3", 0},
		"a typing mistake":  {"", []string{"label", "one", "tow", "wave=3"}, before, `there is no cluster "tow"`, 1},
		"nothing matches":   {"", []string{"label", "-l", "tier=depot", "wave=3"}, before, "no cluster in the namespace apps matches", 1},
		"no change":         {"", []string{"label", "one"}, before, "nothing to change", 2},
		"no cluster":        {"", []string{"label", "a=b"}, before, "clusters are needed", 2},
		"two ways":          {"", []string{"label", "one", "--all", "a=b"}, before, "clusters are needed", 2},
		"the hub's label":   {"", []string{"label", "one", v1alpha1.OwnerLabel + "=x"}, before, "set by the hub", 2},
		"the hub's var":     {"", []string{"vars", "one", "cluster_name=x"}, before, "set by the hub", 2},
	} {
		t.Run(name, func(t *testing.T) {
			state, out, err := bulk(t, fleet(tt.owner), tt.args...)
			if diff := cmp.Diff(tt.state, state); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			code := 0
			if err != nil {
				code, out = 1, out+err.Error()
			}
			if _, usage := errors.AsType[*factory.UsageError](err); usage {
				code = 2
			}
			if code != tt.code || !strings.Contains(out, tt.says) {
				t.Errorf("code %d, want %d: %s", code, tt.code, out)
			}
		})
	}
}
