// Package components renders the manifests of the hub for one installation. Same options, same
// bytes.
package components

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/skerry-dev/skerry/config"
)

// Repository is where released images of the hub are.
const Repository = "ghcr.io/skerry-dev/skerry-hub"

const (
	hubIDFlag      = "--hub-id="
	agentImageFlag = "--agent-image="
)

// HubIDAnnotation keeps the hub's identity in Git, and on the Kustomization by which the hub keeps itself, also where
// no Deployment does.
const HubIDAnnotation = "skerry.dev/hub-id"

// Options are how this hub differs from what config/ holds.
type Options struct {
	// Version is the tag of the image, and stands on every object. "" leaves both as they are.
	Version string
	// Image replaces the whole name of the image; "" is Repository with Version as tag.
	Image string
	// Registry takes the place of the one in Repository, for a copy of the image; Image overrides it.
	Registry string
	// ImagePullSecret names a Secret in the hub's namespace with the credentials of a registry.
	ImagePullSecret string
	// TolerationKeys are taints of nodes that the hub's Pods tolerate.
	TolerationKeys []string
	// HubID is the hub's identity; "" leaves it to the hub, which takes its cluster's uid.
	HubID string
	// CRDsOnly leaves only the kinds and the namespace, for a hub that runs elsewhere.
	CRDsOnly bool
	// NotOwnCluster leaves out the right to apply onto the hub's own cluster.
	NotOwnCluster bool
	// Components are those of Default that are installed beside the hub itself; all when it is nil. Extra are those
	// of Extras that are.
	Components, Extra []string
}

