package drift

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/skerry-dev/skerry/internal/object"
)

func isOurs(e *metav1.ManagedFieldsEntry, manager string) bool {
	return e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
}

// tools are the field managers of people and of tools that deploy whole objects, in lower case: what
// they write is configuration, which is Git's alone. The name of a manager that is not set is the
// first word of the client's User-Agent. Controllers are not among them, nor is
// flux-client-side-apply, which Flux documents as the manager that may keep a change.
var tools = map[string]bool{
	"before-first-apply": true, // the API server's own name for what it found without managed fields
	"k9s":                true,
	"lens":               true, "openlens": true, "freelens": true, "node-fetch": true, // Lens
	"mozilla":   true, // dashboards in a browser
	"dashboard": true, "dashboard-api": true, "kubernetes-dashboard": true,
	"headlamp": true, "headlamp-server": true, "octant": true, "aptakube": true, "kubenav": true, "seabird": true,
	"portainer": true, "kuboard": true, "monokle": true,
	"oc": true, "curl": true, "postmanruntime": true, "insomnia": true, "httpie": true, "wget": true,
	"helm": true, "helm-controller": true,
	"kustomize-controller": true, "kustomize": true, // and not flux, with which the flux CLI suspends
	"fleetagent": true, "fleet-agent": true,
	"kapp": true, "kapp-server-side-apply": true, "kpt": true, "configsync": true,
	"tanka": true, "werf": true, "skaffold": true, "tilt": true, "kubecfg": true, "terraform": true, "hashicorp": true, "ansible": true,
}

// toolPrefixes begin the names of tools that write under several.
var toolPrefixes = []string{
	"kubectl", // -client-side-apply, -edit, -patch, -create, -replace, -set, -label, -annotate, -rollout
	"oc-",
	"argocd-",
	"pulumi-",
	"terraform-",
	"skerry.", // the former owner of an object that has changed hands
}

func isTool(manager string) bool {
	name := strings.ToLower(manager)
	return tools[name] || slices.ContainsFunc(toolPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// controlPlane are managers of the control plane, which own what they write, whatever Git has.
func controlPlane(manager string) bool {
	name := strings.ToLower(manager)
	return strings.HasPrefix(name, "kube-") || slices.Contains([]string{"k3s", "k0s", "kubelite", "rke2", "cloud-controller-manager"}, name)
}

// preserved reports whether a field stays with the manager that wrote it: what the API server or a controller
// decides, or what asks for a policy.
func preserved(p fieldpath.Path) bool {
	if len(p) > 2 && named(p[0], "metadata") && named(p[1], "annotations") && p[2].FieldName != nil &&
		slices.ContainsFunc(requestPrefixes, func(prefix string) bool { return strings.HasPrefix(*p[2].FieldName, prefix) }) {
		return true
	}
	return slices.ContainsFunc(preservedPaths, func(k []string) bool {
		if len(p) < len(k) {
			return false
		}
		for i, name := range k {
			if !named(p[i], name) {
				return false
			}
		}
		return true
	})
}

func named(e fieldpath.PathElement, name string) bool {
	return e.FieldName != nil && *e.FieldName == name
}

// requestPrefixes begin the annotations with which people ask a controller for something: to reconcile
// now, to allow a prune, to promote a rollout. An object that has one may come from Git itself.
var requestPrefixes = []string{"skerry.dev/", "reconcile.fluxcd.io/"}

var preservedPaths = func() [][]string {
	paths := [][]string{
		{"status"},
		{"metadata", "finalizers"},
		{"metadata", "ownerReferences"},
		{"spec", "replicas"},      // taking it out would scale to one
		{"spec", "unschedulable"}, // kubectl cordon
		{"spec", "volumeName"}, {"spec", "claimRef"}, {"spec", "clusterIP"}, {"spec", "clusterIPs"}, {"spec", "nodeName"},
		// kubectl rollout restart is an operation, and no configuration.
		{"spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"},
	}
	for _, key := range object.PolicyKeys() {
		paths = append(paths, []string{"metadata", "annotations", key}, []string{"metadata", "labels", key})
	}
	return paths
}()
