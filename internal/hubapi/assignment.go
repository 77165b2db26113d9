package hubapi

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// PatchEntries replaces the entries of an Assignment, provided that its spec is still the one that was read, and fails with
// a conflict otherwise. Writes of the status, which are many, do not stand in its way, as they would with a
// resourceVersion. On success have is what the API server has.
//
// The managed fields of the Assignment are removed with the same write, as the documentation of server-side apply says
// under "Clearing managedFields": only the hub writes Assignments, and none of them by server-side apply. An API server
// that finds none does not record any at later updates either. With 50 entries they are most of the object, which each
// write of a status compares, encodes and sends to every watch.
func PatchEntries(ctx context.Context, hub Hub, have *v1alpha1.Assignment, entries []v1alpha1.AssignmentEntry) error {
	data, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": have.UID},
		{"op": "test", "path": "/metadata/generation", "value": have.Generation},
		{"op": "add", "path": "/metadata/managedFields", "value": []metav1.ManagedFieldsEntry{{}}},
		{"op": "add", "path": "/spec", "value": v1alpha1.AssignmentSpec{Entries: entries}},
	})
	if err != nil {
		return fmt.Errorf("cannot encode Assignment: %w", err)
	}
	name := have.Name
	if err := hub.Patch(ctx, have, client.RawPatch(types.JSONPatchType, data)); err != nil {
		return fmt.Errorf("cannot write Assignment: %w", ConflictOfTest(name, err))
	}
	return nil
}

// ConflictOfTest returns the error of a JSON patch of an Assignment: a conflict in place of the failure of an operation
// "test", which means that the object is not the one that was read.
func ConflictOfTest(name string, err error) error {
	if isPatchTestFailed(err) {
		return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("assignments").GroupResource(), name, err)
	}
	return err
}
