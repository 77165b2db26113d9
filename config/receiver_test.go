package config_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	notificationv1 "github.com/fluxcd/notification-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// manifest reads a file with one object.
func manifest(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// TestWebhooksHaveAPortServiceAndIngressOfTheirOwn: what is named in one manifest is there in the next, and leads to
// nothing else of the hub.
func TestWebhooksHaveAPortServiceAndIngressOfTheirOwn(t *testing.T) {
	var ingress networkingv1.Ingress
	var service corev1.Service
	var policy networkingv1.NetworkPolicy
	var deployment appsv1.Deployment
	manifest(t, "ingress/receiver.yaml", &ingress)
	manifest(t, "hub/service_receiver.yaml", &service)
	manifest(t, "hub/network_policy.yaml", &policy)
	manifest(t, "hub/deployment.yaml", &deployment)

	paths := ingress.Spec.Rules[0].HTTP.Paths
	if len(ingress.Spec.Rules) != 1 || len(paths) != 1 || paths[0].Path != v1alpha1.ReceiverWebhookPath || len(ingress.Spec.TLS) != 1 {
		t.Fatalf("the Ingress leads elsewhere, or without TLS: %+v", ingress.Spec)
	}
	to := paths[0].Backend.Service
	if to.Name != service.Name || ingress.Namespace != service.Namespace || len(service.Spec.Ports) != 1 || to.Port.Name != service.Spec.Ports[0].Name {
		t.Errorf("the Ingress names %+v, and the Service is %s with %+v", to, service.Name, service.Spec.Ports)
	}
	hub := deployment.Spec.Template.Spec.Containers[0]
	port := slices.IndexFunc(hub.Ports, func(p corev1.ContainerPort) bool { return p.Name == service.Spec.Ports[0].TargetPort.StrVal })
	if port < 0 {
		t.Fatalf("no port of the hub is called %s", service.Spec.Ports[0].TargetPort.StrVal)
	}
	for name, value := range service.Spec.Selector {
		if deployment.Spec.Template.Labels[name] != value || policy.Spec.PodSelector.MatchLabels[name] != value {
			t.Errorf("Service, NetworkPolicy and Deployment are for other Pods: %s", name)
		}
	}
	number := hub.Ports[port].ContainerPort
	admitted := slices.ContainsFunc(policy.Spec.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool {
		return slices.ContainsFunc(r.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port.IntVal == number })
	})
	if !admitted {
		t.Errorf("the NetworkPolicy does not admit port %d", number)
	}
	bound := ""
	for _, arg := range hub.Args {
		if value, ok := strings.CutPrefix(arg, "--receiver-bind-address="); ok {
			bound = value
		} else if strings.Contains(arg, "-bind-address=:9292") {
			t.Errorf("%s has the port of the webhooks", arg)
		}
	}
	if bound != ":9292" || number != 9292 {
		t.Errorf("the hub listens at %q, and the port is %d", bound, number)
	}
}

// TestWebhookPathsAreThoseOfFlux, so that no sender needs another URL after a migration.
func TestWebhookPathsAreThoseOfFlux(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "flux-system", Name: "push"}
	for _, token := range []string{"", "short", "a-token-of-this-receiver"} {
		flux, ours := (&notificationv1.Receiver{ObjectMeta: meta}).GetWebhookPath(token), (&v1alpha1.Receiver{ObjectMeta: meta}).WebhookPathFor(token)
		if flux != ours {
			t.Errorf("%q: %s, not %s", token, ours, flux)
		}
	}
}
