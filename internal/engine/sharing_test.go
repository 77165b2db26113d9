package engine

import (
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// sharing lets a rig share its cluster.
func sharing(r *rig) { r.connection = func(c *Connection) { c.Shared = true } }

// Two hubs share a cluster; a third one, which does not, is refused, and so is what belongs to the other.
func TestTwoHubsShareACluster(t *testing.T) {
	c := controlplane.New(t, "shared-by-hubs", controlplane.Options{})
	a, b := newRig(t, "hub-a", c.RESTConfig(), sharing), newRig(t, "hub-b", c.RESTConfig(), sharing)
	a.want("apps", a.namespace()+a.configMap("of-a", "1"))
	a.ready("apps")
	b.want("apps", b.configMap("of-b", "1"))
	b.ready("apps")

	b.want("apps", b.configMap("of-b", "2")+b.configMap("of-a", "stolen"))
	b.failed("apps", v1alpha1.OwnershipConflictReason)
	if got := a.value("of-a"); got != "1" {
		t.Errorf("what hub a has is %s", got)
	}
	b.want("apps", b.configMap("of-b", "3"))
	b.ready("apps")

	third := newRig(t, "hub-c", c.RESTConfig())
	third.want("apps", third.configMap("of-c", "1"))
	third.cluster("refused", func(s State) bool {
		return s.Reason == v1alpha1.OwnedByAnotherHubReason && strings.Contains(s.Message, "sharing: Shared")
	})

	a.remove("apps")
	if err := a.finalize(); err != nil {
		t.Fatal(err)
	}
	a.pool.Disconnect(a.key)
	if got := b.ownConfigMaps(); strings.Count(got, v1alpha1.InventoryPrefix) != 1 || strings.Count(got, v1alpha1.ClaimName+"-") != 1 {
		t.Errorf("kept %q", got)
	}
	b.want("apps", b.configMap("of-b", "4"))
	b.ready("apps")
}

// Two Clusters of one hub share a cluster. A Kustomization that selects both is applied through one of them.
func TestTwoClustersOfOneHubShareACluster(t *testing.T) {
	c := controlplane.New(t, "shared-by-clusters", controlplane.Options{})
	a := newRig(t, testHub, c.RESTConfig(), sharing)
	b := &rig{
		t: t, hub: a.hub, bundleStore: a.bundleStore, pool: a.pool, changed: a.changed, kube: a.kube, dyn: a.dyn,
		key: Key{Namespace: a.key.Namespace + "-b", Name: "edge"}, ks: map[string]v1alpha1.AssignmentEntry{},
	}
	b.pool.Connect(b.key, Connection{Config: c.RESTConfig(), Fingerprint: "1", Shared: true})
	t.Cleanup(func() { b.pool.Disconnect(b.key) })
	a.want("apps", a.namespace()+a.configMap("of-a", "1"))
	a.ready("apps")
	b.want("apps", b.namespace()+b.configMap("of-b", "1"))
	b.ready("apps")

	twice := a.key.Namespace + "/apps"
	b.ks[twice] = a.ks["apps"]
	e := b.ks[twice]
	e.Name = twice
	b.ks[twice] = e
	b.assign()
	b.failed(twice, v1alpha1.DuplicateClusterReason)
	b.change(twice, func(e *v1alpha1.AssignmentEntry) { e.Remove, e.DeletionPolicy = true, v1alpha1.DeletionDelete })
	b.until(twice, "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed })
	if got := a.value("of-a"); got != "1" {
		t.Errorf("what the other Cluster has is %s", got)
	}
	delete(b.ks, twice)
	b.assign()

	exclusive := &rig{t: t, hub: a.hub, bundleStore: a.bundleStore, pool: a.pool, changed: a.changed, key: Key{Namespace: "third", Name: "edge"}, ks: map[string]v1alpha1.AssignmentEntry{}}
	exclusive.pool.Connect(exclusive.key, Connection{Config: c.RESTConfig(), Fingerprint: "1"})
	exclusive.cluster("refused", func(s State) bool { return s.Reason == v1alpha1.DuplicateClusterReason })
	exclusive.pool.Disconnect(exclusive.key)

	a.remove("apps")
	if err := a.finalize(); err != nil {
		t.Fatal(err)
	}
	a.pool.Disconnect(a.key)
	b.want("apps", b.namespace()+b.configMap("of-b", "2"))
	b.ready("apps")
}
