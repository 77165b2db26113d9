package engine

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/kustomize"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// ignoring leaves fields of the objects of a kind and name to others.
func ignoring(rules ...v1alpha1.IgnoreRule) func(*v1alpha1.AssignmentEntry) {
	return func(e *v1alpha1.AssignmentEntry) {
		e.Wait = false
		e.Drift = &v1alpha1.Drift{Ignore: rules}
	}
}

func rule(kind, name string, paths ...string) v1alpha1.IgnoreRule {
	return v1alpha1.IgnoreRule{Paths: paths, Target: &kustomize.Selector{Kind: kind, Name: name}}
}

func (r *rig) deleteKind(kind, name string) {
	if err := r.as("").resource(kind).Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		r.t.Error(err)
	}
}

// appliesOf counts the applies and patches of one object.
func appliesOf(writes []string, name string) int {
	n := 0
	for _, w := range writes {
		if strings.HasPrefix(w, "PATCH ") && strings.HasSuffix(w, "/"+name) {
			n++
		}
	}
	return n
}

// TestIgnoredFieldsAreTheirControllers plays controllers that write into fields which Git names, as they
// are known from public reports. With a rule the controller keeps its field; the rest of the object is Git's,
// a commit costs one request, and a restart of the hub none.
func TestIgnoredFieldsAreTheirControllers(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	const merge, strategic = types.MergePatchType, types.StrategicMergePatchType
	hook := "ignored-fields-" + r.key.Namespace
	fights := []struct {
		what, kind, name, spec string
		rule                   string // JSON pointer
		manager                string
		how                    types.PatchType
		patch, subresource     string
		path, created, want    string
	}{
		{"an autoscaler outside of the bundle", "Deployment", "hpa", "", "/spec/replicas",
			"kube-controller-manager", merge, `{"spec":{"replicas":5}}`, "scale", "spec.replicas", "2", "5"},
		{"Flagger, which updates the whole object", "Deployment", "flagger", "", "/spec/replicas",
			"flagger", merge, `{"spec":{"replicas":0}}`, "", "spec.replicas", "2", "0"},
		{"a person who scales with kubectl edit", "Deployment", "person", "", "/spec/replicas",
			"kubectl-edit", merge, `{"spec":{"replicas":7}}`, "", "spec.replicas", "2", "7"},
		{"a VPA-like controller that writes requests", "Deployment", "vpa", "", "/spec/template/spec/containers/0/resources",
			"vpa-recommender", strategic, `{"spec":{"template":{"spec":{"containers":[{"name":"web","resources":{"requests":{"cpu":"250m"}}}]}}}}`, "",
			"spec.template.spec.containers.0.resources.requests", "map[cpu:100m]", "map[cpu:250m]"},
		{"an image updater", "Deployment", "image", "", "/spec/template/spec/containers/0/image",
			"keel", strategic, `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"example.com/web:2"}]}}}}`, "",
			"spec.template.spec.containers.0.image", "example.com/web:1", "example.com/web:2"},
		{"Argo Rollouts, which points a Service at a ReplicaSet", "Service", "rollouts", "spec: {selector: {app: web}, ports: [{port: 80}]}", "/spec/selector",
			"rollouts-controller", merge, `{"spec":{"selector":{"rollouts-pod-template-hash":"abc"}}}`, "", "spec.selector", "map[app:web]", "map[app:web rollouts-pod-template-hash:abc]"},
		{"a cloud controller that rewrites an annotation", "Service", "cloud", "spec: {selector: {app: web}, ports: [{port: 80}]}", "/metadata/annotations/cloud.google.com~1neg",
			"neg-controller", merge, `{"metadata":{"annotations":{"cloud.google.com/neg":"theirs"}}}`, "", "metadata.annotations.cloud|google|com/neg", "git", "theirs"},
		{"Kyverno, which mutates what exists", "ConfigMap", "kyverno", "data: {a: git, b: git}", "/data/a",
			"kyverno", merge, `{"data":{"a":"theirs"}}`, "", "data", "map[a:git b:git]", "map[a:theirs b:git]"},
		{"a whole map, of which a controller takes one key", "ConfigMap", "map", "data: {a: git, b: git}", "/data",
			"an-operator", merge, `{"data":{"a":"theirs","c":"theirs"}}`, "", "data", "map[a:git b:git]", "map[a:theirs b:git c:theirs]"},
		{"external-secrets, which fills a placeholder", "Secret", "token", "data: {token: cGxhY2Vob2xkZXI=}", "/data",
			"external-secrets", merge, `{"data":{"token":"dGhlaXJz"}}`, "", "data.token", "cGxhY2Vob2xkZXI=", "dGhlaXJz"},
		{"Istio, which injects a certificate and a policy", "Webhook", hook, "webhooks: [{name: a.example.com, admissionReviewVersions: [v1], sideEffects: None, failurePolicy: Ignore, clientConfig: {url: \"https://example.com\"}, rules: [{apiGroups: [example.com], apiVersions: [v1], operations: [CREATE], resources: [things]}]}]",
			"/webhooks/0/failurePolicy", "pilot-discovery", types.JSONPatchType, `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Fail"}]`, "", "webhooks.0.failurePolicy", "Ignore", "Fail"},
	}
	var rules []v1alpha1.IgnoreRule
	manifests := func(rev string) string {
		out := r.namespace()
		for _, f := range fights {
			version, kind, spec := "v1", f.kind, f.spec
			switch f.kind {
			case "Deployment":
				version = "apps/v1"
				spec = "spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: \"example.com/web:1\", resources: {requests: {cpu: 100m}}}]}}}"
			case "Webhook":
				version, kind = "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"
			}
			out += fmt.Sprintf("\n---\napiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: %s, annotations: {rev: %q, cloud.google.com/neg: git}}\n%s\n", version, kind, f.name, r.key.Namespace, rev, spec)
		}
		return out
	}
	for _, f := range fights {
		kind := f.kind
		if kind == "Webhook" {
			kind = "Validating.*"
		}
		rules = append(rules, rule(kind, f.name, f.rule))
	}
	t.Cleanup(func() { r.pool.Disconnect(r.key); r.deleteKind("Webhook", hook) })
	r.want("apps", manifests("1"), ignoring(rules...))
	r.ready("apps")
	for _, f := range fights {
		if got := r.field(f.kind, f.name, f.path); got != f.created {
			t.Errorf("%s: created with %s; want %s", f.what, got, f.created)
		}
		var sub []string
		if f.subresource != "" {
			sub = []string{f.subresource}
		}
		r.as(f.manager).patch(f.kind, f.name, f.how, f.patch, sub...)
	}
	for _, f := range fights { // once this is undone, what came before has been observed
		r.as("kubectl-label").patch(f.kind, f.name, merge, `{"metadata":{"labels":{"by-hand":"yes"}}}`)
	}
	still := func(when string) {
		t.Helper()
		for _, f := range fights {
			if got := r.field(f.kind, f.name, f.path); got != f.want {
				t.Errorf("%s: %s it is %s; want %s", f.what, when, got, f.want)
			}
		}
	}
	for _, f := range fights {
		r.eventually("what is not ignored is undone on "+f.name, func() bool { return r.field(f.kind, f.name, "metadata.labels.by-hand") == "" })
	}
	still("beside a correction")
	if st := r.until("apps", "counting the labels", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Drift >= int64(len(fights)) }); st.Drift != int64(len(fights)) {
		t.Errorf("%d corrections; want one for each label", st.Drift)
	}
	r.writes()
	r.want("apps", manifests("2"), ignoring(rules...))
	r.ready("apps")
	still("after a commit")
	writes := r.writes()
	for _, f := range fights {
		if n := appliesOf(writes, f.name); n != 1 {
			t.Errorf("%s: %d writes for a commit: %q", f.what, n, writes)
		}
	}

	// A hub that starts again, and whose other Kustomization watches the same kinds before the rules are known.
	r.pool.Disconnect(r.key)
	r.connect(controlplane.Shared(t).RESTConfig())
	r.want("first", r.configMap("first", "1"))
	r.ready("first")
	r.until("apps", "verified by the new hub", func(s v1alpha1.AssignmentEntryStatus) bool { return s.VerifiedAt != nil })
	for _, w := range r.writes() {
		if !strings.HasSuffix(w, "/first") && strings.HasPrefix(w, "PATCH") && !strings.Contains(w, "skerry-system") {
			t.Errorf("a restart writes %s", w)
		}
	}
	still("after a restart")

	// Without the rules everything is Git's again.
	r.change("apps", func(e *v1alpha1.AssignmentEntry) { e.Drift = nil })
	for _, f := range fights {
		r.eventually(f.what+": it is Git's again", func() bool {
			got := r.field(f.kind, f.name, f.path)
			return got == f.created || strings.Contains(got, "c:theirs") && strings.Contains(got, "a:git") ||
				strings.Contains(got, "app:web") // beside what the controller has added
		})
	}
}

