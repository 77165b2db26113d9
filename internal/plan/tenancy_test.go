package plan_test

import (
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
)

// TestATenantKeepsOffTheHub lists what a Kustomization of the namespace "tenant" may have on the hub's
// own cluster, and the same for one of the hub's namespace.
func TestATenantKeepsOffTheHub(t *testing.T) {
	const rbac = "rbac.authorization.k8s.io"
	for name, tt := range map[string]struct {
		id   object.ID
		want string // a part of the refusal
	}{
		"a workload of its own":                    {object.ID{Group: "apps", Kind: "Deployment", Namespace: "tenant", Name: "web"}, ""},
		"a workload elsewhere":                     {object.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}, ""},
		"a namespace":                              {object.ID{Kind: "Namespace", Name: "shop"}, ""},
		"a Kustomization of its own":               {object.ID{Group: "skerry.dev", Kind: "Kustomization", Namespace: "tenant", Name: "web"}, ""},
		"a cluster-wide right":                     {object.ID{Group: rbac, Kind: "ClusterRoleBinding", Name: "mine"}, ""},
		"a definition":                             {object.ID{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "widgets.example.com"}, ""},
		"a definition of a group that looks alike": {object.ID{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "widgets.notskerry.dev"}, ""},
		"a Secret of the hub":                      {object.ID{Kind: "Secret", Namespace: "hub", Name: "edge-1"}, "in the hub's namespace hub"},
		"a ConfigMap beside the claims":            {object.ID{Kind: "ConfigMap", Namespace: "skerry-system", Name: "x"}, "in the hub's namespace skerry-system"},
		"a custom resource in the hub's namespace": {object.ID{Group: "example.com", Kind: "Widget", Namespace: "hub", Name: "x"}, "in the hub's namespace"},
		"the hub's namespace":                      {object.ID{Kind: "Namespace", Name: "hub"}, "is the hub's namespace"},
		"the namespace of the claims":              {object.ID{Kind: "Namespace", Name: "skerry-system"}, "is the hub's namespace"},
		"a Kustomization of another tenant":        {object.ID{Group: "skerry.dev", Kind: "Kustomization", Namespace: "shop", Name: "web"}, "in another namespace"},
		"a Cluster of another tenant":              {object.ID{Group: "skerry.dev", Kind: "Cluster", Namespace: "shop", Name: "edge"}, "in another namespace"},
		"a kind of Skerry without a namespace":     {object.ID{Group: "skerry.dev", Kind: "Kustomization", Name: "web"}, "in another namespace"},
		"a definition of Skerry":                   {object.ID{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "clusters.skerry.dev"}, "defines a kind of Skerry"},
		"an API server in place of Skerry's kinds": {object.ID{Group: "apiregistration.k8s.io", Kind: "APIService", Name: "v1alpha1.skerry.dev"}, "defines a kind of Skerry"},
		"the hub's rights":                         {object.ID{Group: rbac, Kind: "ClusterRole", Name: "skerry-hub"}, "the hub's own rights"},
		"the hub's rights, with a namespace":       {object.ID{Group: rbac, Kind: "ClusterRoleBinding", Namespace: "tenant", Name: "skerry-hub-apply"}, "the hub's own rights"},
	} {
		t.Run(name, func(t *testing.T) {
			got := plan.Tenancy{Namespace: "tenant", Hub: "hub"}.Refuses(tt.id)
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
			for _, admin := range []string{"hub", "skerry-system"} {
				if got := (plan.Tenancy{Namespace: admin, Hub: "hub"}).Refuses(tt.id); got != "" {
					t.Errorf("from %s: %q", admin, got)
				}
			}
		})
	}
}
