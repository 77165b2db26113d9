package kustomization

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// work is the queue of the controller. What a cache lists when it starts wakes no controller: every
// Kustomization is reconciled then anyway.
type work = workqueue.TypedRateLimitingInterface[reconcile.Request]

// kustomizations lists those that the options pick.
func (r *Reconciler) kustomizations(ctx context.Context, by ...client.ListOption) []v1alpha1.Kustomization {
	list := &v1alpha1.KustomizationList{}
	options := append([]client.ListOption{shared, client.DisableReadYourWritesConsistency}, by...)
	if err := r.Hub.List(ctx, list, options...); err != nil {
		log.FromContext(ctx).Error(err, "cannot find the Kustomizations that an event concerns")
		return nil
	}
	return list.Items
}

// selecting lists the Kustomizations that may select the Clusters of a namespace.
func (r *Reconciler) selecting(ctx context.Context, namespace string) []v1alpha1.Kustomization {
	own := r.kustomizations(ctx, client.InNamespace(namespace))
	others := slices.DeleteFunc(r.kustomizations(ctx, client.MatchingFields{crossIndex: crossClusters}),
		func(ks v1alpha1.Kustomization) bool { return ks.Namespace == namespace })
	if len(others) == 0 {
		return own
	}
	return slices.Concat(own, others)
}

// requestsForNamespace wakes those whose references the labels of a namespace decide about: those that lie in it, for
// accessFrom, and those that select Clusters of the namespaces with certain labels.
func (r *Reconciler) requestsForNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	found := r.kustomizations(ctx, client.InNamespace(namespace.GetName()), client.MatchingFields{crossIndex: crossAny})
	for _, ks := range r.kustomizations(ctx, client.MatchingFields{crossIndex: crossClusters}) {
		if ks.Namespace != namespace.GetName() && ks.Spec.Clusters.Namespaces.Selector != nil {
			found = append(found, ks)
		}
	}
	return hubapi.RequestsFor[v1alpha1.Kustomization](found)
}

// sourceChanged passes what matters of a source: what it has fetched, what of that is ignored, and whether
// it can fetch.
func sourceChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, after := e.ObjectOld.(*v1alpha1.GitRepository), e.ObjectNew.(*v1alpha1.GitRepository)
			if before.Status.Artifact != nil && after.Status.Artifact == nil {
				return false // only a wiped status has lost it, and its controller writes it again
			}
			return !equality.Semantic.DeepEqual(before.Status.Artifact, after.Status.Artifact) ||
				!equality.Semantic.DeepEqual(before.Spec.Ignore, after.Spec.Ignore) ||
				!equality.Semantic.DeepEqual(before.Spec.AccessFrom, after.Spec.AccessFrom) ||
				meta.IsStatusConditionFalse(before.Status.Conditions, v1alpha1.ReadyCondition) != meta.IsStatusConditionFalse(after.Status.Conditions, v1alpha1.ReadyCondition)
		},
	}
}

func (r *Reconciler) requestsForSource(ctx context.Context, source client.Object) []reconcile.Request {
	return hubapi.RequestsFor[v1alpha1.Kustomization](r.kustomizations(ctx, client.MatchingFields{sourceIndex: client.ObjectKeyFromObject(source).String()}))
}

// variableHandler wakes those that substitute from an object, and those on a cluster that does.
func (r *Reconciler) variableHandler(kind string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		namespace, name := o.GetNamespace(), kind+"/"+o.GetName()
		found := r.kustomizations(ctx, client.InNamespace(namespace), client.MatchingFields{variableIndex: name})
		found = append(found, r.withSharedKeys(ctx, kind, client.ObjectKeyFromObject(o))...)
		if clusters := r.clustersOf(ctx, namespace, name); len(clusters) > 0 {
			for _, ks := range r.selecting(ctx, namespace) {
				if slices.ContainsFunc(clusters, func(c v1alpha1.Cluster) bool { return selects(&ks, &c) }) {
					found = append(found, ks)
				}
			}
		}
		return hubapi.RequestsFor[v1alpha1.Kustomization](found)
	})
}

