package components

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// AgentRepository is where released images of the agent are.
const AgentRepository = "ghcr.io/skerry-dev/skerry-agent"

// AgentName is the name of the agent's Deployment, and of what belongs to it.
const AgentName = "skerry-agent"

// AgentOptions are how the agent of one cluster differs from what config/agent holds.
type AgentOptions struct {
	// Version is the tag of the image; "" leaves it as it is.
	Version string
	// Image replaces the whole name of the image; "" is AgentRepository with Version as tag.
	Image string
	// Namespaces are those into which the agent may write; empty for everything. It may read all of the cluster in
	// either case, for it watches by kind.
	Namespaces []string
	// Storage is the size of a PersistentVolumeClaim for the agent's disk; "" for a volume that goes with the Pod.
	Storage string
	// Proxy is the URL of the HTTP(S) proxy through which the agent reaches its gateway; "" for none.
	Proxy string
	// CA are the authorities, in PEM, by which the agent verifies the certificate in front of the gateway; "" for the
	// public ones.
	CA string
}

// RenderAgent returns the manifests of an agent in the order in which they are applied.
func RenderAgent(o AgentOptions) ([]*unstructured.Unstructured, error) {
	all, err := build("/agent")
	if err != nil {
		return nil, fmt.Errorf("cannot render the agent's manifests: %w", err)
	}
	out := make([]*unstructured.Unstructured, 0, len(all)+4)
	for _, m := range all {
		switch m.GetKind() {
		case "Deployment":
			if err := adaptAgent(m, o); err != nil {
				return nil, fmt.Errorf("cannot adapt the agent's Deployment: %w", err)
			}
		case "ClusterRoleBinding":
			if len(o.Namespaces) > 0 {
				if err := unstructured.SetNestedField(m.Object, AgentName, "roleRef", "name"); err != nil {
					return nil, err
				}
				out = append(out, namespacedRights(m, o.Namespaces)...)
			}
		}
		out = append(out, m)
	}
	volumes, err := volumesOf(o)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(out, func(m *unstructured.Unstructured) bool { return m.GetKind() == "Deployment" })
	return slices.Insert(out, max(at, 0), volumes...), nil
}

// volumesOf returns what the Deployment mounts.
func volumesOf(o AgentOptions) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	if o.CA != "" {
		out = append(out, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{"name": AgentName, "namespace": v1alpha1.SystemNamespace, "labels": map[string]any{"app.kubernetes.io/name": AgentName}},
			"data":     map[string]any{"ca.crt": o.CA},
		}})
	}
	if o.Storage == "" {
		return out, nil
	}
	claim, err := storageClaim(o.Storage)
	return append(out, claim), err
}

// namespacedRights are a role that reads everything and deletes its own binding, and bindings to cluster-admin in
// the namespaces and in the agent's own.
func namespacedRights(like *unstructured.Unstructured, namespaces []string) []*unstructured.Unstructured {
	const group = "rbac.authorization.k8s.io"
	labels := map[string]any{"app.kubernetes.io/name": AgentName}
	list := func(items ...string) []any {
		out := make([]any, len(items))
		for i, s := range items {
			out[i] = s
		}
		return out
	}
	out := []*unstructured.Unstructured{{Object: map[string]any{
		"apiVersion": group + "/v1", "kind": "ClusterRole", "metadata": map[string]any{"name": AgentName, "labels": labels},
		"rules": []any{
			map[string]any{"apiGroups": list("*"), "resources": list("*"), "verbs": list("get", "list", "watch")},
			map[string]any{"apiGroups": list(group), "resources": list("clusterrolebindings", "clusterroles"), "resourceNames": list(AgentName), "verbs": list("patch", "delete")},
			map[string]any{"apiGroups": list(""), "resources": list("namespaces"), "resourceNames": list(v1alpha1.SystemNamespace), "verbs": list("patch")},
		},
	}}}
	namespaces = append([]string{v1alpha1.SystemNamespace}, namespaces...)
	slices.Sort(namespaces)
	for _, ns := range slices.Compact(namespaces) {
		out = append(out, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": group + "/v1", "kind": "RoleBinding", "metadata": map[string]any{"name": AgentName, "namespace": ns, "labels": labels},
			"roleRef":  map[string]any{"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
			"subjects": like.Object["subjects"],
		}})
	}
	return out
}

func storageClaim(size string) (*unstructured.Unstructured, error) {
	if _, err := resource.ParseQuantity(size); err != nil {
		return nil, fmt.Errorf("%q is no size like 1Gi", size)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "PersistentVolumeClaim",
		"metadata": map[string]any{"name": AgentName, "namespace": v1alpha1.SystemNamespace, "labels": map[string]any{"app.kubernetes.io/name": AgentName}},
		"spec":     map[string]any{"accessModes": []any{"ReadWriteOnce"}, "resources": map[string]any{"requests": map[string]any{"storage": size}}},
	}}, nil
}

func adaptAgent(deployment *unstructured.Unstructured, o AgentOptions) error {
	path := []string{"spec", "template", "spec", "containers"}
	containers, _, err := unstructured.NestedSlice(deployment.Object, path...)
	if err != nil || len(containers) != 1 {
		return fmt.Errorf("it has %d containers, not one (%w)", len(containers), err)
	}
	container, ok := containers[0].(map[string]any)
	if !ok {
		return fmt.Errorf("its container is a %T", containers[0])
	}
	switch {
	case o.Image != "":
		container["image"] = o.Image
	case o.Version != "":
		container["image"] = AgentRepository + ":" + o.Version
	}
	if len(o.Namespaces) > 0 { // what is elsewhere is refused before anything is sent
		args, _ := container["args"].([]any)
		container["args"] = append(args, "--namespaces="+strings.Join(slices.Compact(slices.Sorted(slices.Values(o.Namespaces))), ","))
	}
	if o.Proxy != "" {
		env, _ := container["env"].([]any)
		container["env"] = append(env, map[string]any{"name": "HTTPS_PROXY", "value": o.Proxy}, map[string]any{"name": "NO_PROXY", "value": "$(KUBERNETES_SERVICE_HOST),.svc"})
	}
	if o.CA != "" { // the image has no such folder, in which Go looks for authorities
		mounts, _ := container["volumeMounts"].([]any)
		container["volumeMounts"] = append(mounts, map[string]any{"name": "ca", "mountPath": "/etc/ssl/certs", "readOnly": true})
	}
	if err := unstructured.SetNestedSlice(deployment.Object, containers, path...); err != nil {
		return err
	}
	return adaptVolumes(deployment, o)
}

func adaptVolumes(deployment *unstructured.Unstructured, o AgentOptions) error {
	path := []string{"spec", "template", "spec", "volumes"}
	volumes, _, err := unstructured.NestedSlice(deployment.Object, path...)
	if err != nil {
		return err
	}
	if o.Storage != "" {
		// A volume that one node may mount: the old Pod lets go of it before the new one begins.
		if err := unstructured.SetNestedField(deployment.Object, map[string]any{"type": "Recreate"}, "spec", "strategy"); err != nil {
			return err
		}
		volumes = []any{map[string]any{"name": "data", "persistentVolumeClaim": map[string]any{"claimName": AgentName}}}
	}
	if o.CA != "" {
		volumes = append(volumes, map[string]any{"name": "ca", "configMap": map[string]any{"name": AgentName}})
	}
	return unstructured.SetNestedSlice(deployment.Object, volumes, path...)
}
