package engine

import (
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// TestTheHubsOwnClusterIsKeptFromTenants assigns what the hub would not have assigned: the engine is the
// last to look at it, and writes nothing of it.
func TestTheHubsOwnClusterIsKeptFromTenants(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.options = func(o *PoolOptions) { o.HubNamespace = "hub-of-the-test" }
	r.pool.Disconnect(r.key)
	r.connect(controlplane.Shared(t).RESTConfig())
	r.pool.Connect(r.key, Connection{Config: r.tapped(controlplane.Shared(t).RESTConfig()), Fingerprint: "local", Local: true})
	r.want("apps", r.namespace()+r.configMap("fine", "1"))
	r.ready("apps")
	r.writes()
	for what, manifest := range map[string]string{
		"the hub's namespace":                  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: hub-of-the-test}\n",
		"a cluster-wide kind with a namespace": "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: skerry-hub, namespace: " + r.key.Namespace + "}\nrules: []\n",
		"another namespace's Kustomization":    "apiVersion: skerry.dev/v1alpha1\nkind: Kustomization\nmetadata: {name: x, namespace: shop}\n",
	} {
		r.want("apps", r.namespace()+r.configMap("fine", "2")+"\n---\n"+manifest)
		if got := r.failed("apps", v1alpha1.NotPermittedReason); got.Message == "" {
			t.Errorf("%s: %+v", what, got)
		}
		if w := r.writes(); len(w) > 0 {
			t.Errorf("%s: written: %s", what, strings.Join(w, ", "))
		}
	}
	if got := r.value("fine"); got != "1" {
		t.Errorf("the object has %s", got)
	}
	r.want("apps", r.namespace()+r.configMap("fine", "3"))
	r.ready("apps")
}
