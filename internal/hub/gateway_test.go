package hub

import (
	"context"
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
)

// failing is a cache that answers with an error.
type failing struct {
	client.Reader
	err error
}

func (f failing) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return f.err
}

// TestAnAssignmentThatCannotBeReadIsNotNone: an agent would be told that nothing is assigned to it.
func TestAnAssignmentThatCannotBeReadIsNotNone(t *testing.T) {
	key := engine.Key{Namespace: "fleet", Name: "edge-1"}
	ended := errors.New("the cache has ended")
	if a, err := assignmentOf(failing{err: ended})(t.Context(), key); a != nil || !errors.Is(err, ended) {
		t.Errorf("got %v, %v", a, err)
	}
	none := apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("assignments").GroupResource(), key.Name)
	if a, err := assignmentOf(failing{err: none})(t.Context(), key); a != nil || err != nil {
		t.Errorf("one that is not there: %v, %v", a, err)
	}
	if a, err := assignmentOf(failing{})(t.Context(), key); a == nil || err != nil {
		t.Errorf("one that is there: %v, %v", a, err)
	}
}
