package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// as writes to the edge of a rig as another field manager.
type as struct {
	*rig
	manager string
}

func (r *rig) as(manager string) as { return as{r, manager} }

func (a as) resource(kind string) dynamic.ResourceInterface {
	gvr := map[string]schema.GroupVersionResource{
		"ConfigMap":       configMapsResource,
		"Service":         {Version: "v1", Resource: "services"},
		"Deployment":      {Group: "apps", Version: "v1", Resource: "deployments"},
		"StatefulSet":     {Group: "apps", Version: "v1", Resource: "statefulsets"},
		"RoleBinding":     {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
		"Secret":          {Version: "v1", Resource: "secrets"},
		"PriorityClass":   {Group: "scheduling.k8s.io", Version: "v1", Resource: "priorityclasses"},
		"Claim":           {Version: "v1", Resource: "persistentvolumeclaims"},
		"Webhook":         {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"},
		"MutatingWebhook": {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"},
		"Job":             {Group: "batch", Version: "v1", Resource: "jobs"},
	}[kind]
	if kind == "PriorityClass" || strings.HasSuffix(kind, "Webhook") {
		return a.dyn.Resource(gvr)
	}
	return a.dyn.Resource(gvr).Namespace(a.key.Namespace)
}

// create creates the objects of YAML documents; namespaces that exist already are passed over.
func (a as) create(documents string) {
	a.t.Helper()
	for doc := range strings.SplitSeq(documents, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			a.t.Fatal(err)
		}
		if len(u.Object) == 0 {
			continue
		}
		var err error
		if u.GetKind() == "Namespace" {
			_, err = a.dyn.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Create(context.Background(), u, metav1.CreateOptions{FieldManager: a.manager})
		} else {
			_, err = a.resource(strings.TrimSuffix(u.GetKind(), "Configuration")).Create(context.Background(), u, metav1.CreateOptions{FieldManager: a.manager})
		}
		if err != nil {
			a.t.Fatal(err)
		}
	}
}

func (a as) patch(kind, name string, how types.PatchType, patch string, subresource ...string) {
	a.t.Helper()
	if _, err := a.resource(kind).Patch(context.Background(), name, how, []byte(patch), metav1.PatchOptions{FieldManager: a.manager}, subresource...); err != nil {
		a.t.Fatal(err)
	}
}

// field reads a field of an object as text: "spec.ports.0.port". What is not there is "".
func (r *rig) field(kind, name, path string) string {
	u, err := r.as("").resource(kind).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return "error: " + string(reasonOf(err))
	}
	var at any = u.Object
	for part := range strings.SplitSeq(path, ".") {
		switch v := at.(type) {
		case map[string]any:
			at = v[strings.ReplaceAll(part, "|", ".")]
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(v) {
				return ""
			}
			at = v[i]
		default:
			return ""
		}
	}
	if at == nil {
		return ""
	}
	return fmt.Sprint(at)
}

// managers names the field managers of an object that are none of the engine's.
func (r *rig) managers(kind, name string) string {
	u, err := r.as("").resource(kind).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return "error: " + string(reasonOf(err))
	}
	var names []string
	for _, e := range u.GetManagedFields() {
		if !strings.HasPrefix(e.Manager, "skerry.") {
			names = append(names, e.Manager)
		}
	}
	return strings.Join(names, " ")
}

func (r *rig) deployment(name, spec string) string {
	return fmt.Sprintf("\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %[1]s, namespace: %[2]s}\nspec:\n  selector: {matchLabels: {app: %[1]s}}\n%[3]s\n", name, r.key.Namespace, spec)
}

const podOf = "  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [%s]}"

// patiently keeps the health of an object out of a test about fields.
func patiently(e *v1alpha1.AssignmentEntry) { e.Wait = false }