// Render returns the manifests in the order in which they are applied.
func Render(o Options) ([]*unstructured.Unstructured, error) {
	if err := o.CheckParts(); err != nil {
		return nil, err
	}
	all, err := o.build()
	if err != nil {
		return nil, fmt.Errorf("cannot render the hub's manifests: %w", err)
	}
	without := o.without()
	var out []*unstructured.Unstructured
	for _, m := range all {
		if slices.ContainsFunc(without, func(p part) bool { return p.is(m) }) {
			continue
		}
		if o.CRDsOnly && m.GetKind() != "CustomResourceDefinition" && m.GetKind() != "Namespace" {
			continue
		}
		if o.NotOwnCluster && m.GetKind() == "ClusterRoleBinding" && m.GetName() == "skerry-hub-apply" {
			continue
		}
		if o.Version != "" {
			labels := m.GetLabels()
			labels["app.kubernetes.io/version"] = labelValue(o.Version)
			m.SetLabels(labels)
		}
		if m.GetKind() == "Deployment" {
			if err := adapt(m, o); err != nil {
				return nil, err
			}
		}
		if err := takeOut(m, without); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// image is the name of the image that the options lead to; "" leaves the one of config/.
func (o Options) image() string {
	switch {
	case o.Image != "":
		return o.Image
	case o.Version != "":
		return o.copied(Repository) + ":" + o.Version
	}
	return ""
}

// copied is a repository of released images, in the registry that has a copy of it.
func (o Options) copied(repository string) string {
	if o.Registry == "" {
		return repository
	}
	return strings.TrimSuffix(o.Registry, "/") + repository[strings.LastIndex(repository, "/"):]
}

// agentImage is the image at which the hub keeps agents, where it is not the one that the hub knows by its version.
func (o Options) agentImage() string {
	if o.Registry == "" || o.Version == "" {
		return ""
	}
	return o.copied(AgentRepository) + ":" + o.Version
}

// HubID returns the identity that the manifests give the hub, "" when they leave it to the hub.
func HubID(manifests []*unstructured.Unstructured) string { return HubFlag(manifests, hubIDFlag) }

// HubFlag returns the value that the manifests give a flag of the hub, as "--hub-id="; "" when they do not have it. Of
// several the last one holds.
func HubFlag(manifests []*unstructured.Unstructured, flag string) string {
	value := ""
	for _, m := range manifests {
		if m.GetKind() != "Deployment" || m.GetName() != "skerry-hub" {
			continue
		}
		containers, _, _ := unstructured.NestedSlice(m.Object, "spec", "template", "spec", "containers")
		for _, c := range containers {
			container, _ := c.(map[string]any)
			args, _, _ := unstructured.NestedStringSlice(container, "args")
			for _, arg := range args {
				if given, ok := strings.CutPrefix(arg, flag); ok {
					value = given
				} else if arg == strings.TrimSuffix(flag, "=") {
					value = "true"
				}
			}
		}
	}
	return value
}

func adapt(deployment *unstructured.Unstructured, o Options) error {
	containers, _, err := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		return fmt.Errorf("the hub's Deployment has %d containers, not one (%w)", len(containers), err)
	}
	container, ok := containers[0].(map[string]any)
	if !ok {
		return fmt.Errorf("the hub's container is a %T", containers[0])
	}
	if image := o.image(); image != "" {
		container["image"] = image
	}
	if err := errors.Join(setFlag(container, hubIDFlag, o.HubID), setFlag(container, agentImageFlag, o.agentImage())); err != nil {
		return err
	}
	if err := unstructured.SetNestedSlice(deployment.Object, containers, "spec", "template", "spec", "containers"); err != nil {
		return fmt.Errorf("cannot write the hub's container: %w", err)
	}
	return schedule(deployment, o)
}

// setFlag gives the hub's container a flag, in place of the one that it has; an empty value changes nothing.
func setFlag(container map[string]any, flag, value string) error {
	if value == "" {
		return nil
	}
	args, _, err := unstructured.NestedStringSlice(container, "args")
	if err != nil {
		return fmt.Errorf("cannot read the hub's arguments: %w", err)
	}
	args = slices.DeleteFunc(args, func(a string) bool { return strings.HasPrefix(a, flag) })
	if err := unstructured.SetNestedStringSlice(container, append(args, flag+value), "args"); err != nil {
		return fmt.Errorf("cannot write the hub's arguments: %w", err)
	}
	return nil
}

// schedule sets how the Pods get their image and where they may run.
func schedule(deployment *unstructured.Unstructured, o Options) error {
	if o.ImagePullSecret != "" {
		secrets := []any{map[string]any{"name": o.ImagePullSecret}}
		if err := unstructured.SetNestedSlice(deployment.Object, secrets, "spec", "template", "spec", "imagePullSecrets"); err != nil {
			return fmt.Errorf("cannot write the hub's imagePullSecrets: %w", err)
		}
	}
	var tolerations []any
	for _, key := range o.TolerationKeys {
		tolerations = append(tolerations, map[string]any{"key": key, "operator": "Exists"})
	}
	if len(tolerations) == 0 {
		return nil
	}
	if err := unstructured.SetNestedSlice(deployment.Object, tolerations, "spec", "template", "spec", "tolerations"); err != nil {
		return fmt.Errorf("cannot write the hub's tolerations: %w", err)
	}
	return nil
}

// labelValue makes a version fit for a label: "v1.2.3+dirty" has a sign that labels do not.
func labelValue(version string) string {
	ok := func(r rune) rune {
		if r == '-' || r == '.' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}
	version = strings.Map(ok, version)
	return strings.Trim(version[:min(len(version), 63)], "-._")
}

// build runs kustomize over one of the embedded bases.
func build(base string) ([]*unstructured.Unstructured, error) {
	disk := filesys.MakeFsInMemory()
	err := fs.WalkDir(config.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(config.FS, name)
		if err != nil {
			return err
		}
		return disk.WriteFile("/"+name, data)
	})
	if err != nil {
		return nil, err
	}
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy
	resources, err := krusty.MakeKustomizer(options).Run(disk, base)
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for _, r := range resources.Resources() {
		// Through JSON: kustomize's numbers are ints, those of manifests are int64.
		body, err := r.MarshalJSON()
		if err != nil {
			return nil, err
		}
		m := &unstructured.Unstructured{}
		if err := m.UnmarshalJSON(body); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}
