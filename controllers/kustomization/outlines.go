package kustomization

import (
	"context"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// mayTake fills in what a neighbour that cannot be rendered may desire of what is dropped, and reports false
// when that is nothing.
//
// A missing Secret, a variable without a value or an encrypted file leaves open what objects hold, and a
// dependency when they are applied; which objects the commit names is known without them, but for the parts
// of names that a variable fills. So only those stay that the neighbour may desire by its outlines. Where the
// commit itself cannot be built, what the neighbour last came to at the same commit, with the variables and labels
// that the cluster has, counts; a commit that it could never be built from may name anything.
func (r *Reconciler) mayTake(ctx context.Context, o *observed, n *neighbour, cluster string, drop *dropped, one *targeting.Neighbour) bool {
	if drop.all {
		return true
	}
	var wants func(object.ID) bool
	outlines, err := r.outlines(ctx, o, n, cluster)
	if panicked := recovery.Details(err); panicked != nil { // it counts as what cannot be built, and is logged nowhere else
		log.FromContext(ctx).Error(err, "recovered from a panic", panicked...)
	}
	if err == nil {
		wants = func(id object.ID) bool {
			return slices.ContainsFunc(outlines, func(l render.Outline) bool { return l.Matches(id) })
		}
	} else if one.Digest = n.outcome.LastGood[n.local(cluster)]; one.Digest == "" {
		return true
	} else if ids, ok := r.identities(ctx, o, one.Digest); !ok {
		one.Digest = ""
		return true
	} else {
		wants = func(id object.ID) bool { return ids[anywhere(id)] }
	}
	var retained []object.Object
	var mask object.Mask
	for id, of := range drop.objects {
		if wants(id) {
			retained = append(retained, of)
			mask.Add(id, of.ManifestName)
		}
	}
	if len(retained) == 0 {
		return false
	}
	for i := range retained {
		one.Objects = append(one.Objects, mask.ID(retained[i].ID).String())
	}
	if one.Digest == "" {
		one.Digest = r.storeRetained(retained, drop.confidential)
	}
	return true
}

// storeRetained stores a bundle of objects that stay, and returns its digest: "" when that is not possible, so
// that everything stays.
func (r *Reconciler) storeRetained(objects []object.Object, confidential bool) string {
	b, err := object.NewBundle(objects)
	if err != nil {
		return ""
	}
	b.Confidential = confidential
	digest, err := r.Bundles.Put(&b)
	if err != nil {
		return ""
	}
	return digest
}

// outlines are what the commit names for a neighbour on a cluster.
func (r *Reconciler) outlines(ctx context.Context, o *observed, n *neighbour, cluster string) ([]render.Outline, error) {
	t, selected := n.targets[cluster]
	if !selected || n.source.Status.Artifact == nil {
		return nil, errNotKnown
	}
	if err := targeting.SetVars(&t, o.byName[cluster], r.lookup(ctx, o, t.Namespace)); err != nil && !report.IsReportable(err) {
		return nil, err
	}
	shared := targeting.Shared(n.ks, r.HubID, nil)
	if n.source.Spec.Ignore != nil {
		shared.Ignore = *n.source.Spec.Ignore
	}
	options, err := targeting.For(shared, n.ks, t)
	if err != nil {
		return nil, err
	}
	files, err := r.Tree(ctx, targeting.SourceOf(n.ks), treeOf(n.source.Status.Artifact))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, renderTimeout)
	defer cancel()
	return r.Outlines(ctx, files, options)
}