// TestFieldsOfEarlierManagersGoWithGit adopts objects that other tools had applied, each under its
// manager, and drops from Git what they had: it goes from the cluster.
func TestFieldsOfEarlierManagersGoWithGit(t *testing.T) {
	for _, manager := range []string{"kubectl-client-side-apply", "Helm", "kustomize-controller", "deploy-script", "argocd-controller"} {
		t.Run(manager, func(t *testing.T) {
			r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
			web := func(env string) string {
				return r.deployment("web", "  replicas: 1\n"+fmt.Sprintf(podOf, `{name: web, image: "example.com/web:1", env: [{name: KEEP, value: "1"}`+env+`]}`))
			}
			conf := func(data string) string {
				return fmt.Sprintf("\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf, namespace: %s}\ndata: {keep: \"1\"%s}\n", r.key.Namespace, data)
			}
			before := r.namespace() + web(`, {name: OLD, value: "1"}`) + conf(`, legacy: x`)
			r.as(manager).create(before)
			r.want("apps", before, patiently)
			r.ready("apps")
			r.want("apps", r.namespace()+web("")+conf(""), patiently)
			r.ready("apps")
			if got := r.field("ConfigMap", "conf", "data"); got != "map[keep:1]" {
				t.Errorf("the ConfigMap has %s; managers %s", got, r.managers("ConfigMap", "conf"))
			}
			if got := r.field("Deployment", "web", "spec.template.spec.containers.0.env"); got != "[map[name:KEEP value:1]]" {
				t.Errorf("the Deployment has %s; managers %s", got, r.managers("Deployment", "web"))
			}
		})
	}
}

// TestAdoptionCostsTheTakeoverOnce holds what a takeover costs: two writes more for each object, and
// nothing from then on.
func TestAdoptionCostsTheTakeoverOnce(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	all := r.namespace() + r.configMap("a", "1") + r.configMap("b", "1")
	r.as("kubectl-client-side-apply").create(all)
	r.as("kubectl-edit").patch("ConfigMap", "a", types.MergePatchType, `{"data":{"beside":"git"}}`)
	r.want("apps", all)
	r.ready("apps")
	var patches []string
	for _, w := range r.writes() {
		if strings.HasPrefix(w, "PATCH") && strings.HasSuffix(w, "configmaps/a") {
			patches = append(patches, w)
		}
	}
	if len(patches) > 3 {
		t.Errorf("%d writes for an object that had other owners", len(patches))
	}
	if got := r.field("ConfigMap", "a", "data"); got != "map[key:1]" {
		t.Errorf("what kubectl wrote beside Git stays: %s", got)
	}
	r.want("apps", strings.ReplaceAll(all, `"1"`, `"2"`))
	r.ready("apps")
	if n := count(r.writes(), "PATCH"); n != 2 {
		t.Errorf("%d applies for the 2 objects of the next commit", n)
	}
}

