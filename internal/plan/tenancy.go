package plan

import (
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
)

// Tenancy is what bounds a Kustomization on one cluster, whatever the rights with which it is applied. It keeps
// a tenant, who can only push to a repository, from the hub itself, from what Skerry keeps on a cluster and from
// the Kustomizations of others. It is no isolation between workloads: ClusterRoleBindings, webhooks and objects
// in other namespaces are for the rights of the Kustomization's ServiceAccount to refuse.
type Tenancy struct {
	// Namespace is that of the Kustomization.
	Namespace string
	// Hub is the namespace that the hub is installed in, on its own cluster.
	Hub string
	// Cluster is the namespace of the Cluster, and Local means that it is the hub's own cluster.
	Cluster string
	Local   bool
	// Namespaces are those that the credentials of the Cluster reach; all when empty.
	Namespaces []string
	// RequireAccount means that the hub lends the rights of its credentials to no other namespace.
	RequireAccount bool
}

// AccountRequired is the message for a Kustomization without a ServiceAccount where it needs one.
const AccountRequired = "set spec.serviceAccountName to a ServiceAccount of the Kustomization's namespace on that cluster: the hub applies nothing there for other namespaces with rights of its own (--require-service-account)"

// ownRights are the names of the ClusterRoles and ClusterRoleBindings of the hub and of the agent.
var ownRights = []string{"skerry-hub", "skerry-hub-apply", "skerry-agent"}

// NeedsAccount reports whether the Kustomization is applied in the name of a ServiceAccount only: on the hub's own
// cluster, and on what another namespace shares with it. The edges of its own namespace are its own.
func (t *Tenancy) NeedsAccount() bool {
	return t.RequireAccount && t.Namespace != t.Hub && (t.Local || t.Cluster != t.Namespace)
}

// Refuses explains why the Kustomization may not have an object on the cluster, or "". A Kustomization in the hub's
// own namespace may have any: who writes there is the hub's administrator.
func (t *Tenancy) Refuses(id object.ID) string {
	const which = ", which only a Kustomization in the hub's namespace may change"
	_, definedGroup, _ := strings.Cut(id.Name, ".") // of "kustomizations.skerry.dev", "v1alpha1.skerry.dev"
	switch {
	case len(t.Namespaces) > 0 && !slices.Contains(t.Namespaces, id.Namespace):
		return "is outside of the namespaces that the credentials of the Cluster reach (its spec.namespaces, or --namespaces of its agent)"
	case t.Namespace == t.Hub || t.Namespace == v1alpha1.SystemNamespace:
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
	case id.Group == "rbac.authorization.k8s.io" && strings.HasPrefix(id.Kind, "ClusterRole") && slices.Contains(ownRights, id.Name):
		return "is one of the hub's own rights" + which
	}
	return ""
}

// isHub reports whether a namespace is one of the hub: the one in which it keeps claims and inventories on every
// cluster, or, on its own, the one that it is installed in.
func (t *Tenancy) isHub(namespace string) bool {
	return namespace != "" && (t.Local && namespace == t.Hub || namespace == v1alpha1.SystemNamespace)
}
