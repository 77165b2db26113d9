package components

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

func names(manifests []*unstructured.Unstructured) []string {
	var out []string
	for _, m := range manifests {
		out = append(out, m.GetKind()+" "+m.GetNamespace()+"/"+m.GetName())
	}
	return out
}

func render(t *testing.T, o Options) []*unstructured.Unstructured {
	t.Helper()
	manifests, err := Render(o)
	if err != nil {
		t.Fatal(err)
	}
	return manifests
}

func TestRenderHoldsAllInTheOrderOfApplying(t *testing.T) {
	want := []string{
		"Namespace /skerry-system",
		"CustomResourceDefinition /assignments.skerry.dev",
		"CustomResourceDefinition /clusters.skerry.dev",
		"CustomResourceDefinition /gitrepositories.skerry.dev",
		"CustomResourceDefinition /kustomizations.skerry.dev",
		"CustomResourceDefinition /receivers.skerry.dev",
		"ServiceAccount skerry-system/skerry-hub",
		"Role skerry-system/skerry-hub",
		"ClusterRole /skerry-admin",
		"ClusterRole /skerry-edit",
		"ClusterRole /skerry-hub",
		"ClusterRole /skerry-view",
		"RoleBinding skerry-system/skerry-hub",
		"ClusterRoleBinding /skerry-hub",
		"ClusterRoleBinding /skerry-hub-apply",
		"Service skerry-system/skerry-gateway", "Service skerry-system/skerry-hub", "Service skerry-system/skerry-receiver",
		"Deployment skerry-system/skerry-hub",
		"NetworkPolicy skerry-system/skerry-hub",
	}
	all := render(t, Options{})
	if diff := cmp.Diff(want, names(all)); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[:6], names(render(t, Options{CRDsOnly: true}))); diff != "" {
		t.Errorf("CRDs only (-want +got):\n%s", diff)
	}
	own := slices.Index(want, "ClusterRoleBinding /skerry-hub-apply")
	without := slices.Delete(slices.Clone(want), own, own+1)
	if diff := cmp.Diff(without, names(render(t, Options{NotOwnCluster: true}))); diff != "" {
		t.Errorf("not own cluster (-want +got):\n%s", diff)
	}
	for _, m := range all {
		if m.GetLabels()["app.kubernetes.io/part-of"] != "skerry" {
			t.Errorf("%s %s is not labelled", m.GetKind(), m.GetName())
		}
	}
}

func TestRenderPutsImageAndIdentityInPlace(t *testing.T) {
	tests := map[string]struct {
		in              Options
		image, hubID    string
		versionOnLabels string
	}{
		"as config has it": {Options{}, Repository + ":latest", "", ""},
		"version":          {Options{Version: "v1.2.3"}, Repository + ":v1.2.3", "", "v1.2.3"},
		"image wins":       {Options{Version: "v1.2.3+x", Image: "registry.example/hub@sha256:1"}, "registry.example/hub@sha256:1", "", "v1.2.3-x"},
		"identity":         {Options{HubID: "main-1234"}, Repository + ":latest", "main-1234", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			manifests := render(t, tt.in)
			d := deployment(t, manifests)
			container := d.Spec.Template.Spec.Containers[0]
			if container.Image != tt.image {
				t.Errorf("image is %q, want %q", container.Image, tt.image)
			}
			if got := HubID(manifests); got != tt.hubID {
				t.Errorf("hub id is %q, want %q", got, tt.hubID)
			}
			if got := d.Labels["app.kubernetes.io/version"]; got != tt.versionOnLabels {
				t.Errorf("version label is %q, want %q", got, tt.versionOnLabels)
			}
		})
	}
}

// TestHubIsRestricted holds what the restricted pod security standard asks, and what the hub is
// content with beyond that.
func TestHubIsRestricted(t *testing.T) {
	pod := deployment(t, render(t, Options{})).Spec.Template.Spec
	c := pod.Containers[0]
	checks := map[string]bool{
		"runs as a user that is not root": *pod.SecurityContext.RunAsNonRoot && *pod.SecurityContext.RunAsUser == 65532,
		"default seccomp profile":         pod.SecurityContext.SeccompProfile.Type == "RuntimeDefault",
		"no service links":                pod.EnableServiceLinks != nil && !*pod.EnableServiceLinks,
		"read-only root file system":      *c.SecurityContext.ReadOnlyRootFilesystem,
		"no privilege escalation":         !*c.SecurityContext.AllowPrivilegeEscalation,
		"no capabilities":                 len(c.SecurityContext.Capabilities.Drop) == 1 && c.SecurityContext.Capabilities.Drop[0] == "ALL",
		"memory has a limit":              !c.Resources.Limits.Memory().IsZero(),
		"probes":                          c.LivenessProbe != nil && c.ReadinessProbe != nil,
	}
	for what, ok := range checks {
		if !ok {
			t.Errorf("does not hold: %s", what)
		}
	}
}