// TestWhatPeopleWriteIsUndone changes and adds fields as interactive tools do, in maps, in lists with
// keys, and where two entries would be one too many.
func TestWhatPeopleWriteIsUndone(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("apps", r.namespace()+r.configMap("cm", "1")+
		fmt.Sprintf("\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: %s}\nspec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}\n", r.key.Namespace)+
		r.deployment("web", "  replicas: 1\n"+fmt.Sprintf(podOf, `{name: web, image: "example.com/web:1", env: [{name: A, value: "1"}]}`)), patiently)
	r.ready("apps")
	pod := "spec.template.spec."
	for _, tc := range []struct {
		manager, kind, name string
		how                 types.PatchType
		patch, path, want   string
	}{
		{"kubectl-edit", "Service", "web", types.JSONPatchType, `[{"op":"replace","path":"/spec/ports/0/port","value":81}]`, "spec.ports", "[map[name:http port:80 protocol:TCP targetPort:8080]]"},
		{"k9s", "Service", "web", types.MergePatchType, `{"spec":{"selector":{"tier":"x"}}}`, "spec.selector", "map[app:web]"},
		{"kubectl-edit", "ConfigMap", "cm", types.MergePatchType, `{"data":{"extra":"x"}}`, "data", "map[key:1]"},
		{"kubectl-label", "ConfigMap", "cm", types.MergePatchType, `{"metadata":{"labels":{"extra":"x"}}}`, "metadata.labels.extra", ""},
		{"kubectl-set", "Deployment", "web", types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"B","value":"2"}]}]}}}}`, pod + "containers.0.env", "[map[name:A value:1]]"},
		{"kubectl-patch", "Deployment", "web", types.MergePatchType, `{"spec":{"template":{"spec":{"hostNetwork":true}}}}`, pod + "hostNetwork", ""},
		{"Mozilla", "Deployment", "web", types.JSONPatchType, `[{"op":"replace","path":"/spec/template/spec/containers/0/name","value":"renamed"}]`, pod + "containers.0.name", "web"},
	} {
		r.as(tc.manager).patch(tc.kind, tc.name, tc.how, tc.patch)
		r.eventually(tc.manager+" is undone at "+tc.path, func() bool { return r.field(tc.kind, tc.name, tc.path) == tc.want })
	}
	if got := r.field("Deployment", "web", pod+"containers.1"); got != "" {
		t.Errorf("there is another container: %s", got)
	}
	r.ready("apps")
	// What it undoes is reported with the field and the manager.
	e, _ := r.event("DriftCorrected")
	if !strings.Contains(e.Message, `.spec.ports[port=81`) || !strings.Contains(e.Message, "kubectl-edit") {
		t.Errorf("event: %s", e.Message)
	}
	// An edit is undone also when no engine watched.
	r.pool.Disconnect(r.key)
	r.as("kubectl-edit").patch("ConfigMap", "cm", types.MergePatchType, `{"data":{"extra":"x"}}`)
	r.connect(controlplane.Shared(t).RESTConfig())
	r.assign()
	r.eventually("the edit is undone", func() bool { return r.field("ConfigMap", "cm", "data") == "map[key:1]" })
}

// TestWhatControllersWriteStays holds what is not taken over: fields of controllers, replicas that Git
// does not name, restarts, policies, and what asks to be kept.
func TestWhatControllersWriteStays(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("apps", r.namespace()+r.configMap("cm", "1")+r.configMap("last", "1")+
		r.deployment("web", fmt.Sprintf(podOf, `{name: web, image: "example.com/web:1"}`))+
		strings.Replace(r.configMap("shared", "1"), "metadata: {", "metadata: {annotations: {skerry.dev/ssa: Merge}, ", 1), patiently)
	r.ready("apps")
	merge := types.MergePatchType
	r.as("an-operator").patch("ConfigMap", "cm", merge, `{"data":{"operator":"x"}}`)
	r.as("flux-client-side-apply").patch("ConfigMap", "cm", merge, `{"data":{"person":"x"}}`)
	r.as("kubectl-annotate").patch("ConfigMap", "cm", merge, `{"metadata":{"annotations":{"kustomize.toolkit.fluxcd.io/prune":"disabled"}}}`)
	r.as("kubectl-edit").patch("ConfigMap", "shared", merge, `{"data":{"person":"x"}}`)
	r.as("kubectl-edit").patch("Deployment", "web", merge, `{"spec":{"replicas":3}}`)
	r.as("kubectl-rollout").patch("Deployment", "web", merge, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`)
	r.delete("last") // what comes after it has been seen, too
	r.eventually("the deleted object is back", func() bool { return r.value("last") == "1" })
	r.as("kubectl-edit").patch("ConfigMap", "cm", merge, `{"data":{"undone":"x"}}`)
	r.eventually("what kubectl wrote is undone", func() bool { return r.field("ConfigMap", "cm", "data.undone") == "" })
	for _, tc := range [][4]string{
		{"ConfigMap", "cm", "data", "map[key:1 operator:x person:x]"},
		{"ConfigMap", "cm", "metadata.annotations.kustomize|toolkit|fluxcd|io/prune", "disabled"},
		{"ConfigMap", "shared", "data", "map[key:1 person:x]"},
		{"Deployment", "web", "spec.replicas", "3"},
		{"Deployment", "web", "spec.template.metadata.annotations.kubectl|kubernetes|io/restartedAt", "now"},
	} {
		if got := r.field(tc[0], tc[1], tc[2]); got != tc[3] {
			t.Errorf("%s/%s: %s is %s; want %s", tc[0], tc[1], tc[2], got, tc[3])
		}
	}
}

