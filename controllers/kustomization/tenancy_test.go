package kustomization

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

const intoTheHub = "apiVersion: v1\nkind: Secret\nmetadata: {name: edge-1, namespace: skerry-system}\nstringData: {value: x}\n"

func TestABundleThatWouldChangeTheHubIsNotAssignedToIt(t *testing.T) {
	pushed := func(c *v1alpha1.Cluster) {
		c.Spec.KubeConfig = &v1alpha1.KubeConfig{SecretRef: meta.SecretKeyReference{Name: "edge-1"}}
	}
	w := newWorld(t, kustomization(allAtOnce), cluster("own"), cluster("edge-1", pushed))
	w.r.HubNamespace = "skerry-system"
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	w.reconcile()
	if got := w.revisions(); got != "edge-1=1 own=1" {
		t.Fatalf("revisions %s", got)
	}
	w.push("2", "apps/cm.yaml", configMap("one", "y"), "apps/secret.yaml", intoTheHub)
	w.reconcile()
	if got := w.revisions(); got != "edge-1=2 own=1" {
		t.Errorf("revisions %s", got)
	}
	failures := w.get().Status.Failures
	if len(failures) != 1 || failures[0].Cluster != "own" || failures[0].Reason != v1alpha1.NotPermittedReason || !strings.Contains(failures[0].Message, "skerry-system/edge-1 is in the hub's namespace") {
		t.Errorf("failures %+v", failures)
	}
}