// TestNoWildcardsInRoles: what reaches beyond is the one binding that says so.
func TestNoWildcardsInRoles(t *testing.T) {
	for _, m := range render(t, Options{}) {
		if !strings.HasSuffix(m.GetKind(), "Role") {
			continue
		}
		rules, _, _ := unstructured.NestedSlice(m.Object, "rules")
		if len(rules) == 0 {
			t.Errorf("%s %s has no rules", m.GetKind(), m.GetName())
		}
		for _, rule := range rules {
			for field, values := range rule.(map[string]any) {
				for _, v := range values.([]any) {
					if strings.Contains(v.(string), "*") {
						t.Errorf("%s %s: %s has %q", m.GetKind(), m.GetName(), field, v)
					}
				}
			}
		}
	}
}

func deployment(t *testing.T, manifests []*unstructured.Unstructured) *appsv1.Deployment {
	t.Helper()
	for _, m := range manifests {
		if m.GetKind() == "Deployment" {
			d := &appsv1.Deployment{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m.Object, d); err != nil {
				t.Fatal(err)
			}
			return d
		}
	}
	t.Fatal("there is no Deployment")
	return nil
}

func TestRegistryPullSecretAndTolerations(t *testing.T) {
	d := deployment(t, render(t, Options{Version: "v1.2.3", Registry: "registry.example.com/mirror/", ImagePullSecret: "pull", TolerationKeys: []string{"a", "b"}}))
	pod := d.Spec.Template.Spec
	if got := pod.Containers[0].Image; got != "registry.example.com/mirror/skerry-hub:v1.2.3" {
		t.Errorf("image %s", got)
	}
	if want := "--agent-image=registry.example.com/mirror/skerry-agent:v1.2.3"; !slices.Contains(pod.Containers[0].Args, want) {
		t.Errorf("arguments %q, want %s: agents come from the same registry", pod.Containers[0].Args, want)
	}
	if len(pod.ImagePullSecrets) != 1 || pod.ImagePullSecrets[0].Name != "pull" {
		t.Errorf("imagePullSecrets %v", pod.ImagePullSecrets)
	}
	if len(pod.Tolerations) != 2 || pod.Tolerations[1].Key != "b" || pod.Tolerations[1].Operator != "Exists" {
		t.Errorf("tolerations %v", pod.Tolerations)
	}
	if got := deployment(t, render(t, Options{Version: "v1.2.3", Registry: "r", Image: "own:1"})).Spec.Template.Spec.Containers[0].Image; got != "own:1" {
		t.Errorf("--image beside --registry: %s", got)
	}
}

// TestPartsThatAreLeftOutLeaveNothingBehind: no Service, no port that is open, no hub that listens.
func TestPartsThatAreLeftOutLeaveNothingBehind(t *testing.T) {
	text := func(o Options) string {
		var all []string
		for _, m := range render(t, o) {
			if strings.HasSuffix(m.GetKind(), "Role") || m.GetKind() == "CustomResourceDefinition" {
				continue
			}
			unstructured.RemoveNestedField(m.Object, "spec", "egress") // a shard of a hub dials the gateway of another
			data, err := m.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(data))
		}
		return strings.Join(all, "\n")
	}
	marks := map[string][]string{
		Gateway:       {`"skerry-gateway"`, "--gateway-bind-address", `"name":"gateway"`, "9443"},
		Receiver:      {`"skerry-receiver"`, "--receiver-bind-address", `"name":"webhooks"`, "9292"},
		NetworkPolicy: {`"NetworkPolicy"`},
	}
	for name, asked := range map[string][]string{
		"all": nil, "none": {}, "gateway": {Gateway}, "receiver and policy": {Receiver, NetworkPolicy}, "gateway and policy": {Gateway, NetworkPolicy},
	} {
		got := text(Options{Components: asked})
		for part, words := range marks {
			wanted := asked == nil || slices.Contains(asked, part)
			for _, word := range words {
				if strings.Contains(got, word) != wanted {
					t.Errorf("%s: %s is there: %v", name, word, !wanted)
				}
			}
		}
		if !strings.Contains(got, "--metrics-bind-address=:8080") || !strings.Contains(got, `"skerry-hub"`) {
			t.Errorf("%s: the hub itself is not whole", name)
		}
	}
	if with := names(render(t, Options{Extra: []string{Monitoring}})); !slices.Contains(with, "ServiceMonitor skerry-system/skerry-hub") || slices.Contains(names(render(t, Options{})), "ServiceMonitor skerry-system/skerry-hub") {
		t.Errorf("with monitoring: %v", with)
	}
	for _, o := range []Options{{Components: []string{"source-controller"}}, {Extra: []string{Gateway}}} {
		if _, err := Render(o); err == nil || !strings.Contains(err.Error(), "there is no component") {
			t.Errorf("%v: %v", o, err)
		}
	}
}