// TestPoliciesOfObjects holds the annotations that give an object another owner.
func TestPoliciesOfObjects(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.as("somebody").create(r.namespace() + r.configMap("present", "theirs"))
	with := func(name, value, annotation string) string {
		return strings.Replace(r.configMap(name, value), "metadata: {", "metadata: {annotations: {"+annotation+"}, ", 1)
	}
	bundle := func(value string) string {
		return r.namespace() + r.configMap("plain", value) +
			with("ignored", value, "kustomize.toolkit.fluxcd.io/ssa: Ignore") +
			with("disabled", value, "skerry.dev/reconcile: disabled") +
			with("present", value, "skerry.dev/ssa: IfNotPresent") +
			with("absent", value, "kustomize.toolkit.fluxcd.io/ssa: IfNotPresent")
	}
	r.want("apps", bundle("1"))
	r.ready("apps")
	r.edit("absent", "edited")
	r.want("apps", bundle("2"))
	st := r.ready("apps")
	want := map[string]string{"plain": "2", "ignored": "error: NotFound", "disabled": "error: NotFound", "present": "theirs", "absent": "edited"}
	for name, value := range want {
		if got := r.value(name); got != value {
			t.Errorf("%s is %s; want %s", name, got, value)
		}
	}
	if st.Objects.Total != 3 || st.Objects.Applied != 3 {
		t.Errorf("counts: %+v", st.Objects)
	}
	// A person takes an object out of Skerry's hands on the cluster, and gives it back.
	r.as("kubectl-annotate").patch("ConfigMap", "plain", types.MergePatchType, `{"metadata":{"annotations":{"skerry.dev/reconcile":"disabled"}}}`)
	r.edit("plain", "mine")
	r.want("apps", bundle("3"))
	r.ready("apps")
	if got := r.value("plain"); got != "mine" {
		t.Errorf("plain is %s although its reconciliation is disabled", got)
	}
	r.as("kubectl-annotate").patch("ConfigMap", "plain", types.MergePatchType, `{"metadata":{"annotations":{"skerry.dev/reconcile":null}}}`)
	r.eventually("plain is Git's again", func() bool { return r.value("plain") == "3" })
}

// TestReplicasThatLeaveGitStay drops the number of replicas from Git: the number that runs stays.
func TestReplicasThatLeaveGitStay(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	web := func(replicas string) string {
		return r.namespace() + r.deployment("web", replicas+fmt.Sprintf(podOf, `{name: web, image: "example.com/web:1"}`))
	}
	r.want("apps", web("  replicas: 4\n"), patiently)
	r.ready("apps")
	r.want("apps", web("  revisionHistoryLimit: 5\n"), patiently)
	r.ready("apps")
	if got := r.field("Deployment", "web", "spec.replicas"); got != "4" {
		t.Errorf("%s replicas; want the 4 that ran", got)
	}
	r.as("kube-controller-manager").patch("Deployment", "web", types.MergePatchType, `{"spec":{"replicas":5}}`, "scale")
	r.writes()
	r.want("apps", web("  revisionHistoryLimit: 6\n"), patiently)
	r.ready("apps")
	if got := r.field("Deployment", "web", "spec.replicas"); got != "5" {
		t.Errorf("%s replicas; want the 5 of the autoscaler", got)
	}
	if n := count(r.writes(), "PATCH"); n != 1 {
		t.Errorf("%d applies of the next commit", n)
	}
}

// TestAnAutoscalerOfTheBundleOwnsReplicas applies a workload with an autoscaler, and then takes the
// autoscaler out of Git.
func TestAnAutoscalerOfTheBundleOwnsReplicas(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	web := r.namespace() + r.deployment("web", "  replicas: 2\n"+fmt.Sprintf(podOf, `{name: web, image: "example.com/web:1"}`))
	hpa := fmt.Sprintf("\n---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web, namespace: %s}\nspec: {maxReplicas: 9, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n", r.key.Namespace)
	r.want("apps", web, patiently)
	r.ready("apps")
	r.want("apps", web+hpa, patiently)
	r.ready("apps")
	if got := r.field("Deployment", "web", "spec.replicas"); got != "2" {
		t.Errorf("%s replicas when the autoscaler came; want the 2 that ran", got)
	}
	if e, ok := r.event(v1alpha1.ReplicasIgnoredReason); !ok || !strings.Contains(e.Message, "HorizontalPodAutoscaler.autoscaling/"+r.key.Namespace+"/web") {
		t.Errorf("event: %+v", e)
	}
	r.as("kube-controller-manager").patch("Deployment", "web", types.MergePatchType, `{"spec":{"replicas":7}}`, "scale")
	r.want("apps", strings.ReplaceAll(web, "web:1", "web:2")+hpa, patiently)
	r.ready("apps")
	if got := r.field("Deployment", "web", "spec.replicas"); got != "7" {
		t.Errorf("%s replicas; want the 7 of the autoscaler", got)
	}
	r.want("apps", strings.ReplaceAll(web, "web:1", "web:2"), patiently, func(e *v1alpha1.AssignmentEntry) { e.AllowPrune = true })
	r.ready("apps")
	if got := r.field("Deployment", "web", "spec.replicas"); got != "2" {
		t.Errorf("%s replicas without the autoscaler; want the 2 of Git", got)
	}
}

