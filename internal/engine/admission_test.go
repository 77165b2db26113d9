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

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// stripsAnnotations lets a mutating webhook take every annotation of skerry.dev off the objects of the rig's
// namespace, as an admission policy that admits only known ones does.
func (r *rig) stripsAnnotations() {
	r.t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var review admissionv1.AdmissionReview
		var o metav1.PartialObjectMetadata
		if json.NewDecoder(req.Body).Decode(&review) != nil || json.Unmarshal(review.Request.Object.Raw, &o) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		var patch []map[string]string
		for key := range o.Annotations {
			if strings.HasPrefix(key, "skerry.dev/") {
				patch = append(patch, map[string]string{"op": "remove", "path": "/metadata/annotations/" + strings.ReplaceAll(key, "/", "~1")})
			}
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		if len(patch) > 0 {
			kind := admissionv1.PatchTypeJSONPatch
			review.Response.PatchType = &kind
			review.Response.Patch, _ = json.Marshal(patch) // strings always encode
		}
		review.Request = nil
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}))
	r.t.Cleanup(server.Close)
	url, none, fail := server.URL, admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail
	hook := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: r.key.Namespace}, Webhooks: []admissionregistrationv1.MutatingWebhook{{
		Name: "strip.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: &none, FailurePolicy: &fail,
		ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})},
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": r.key.Namespace}},
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
		}},
	}}}
	hooks := r.kube.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := hooks.Create(r.t.Context(), hook, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = hooks.Delete(context.Background(), hook.Name, metav1.DeleteOptions{}) })
}

// A webhook on the edge that takes off the annotation which names an object as its manifest does: nothing is
// applied again and again for it, and the name from the Secret stays hidden, in an engine that is started anew too.
func TestAStrippedManifestNameIsNoDriftAndStaysHidden(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("base", r.namespace())
	r.ready("base")
	r.stripsAnnotations()
	probe := func() string { // once the API server has the webhook
		cm, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Create(t.Context(), annotated(r.key.Namespace), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(cm.Annotations)
	}
	r.eventually("the webhook is in force", func() bool { return probe() == "map[]" })

	secret := strings.Replace(r.configMap("canary-tenant", "1"), "metadata: {", `metadata: {annotations: {`+object.ManifestNameKey+`: "`+r.key.Namespace+`/${tenant}"}, `, 1)
	r.want("apps", secret+r.configMap("beside", "1"))
	r.ready("apps")
	if got := r.field("ConfigMap", "canary-tenant", "metadata.annotations"); strings.Contains(got, "tenant}") {
		t.Fatalf("the webhook left %s", got)
	}
	for i, again := range []string{"an interval later", "in an engine that was started anew"} {
		if i > 0 {
			r.pool.Disconnect(r.key)
			r.connect(controlplane.Shared(t).RESTConfig())
			r.assign()
			r.ready("apps")
		}
		r.writes()
		r.change("apps", func(e *v1alpha1.AssignmentEntry) { e.RequestedAt = again })
		r.until("apps", "verified", func(s v1alpha1.AssignmentEntryStatus) bool { return s.HandledAt == again })
		if got := r.writes(); len(got) > 0 {
			t.Errorf("%s it wrote %v", again, got)
		}
		r.as("kubectl-edit").patch("ConfigMap", "canary-tenant", types.MergePatchType, `{"data":{"key":"by hand"}}`)
		r.eventually("it is put back", func() bool { return r.value("canary-tenant") == "1" })
		r.until("apps", "telling of the drift", func(s v1alpha1.AssignmentEntryStatus) bool { return len(s.Drifts) == 1 })
	}
	r.want("apps", r.configMap("beside", "1"))
	r.eventually("it is gone", func() bool { return r.value("canary-tenant") == "error: NotFound" })
	list, _ := r.pool.Report(r.key)
	r.mu.Lock()
	defer r.mu.Unlock()
	all := fmt.Sprintf("%+v %+v", list, r.events)
	if strings.Contains(all, "canary") || strings.Contains(all, v1alpha1.DriftLoopReason) || !strings.Contains(all, "${tenant}") {
		t.Errorf("it tells %s", all)
	}
}

func annotated(namespace string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "probe", Annotations: map[string]string{"skerry.dev/probe": "x"}}}
}
