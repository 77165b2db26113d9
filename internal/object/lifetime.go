package object

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// Labels and annotations that keep an object from being deleted: Skerry's own, Flux's (both read labels
// and annotations alike, as Flux does), and the sync options of Argo CD.
const (
	PruneKey     = "skerry.dev/prune"
	fluxPruneKey = "kustomize.toolkit.fluxcd.io/prune"
	argoOptions  = "argocd.argoproj.io/sync-options"

	disabled = "disabled"
)

// PruneDisabled reports whether the labels and annotations of an object ask that it is never deleted.
//
// One that asks not to be reconciled is not deleted either, as in Flux.
//
// Argo CD distinguishes pruning (Prune) from the removal of the whole (Delete), and can ask a person (confirm).
// Each of them keeps the object here: a user that wrote one of them has data to lose.
func PruneDisabled(labels, annotations map[string]string) bool {
	for _, key := range append([]string{PruneKey, fluxPruneKey}, reconcileKeys[:]...) {
		if strings.EqualFold(labels[key], disabled) || strings.EqualFold(annotations[key], disabled) {
			return true
		}
	}
	for option := range strings.SplitSeq(annotations[argoOptions], ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(option), "=")
		if (name == "Prune" || name == "Delete") && (value == "false" || value == "confirm") {
			return true
		}
	}
	return false
}

// markers occur in the metadata of every object that PruneDisabled is true of.
var markers = [][]byte{[]byte("/prune"), []byte("/reconcile"), []byte("/sync-options")}

// pruneDisabled reads metadata as it stands in a body. Most objects have none of the keys, and are not
// decoded for it.
func pruneDisabled(labels, annotations json.RawMessage) bool {
	if !slices.ContainsFunc(markers, func(m []byte) bool { return bytes.Contains(labels, m) || bytes.Contains(annotations, m) }) {
		return false
	}
	return PruneDisabled(stringsOf(labels), stringsOf(annotations))
}

// stringsOf returns the strings of an object of JSON.
func stringsOf(raw json.RawMessage) map[string]string {
	var m map[string]any
	if json.Unmarshal(raw, &m) != nil {
		return nil
	}
	return stringValues(m)
}

func stringValues(m map[string]any) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		if s, ok := v.(string); ok {
			out[k] = s
		}
	}
	return out
}

// removedWhenFinished reports whether Kubernetes removes the object some time after its work is done.
func removedWhenFinished(id ID, ttl func() any) bool {
	return id.Group == "batch" && id.Kind == "Job" && ttl() != nil
}

// builtIns are objects that come with every cluster: the API server refuses to delete them, or they
// come back by themselves, and until then their users are without. The namespace of Skerry's
// inventories is one of them: with it, what each Kustomization has on the cluster would be forgotten.
var builtIns = map[ID]bool{
	{Kind: "Namespace", Name: "default"}:                                                           true,
	{Kind: "Namespace", Name: "kube-system"}:                                                       true,
	{Kind: "Namespace", Name: "kube-public"}:                                                       true,
	{Kind: "Namespace", Name: "kube-node-lease"}:                                                   true,
	{Kind: "Namespace", Name: "skerry-system"}:                                                     true,
	{Kind: "Service", Namespace: "default", Name: "kubernetes"}:                                    true,
	{Kind: "Endpoints", Namespace: "default", Name: "kubernetes"}:                                  true,
	{Kind: "ConfigMap", Namespace: "kube-system", Name: "extension-apiserver-authentication"}:      true,
	{Group: "scheduling.k8s.io", Kind: "PriorityClass", Name: "system-cluster-critical"}:           true,
	{Group: "scheduling.k8s.io", Kind: "PriorityClass", Name: "system-node-critical"}:              true,
	{Group: "flowcontrol.apiserver.k8s.io", Kind: "FlowSchema", Name: "exempt"}:                    true,
	{Group: "flowcontrol.apiserver.k8s.io", Kind: "FlowSchema", Name: "catch-all"}:                 true,
	{Group: "flowcontrol.apiserver.k8s.io", Kind: "PriorityLevelConfiguration", Name: "exempt"}:    true,
	{Group: "flowcontrol.apiserver.k8s.io", Kind: "PriorityLevelConfiguration", Name: "catch-all"}: true,
	{Group: "networking.k8s.io", Kind: "ServiceCIDR", Name: "kubernetes"}:                          true,
	{Group: "discovery.k8s.io", Kind: "EndpointSlice", Namespace: "default", Name: "kubernetes"}:   true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "cluster-admin"}:               true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "admin"}:                       true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "edit"}:                        true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "view"}:                        true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding", Name: "cluster-admin"}:        true,
}

// bootstrapped are labels that the control plane puts on what it makes and makes again.
var bootstrapped = map[string]string{
	"kubernetes.io/bootstrapping":               "rbac-defaults",
	"kube-aggregator.kubernetes.io/automanaged": "onstart",
}

// builtIn reports whether an object belongs to the cluster, and is in Git only to carry a label, say.
func builtIn(id ID, labels map[string]string) bool {
	switch {
	case builtIns[id]:
		return true
	case id.Group == "" && id.Kind == "ServiceAccount":
		return id.Name == "default" // its Pods would lose their tokens
	case id.Group == "" && id.Kind == "ConfigMap":
		return id.Name == "kube-root-ca.crt"
	case id.Group == "apiextensions.k8s.io" && id.Kind == "CustomResourceDefinition":
		return strings.HasSuffix(id.Name, ".skerry.dev") // every Kustomization of the hub would go with it
	}
	for key, value := range bootstrapped {
		if labels[key] == value {
			return true
		}
	}
	return false
}

// Keep explains why an object is never deleted; "" where it may be.
type Keep string

// Reasons.
const (
	// KeepPruneDisabled: a label or an annotation asks for it.
	KeepPruneDisabled Keep = "prune is disabled for it"
	// KeepBuiltIn: the object belongs to the cluster.
	KeepBuiltIn Keep = "it belongs to the cluster"
)

// KeepOf reports whether an object is never deleted, by its identity and its metadata on the cluster.
func KeepOf(id ID, labels, annotations map[string]string) Keep {
	switch {
	case PruneDisabled(labels, annotations):
		return KeepPruneDisabled
	case builtIn(id, labels):
		return KeepBuiltIn
	}
	return ""
}
