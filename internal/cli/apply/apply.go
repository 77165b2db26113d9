// Package apply brings manifests onto a cluster from the command line, by server-side apply.
//
// It promises that a second run with the same manifests writes nothing, and that it can be stopped
// between any two writes and started again.
package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/ssa"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
)

// FieldManager is the command line's.
const FieldManager = "skerry-cli"

// Result is what an apply did.
type Result string

// Results.
const (
	Created   Result = "created"
	Changed   Result = "changed"
	Unchanged Result = "unchanged"
)

// Object applies one manifest with force. Whether it changes anything is asked of the API server by
// a dry run first: an apply that changes nothing else would still note its manager and time, and
// fight with the manager of the object from then on. Here, unlike in the engine, requests are few and
// may be many, so Flux's resource manager serves.
func Object(ctx context.Context, c client.Client, manifest *unstructured.Unstructured) (Result, error) {
	manager := ssa.NewResourceManager(c, nil, ssa.Owner{Field: FieldManager, Group: v1alpha1.Group})
	entry, err := manager.Apply(ctx, manifest.DeepCopy(), ssa.DefaultApplyOptions())
	if err != nil {
		return "", fmt.Errorf("cannot apply %s: %w", Name(manifest), err)
	}
	switch entry.Action {
	case ssa.CreatedAction:
		return Created, nil
	case ssa.UnchangedAction:
		return Unchanged, nil
	default:
		return Changed, nil
	}
}

// HandOver takes the command line's name off an object that the hub keeps, so that what goes from
// Git goes from the object too: a field with two managers stays when one of them lets go. It changes
// no field. It returns false when the hub does not keep the object, which is then left as it is.
func HandOver(ctx context.Context, c client.Client, manifest *unstructured.Unstructured, hubManager string) (bool, error) {
	live := &metav1.PartialObjectMetadata{}
	live.SetGroupVersionKind(manifest.GroupVersionKind())
	if err := c.Get(ctx, client.ObjectKeyFromObject(manifest), live); err != nil {
		return false, fmt.Errorf("cannot read %s: %w", Name(manifest), err)
	}
	var kept []metav1.ManagedFieldsEntry
	ours, hubs := false, false
	for _, entry := range live.GetManagedFields() {
		applied := entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == ""
		hubs = hubs || applied && entry.Manager == hubManager
		if applied && entry.Manager == FieldManager {
			ours = true
			continue
		}
		kept = append(kept, entry)
	}
	if !ours || !hubs {
		return hubs, nil
	}
	if err := setManagers(ctx, c, live, kept); err != nil {
		return false, fmt.Errorf("cannot hand %s over to the hub: %w", Name(manifest), err)
	}
	return true, nil
}

// GiveBack puts another manager in the place of the hub on an object that the hub has let go of: what the two had both
// would stay when it goes from the other's manifests. It changes no field.
func GiveBack(ctx context.Context, c client.Client, live *metav1.PartialObjectMetadata, manager string) error {
	if live.Labels[v1alpha1.OwnerLabel] != "" {
		return nil
	}
	applied := func(e *metav1.ManagedFieldsEntry) bool {
		return e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
	}
	var kept []metav1.ManagedFieldsEntry
	has := slices.ContainsFunc(live.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return applied(&e) && e.Manager == manager })
	changed := false
	for _, e := range live.ManagedFields {
		if applied(&e) && object.IsFieldManager(e.Manager) {
			if changed = true; has {
				continue
			}
			e.Manager, has = manager, true
		}
		kept = append(kept, e)
	}
	if !changed {
		return nil
	}
	return setManagers(ctx, c, live, kept)
}

// setManagers writes who manages which fields of an object, at the version at which that was read.
func setManagers(ctx context.Context, c client.Client, live *metav1.PartialObjectMetadata, to []metav1.ManagedFieldsEntry) error {
	body, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()},
		{"op": "replace", "path": "/metadata/managedFields", "value": to},
	})
	if err != nil {
		return fmt.Errorf("cannot encode a patch: %w", err)
	}
	return c.Patch(ctx, live, client.RawPatch(types.JSONPatchType, body), client.FieldOwner(FieldManager))
}

// Name is how a person calls an object: "deployment skerry-system/skerry-hub".
func Name(o *unstructured.Unstructured) string {
	name := strings.ToLower(o.GetKind()) + " "
	if o.GetNamespace() != "" {
		name += o.GetNamespace() + "/"
	}
	return name + o.GetName()
}

// FromTyped turns an object of a known kind into a manifest, without the empty fields that only Go
// has.
func FromTyped(c *runtime.Scheme, o client.Object) (*unstructured.Unstructured, error) {
	kinds, _, err := c.ObjectKinds(o)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %T: %w", o, err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %T: %w", o, err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(kinds[0])
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(u.Object, "status")
	return u, nil
}

// YAML writes manifests as one stream.
func YAML(manifests []*unstructured.Unstructured) ([]byte, error) {
	var out bytes.Buffer
	for _, m := range manifests {
		doc, err := yaml.Marshal(m.Object)
		if err != nil {
			return nil, fmt.Errorf("cannot write %s as YAML: %w", Name(m), err)
		}
		out.WriteString("---\n")
		out.Write(doc)
	}
	return out.Bytes(), nil
}
