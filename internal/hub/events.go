package hub

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/report"
)

// recordEvents returns what records the events of engines, on the Kustomization that they are of, or
// else on the Cluster. What a commit or a removal prunes on a whole fleet is summed up.
func (p *parts) recordEvents(ctx context.Context) func(engine.Event) {
	recorder := p.mgr.GetEventRecorder("skerry-hub")
	annotated := recorder.(events.AnnotatedEventRecorder) // which the manager's is, see recorder.Provider
	return func(e engine.Event) {
		kind := corev1.EventTypeNormal
		if e.Warning {
			kind = corev1.EventTypeWarning
		}
		ks := &v1alpha1.Kustomization{}
		key := v1alpha1.ResolveName(e.Cluster.Namespace, e.Kustomization)
		if e.Kustomization != "" && p.mgr.GetCache().Get(ctx, key, ks) == nil {
			cluster := v1alpha1.RelativeName(key.Namespace, e.Cluster)
			record := func(more report.Summary) {
				annotated.AnnotatedEventf(ks, related(e.Object), more.Annotations(), kind, e.Reason, "Apply", "%s", hubapi.Note(cluster+": "+e.Message+more.Message()))
			}
			if e.Reason == v1alpha1.PrunedReason {
				p.summaries.record(summaryKey{key, e.Reason}, cluster, record)
			} else {
				record(nil)
			}
			return
		}
		c := &v1alpha1.Cluster{}
		if p.mgr.GetCache().Get(ctx, e.Cluster, c) == nil {
			recorder.Eventf(c, nil, kind, e.Reason, "Apply", "%s", hubapi.Note(e.Message))
		}
	}
}

// related returns the object on the edge that an event is about. The recorder takes events of one reason
// about one Kustomization for repetitions of the first, whatever they say, unless they differ in what
// they are related to: of three corrections within seconds, only one would be told.
func related(o engine.Object) runtime.Object {
	if o.ID.Name == "" {
		return nil
	}
	return &corev1.ObjectReference{
		APIVersion: o.Version, Kind: o.ID.Kind, Namespace: o.ID.Namespace, Name: o.ID.Name,
		UID: types.UID(o.UID), ResourceVersion: o.ResourceVersion,
	}
}
