package targeting

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func TestSetVars(t *testing.T) {
	own := func(c *v1alpha1.Cluster) { c.Spec.Vars = map[string]v1alpha1.VarValue{"region": "north"} }
	tests := map[string]struct {
		from   []Content
		want   map[string]string
		secret []string
	}{
		"its own": {want: map[string]string{"region": "north"}},
		"a later one overrides": {
			from: []Content{{Data: map[string]string{"a": "1", "b": "1"}}, {Data: map[string]string{"b": "2"}}},
			want: map[string]string{"region": "north", "a": "1", "b": "2"},
		},
		"vars override them all": {
			from: []Content{{Data: map[string]string{"region": "south"}, Secret: true}},
			want: map[string]string{"region": "north"},
		},
		"who it is stays": {
			from: []Content{{Data: map[string]string{"cluster_name": "x", "cluster_namespace": "x"}, Secret: true}},
			want: map[string]string{"region": "north"},
		},
		"what is no name is passed over": {
			from: []Content{{Data: map[string]string{"tls.crt": "x", "1a": "x", "": "x", "a-b": "x", "_a1": "y"}}},
			want: map[string]string{"region": "north", "_a1": "y"},
		},
		"secrets are known as such": {
			from:   []Content{{Data: map[string]string{"b": "s", "a": "s", "c": "s"}, Secret: true}, {Data: map[string]string{"c": "plain"}}},
			want:   map[string]string{"region": "north", "a": "s", "b": "s", "c": "plain"},
			secret: []string{"a", "b"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := cluster("edge-1", own)
			tt.want["cluster_name"], tt.want["cluster_namespace"] = "edge-1", "fleet"
			var target Target
			target.SetVars(&c, tt.from)
			if diff := cmp.Diff(tt.want, target.Vars); diff != "" {
				t.Errorf("vars (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.secret, target.Secret); diff != "" {
				t.Errorf("secret (-want +got):\n%s", diff)
			}
		})
	}
}
