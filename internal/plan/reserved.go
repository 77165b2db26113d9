package plan

import (
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
)

// Reserved explains why an object cannot be part of a bundle, or "": what Skerry keeps for itself, on the hub
// and on every cluster. A ConfigMap with the name of another Kustomization's inventory would replace the
// record of what that one has applied; one with the name of the claim would lock the hub out. The part
// label, by which Skerry finds its own, makes any object reserved.
func Reserved(id object.ID, partLabel bool) string {
	system := id.Namespace == v1alpha1.SystemNamespace
	switch {
	case partLabel:
		return "has the label " + v1alpha1.PartLabel + ", which is only for what Skerry keeps for itself"
	case id.Group == v1alpha1.Group && id.Kind == v1alpha1.AssignmentKind:
		return "is written by the hub alone"
	case system && id.Group == "" && id.Kind == "ConfigMap" && ofHub(id.Name):
		return "is the claim by which a hub works on a cluster"
	case system && id.Group == "" && id.Kind == "ConfigMap" && strings.HasPrefix(id.Name, v1alpha1.InventoryPrefix):
		return "is an inventory, which the hub alone writes"
	case system && id.Group == "coordination.k8s.io" && id.Kind == "Lease" && ofHub(id.Name):
		return "is the lease by which one hub works at a time"
	}
	return ""
}

// ofHub reports whether a name is "skerry-hub", "skerry-hub-1-of-2" of a shard, or "skerry-hub-0123456789abcdef" of
// a hub that shares a cluster.
func ofHub(name string) bool {
	return name == v1alpha1.ClaimName || strings.HasPrefix(name, v1alpha1.ClaimName+"-")
}
