package kustomization

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// Indexes: the Assignments with an entry for a Kustomization, the Kustomizations of a source, and
// those that substitute from an object ("Secret/name"), the Clusters that take variables from one, and the
// Kustomizations that refer to other namespaces, or have a readyExpr about one.
const (
	entryIndex    = "assignment.entry"
	sourceIndex   = "kustomization.source"
	variableIndex = "kustomization.variables"
	varsFromIndex = "cluster.varsFrom"
	crossIndex    = "kustomization.crossNamespace"
	readyIndex    = "kustomization.readyExpr"
)

// Values of crossIndex: Kustomizations that refer to other namespaces, and those of them that may select
// Clusters there.
const (
	crossAny      = "any"
	crossClusters = "clusters"
)

// SetUp adds the controller to the manager; concurrency bounds the reconciles at once.
func (r *Reconciler) SetUp(ctx context.Context, mgr manager.Manager, concurrency int) error {
	if err := errors.Join(mgr.Add(r.assignments), mgr.Add(r.writes)); err != nil {
		return fmt.Errorf("cannot add the writers: %w", err)
	}
	index := mgr.GetFieldIndexer()
	for _, i := range []struct {
		of   client.Object
		name string
		by   client.IndexerFunc
	}{
		{&v1alpha1.Assignment{}, entryIndex, entryNames},
		{&v1alpha1.Kustomization{}, sourceIndex, sourceName},
		{&v1alpha1.Kustomization{}, variableIndex, variableNames},
		{&v1alpha1.Cluster{}, varsFromIndex, varsFromNames},
		{&v1alpha1.Kustomization{}, crossIndex, crossKinds},
		{&v1alpha1.Kustomization{}, readyIndex, readyExprNames},
	} {
		if err := index.IndexField(ctx, i.of, i.name, i.by); err != nil {
			return fmt.Errorf("cannot index by %s: %w", i.name, err)
		}
	}
	moved := builder.WithPredicates(hubapi.StatusChangedPredicate())
	return builder.ControllerManagedBy(mgr).
		Named("kustomization").
		For(&v1alpha1.Kustomization{}, builder.WithPredicates(hubapi.RequestedPredicate())).
		Watches(&v1alpha1.Kustomization{}, r.dependencyHandler()).
		Watches(&v1alpha1.Kustomization{}, r.readyExprHandler()).
		Watches(&v1alpha1.Kustomization{}, r.statuses.Handler()).
		Watches(&v1alpha1.GitRepository{}, handler.EnqueueRequestsFromMapFunc(r.requestsForSource), builder.WithPredicates(sourceChanged())).
		Watches(&v1alpha1.Cluster{}, r.clusterHandler()).
		Watches(&v1alpha1.Assignment{}, r.assignmentHandler()).
		WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.requestsForNamespace), builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesMetadata(&corev1.Secret{}, r.variableHandler("Secret"), moved).
		WatchesMetadata(&corev1.ConfigMap{}, r.variableHandler("ConfigMap"), moved).
		WatchesRawSource(&r.trigger).
		WithOptions(hubapi.Options(concurrency)).
		Complete(hubapi.ReportPanics[v1alpha1.Kustomization](r.Hub, r))
}

// entryNames also finds what was only reported: that must be known before an entry is made anew.
func entryNames(o client.Object) []string {
	a := o.(*v1alpha1.Assignment)
	names := make([]string, 0, len(a.Spec.Entries))
	for i := range a.Spec.Entries {
		names = append(names, v1alpha1.ResolveName(a.Namespace, a.Spec.Entries[i].Name).String())
	}
	for i := range a.Status.Entries {
		if entryOf(a, a.Status.Entries[i].Name) == nil {
			names = append(names, v1alpha1.ResolveName(a.Namespace, a.Status.Entries[i].Name).String())
		}
	}
	return names
}

func sourceName(o client.Object) []string {
	return []string{targeting.SourceOf(o.(*v1alpha1.Kustomization)).String()}
}

func crossKinds(o client.Object) []string {
	ks := o.(*v1alpha1.Kustomization)
	switch {
	case targeting.SelectsNamespaces(ks):
		return []string{crossAny, crossClusters}
	case targeting.CrossesNamespaces(ks):
		return []string{crossAny}
	}
	return nil
}

func variableNames(o client.Object) []string {
	ks := o.(*v1alpha1.Kustomization)
	names := keyNames(ks)
	if post := ks.Spec.PostBuild; post != nil {
		names = append(names, objectNames(post.SubstituteFrom)...)
	}
	return names
}

func varsFromNames(o client.Object) []string {
	return objectNames(o.(*v1alpha1.Cluster).Spec.VarsFrom)
}

func objectNames(refs []v1alpha1.SubstituteReference) []string {
	var names []string
	for _, ref := range refs {
		names = append(names, ref.Kind+"/"+ref.Name)
	}
	return names
}