// clustersOf lists the Clusters that take variables from an object ("Secret/name").
func (r *Reconciler) clustersOf(ctx context.Context, namespace, object string) []v1alpha1.Cluster {
	list := &v1alpha1.ClusterList{}
	err := r.Hub.List(ctx, list, client.InNamespace(namespace), client.MatchingFields{varsFromIndex: object}, shared, client.DisableReadYourWritesConsistency)
	if err != nil {
		log.FromContext(ctx).Error(err, "cannot find the Clusters that an event concerns")
		return nil
	}
	return list.Items
}

// dependencyHandler wakes those on a circle of dependsOn when one of them closes or opens it.
func (r *Reconciler) dependencyHandler() handler.EventHandler {
	wake := func(ctx context.Context, ks *v1alpha1.Kustomization, queue work) {
		all := r.kustomizations(ctx)
		for _, key := range targeting.Cycle(ks, all) {
			queue.Add(reconcile.Request{NamespacedName: key})
		}
		for i := range all {
			if c := meta.FindStatusCondition(all[i].Status.Conditions, v1alpha1.ReadyCondition); c != nil && c.Reason == v1alpha1.DependencyCycleReason {
				queue.Add(request(all[i].Namespace, all[i].Name))
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, queue work) {
			if ks := e.Object.(*v1alpha1.Kustomization); !e.IsInInitialList && len(ks.Spec.DependsOn) > 0 {
				wake(ctx, ks, queue)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue work) {
			before, after := e.ObjectOld.(*v1alpha1.Kustomization), e.ObjectNew.(*v1alpha1.Kustomization)
			if !slices.Equal(targeting.Dependencies(before), targeting.Dependencies(after)) {
				wake(ctx, after, queue)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, queue work) {
			if ks := e.Object.(*v1alpha1.Kustomization); len(ks.Spec.DependsOn) > 0 {
				wake(ctx, ks, queue)
			}
		},
	}
}

// clusterHandler wakes those that select a Cluster, or did, and those that have an entry on it.
func (r *Reconciler) clusterHandler() handler.EventHandler {
	wake := func(ctx context.Context, queue work, versions ...*v1alpha1.Cluster) {
		namespace, name := versions[0].Namespace, versions[0].Name
		all := r.selecting(ctx, namespace)
		for i := range all {
			if slices.ContainsFunc(versions, func(c *v1alpha1.Cluster) bool { return selects(&all[i], c) }) {
				r.wakeForReport(client.ObjectKeyFromObject(&all[i]), queue)
			}
		}
		a := &v1alpha1.Assignment{}
		if err := r.Hub.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, a, client.DisableReadYourWritesConsistency); err == nil {
			r.wakeAll(a, queue)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, queue work) {
			if !e.IsInInitialList {
				wake(ctx, queue, e.Object.(*v1alpha1.Cluster))
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue work) {
			if before, after := e.ObjectOld.(*v1alpha1.Cluster), e.ObjectNew.(*v1alpha1.Cluster); clusterChanged(before, after) {
				wake(ctx, queue, after, before)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, queue work) {
			wake(ctx, queue, e.Object.(*v1alpha1.Cluster))
		},
	}
}

// selects reports whether a Kustomization may select a Cluster. Of another namespace it takes every namespace
// to be picked: its labels are looked at in the reconcile.
func selects(ks *v1alpha1.Kustomization, c *v1alpha1.Cluster) bool {
	one := *c
	one.DeletionTimestamp, one.Spec.AccessFrom = nil, nil
	if targeting.SelectsNamespaces(ks) {
		ks = ks.DeepCopy()
		ks.Spec.Clusters.Namespaces = &v1alpha1.ClusterNamespaces{Names: []string{c.Namespace}}
	}
	s, err := targeting.Select(ks, []v1alpha1.Cluster{one}, targeting.Access{})
	return err == nil && (len(s.Targets) > 0 || s.MissingHub && c.Name == v1alpha1.HubCluster && c.Namespace == ks.Namespace)
}

// clusterChanged reports whether a Cluster has changed in what a Kustomization takes from it.
func clusterChanged(before, after *v1alpha1.Cluster) bool {
	return before.UID != after.UID || before.Generation != after.Generation ||
		before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
		!equality.Semantic.DeepEqual(before.Labels, after.Labels) ||
		!slices.EqualFunc(before.Status.Conditions, after.Status.Conditions, func(a, b metav1.Condition) bool {
			return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
		})
}

// assignmentHandler wakes those whose entry is reported on anew, or was changed by another writer.
func (r *Reconciler) assignmentHandler() handler.EventHandler {
	return handler.Funcs{
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue work) {
			before, after := e.ObjectOld.(*v1alpha1.Assignment), e.ObjectNew.(*v1alpha1.Assignment)
			r.assignments.pending.shown(client.ObjectKeyFromObject(after), after.Generation)
			for _, name := range changedEntries(before, after) {
				ks := v1alpha1.ResolveName(after.Namespace, name)
				if statusOf(after, name) == nil && entryOf(after, name) != nil {
					queue.AddAfter(reconcile.Request{NamespacedName: ks}, max(afterWipe, r.cooldown(ks)))
				} else {
					r.wakeForReport(ks, queue)
				}
				r.wakeReadyExprs(ctx, ks, queue)
			}
			if before.Generation != after.Generation && !r.assignments.isOurWrite(after) {
				r.wakeAll(before, queue)
				r.wakeAll(after, queue)
			}
		},
		CreateFunc: func(_ context.Context, e event.CreateEvent, _ work) {
			a := e.Object.(*v1alpha1.Assignment)
			r.assignments.pending.shown(client.ObjectKeyFromObject(a), a.Generation)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, queue work) {
			a := e.Object.(*v1alpha1.Assignment)
			r.assignments.forget(client.ObjectKeyFromObject(a))
			r.wakeAll(a, queue)
		},
	}
}

// afterWipe is the time until the Kustomization is told of an entry whose report was wiped: before that
// the engine's side has written it again, and no cluster is to count as one that does not report.
const afterWipe = 5 * hubapi.RebuildAfter

// changedEntries returns the names of the entries of which the two versions report differently; what
// changes with each verification or correction does not count.
func changedEntries(before, after *v1alpha1.Assignment) []string {
	if slices.EqualFunc(before.Status.Entries, after.Status.Entries, sameStatus) {
		return nil
	}
	old := make(map[string]*v1alpha1.AssignmentEntryStatus, len(before.Status.Entries))
	for i := range before.Status.Entries {
		old[before.Status.Entries[i].Name] = &before.Status.Entries[i]
	}
	var names []string
	for i := range after.Status.Entries {
		now := &after.Status.Entries[i]
		if was := old[now.Name]; was == nil || entryChanged(*was, *now) {
			names = append(names, now.Name)
		}
		delete(old, now.Name)
	}
	for name := range old {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func sameStatus(a, b v1alpha1.AssignmentEntryStatus) bool { return a.Equal(&b) }

func entryChanged(was, now v1alpha1.AssignmentEntryStatus) bool {
	was.VerifiedAt, was.Drift, was.Drifts = nil, 0, reportedDrifts(was.Drifts)
	now.VerifiedAt, now.Drift, now.Drifts = nil, 0, reportedDrifts(now.Drifts)
	return !was.Equal(&now)
}

// reportedDrifts returns the drifts that are left as they are, of which the Kustomization's conditions speak.
func reportedDrifts(drifts []v1alpha1.DriftRecord) []v1alpha1.DriftRecord {
	i := slices.IndexFunc(drifts, func(d v1alpha1.DriftRecord) bool { return d.Action != v1alpha1.DriftReported })
	if i < 0 {
		return drifts
	}
	return drifts[:i]
}

// wakeAll wakes those with an entry in an Assignment.
func (r *Reconciler) wakeAll(a *v1alpha1.Assignment, queue work) {
	for i := range a.Spec.Entries {
		r.wakeForReport(v1alpha1.ResolveName(a.Namespace, a.Spec.Entries[i].Name), queue)
	}
}

// wakeForReport wakes a Kustomization for something of which each of its clusters may have one, after its cooldown. What
// a person does to the Kustomization itself, to its source or to what it refers to does not wait for that.
func (r *Reconciler) wakeForReport(key types.NamespacedName, queue work) {
	if !r.after.Reported(key) {
		queue.AddAfter(reconcile.Request{NamespacedName: key}, r.cooldown(key))
	}
}

func request(namespace, name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}
