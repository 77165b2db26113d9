package cli

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

func TestInstall(t *testing.T) {
	c := controlplane.New(t, "install", controlplane.Options{})
	kubeconfig := c.Kubeconfig()

	run(t, kubeconfig, "", "status").want(t, factory.ExitFailed, "this cluster has no Skerry yet", "skerry install")

	run(t, kubeconfig, "", "install", "--crds-only").want(t, factory.ExitOK,
		"created namespace skerry-system", "created customresourcedefinition clusters.skerry.dev", fmt.Sprintf("%[1]d objects: %[1]d created", crds), "start skerry-hub")
	run(t, kubeconfig, "", "install", "--crds-only").want(t, factory.ExitOK, fmt.Sprintf("nothing to change in %d objects", crds))

	r := run(t, kubeconfig, "", "status")
	r.want(t, factory.ExitOK)
	if !strings.Contains(r.out, "Nothing is here yet") {
		t.Errorf("status of an empty hub:\n%s", r.out)
	}

	// There is no controller manager here, so the hub never becomes available.
	run(t, kubeconfig, "", "install", "--image", "example/hub:1", "--hub-id", "main", "--wait=false").want(t, factory.ExitOK, fmt.Sprintf("%d objects: %d created, 0 changed, %d unchanged", components, components-crds, crds))
	d := &appsv1.Deployment{}
	if err := clientOf(t, c).Get(t.Context(), client.ObjectKey{Namespace: "skerry-system", Name: "skerry-hub"}, d); err != nil {
		t.Fatal(err)
	}
	hub := d.Spec.Template.Spec.Containers[0]
	if hub.Image != "example/hub:1" || hub.Args[len(hub.Args)-1] != "--hub-id=main" {
		t.Errorf("hub is %s %q", hub.Image, hub.Args)
	}
	run(t, kubeconfig, "", "install", "--image", "example/hub:1", "--hub-id", "main", "--wait=false").want(t, factory.ExitOK, componentsStand)
	run(t, kubeconfig, "", "install", "--image", "example/hub:2", "--timeout", "6s").want(t, factory.ExitFailed,
		componentsChanged, "the hub is not available", "it has no Pods", "next: kubectl -n skerry-system describe pods")

	run(t, kubeconfig, "", "install", "--components-extra", "monitoring").want(t, factory.ExitFailed, "the cluster has no kind ServiceMonitor.monitoring.coreos.com", "install the Prometheus operator first")
	run(t, kubeconfig, "", "install", "--image", "example/hub:1", "--components", "gateway,network-policy", "--wait=false").want(t, factory.ExitOK,
		"service skerry-receiver is there from before: 'kubectl -n skerry-system delete service skerry-receiver'")
	t.Run("samples are valid", func(t *testing.T) { applySamples(t, clientOf(t, c)) })
	t.Run("names are completed and suggested", func(t *testing.T) {
		if r := run(t, kubeconfig, "", "__complete", "reconcile", "kustomization", ""); !strings.Contains(r.out, "monitoring") {
			t.Errorf("completion:\n%s", r.out)
		}
		run(t, kubeconfig, "", "reconcile", "cluster", "shop-l").want(t, factory.ExitFailed, `there is no cluster "shop-l"`, `did you mean "shop-1"?`)
	})
	t.Run("rights are asked for first", func(t *testing.T) {
		user, err := c.User("nobody")
		if err != nil {
			t.Fatal(err)
		}
		run(t, writeKubeconfig(t, user), "", "install").want(t, factory.ExitFailed, "these credentials may not patch namespaces", "next: use those of a cluster administrator")
		run(t, writeKubeconfig(t, user), "", "status").want(t, factory.ExitFailed, "is forbidden", "next: use credentials that may do this")
	})
	t.Run("a server that is gone", func(t *testing.T) {
		c.StopServer()
		run(t, kubeconfig, "", "status", "--timeout", "5s").want(t, factory.ExitUnreachable, "next: check that the API server runs")
		run(t, kubeconfig, "", "install", "--timeout", "5s").want(t, factory.ExitUnreachable, "cannot ask the API server for its version")
	})
}

func TestInstallExport(t *testing.T) {
	first := run(t, "", "", "install", "--export", "--version", "v1.2.3")
	first.want(t, factory.ExitOK)
	again := run(t, "", "", "install", "--export", "--version", "v1.2.3")
	if first.out != again.out || strings.Count(first.out, "\n---\n") != components-1 {
		t.Errorf("export is not %d documents, the same each time:\n%s", components, first.out)
	}
	if !strings.Contains(first.out, "image: ghcr.io/skerry-dev/skerry-hub:v1.2.3") {
		t.Error("export lacks the image")
	}
	alone := run(t, "", "", "install", "--export", "--components", "none")
	alone.want(t, factory.ExitOK)
	for _, part := range []string{"name: skerry-receiver", "kind: NetworkPolicy", "--gateway-bind-address", "kind: ServiceMonitor"} {
		if strings.Contains(alone.out, part) {
			t.Errorf("the hub alone has %s", part)
		}
	}
	if with := run(t, "", "", "install", "--export", "--components-extra", "monitoring"); !strings.Contains(with.out, "kind: ServiceMonitor") {
		t.Errorf("monitoring is not there: %s", with.errOut)
	}
	run(t, "", "", "install", "--export", "--components", "source-controller").want(t, factory.ExitUsage, `there is no component "source-controller", but gateway, receiver, network-policy`)
}

// applySamples holds config/samples to the schema and rules of the CRDs.
func applySamples(t *testing.T, c client.Client) {
	for _, file := range sampleFiles(t) {
		for doc := range strings.SplitSeq(file, "\n---\n") {
			o := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
				t.Fatal(err)
			}
			if o.GroupVersionKind().Group == "kustomize.config.k8s.io" {
				continue
			}
			if got := o.GroupVersionKind().GroupVersion(); got != (schema.GroupVersion{Group: "skerry.dev", Version: "v1alpha1"}) {
				t.Errorf("%s is of %s", o.GetName(), got)
			}
			o.SetNamespace("skerry-system")
			if err := c.Create(t.Context(), o, client.FieldValidation("Strict")); err != nil {
				t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
			}
		}
	}
}

// TestInstallUntilAvailable has the Pod admitted by the restricted pod security standard, which the
// namespace enforces, and waited for.
func TestInstallUntilAvailable(t *testing.T) {
	c := controlplane.New(t, "pods", controlplane.Options{ControllerManager: true, Scheduler: true, Kwok: true})
	run(t, c.Kubeconfig(), "", "install", "--image", "example/hub:broken", "--timeout", "30s").want(t, factory.ExitFailed,
		"the hub is not available: 0 of 1 Pods are available; Pod skerry-hub-", "ImagePullBackOff")
	run(t, c.Kubeconfig(), "", "install", "--image", "example/hub:1").want(t, factory.ExitOK, "✔ hub: available", "the hub is installed")
	r := run(t, c.Kubeconfig(), "", "version", "-o", "json")
	r.want(t, factory.ExitOK)
	for _, want := range []string{`"client": "v0.0.0-test"`, `"hub": "example/hub:1"`, `"kubernetes": "v1.`} {
		if !strings.Contains(r.out, want) {
			t.Errorf("version lacks %s:\n%s", want, r.out)
		}
	}
}
