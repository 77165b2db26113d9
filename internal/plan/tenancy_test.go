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
			got := (&plan.Tenancy{Namespace: "tenant", Hub: "hub", Local: true}).Refuses(tt.id)
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
			for _, admin := range []string{"hub", "skerry-system"} {
				if got := (&plan.Tenancy{Namespace: admin, Hub: "hub", Local: true}).Refuses(tt.id); got != "" {
					t.Errorf("from %s: %q", admin, got)
				}
			}
		})
	}
}

// TestATenantKeepsOffWhatSkerryHasOnAnEdge lists the same for an edge, where the namespace that the hub is installed
// in means nothing.
func TestATenantKeepsOffWhatSkerryHasOnAnEdge(t *testing.T) {
	const rbac = "rbac.authorization.k8s.io"
	edge := plan.Tenancy{Namespace: "tenant", Hub: "hub", Cluster: "tenant"}
	for name, tt := range map[string]struct {
		id   object.ID
		want string
	}{
		"a namespace of the name of the hub's":  {object.ID{Kind: "ConfigMap", Namespace: "hub", Name: "x"}, ""},
		"a right on its own edge":               {object.ID{Group: rbac, Kind: "ClusterRoleBinding", Name: "mine"}, ""},
		"what Skerry keeps there":               {object.ID{Kind: "Secret", Namespace: "skerry-system", Name: "skerry-hub-token"}, "in the hub's namespace skerry-system"},
		"the agent":                             {object.ID{Group: "apps", Kind: "Deployment", Namespace: "skerry-system", Name: "skerry-agent"}, "in the hub's namespace"},
		"the agent's rights":                    {object.ID{Group: rbac, Kind: "ClusterRoleBinding", Name: "skerry-agent"}, "own rights"},
		"the rights of the hub there":           {object.ID{Group: rbac, Kind: "ClusterRoleBinding", Name: "skerry-hub"}, "own rights"},
		"a definition of Skerry":                {object.ID{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "clusters.skerry.dev"}, "defines a kind"},
		"a Kustomization of a hub on that edge": {object.ID{Group: "skerry.dev", Kind: "Kustomization", Namespace: "shop", Name: "web"}, "in another namespace"},
	} {
		if got := edge.Refuses(tt.id); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestNothingIsAppliedBeyondTheNamespacesOfTheCredentials(t *testing.T) {
	for _, namespace := range []string{"tenant", "hub"} {
		limited := plan.Tenancy{Namespace: namespace, Hub: "hub", Cluster: namespace, Namespaces: []string{"a", "b"}}
		for id, refused := range map[object.ID]bool{
			{Kind: "ConfigMap", Namespace: "a", Name: "x"}: false,
			{Kind: "ConfigMap", Namespace: "b", Name: "x"}: false,
			{Kind: "ConfigMap", Namespace: "c", Name: "x"}: true,
			{Kind: "Namespace", Name: "a"}:                 true,
		} {
			if got := limited.Refuses(id); (got != "") != refused || refused && !strings.Contains(got, "spec.namespaces") {
				t.Errorf("%s from %s: %q", id, namespace, got)
			}
		}
	}
}

func TestWhoNeedsAServiceAccount(t *testing.T) {
	for name, tt := range map[string]struct {
		of   plan.Tenancy
		want bool
	}{
		"on the hub's own cluster":         {plan.Tenancy{Namespace: "tenant", Hub: "hub", Cluster: "tenant", Local: true, RequireAccount: true}, true},
		"on another namespace's edge":      {plan.Tenancy{Namespace: "tenant", Hub: "hub", Cluster: "fleet", RequireAccount: true}, true},
		"on an edge of its own":            {plan.Tenancy{Namespace: "tenant", Hub: "hub", Cluster: "tenant", RequireAccount: true}, false},
		"the hub's administrator":          {plan.Tenancy{Namespace: "hub", Hub: "hub", Cluster: "fleet", Local: true, RequireAccount: true}, false},
		"where the hub does not lock down": {plan.Tenancy{Namespace: "tenant", Hub: "hub", Cluster: "fleet", Local: true}, false},
	} {
		if got := tt.of.NeedsAccount(); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