// TestAnInjectedCertificateStays injects a certificate where Git has a placeholder: it stays, also over
// the next commit, and is no drift.
func TestAnInjectedCertificateStays(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	hook := func(path string) string {
		return r.namespace() + r.configMap("last", "1") + fmt.Sprintf(`
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: %s}
webhooks:
- name: hook.harbour.example
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  clientConfig: {caBundle: Cg==, service: {name: hook, namespace: default, path: %s}}
  rules: [{apiGroups: [harbour.example], apiVersions: [v1], operations: [CREATE], resources: [none]}]
`, r.key.Namespace, path)
	}
	r.want("apps", hook("/v"))
	r.ready("apps")
	const injected = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="
	r.as("cert-manager-cainjector").patch("Webhook", r.key.Namespace, types.JSONPatchType, `[{"op":"replace","path":"/webhooks/0/clientConfig/caBundle","value":"`+injected+`"}]`)
	r.delete("last") // what comes after it has been seen, too
	r.eventually("the deleted object is back", func() bool { return r.value("last") == "1" })
	r.want("apps", hook("/w"))
	r.ready("apps")
	for path, want := range map[string]string{"caBundle": injected, "service.path": "/w"} {
		if got := r.field("Webhook", r.key.Namespace, "webhooks.0.clientConfig."+path); got != want {
			t.Errorf("%s is %s; want %s", path, got, want)
		}
	}
	if st := r.until("apps", "counting the deletion", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Drift > 0 }); st.Drift != 1 {
		t.Errorf("drift is %d; want the deletion alone", st.Drift)
	}
}

// TestAFormerOwnerLeavesNoFields moves an object from one Kustomization to another: what the former
// owner applied goes when the new one drops it.
func TestAFormerOwnerLeavesNoFields(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	two := strings.Replace(r.configMap("moved", "1"), "\ndata: {", "\ndata: {other: x, ", 1)
	r.want("first", r.namespace()+two+r.configMap("mine", "1"))
	r.ready("first")
	r.want("second", two+r.configMap("theirs", "1"))
	r.failed("second", v1alpha1.OwnershipConflictReason)
	r.want("first", r.namespace()+r.configMap("mine", "1"))
	r.ready("second")
	r.want("second", r.configMap("moved", "1")+r.configMap("theirs", "1"))
	r.ready("second")
	if got := r.field("ConfigMap", "moved", "data"); got != "map[key:1]" {
		t.Errorf("data is %s", got)
	}
}

