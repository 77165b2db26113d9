package hubapi

import (
	"fmt"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// TestAFailedTestOfAPatchIsToldFromAnInvalidObject: the API server makes both errors as they are made here.
func TestAFailedTestOfAPatchIsToldFromAnInvalidObject(t *testing.T) {
	kind := schema.GroupKind{Group: "skerry.dev", Kind: "Assignment"}
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"a test that failed": {fmt.Errorf("cannot write: %w", apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", "testing value /metadata/uid failed", 0, false)), true},
		"an invalid object":  {apierrors.NewInvalid(kind, "a", field.ErrorList{field.TooMany(field.NewPath("status", "entries"), 9, 8)}), false},
		"a conflict":         {apierrors.NewConflict(schema.GroupResource{}, "a", nil), false},
		"none":               {nil, false},
	} {
		if got := isPatchTestFailed(tt.err); got != tt.want {
			t.Errorf("%s: %t, want %t", name, got, tt.want)
		}
	}
}
