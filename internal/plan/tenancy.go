package plan

import (
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
)

// Tenancy is what bounds a Kustomization on the hub's own cluster, where the hub applies with its own
// rights. It keeps a tenant, who can only push to a repository, from the hub itself and from the
// Kustomizations of others. It is no isolation between workloads: ClusterRoleBindings, webhooks and
// objects in other namespaces are not refused.
type Tenancy struct {
	// Namespace is that of the Kustomization.
	Namespace string
	// Hub is the namespace that the hub is installed in.
	Hub string
}

// hubRights are the names of the hub's own ClusterRoles and ClusterRoleBindings.
var hubRights = []string{"skerry-hub", "skerry-hub-apply"}

// Refuses says why the Kustomization may not have an object on the hub's own cluster, or "". A
// Kustomization in the hub's own namespace may have any: who writes there is the hub's administrator.
func (t Tenancy) Refuses(id object.ID) string {
	const which = ", which only a Kustomization in that namespace may change"
	_, definedGroup, _ := strings.Cut(id.Name, ".") // of "kustomizations.skerry.dev", "v1alpha1.skerry.dev"
	switch {
	case t.isHub(t.Namespace):
		return ""
	case t.isHub(id.Namespace):
		return "is in the hub's namespace " + id.Namespace + which
	case id.Group == "" && id.Kind == "Namespace" && t.isHub(id.Name):
		return "is the hub's namespace" + which
	case id.Group == v1alpha1.Group && id.Namespace != t.Namespace:
		return "is of a kind of Skerry and in another namespace than its Kustomization"
	case id.Group == "apiextensions.k8s.io" && definedGroup == v1alpha1.Group,
		id.Group == "apiregistration.k8s.io" && definedGroup == v1alpha1.Group:
		return "defines a kind of Skerry, which only a Kustomization in the hub's namespace may do"
	case id.Group == "rbac.authorization.k8s.io" && strings.HasPrefix(id.Kind, "ClusterRole") && slices.Contains(hubRights, id.Name):
		return "is one of the hub's own rights, which only a Kustomization in the hub's namespace may change"
	}
	return ""
}

// isHub says whether a namespace is one of the hub: the one that it is installed in, or the one in which
// it keeps claims and inventories on every cluster.
func (t Tenancy) isHub(namespace string) bool {
	return namespace != "" && (namespace == t.Hub || namespace == v1alpha1.SystemNamespace)
}