// TestIgnoredFieldsAreLeftOnAdoption takes over objects in whose ignored fields a controller or a person has
// other values than Git.
func TestIgnoredFieldsAreLeftOnAdoption(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.as("a-person").create(r.namespace())
	for _, manager := range []string{"an-operator", "kubectl-client-side-apply"} {
		r.as(manager).create(strings.Replace(r.configMap(manager, "theirs"), "\ndata: {", "\ndata: {other: theirs, ", 1))
	}
	git := strings.Replace(r.configMap("an-operator", "git")+r.configMap("kubectl-client-side-apply", "git"), "\ndata: {", "\ndata: {other: git, ", 2)
	r.want("apps", git, ignoring(rule("ConfigMap", "", "/data/key")))
	r.ready("apps")
	for _, name := range []string{"an-operator", "kubectl-client-side-apply"} {
		if got := r.field("ConfigMap", name, "data"); got != "map[key:theirs other:git]" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestAWebhookThatChangesWhatIsAppliedIsNotFought: the API server counts what a webhook changes as written by
// whichever client made the request.
func TestAWebhookThatChangesWhatIsAppliedIsNotFought(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	name := mutating(t, r, `[{"op":"add","path":"/data/key","value":"of the webhook"},{"op":"add","path":"/data/sidecar","value":"injected"}]`)
	both := r.namespace() + r.configMap("plain", "1") + r.configMap("ignored", "1")
	r.want("apps", both, ignoring(rule("ConfigMap", "ignored", "/data/key", "/data/sidecar")))
	r.ready("apps")
	for _, cm := range []string{"plain", "ignored"} {
		if got := r.field("ConfigMap", cm, "data"); got != "map[key:of the webhook sidecar:injected]" {
			t.Fatalf("the webhook %s has not changed %s: %s", name, cm, got)
		}
	}
	r.as("kubectl-label").patch("ConfigMap", "plain", types.MergePatchType, `{"metadata":{"labels":{"by-hand":"yes"}}}`)
	r.as("kubectl-label").patch("ConfigMap", "ignored", types.MergePatchType, `{"metadata":{"labels":{"by-hand":"yes"}}}`)
	for _, cm := range []string{"plain", "ignored"} {
		r.eventually("the label is gone", func() bool { return r.field("ConfigMap", cm, "metadata.labels.by-hand") == "" })
	}
	if st := r.until("apps", "counting the labels", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Drift >= 2 }); st.Drift != 2 {
		t.Errorf("%d corrections; want those of the two labels", st.Drift)
	}
	r.writes()
	r.want("apps", strings.ReplaceAll(both, "\ndata: {", "\ndata: {more: data, "), ignoring(rule("ConfigMap", "ignored", "/data/key", "/data/sidecar")))
	r.ready("apps")
	if n := appliesOf(r.writes(), "ignored"); n != 1 {
		t.Errorf("%d writes for a commit", n)
	}
}

// mutating registers a webhook that patches every ConfigMap of the rig's namespace.
func mutating(t *testing.T, r *rig, patch string) string {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var review map[string]any
		_ = json.NewDecoder(req.Body).Decode(&review)
		uid := review["request"].(map[string]any)["uid"]
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": map[string]any{
			"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": []byte(patch),
		}})
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	name := "mutating-" + r.key.Namespace
	hook, err := json.Marshal(map[string]any{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": map[string]any{"name": name},
		"webhooks": []map[string]any{{
			"name": "mutate.example.com", "admissionReviewVersions": []string{"v1"}, "sideEffects": "None",
			"clientConfig":      map[string]any{"url": server.URL, "caBundle": ca},
			"namespaceSelector": map[string]any{"matchLabels": map[string]any{"kubernetes.io/metadata.name": r.key.Namespace}},
			"rules":             []map[string]any{{"apiGroups": []string{""}, "apiVersions": []string{"v1"}, "resources": []string{"configmaps"}, "operations": []string{"CREATE", "UPDATE"}}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.as("a-person").create(r.namespace())
	r.as("a-person").create(string(hook))
	t.Cleanup(func() { r.deleteKind("MutatingWebhook", name) })
	r.eventually("the webhook is in force", func() bool {
		r.as("a-person").create(r.configMap("probe", "1"))
		defer r.delete("probe")
		return r.value("probe") != "1"
	})
	return name
}
