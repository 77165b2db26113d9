package components

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

func agentNames(manifests []*unstructured.Unstructured) []string {
	var out []string
	for _, m := range manifests {
		out = append(out, strings.TrimPrefix(m.GetKind()+" "+m.GetNamespace()+"/"+m.GetName(), "/"))
	}
	return out
}

func TestAnAgentIsInstalledWithItsRightsBeforeItsDeployment(t *testing.T) {
	all, err := RenderAgent(AgentOptions{Version: "v1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Namespace /skerry-system", "ServiceAccount skerry-system/skerry-agent", "ClusterRoleBinding /skerry-agent",
		"Deployment skerry-system/skerry-agent", "NetworkPolicy skerry-system/skerry-agent",
	}
	if diff := cmp.Diff(want, agentNames(all)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	deployment := all[3]
	containers, _, _ := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	c, _ := containers[0].(map[string]any)
	if c["image"] != AgentRepository+":v1.2.3" {
		t.Errorf("the image is %v", c["image"])
	}
	if read, _, _ := unstructured.NestedBool(c, "securityContext", "readOnlyRootFilesystem"); !read {
		t.Error("the root is not read-only")
	}
	if user, _, _ := unstructured.NestedBool(deployment.Object, "spec", "template", "spec", "securityContext", "runAsNonRoot"); !user {
		t.Error("the agent may run as root")
	}
}

// TestAnAgentLeavesADeadNode holds how Kubernetes reads tolerations: of those that match a taint, the first counts.
func TestAnAgentLeavesADeadNode(t *testing.T) {
	for _, o := range []AgentOptions{{}, {Storage: "1Gi"}} {
		all, err := RenderAgent(o)
		if err != nil {
			t.Fatal(err)
		}
		var deployment appsv1.Deployment
		at := slices.IndexFunc(all, func(m *unstructured.Unstructured) bool { return m.GetKind() == "Deployment" })
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(all[at].Object, &deployment); err != nil {
			t.Fatal(err)
		}
		pod := deployment.Spec.Template.Spec
		stays := func(taint corev1.Taint) string {
			i := slices.IndexFunc(pod.Tolerations, func(one corev1.Toleration) bool { return one.ToleratesTaint(logr.Discard(), &taint, false) })
			switch {
			case i < 0:
				return "not at all"
			case pod.Tolerations[i].TolerationSeconds == nil:
				return "for ever"
			}
			return (time.Duration(*pod.Tolerations[i].TolerationSeconds) * time.Second).String()
		}
		for taint, want := range map[corev1.Taint]string{
			{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute}:                 "5m0s",
			{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}:              "5m0s",
			{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule}: "for ever",
			{Key: "example.com/dedicated", Value: "ship", Effect: corev1.TaintEffectNoExecute}:   "for ever",
			{Key: corev1.TaintNodeDiskPressure, Effect: corev1.TaintEffectNoSchedule}:            "for ever",
		} {
			if got := stays(taint); got != want {
				t.Errorf("with the taint %s:%s it stays %s, want %s", taint.Key, taint.Effect, got, want)
			}
		}
		if preferred := pod.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution; len(preferred) != 1 || !maps.Equal(preferred[0].PodAffinityTerm.LabelSelector.MatchLabels, deployment.Spec.Selector.MatchLabels) {
			t.Errorf("it does not prefer a node on which it has not been: %v", preferred)
		}
	}
}

// TestAnAgentOfSomeNamespacesMayWriteOnlyThere, and what is not its own.
func TestAnAgentOfSomeNamespacesMayWriteOnlyThere(t *testing.T) {
	all, err := RenderAgent(AgentOptions{Namespaces: []string{"web", "shop", "web"}})
	if err != nil {
		t.Fatal(err)
	}
	var bindings []string
	for _, m := range all {
		role, _, _ := unstructured.NestedString(m.Object, "roleRef", "name")
		switch m.GetKind() {
		case "Deployment":
			containers, _, _ := unstructured.NestedSlice(m.Object, "spec", "template", "spec", "containers")
			if args := fmt.Sprint(containers); !strings.Contains(args, " --namespaces=shop,web]") {
				t.Errorf("it is not told its namespaces: %s", args)
			}
		case "RoleBinding":
			bindings = append(bindings, m.GetNamespace()+" "+role)
		case "ClusterRoleBinding":
			if role != AgentName {
				t.Errorf("on the whole cluster it has the role %s", role)
			}
		case "ClusterRole":
			rules, _, _ := unstructured.NestedSlice(m.Object, "rules")
			for _, r := range rules {
				rule, _ := r.(map[string]any)
				verbs := fmt.Sprint(rule["verbs"])
				if rule["resourceNames"] == nil && verbs != "[get list watch]" {
					t.Errorf("it may %s everything", verbs)
				}
			}
		}
	}
	if want := []string{"shop cluster-admin", "skerry-system cluster-admin", "web cluster-admin"}; !slices.Equal(bindings, want) {
		t.Errorf("bindings %v, want %v", bindings, want)
	}
}

func TestStorageThatOutlivesThePodIsMountedByOneAtATime(t *testing.T) {
	all, err := RenderAgent(AgentOptions{Storage: "1Gi"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(agentNames(all), "PersistentVolumeClaim skerry-system/skerry-agent") {
		t.Errorf("there is no claim in %v", agentNames(all))
	}
	for _, m := range all {
		if strategy, _, _ := unstructured.NestedString(m.Object, "spec", "strategy", "type"); m.GetKind() == "Deployment" && strategy != "Recreate" {
			t.Errorf("the strategy is %s", strategy)
		}
	}
	if _, err := RenderAgent(AgentOptions{Storage: "much"}); err == nil {
		t.Error("a size that is none was taken")
	}
}

func TestAnAgentTrustsThePrivateAuthorityOfAnIngress(t *testing.T) {
	for _, o := range []AgentOptions{{CA: "PEM"}, {CA: "PEM", Storage: "1Gi"}} {
		all, err := RenderAgent(o)
		if err != nil {
			t.Fatal(err)
		}
		names := agentNames(all)
		ca, at := slices.Index(names, "ConfigMap skerry-system/skerry-agent"), slices.Index(names, "Deployment skerry-system/skerry-agent")
		if ca < 0 || ca > at {
			t.Fatalf("the authority does not come before the Deployment: %v", names)
		}
		if pem, _, _ := unstructured.NestedString(all[ca].Object, "data", "ca.crt"); pem != "PEM" {
			t.Errorf("the authority is %q", pem)
		}
		var deployment appsv1.Deployment
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(all[at].Object, &deployment); err != nil {
			t.Fatal(err)
		}
		pod := deployment.Spec.Template.Spec
		var mounted []string
		for _, m := range pod.Containers[0].VolumeMounts {
			mounted = append(mounted, m.Name+" "+m.MountPath)
		}
		if want := []string{"data /data", "ca /etc/ssl/certs"}; !slices.Equal(mounted, want) || len(pod.Volumes) != 2 || pod.Volumes[1].ConfigMap.Name != AgentName {
			t.Errorf("mounted %v of %v", mounted, pod.Volumes)
		}
	}
}
