package object_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/manifests"
)

func TestOrder(t *testing.T) {
	want := []string{
		"CustomResourceDefinition.apiextensions.k8s.io/crd",
		"Namespace/a",
		"Namespace/b",
		"StorageClass.storage.k8s.io/fast",
		"IngressClass.networking.k8s.io/nginx",
		"ClusterRole.rbac.authorization.k8s.io/reader",
		"ServiceAccount/a/web",
		"Role.rbac.authorization.k8s.io/a/web",
		"ConfigMap/a/web",
		"Secret/a/web",
		"Service/a/web",
		"Deployment.apps/a/web",
		"Deployment.apps/b/web",
		"Widget.example.com/a/w",
		"GatewayClass.gateway.networking.k8s.io/envoy",
		"Ingress.networking.k8s.io/a/web",
		"Service.serving.knative.dev/a/fn",
		"ValidatingWebhookConfiguration.admissionregistration.k8s.io/gate",
	}
	for seed := range uint64(20) {
		ids := make([]object.ID, len(want))
		for i, s := range want {
			ids[i] = manifests.ID(t, s)
		}
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		slices.SortFunc(ids, object.Order)
		var got []string
		for _, id := range ids {
			got = append(got, id.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
	for s, stage := range map[string]int{
		"Namespace/a": object.StageDefinitions, "RuntimeClass.node.k8s.io/x": object.StageDefinitions, "Namespace.example.com/a": object.StageRest,
		"GatewayClass.gateway.networking.k8s.io/x": object.StageRest, "ClusterRole.rbac.authorization.k8s.io/x": object.StageRest,
	} {
		if got := object.Stage(manifests.ID(t, s)); got != stage {
			t.Errorf("Stage(%s) = %d; want %d", s, got, stage)
		}
	}
}