// TestImmutableFields holds what is recreated with force, what is refused without, and what never is.
func TestImmutableFields(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	bundle := func(size, role, class string) string {
		return r.namespace() + fmt.Sprintf(`
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: %[1]s}
spec:
  replicas: 0
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: "example.com/db:1"}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: %[2]s}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[3]s}
subjects: [{kind: ServiceAccount, name: default, namespace: %[1]s}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: precious, namespace: %[1]s}
spec: {storageClassName: %[4]s, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`, r.key.Namespace, size, role, class)
	}
	r.want("apps", bundle("1Gi", "view", "slow"), patiently)
	r.ready("apps")
	claim := r.field("Claim", "precious", "metadata.uid")
	r.want("apps", bundle("2Gi", "edit", "slow"), patiently)
	st := r.failed("apps", v1alpha1.ImmutableFieldReason)
	if !strings.Contains(st.Message, "roleRef: is immutable") || !strings.Contains(st.Message, "skerry.dev/force") {
		t.Errorf("message: %s", st.Message)
	}
	r.want("apps", bundle("2Gi", "edit", "fast"), patiently, func(e *v1alpha1.AssignmentEntry) { e.Force = true })
	st = r.until("apps", "refused for its claim", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Reason == v1alpha1.ImmutableFieldReason && strings.Contains(s.Message, "a PersistentVolumeClaim holds data")
	})
	if !strings.HasPrefix(st.Message, "3 of 4") {
		t.Errorf("message: %s", st.Message)
	}
	if got := r.field("StatefulSet", "db", "spec.volumeClaimTemplates.0.spec.resources.requests.storage"); got != "2Gi" {
		t.Errorf("the StatefulSet claims %s", got)
	}
	if got := r.field("RoleBinding", "readers", "roleRef.name"); got != "edit" {
		t.Errorf("the RoleBinding refers to %s", got)
	}
	if got := r.field("Claim", "precious", "metadata.uid"); got != claim {
		t.Errorf("the claim was deleted")
	}
}

// TestRecreateDeletesNothingThatWouldBeRefused changes an immutable field of an object so that a new
// one would be refused: the old one stays.
func TestRecreateDeletesNothingThatWouldBeRefused(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	job := func(image, policy string) string {
		return r.namespace() + fmt.Sprintf("\n---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: job, namespace: %s}\nspec:\n  template: {spec: {restartPolicy: %s, containers: [{name: a, image: %q}]}}\n", r.key.Namespace, policy, image)
	}
	force := func(e *v1alpha1.AssignmentEntry) { e.Force, e.Wait = true, false }
	r.want("apps", job("a:1", "Never"), force)
	r.ready("apps")
	uid := r.field("Job", "job", "metadata.uid")
	r.want("apps", job("a:2", "Always"), force)
	r.until("apps", "refused", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Ready == metav1.ConditionFalse })
	if got := r.field("Job", "job", "metadata.uid"); got != uid {
		t.Error("the Job was deleted")
	}
	r.want("apps", job("a:2", "Never"), force)
	r.ready("apps")
	if got := r.field("Job", "job", "metadata.uid"); got == uid {
		t.Error("the Job was not created anew")
	}
}

// TestRefusalsThatTimeDoesNotMend holds that what only a change of the object helps against is not
// tried again at retryInterval, that what is tried again writes no inventory, and that what was not
// tried does not count as applied.
func TestRefusalsThatTimeDoesNotMend(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	soon := func(e *v1alpha1.AssignmentEntry) { e.RetryInterval = &metav1.Duration{Duration: time.Second} }
	port := func(n string) string {
		return fmt.Sprintf("\n---\napiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: %s}\nspec: {ports: [{port: %s}]}\n", r.key.Namespace, n)
	}
	r.want("final", r.namespace()+port("99999"), soon)
	r.failed("final", v1alpha1.ApplyFailedReason)
	lost := "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: lost, namespace: nowhere-" + r.key.Namespace + "}\n"
	r.want("passing", lost+r.configMap("also", "1"), soon)
	st := r.failed("passing", v1alpha1.NamespaceNotFoundReason)
	if !strings.HasPrefix(st.Message, "1 of 2 objects applied") {
		t.Errorf("message: %s", st.Message)
	}
	r.writes()
	var tried, recorded, again int
	r.eventually("what may pass is tried three times more", func() bool {
		for _, w := range r.writes() {
			switch {
			case strings.HasSuffix(w, "/services/bad"):
				tried++
			case strings.Contains(w, "skerry-inventory"):
				recorded++
			case strings.HasSuffix(w, "/configmaps/lost"):
				again++
			}
		}
		return again >= 3
	})
	if tried > 0 || recorded > 0 {
		t.Errorf("%d tries of what is refused for good, %d writes of inventories", tried, recorded)
	}
	r.want("final", r.namespace()+port("80"), soon)
	r.ready("final")
}

