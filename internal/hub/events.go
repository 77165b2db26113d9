package hub

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/controllers/hubside"
	"github.com/skerry-dev/skerry/internal/engine"
)

// recordEvents returns what records the events of engines, on the Kustomization that they are of, or
// else on the Cluster.
func (p *parts) recordEvents(ctx context.Context) func(engine.Event) {
	recorder := p.mgr.GetEventRecorder("skerry-hub")
	return func(e engine.Event) {
		kind := corev1.EventTypeNormal
		if e.Warning {
			kind = corev1.EventTypeWarning
		}
		ks := &v1alpha1.Kustomization{}
		key := types.NamespacedName{Namespace: e.Cluster.Namespace, Name: e.Kustomization}
		if e.Kustomization != "" && p.mgr.GetCache().Get(ctx, key, ks) == nil {
			recorder.Eventf(ks, nil, kind, e.Reason, "Apply", "%s", hubside.Note(e.Cluster.Name+": "+e.Message))
			return
		}
		c := &v1alpha1.Cluster{}
		if p.mgr.GetCache().Get(ctx, e.Cluster, c) == nil {
			recorder.Eventf(c, nil, kind, e.Reason, "Apply", "%s", hubside.Note(e.Message))
		}
	}
}
