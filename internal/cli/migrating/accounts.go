package migrating

import (
	"context"
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/components"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/text"
)

// checkAccounts refuses to begin where the hub would take over nothing: it lends its rights to Kustomizations of its
// own namespace alone, where its Deployment says so, while Flux lends its own to all of them.
func (t *takeover) checkAccounts(ctx context.Context) error {
	without := t.withoutAccount()
	if len(without) == 0 {
		return nil
	}
	deployment := &unstructured.Unstructured{}
	deployment.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("Deployment"))
	deployment.SetNamespace(v1alpha1.SystemNamespace)
	deployment.SetName(diagnose.HubName)
	err := t.hub.Get(ctx, client.ObjectKeyFromObject(deployment), deployment)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil // the hub runs elsewhere, or its flags are not shown
	}
	if err != nil {
		return fmt.Errorf("cannot read the hub's Deployment: %w", err)
	}
	hub := []*unstructured.Unstructured{deployment}
	required, _ := strconv.ParseBool(components.HubFlag(hub, "--require-service-account=")) // a hub with another value does not start
	if !required || components.HubFlag(hub, "--default-service-account=") != "" {
		return nil
	}
	return factory.Next(fmt.Errorf("the hub would refuse %s, %s among them: it lends its rights to no namespace but its own (--require-service-account); Flux lends its rights to all",
		text.Count(len(without), "kustomization"), without[0]),
		"name a ServiceAccount in their spec.serviceAccountName, or let the hub lend its rights: docs/migrate.md says how")
}

// withoutAccount are the Kustomizations that need a ServiceAccount on the hub's own cluster, and have none.
func (t *takeover) withoutAccount() []string {
	var out []string
	for i := range t.plan.Moves {
		m := &t.plan.Moves[i]
		if m.Kind != v1alpha1.KustomizationKind || m.FromGit || m.Namespace == v1alpha1.SystemNamespace {
			continue
		}
		spec, _, _ := unstructured.NestedMap(m.Manifests[len(m.Manifests)-1], "spec")
		if account, _ := spec["serviceAccountName"].(string); account == "" && spec["clusters"] == nil {
			out = append(out, m.Ref.String())
		}
	}
	return out
}
