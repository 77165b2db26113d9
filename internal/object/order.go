package object

import (
	"cmp"
	"slices"
	"strings"
)

// The stages in which the objects of a bundle are applied. CRDs of the first are waited for until
// they are established before the second begins.
const (
	// StageDefinitions holds what other objects need in order to exist at all.
	StageDefinitions = 0
	// StageRest holds everything else.
	StageRest = 1
)

// definitions are the kinds of StageDefinitions. Only kinds of built-in API groups: a GatewayClass
// or VolumeSnapshotClass is a custom resource, whose CRD may come with the very same bundle.
var definitions = []string{
	"CustomResourceDefinition",
	"Namespace",
	"RuntimeClass",
	"PriorityClass",
	"StorageClass",
	"VolumeAttributesClass",
	"IngressClass",
	"DeviceClass",
}

// early lists the kinds that others refer to, in the order in which they are applied.
var early = slices.Concat(definitions, []string{
	"ClusterRole",
	"ClusterRoleBinding",
	"ResourceQuota",
	"LimitRange",
	"ServiceAccount",
	"Role",
	"RoleBinding",
	"ConfigMap",
	"Secret",
	"PersistentVolume",
	"PersistentVolumeClaim",
	"Service",
	"Deployment",
	"StatefulSet",
	"DaemonSet",
	"Job",
	"CronJob",
	"PodDisruptionBudget",
})

// late lists the kinds that can refuse other objects, and so come after them.
var late = []string{
	"MutatingAdmissionPolicy",
	"MutatingAdmissionPolicyBinding",
	"ValidatingAdmissionPolicy",
	"ValidatingAdmissionPolicyBinding",
	"MutatingWebhookConfiguration",
	"ValidatingWebhookConfiguration",
}

var (
	ranks  = makeRanks()
	stages = makeStages()
)

// makeRanks numbers early kinds below zero and late kinds above; everything else is zero.
func makeRanks() map[string]int {
	r := make(map[string]int, len(early)+len(late))
	for i, kind := range early {
		r[kind] = i - len(early)
	}
	for i, kind := range late {
		r[kind] = i + 1
	}
	return r
}

func makeStages() map[string]bool {
	s := make(map[string]bool, len(definitions))
	for _, kind := range definitions {
		s[kind] = true
	}
	return s
}

// Stage returns the stage in which the object is applied: StageDefinitions or StageRest.
func Stage(id ID) int {
	if stages[id.Kind] && isBuiltIn(id.Group) {
		return StageDefinitions
	}
	return StageRest
}

// Order compares two objects by when they are applied: by stage, then kinds that others refer to
// first and webhooks last, then by ID. It is total: only equal IDs compare as 0.
func Order(a, b ID) int {
	return cmp.Or(cmp.Compare(Stage(a), Stage(b)), cmp.Compare(rank(a), rank(b)), a.Compare(b))
}

func rank(id ID) int {
	if !isBuiltIn(id.Group) {
		return 0
	}
	return ranks[id.Kind]
}

// builtInGroups are the groups with a dot that come with Kubernetes. Others below k8s.io, such as
// gateway.networking.k8s.io, come with CRDs.
var builtInGroups = []string{
	"admissionregistration.k8s.io",
	"apiextensions.k8s.io",
	"apiregistration.k8s.io",
	"certificates.k8s.io",
	"coordination.k8s.io",
	"discovery.k8s.io",
	"events.k8s.io",
	"flowcontrol.apiserver.k8s.io",
	"networking.k8s.io",
	"node.k8s.io",
	"rbac.authorization.k8s.io",
	"resource.k8s.io",
	"scheduling.k8s.io",
	"storage.k8s.io",
	"storagemigration.k8s.io",
}

// BuiltIn returns whether an API group comes with Kubernetes, and not with a definition.
func BuiltIn(group string) bool { return isBuiltIn(group) }

// isBuiltIn reports whether an API group comes with Kubernetes: "", "apps", "storage.k8s.io".
func isBuiltIn(group string) bool {
	return !strings.Contains(group, ".") || slices.Contains(builtInGroups, group)
}
