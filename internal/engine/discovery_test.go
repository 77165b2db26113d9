package engine

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/edgeproxy"
)

// TestRestartDiscoversTheKindsOfAllGroupsInTwoRequests has objects of five groups on the cluster: the core
// group is one request, all others together are one.
func TestRestartDiscoversTheKindsOfAllGroupsInTwoRequests(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	text := r.namespace() + r.configMap("one", "1")
	for _, kind := range []string{"apps/v1 Deployment", "rbac.authorization.k8s.io/v1 Role", "networking.k8s.io/v1 NetworkPolicy", "coordination.k8s.io/v1 Lease"} {
		apiVersion, kind, _ := strings.Cut(kind, " ")
		text += fmt.Sprintf("\n---\napiVersion: %s\nkind: %s\nmetadata: {name: one, namespace: %s}\n", apiVersion, kind, r.key.Namespace)
		if kind == "Deployment" {
			text += "spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}\n"
		}
		if kind == "NetworkPolicy" {
			text += "spec: {podSelector: {}}\n"
		}
	}
	r.want("apps", text)
	applied := func(s v1alpha1.AssignmentEntryStatus) bool { return s.AppliedDigest == r.ks["apps"].Digest }
	r.until("apps", "applied", applied)
	r.pool.Disconnect(r.key)

	proxy := edgeproxy.New(t, controlplane.Shared(t).RESTConfig())
	r.connect(proxy.Config())
	r.want("apps", text)
	r.until("apps", "verified", func(s v1alpha1.AssignmentEntryStatus) bool { return applied(s) && s.VerifiedAt != nil })
	got := map[string]int{}
	for path, n := range proxy.Requests() {
		if path == "GET /apis" || path == "GET /api/v1" || strings.HasPrefix(path, "GET /apis/") && strings.Count(path, "/") <= 3 {
			got[path] = n
		}
	}
	if diff := cmp.Diff(map[string]int{"GET /apis": 1, "GET /api/v1": 1}, got); diff != "" {
		t.Error(diff)
	}
}

// TestKindThatOnlyTheDocumentOfAllGroupsHasIsLookedUpByItself has an API server whose document of all
// groups is older than what it serves: the kind is in doubt at once, and the others go on.
func TestKindThatOnlyTheDocumentOfAllGroupsHasIsLookedUpByItself(t *testing.T) {
	r, group := things(t)
	r.want("more", fmt.Sprintf("apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: one, namespace: %[1]s}\n---\napiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: one, namespace: %[1]s}\n", r.key.Namespace))
	r.ready("more")
	r.pool.Disconnect(r.key)
	r.mu.Lock()
	document := 0
	r.hidden = func(req *http.Request) bool {
		if req.URL.Path == "/apis" {
			document++
		}
		return strings.HasPrefix(req.URL.Path, "/apis/"+group)
	}
	r.mu.Unlock()
	r.connect(controlplane.Shared(t).RESTConfig())
	r.want("apps", r.configMap("stays", "2"))
	r.until("apps", "waiting for the kind", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Ready == metav1.ConditionUnknown && strings.Contains(s.Message, "Thing of "+group+"/v1 is defined, but not served")
	})
	if r.value("stays") != "2" || !r.recorded(group) || !r.thing(group) {
		t.Fatal("the kind in doubt holds up the others, or was struck off the inventory")
	}
	r.mu.Lock()
	r.hidden = nil
	r.mu.Unlock()
	r.ready("apps")
	r.eventually("it is pruned once it is served again", func() bool { return !r.thing(group) && !r.recorded(group) })
	if document == 0 {
		t.Error("the document was not read: this test holds nothing")
	}
}
