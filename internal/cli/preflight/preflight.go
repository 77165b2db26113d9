// Package preflight finds out, before anything is written, whether a cluster will take it.
package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilversion "k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/components"
	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// Oldest is the oldest Kubernetes that checks the rules of the CRDs.
const Oldest = "1.29.0"

// Version asks the API server for its version, and refuses one that is too old.
func Version(ctx context.Context, cfg *rest.Config) (string, error) {
	client, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return "", fmt.Errorf("cannot connect to %s: %w", cfg.Host, err)
	}
	info, err := client.ServerVersionWithContext(ctx)
	if err != nil {
		return "", fmt.Errorf("cannot ask the API server for its version: %w", err)
	}
	version, err := utilversion.ParseGeneric(info.GitVersion)
	if err != nil {
		return info.GitVersion, nil //nolint:nilerr // a distribution with a version of its own form gets the benefit of the doubt
	}
	if version.LessThan(utilversion.MustParseGeneric(Oldest)) {
		return "", factory.Next(fmt.Errorf("the API server is of Kubernetes %s", info.GitVersion), "Skerry needs %s or newer", Oldest)
	}
	return info.GitVersion, nil
}

// Need is one thing that the caller must be allowed to do.
type Need struct{ Verb, Group, Resource, Namespace, Subresource string }

func (n Need) String() string {
	s := n.Verb + " " + n.Resource
	if n.Group != "" {
		s += "." + n.Group
	}
	if n.Namespace != "" {
		s += " in namespace " + n.Namespace
	}
	return s
}

// Permissions asks the API server whether the caller may do all of it, and names what not.
func Permissions(ctx context.Context, c client.Client, needs []Need) error {
	// An administrator is known with one question.
	if ok, err := allowed(ctx, c, Need{Verb: "*", Group: "*", Resource: "*"}); err != nil || ok {
		return err
	}
	var missing []string
	for _, need := range needs {
		ok, err := allowed(ctx, c, need)
		if err != nil {
			return err
		}
		if !ok {
			missing = append(missing, need.String())
		}
	}
	if len(missing) > 0 {
		return factory.Next(fmt.Errorf("these credentials may not %s", strings.Join(missing, ", nor ")),
			"use those of a cluster administrator, with --kubeconfig and --context")
	}
	return nil
}

// Extras refuses parts of an installation for which the cluster lacks the kinds.
func Extras(hub client.Client, extra []string) error {
	if !slices.Contains(extra, components.Monitoring) {
		return nil
	}
	kind := schema.GroupKind{Group: components.MonitoringGroup, Kind: components.MonitoringKind}
	_, err := hub.RESTMapper().RESTMapping(kind)
	switch {
	case meta.IsNoMatchError(err):
		return factory.Next(fmt.Errorf("the cluster has no kind %s, which the component %s needs", kind, components.Monitoring),
			"install the Prometheus operator first, or leave --components-extra %s away", components.Monitoring)
	case err != nil:
		return fmt.Errorf("cannot ask for the kind %s: %w", kind, err)
	}
	return nil
}

func allowed(ctx context.Context, c client.Client, n Need) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: n.Verb, Group: n.Group, Resource: n.Resource, Namespace: n.Namespace, Subresource: n.Subresource,
		},
	}}
	if err := c.Create(ctx, review); err != nil {
		return false, fmt.Errorf("cannot ask for permissions: %w", err)
	}
	return review.Status.Allowed, nil
}

// Install is what it takes to put a hub onto a cluster.
func Install() []Need {
	return []Need{
		{Verb: "patch", Resource: "namespaces"},
		{Verb: "patch", Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"},
		{Verb: "patch", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
		{Verb: "escalate", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
		{Verb: "patch", Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"},
		{Verb: "bind", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
		{Verb: "patch", Group: "apps", Resource: "deployments", Namespace: v1alpha1.SystemNamespace},
		{Verb: "patch", Group: "networking.k8s.io", Resource: "networkpolicies", Namespace: v1alpha1.SystemNamespace},
		{Verb: "patch", Resource: "services", Namespace: v1alpha1.SystemNamespace},
		{Verb: "patch", Resource: "serviceaccounts", Namespace: v1alpha1.SystemNamespace},
	}
}

// Bootstrap is what it takes to let a hub keep itself from Git.
func Bootstrap() []Need {
	return append(Install(),
		Need{Verb: "patch", Resource: "secrets", Namespace: v1alpha1.SystemNamespace},
		Need{Verb: "patch", Group: v1alpha1.Group, Resource: "gitrepositories", Namespace: v1alpha1.SystemNamespace},
		Need{Verb: "patch", Group: v1alpha1.Group, Resource: "kustomizations", Namespace: v1alpha1.SystemNamespace},
	)
}
