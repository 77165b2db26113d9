package engine

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/edgeproxy"
)

// Objects that can be created and not listed are refused by name: what they are created for is done in
// the answer, and nothing is kept. They hold up no other object and no other Kustomization.
func TestKindThatIsNotKeptIsRefusedByName(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("good", r.namespace()+r.configMap("good", "1"))
	r.ready("good")
	for name, text := range map[string]string{
		"sar":    "apiVersion: authorization.k8s.io/v1\nkind: SelfSubjectAccessReview\nmetadata: {name: x}\nspec: {resourceAttributes: {verb: get}}",
		"local":  "apiVersion: authorization.k8s.io/v1\nkind: LocalSubjectAccessReview\nmetadata: {name: x, namespace: " + r.key.Namespace + "}\nspec: {user: x}",
		"token":  "apiVersion: authentication.k8s.io/v1\nkind: TokenReview\nmetadata: {name: x}\nspec: {token: x}",
		"self":   "apiVersion: authentication.k8s.io/v1\nkind: SelfSubjectReview\nmetadata: {name: x}",
		"binder": "apiVersion: v1\nkind: Binding\nmetadata: {name: x, namespace: " + r.key.Namespace + "}\ntarget: {kind: Node, name: x}",
		"status": "apiVersion: v1\nkind: ComponentStatus\nmetadata: {name: x}",
	} {
		r.want(name, r.configMap("beside-"+name, "1")+"\n---\n"+text+"\n")
	}
	r.want("good", r.namespace()+r.configMap("good", "2"))
	r.ready("good")
	for name := range r.ks {
		if name == "good" {
			continue
		}
		st := r.failed(name, v1alpha1.KindNotKeptReason)
		if !strings.Contains(st.Message, "/x: the cluster does not keep objects of kind") || st.Objects.Applied != 1 {
			t.Errorf("%s: %+v", name, st)
		}
		if n := len(r.inventory(name).Objects); n != 1 {
			t.Errorf("%s: %d objects are recorded", name, n)
		}
	}
	r.want("sar", r.configMap("beside-sar", "2"))
	r.ready("sar")
	for name := range r.ks {
		r.want(name, "", func(e *v1alpha1.AssignmentEntry) { e.Remove = true })
	}
	for name := range r.ks {
		r.until(name, "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed || name == "good" })
	}
}

var apiServicesResource = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

// aggregate registers a server that is not there for a group, and returns what removes it.
func (r *rig) aggregate(group string) func() {
	r.t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": map[string]any{"name": "v1." + group},
		"spec": map[string]any{
			"group": group, "version": "v1", "groupPriorityMinimum": int64(100), "versionPriority": int64(100),
			"insecureSkipTLSVerify": true, "service": map[string]any{"name": "gone", "namespace": "default"},
		},
	}}
	if _, err := r.dyn.Resource(apiServicesResource).Create(r.t.Context(), u, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.eventually("the API server asks the one that is registered", func() bool {
		_, err := r.kube.Discovery().ServerResourcesForGroupVersion(group + "/v1")
		return err != nil && !strings.Contains(err.Error(), "could not find")
	})
	return func() {
		_ = r.dyn.Resource(apiServicesResource).Delete(r.t.Context(), "v1."+group, metav1.DeleteOptions{})
	}
}

// An object of an aggregated API whose server is gone keeps itself off the cluster and no other, and is
// not reported as an overloaded cluster.
func TestAggregatedAPIWithoutItsServerKeepsOnlyItsOwnOff(t *testing.T) {
	c := controlplane.New(t, "aggregates", controlplane.Options{})
	r := newRig(t, testHub, c.RESTConfig())
	group := "dead.example.com"
	remove := r.aggregate(group)
	widget := "\n---\napiVersion: " + group + "/v1\nkind: Widget\nmetadata: {name: w, namespace: " + r.key.Namespace + "}\n"
	r.want("apps", r.namespace()+r.configMap("beside", "1")+widget, func(e *v1alpha1.AssignmentEntry) { e.RetryInterval.Duration = time.Second })
	st := r.failed("apps", v1alpha1.KindUnavailableReason)
	if !strings.Contains(st.Message, "the server behind APIService v1."+group+" does not answer") || strings.Contains(st.Message, "overloaded") {
		t.Errorf("message %q", st.Message)
	}
	if r.value("beside") != "1" {
		t.Error("it keeps another object off the cluster")
	}
	r.want("other", r.configMap("other", "1"))
	r.ready("other")
	for _, name := range []string{"apps", "other"} {
		r.want(name, "", func(e *v1alpha1.AssignmentEntry) { e.Remove = true })
		// The namespace stays: no controller of this cluster finalizes it.
		r.until(name, "removed", func(s v1alpha1.AssignmentEntryStatus) bool {
			return s.Removed || strings.Contains(s.Message, "Namespace/")
		})
	}
	remove() // all of this came to pass without the server
}

