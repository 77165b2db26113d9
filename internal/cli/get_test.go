package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
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
metadata: {name: web, namespace: skerry-system, labels: {tier: shop}, annotations: {note: "gone\x1b[2J東京"}}
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

	t.Run("at a terminal", func(t *testing.T) {
		if r := runAt(t.Context(), 40, kubeconfig, "", nil, "get", "ks", "web", "-o", "jsonpath={.metadata.annotations.note}"); r.out != "gone[2J東京" {
			t.Errorf("what steers a terminal: %q %q", r.out, r.errOut)
		}
		r := runAt(t.Context(), 40, kubeconfig, "", nil, "get", "all", "-A")
		for line := range strings.Lines(r.out) {
			if width := iostreams.Width(strings.TrimSuffix(line, "\n")); width > 40 {
				t.Errorf("a line takes %d columns: %s", width, line)
			}
		}
		if !strings.Contains(r.out, "kustomization/web") {
			t.Errorf("the name is not told:\n%s%s", r.out, r.errOut)
		}
	})
	t.Run("as it changes", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cl := clientOf(t, c)
		f := factory.New("v0.0.0-test", func(string) string { return "" })
		streams, _, out, errOut := iostreams.Test()
		f.IO, streams.Out = streams, written(func(p []byte) error {
			out.Write(p)
			switch strings.Count(out.String(), "kustomization.skerry.dev/web") {
			case 1: // listed, and not watched yet: nothing between the two is missed
				web := &v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "skerry-system", Name: "web"}}
				return cl.Patch(ctx, web, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"changed":"yes"}}}`)))
			case 2:
				cancel() // Ctrl-C
			}
			return nil
		})
		code := Run(ctx, f, []string{"--kubeconfig", kubeconfig, "get", "all", "-A", "--watch"})
		if code != factory.ExitInterrupted || errOut.String() != "interrupted\n" || strings.Count(out.String(), "gitrepository.skerry.dev/fleet") != 1 {
			t.Errorf("exit code %d, %q:\n%s", code, errOut, out)
		}
		run(t, kubeconfig, "", "get", "ks", "--watch", "--sort-by", ".metadata.name").want(t, factory.ExitUsage, "--sort-by is for a list")
		run(t, kubeconfig, "", "get", "ks", "web", "none", "--watch").want(t, factory.ExitFailed, `"none" not found`)
	})

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

// written is what is done with what is written.
type written func([]byte) error

func (w written) Write(p []byte) (int, error) { return len(p), w(p) }
