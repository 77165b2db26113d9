package fleetsim

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kind is a kind that is served, the same for all edges that serve it.
type kind struct {
	gvk        schema.GroupVersionKind
	apiVersion string
	resource   string
	singular   string
	short      []string
	namespaced bool
	// status says that the status belongs to a subresource: who writes the object cannot change it.
	status bool
	// counted says that changes of the spec are counted in metadata.generation.
	counted bool
	// returned says that a delete answers with the object and not with a Status.
	returned bool
	// custom kinds come from a definition.
	custom bool
	fields *fields
}

func (k *kind) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.gvk.Group, Resource: k.resource}
}

func (k *kind) is(group, name string) bool { return k.gvk.Group == group && k.gvk.Kind == name }

// path of the group and version, as discovery has it.
func gvPath(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.Group + "/" + gv.Version
}

const (
	inNamespace = 1 << iota
	hasStatus
	hasGeneration
	isReturned
)

// builtin is what every edge serves: the kinds that people put into Git, one version of each.
var builtin = []struct {
	group, version string
	kinds          []builtinKind
}{
	{"", "v1", []builtinKind{
		{"ConfigMap", "configmaps", "cm", inNamespace},
		{"Secret", "secrets", "", inNamespace},
		{"ServiceAccount", "serviceaccounts", "sa", inNamespace | isReturned},
		{"Service", "services", "svc", inNamespace | hasStatus | isReturned},
		{"Namespace", "namespaces", "ns", hasStatus},
		{"Pod", "pods", "po", inNamespace | hasStatus | isReturned},
		{"PersistentVolumeClaim", "persistentvolumeclaims", "pvc", inNamespace | hasStatus | isReturned},
		{"LimitRange", "limitranges", "limits", inNamespace},
		{"ResourceQuota", "resourcequotas", "quota", inNamespace | hasStatus | isReturned},
		{"Node", "nodes", "no", hasStatus},
		{"Event", "events", "ev", inNamespace},
	}},
	{"apps", "v1", []builtinKind{
		{"Deployment", "deployments", "deploy", inNamespace | hasStatus | hasGeneration},
		{"StatefulSet", "statefulsets", "sts", inNamespace | hasStatus | hasGeneration},
		{"DaemonSet", "daemonsets", "ds", inNamespace | hasStatus | hasGeneration},
		{"ReplicaSet", "replicasets", "rs", inNamespace | hasStatus | hasGeneration},
	}},
	{"batch", "v1", []builtinKind{
		{"Job", "jobs", "", inNamespace | hasStatus | hasGeneration},
		{"CronJob", "cronjobs", "cj", inNamespace | hasStatus | hasGeneration},
	}},
	{"networking.k8s.io", "v1", []builtinKind{
		{"Ingress", "ingresses", "ing", inNamespace | hasStatus | hasGeneration},
		{"NetworkPolicy", "networkpolicies", "netpol", inNamespace | hasGeneration},
		{"IngressClass", "ingressclasses", "", hasGeneration},
	}},
	{"rbac.authorization.k8s.io", "v1", []builtinKind{
		{"Role", "roles", "", inNamespace},
		{"RoleBinding", "rolebindings", "", inNamespace},
		{"ClusterRole", "clusterroles", "", 0},
		{"ClusterRoleBinding", "clusterrolebindings", "", 0},
	}},
	{"autoscaling", "v2", []builtinKind{
		{"HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa", inNamespace | hasStatus},
	}},
	{"policy", "v1", []builtinKind{
		{"PodDisruptionBudget", "poddisruptionbudgets", "pdb", inNamespace | hasStatus | hasGeneration},
	}},
	{"scheduling.k8s.io", "v1", []builtinKind{{"PriorityClass", "priorityclasses", "pc", hasGeneration}}},
	{"storage.k8s.io", "v1", []builtinKind{{"StorageClass", "storageclasses", "sc", 0}}},
	{"coordination.k8s.io", "v1", []builtinKind{{"Lease", "leases", "", inNamespace}}},
	{"apiregistration.k8s.io", "v1", []builtinKind{{"APIService", "apiservices", "", hasStatus}}},
	{"apiextensions.k8s.io", "v1", []builtinKind{
		{"CustomResourceDefinition", "customresourcedefinitions", "crd", hasStatus | hasGeneration},
	}},
}

type builtinKind struct {
	kind, resource, short string
	traits                int
}

// registry is a set of kinds by where they are served. One that is in use is never changed.
type registry struct {
	versions map[string]map[string]*kind // path of the group and version → resource
	order    []schema.GroupVersion
}

func (r *registry) find(path, resource string) *kind { return r.versions[path][resource] }

// builtins are the kinds of every edge. They can be found by name for the simulated controllers.
type builtins struct {
	registry

	configMap, namespace, definition *kind
}

func newBuiltins() (*builtins, error) {
	b := &builtins{registry: registry{versions: map[string]map[string]*kind{}}}
	converter := builtinTypes()
	for _, g := range builtin {
		gv := schema.GroupVersion{Group: g.group, Version: g.version}
		b.order = append(b.order, gv)
		resources := map[string]*kind{}
		for _, bk := range g.kinds {
			k := &kind{
				gvk: gv.WithKind(bk.kind), apiVersion: gv.String(), resource: bk.resource, singular: singular(bk.kind),
				namespaced: bk.traits&inNamespace != 0, status: bk.traits&hasStatus != 0, counted: bk.traits&hasGeneration != 0,
				returned: bk.traits&isReturned != 0,
			}
			if bk.short != "" {
				k.short = []string{bk.short}
			}
			var err error
			if k.fields, err = newFields(k, converter); err != nil {
				return nil, err
			}
			resources[bk.resource] = k
		}
		b.versions[gvPath(gv)] = resources
	}
	b.configMap = b.find("/api/v1", "configmaps")
	b.namespace = b.find("/api/v1", "namespaces")
	b.definition = b.find("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions")
	return b, nil
}

func singular(kind string) string {
	b := []byte(kind)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// blank is an object of the kind with nothing in it.
func (k *kind) blank() *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(k.gvk)
	return u
}