// The server goes while its objects are recorded: they stay recorded, and the rest goes on.
func TestAggregatedAPIThatGoesAwayLaterIsNotForgotten(t *testing.T) {
	r, group := things(t)
	r.pool.Disconnect(r.key)
	proxy := edgeproxy.New(t, controlplane.Shared(t).RESTConfig())
	proxy.Answer(func(w http.ResponseWriter, req *http.Request) bool {
		switch {
		case strings.HasPrefix(req.URL.Path, "/apis/"+group+"/"):
			jsonHeader(w)
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"ServiceUnavailable","code":503,"message":"error trying to reach service"}`)
		case strings.HasPrefix(req.URL.Path, "/apis/apiregistration.k8s.io/v1/apiservices/v1."):
			jsonHeader(w)
			_, _ = fmt.Fprint(w, `{"kind":"APIService","spec":{"service":{"name":"x"}},"status":{"conditions":[{"type":"Available","status":"False","message":"no endpoints"}]}}`)
		default:
			return false
		}
		return true
	})
	r.connect(proxy.Config())
	delete(r.ks, "definitions")
	r.want("apps", r.configMap("stays", "2"))
	r.until("apps", "waiting for the kind", func(s v1alpha1.AssignmentEntryStatus) bool {
		return strings.Contains(s.Message, "the server behind APIService v1."+group+" does not answer: no endpoints")
	})
	if r.value("stays") != "2" || !r.recorded(group) {
		t.Error("the kind holds up the others, or is forgotten")
	}
	proxy.Answer(nil)
	r.pool.Verify(r.key)
	r.eventually("it is pruned once its server answers", func() bool { return !r.thing(group) && !r.recorded(group) })
}

// Credentials that may not list a kind keep its objects off, at once and by name.
func TestKindThatMayNotBeListedKeepsOnlyItsOwnOff(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	secret := "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: " + r.key.Namespace + "}\n"
	r.want("apps", r.namespace()+r.configMap("beside", "1")+secret)
	r.ready("apps")
	r.pool.Disconnect(r.key)
	proxy := edgeproxy.New(t, controlplane.Shared(t).RESTConfig())
	proxy.Answer(func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodGet || req.URL.Path != "/api/v1/secrets" {
			return false
		}
		jsonHeader(w)
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"details":{"kind":"secrets"},"message":"secrets is forbidden: User \"hub\" cannot list it"}`)
		return true
	})
	r.connect(proxy.Config())
	r.want("apps", r.namespace()+r.configMap("beside", "2")+secret)
	st := r.failed("apps", v1alpha1.KindUnavailableReason)
	if !strings.Contains(st.Message, "cannot be listed and watched: secrets is forbidden") {
		t.Errorf("message %q", st.Message)
	}
	if r.value("beside") != "2" || len(r.inventory("apps").Objects) != 3 {
		t.Error("the kind holds up the others, or is forgotten")
	}
}

// Each group is asked for once in a pass, however many of its kinds are missing.
func TestMissingKindsAreLookedUpOncePerGroup(t *testing.T) {
	proxy := edgeproxy.New(t, controlplane.Shared(t).RESTConfig())
	r := newRig(t, testHub, proxy.Config())
	r.want("apps", r.namespace())
	r.ready("apps")
	text := r.namespace()
	for i := range 17 {
		text += fmt.Sprintf("\n---\napiVersion: missing.example.com/v1\nkind: Kind%d\nmetadata: {name: x, namespace: %s}\n", i, r.key.Namespace)
	}
	proxy.Requests()
	r.want("apps", text)
	r.until("apps", "waiting for its kinds", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Reason == v1alpha1.KindNotFoundReason })
	got := proxy.Requests()
	total := 0
	for path, n := range got {
		if !strings.HasPrefix(path, "WATCH ") {
			total += n
		}
	}
	if n := got["GET /apis/missing.example.com/v1"]; n != 1 || total > 4 {
		t.Errorf("the group was asked for %d times: %v", n, got)
	}
}
