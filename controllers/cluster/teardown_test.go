package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
)

func TestAClusterThatGoesWithTheHubIsLeftAsItIs(t *testing.T) {
	w := start(t, cluster(deleted(v1alpha1.ClusterDeletionDelete)), secret("value", testKubeconfig), assigned(v1alpha1.AssignmentEntry{Name: "apps"}))
	w.pool.state = well
	w.r.TearDown = func(_ context.Context, s hubapi.Subject) (string, error) {
		return "the definition " + s.Plural + ".skerry.dev is being deleted", nil
	}
	w.reconcile()
	if !w.gone() {
		t.Error("its finalizer holds up the definition")
	}
	if w.pool.retired > 0 || w.pool.connects > 0 || w.entries() != "apps" {
		t.Errorf("retired %d times, %d connects, entries %s", w.pool.retired, w.pool.connects, w.entries())
	}
	if got := w.told(); !strings.Contains(got, "TornDown Let go without a change on any cluster, because the definition clusters.skerry.dev is being deleted") {
		t.Errorf("event %q", got)
	}
}

func TestARemovalWaitsUntilItIsKnownWhatIsDeleted(t *testing.T) {
	w := start(t, cluster(deleted(v1alpha1.ClusterDeletionDelete)), secret("value", testKubeconfig), assigned(v1alpha1.AssignmentEntry{Name: "apps"}))
	w.pool.state = well
	w.r.TearDown = func(context.Context, hubapi.Subject) (string, error) { return "", errors.New("forbidden") }
	if _, err := w.try(); err == nil {
		t.Error("it is not tried again")
	}
	if w.gone() || w.entries() != "apps" {
		t.Errorf("gone %v, entries %s", w.gone(), w.entries())
	}
}
