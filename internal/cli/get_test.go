package cli

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// TestGetAndSuspend lists what a hub's API server has, in kubectl's formats, and changes what is listed.
func TestGetAndSuspend(t *testing.T) {
	c := controlplane.New(t, "get", controlplane.Options{})
	kubeconfig := c.Kubeconfig()
	run(t, kubeconfig, "", "install", "--crds-only").want(t, factory.ExitOK)
	manifests := `apiVersion: skerry.dev/v1alpha1
kind: GitRepository
metadata: {name: fleet, namespace: skerry-system}
spec: {url: https://git.example.com/team/fleet.git, interval: 1m}
---
apiVersion: skerry.dev/v1alpha1
kind: Kustomization
metadata: {name: web, namespace: skerry-system, labels: {tier: shop}}
spec: {sourceRef: {name: fleet}, interval: 10m}
---
apiVersion: skerry.dev/v1alpha1
kind: Kustomization
metadata: {name: api, namespace: default}
spec: {sourceRef: {name: fleet}, interval: 10m}
`
	for doc := range strings.SplitSeq(manifests, "---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), u); err != nil {
			t.Fatal(err)
		}
		if err := clientOf(t, c).Create(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}

	for _, tt := range []struct {
		args []string
		want []string
		not  []string
	}{
		{[]string{"get", "all"}, []string{"gitrepository.skerry.dev/fleet", "kustomization.skerry.dev/web", "https://git.example.com/team/fleet.git"}, []string{"/api"}},
		{[]string{"get", "ks", "-A", "--no-headers"}, []string{"default", "api", "web"}, []string{"NAMESPACE", "NAME"}},
		{[]string{"get", "kustomizations", "-l", "tier=shop", "-o", "name", "-A"}, []string{"kustomization.skerry.dev/web"}, []string{"api"}},
		{[]string{"get", "source", "fleet", "-o", "jsonpath={.spec.url}"}, []string{"https://git.example.com/team/fleet.git"}, []string{"NAME"}},
		{[]string{"get", "kustomizations", "-A", "--sort-by", ".metadata.name", "-o", "custom-columns=N:.metadata.name"}, []string{"N\napi\nweb\n"}, nil},
		{[]string{"get", "kustomization", "api", "-n", "default", "-o", "yaml"}, []string{"name: api", "kind: Kustomization"}, []string{"kind: List", "managedFields"}},
		{[]string{"get", "kustomizations", "-A", "-o", "json"}, []string{`"kind": "List"`, `"name": "api"`, `"name": "web"`}, []string{"managedFields"}},
		{[]string{"get", "kustomizations", "-A", "--sort-by", "{.metadata.name}"}, []string{"NAMESPACE", "default", "skerry-system   web"}, nil},
		{[]string{"get", "kustomizations", "-L", "tier", "--show-labels"}, []string{"TIER", "shop", "LABELS", "tier=shop"}, nil},
		{[]string{"get", "kustomizations", "web", "-o", "go-template={{.spec.interval}}"}, []string{"10m"}, nil},
		{[]string{"get", "kustomizations", "web", "-o", "wide", "--show-kind"}, []string{"kustomization.skerry.dev/web"}, nil},
		{[]string{"get", "kustomizations", "none", "--ignore-not-found"}, nil, []string{"NAME"}},
	} {
		r := run(t, kubeconfig, "", tt.args...)
		r.want(t, factory.ExitOK)
		for _, want := range tt.want {
			if !strings.Contains(r.out, want) {
				t.Errorf("%v lacks %q:\n%s", tt.args, want, r.out)
			}
		}
		for _, not := range tt.not {
			if strings.Contains(r.out, not) {
				t.Errorf("%v has %q:\n%s", tt.args, not, r.out)
			}
		}
	}

	run(t, kubeconfig, "", "get", "clusters").want(t, factory.ExitOK, "No resources found in skerry-system namespace.")
	run(t, kubeconfig, "", "get", "kustomizations", "none").want(t, factory.ExitFailed, `"none" not found`)
	run(t, kubeconfig, "", "get", "kustomizations", "-o", "nonsense").want(t, factory.ExitUsage, "-o must be one of")
	run(t, kubeconfig, "", "get", "kustomizations", "-o", "name", "--show-labels").want(t, factory.ExitUsage, "are for a table")
	run(t, kubeconfig, "", "get", "pods").want(t, factory.ExitUsage, `unknown command "pods"`)
	run(t, kubeconfig, "", "get", "all", "web").want(t, factory.ExitUsage, "takes no arguments")

	run(t, kubeconfig, "", "suspend", "kustomization", "web").want(t, factory.ExitOK, "✔ suspend kustomization web")
	if r := run(t, kubeconfig, "", "get", "ks", "web", "-o", "jsonpath={.spec.suspend}"); r.out != "true" {
		t.Errorf("suspend is %q", r.out)
	}
	run(t, kubeconfig, "", "resume", "kustomization", "--all", "--wait=false").want(t, factory.ExitOK, "✔ resume kustomization web")
	if r := run(t, kubeconfig, "", "get", "ks", "web", "-o", "jsonpath={.spec.suspend}"); r.out != "" {
		t.Errorf("suspend is %q", r.out)
	}

	t.Run("the namespace", func(t *testing.T) {
		env := map[string]string{"SKERRY_NAMESPACE": "default"}
		if r := runWith(t.Context(), kubeconfig, "", env, "get", "ks", "-o", "name"); r.out != "kustomization.skerry.dev/api\n" {
			t.Errorf("SKERRY_NAMESPACE: %q %q", r.out, r.errOut)
		}
		if r := runWith(t.Context(), kubeconfig, "", env, "get", "ks", "-o", "name", "-n", "skerry-system"); r.out != "kustomization.skerry.dev/web\n" {
			t.Errorf("-n: %q %q", r.out, r.errOut)
		}
		if r := run(t, kubeconfig, "", "get", "ks", "-o", "name", "--ns-follows-kube-context"); r.out != "kustomization.skerry.dev/api\n" {
			t.Errorf("the context's: %q %q", r.out, r.errOut)
		}
	})
}