// TestARefusedObjectIsCreatedWhenItIsGone deletes by hand what could not be changed.
func TestARefusedObjectIsCreatedWhenItIsGone(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	fixed := func(value string) string {
		return r.namespace() + strings.Replace(r.configMap("fixed", value), "\ndata:", "\nimmutable: true\ndata:", 1)
	}
	r.want("apps", fixed("1"))
	r.ready("apps")
	r.want("apps", fixed("2"))
	r.failed("apps", v1alpha1.ImmutableFieldReason)
	r.delete("fixed")
	r.ready("apps")
	if got := r.value("fixed"); got != "2" {
		t.Errorf("fixed is %s", got)
	}
}

// TestNoMessageShowsAValue puts a value where it does not belong, in many ways, and looks for it in
// everything that the engine says.
func TestNoMessageShowsAValue(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	const canary = "s3cr3t"
	pod := func(container, rest string) string {
		return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: %s}\nspec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: a, %s}]%s}}}", r.key.Namespace, container, rest)
	}
	in := ", namespace: " + r.key.Namespace
	for i, doc := range []string{
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a" + in + "}\ndata: {\"s3cr3t !\": x}",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a" + in + ", labels: {a: \"s3cr3t !\"}}",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a" + in + ", finalizers: [\"s3cr3t !\"]}",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a" + in + "}\ns3cr3t: x\nimmutable: s3cr3t",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: a" + in + "}\ntype: kubernetes.io/tls\nstringData: {tls.crt: s3cr3t, tls.key: s3cr3t}",
		"apiVersion: v1\nkind: Service\nmetadata: {name: a" + in + "}\nspec: {type: s3cr3t, ports: [{port: s3cr3t}]}",
		"apiVersion: v1\nkind: Service\nmetadata: {name: a" + in + "}\nspec: {externalName: \"s3cr3t !\", type: ExternalName}",
		"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: a" + in + "}\nspec: {schedule: \"* s3cr3t * * *\", timeZone: s3cr3t, jobTemplate: {spec: {template: {spec: {restartPolicy: s3cr3t, containers: [{name: a, image: b}]}}}}}",
		"apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a" + in + "}\nspec: {rules: [{host: \"s3cr3t !\", http: {paths: [{path: s3cr3t, pathType: s3cr3t, backend: {service: {name: \"s3cr3t !\", port: {name: \"s3cr3t !\"}}}}]}}]}",
		"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: a" + in + "}\nroleRef: {kind: s3cr3t, name: s3cr3t, apiGroup: s3cr3t}\nsubjects: [{kind: s3cr3t, name: s3cr3t}]",
		pod("imagePullPolicy: s3cr3t", ""), pod("s3cr3t: 1", ""), pod("ports: [{containerPort: s3cr3t}]", ""),
		pod("resources: {limits: {cpu: s3cr3t}}", ""), pod("env: [{name: A, value: {s3cr3t: s3cr3t}}]", ""), pod("env: [{name: \"s3cr3t=\"}]", ""),
		pod("volumeMounts: [{name: s3cr3t, mountPath: a}]", ""), pod("command: s3cr3t", ""), pod("terminationMessagePolicy: s3cr3t", ""),
		pod("livenessProbe: {httpGet: {port: \"s3cr3t !\", scheme: s3cr3t}}", ""), pod("tty: s3cr3t", ""),
		pod("tty: false", ", hostNetwork: s3cr3t"), pod("tty: false", ", volumes: [{name: a, emptyDir: {sizeLimit: s3cr3t}}]"),
		pod("tty: false", ", affinity: s3cr3t"), pod("tty: false", ", tolerations: [{operator: s3cr3t, effect: s3cr3t}]"), pod("tty: false", ", terminationGracePeriodSeconds: s3cr3t"),
	} {
		name := fmt.Sprintf("k%d", i)
		r.want(name, r.namespace()+"\n---\n"+doc)
		st := r.until(name, "refused", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Ready == metav1.ConditionFalse })
		if strings.Contains(st.Message, canary) && !strings.Contains(doc, canary+": ") {
			t.Errorf("%s\n%s", doc, st.Message)
		}
		if !strings.Contains(st.Message, ".") && !strings.Contains(st.Message, "immutable") {
			t.Errorf("no field is named: %s\n%s", doc, st.Message)
		}
		delete(r.ks, name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if strings.Contains(e.Message, canary) {
			t.Errorf("event: %s", e.Message)
		}
	}
}
