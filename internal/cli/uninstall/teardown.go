package uninstall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/components"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/wait"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/text"
)

// hubGrace is how long a hub may take to let go of what it sends nothing for. After it, the command takes the
// finalizers off itself: the hub does not run.
const hubGrace = 30 * time.Second

// teardown is one run of the command.
type teardown struct {
	*Options
	hub *factory.Hub
	// identities are what the hub may call itself: one of them is its identity.
	identities []string
	// stopped means that there is no hub any more that would let go of anything.
	stopped bool
}

// identify finds out what the hub may call itself: what its Deployment or its Kustomization in Git has, or else the
// uid of its cluster. Who may not read one of them goes without it: where none is right, what Git keeps is deleted
// as if nothing kept itself, which takes a round more.
func (t *teardown) identify(ctx context.Context) {
	deployment := &unstructured.Unstructured{}
	deployment.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("Deployment"))
	if err := t.hub.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: diagnose.HubName}, deployment); err == nil {
		t.identities = append(t.identities, components.HubID([]*unstructured.Unstructured{deployment}))
	}
	root := &v1alpha1.Kustomization{}
	if err := t.hub.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.SystemNamespace}, root); err == nil {
		t.identities = append(t.identities, root.Annotations[components.HubIDAnnotation])
	}
	system := &corev1.Namespace{}
	if err := t.hub.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, system); err == nil {
		t.identities = append(t.identities, string(system.UID))
	}
}

// stop deletes the hub's Deployment and waits until its Pods are gone. A hub that runs answers the deletion of a
// Kustomization by taking its labels off the clusters, and abandon promises that nothing is sent to them. The
// Deployment is deleted in the foreground: as long as it is there, a hub sees that it goes, and sends nothing.
func (t *teardown) stop(ctx context.Context, s *factory.Step) error {
	own, err := t.own(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(own, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
	if at < 0 {
		s.Donef("it has no Deployment here")
		return nil
	}
	uid := own[at].GetUID()
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: own[at].GetNamespace(), Name: own[at].GetName()}}
	if err := t.hub.Delete(ctx, deployment, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationForeground)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot delete %s: %w", apply.Name(own[at]), err)
	}
	bounded, cancel := context.WithTimeout(ctx, hubGrace)
	defer cancel()
	err = wait.Until(bounded, t.hub, []client.Object{deployment}, func() (bool, error) { return deployment.GetUID() != uid, nil })
	switch {
	case err == nil:
		t.stopped = true
		s.Donef("stopped")
		return nil
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		s.Donef("is being stopped")
		return nil
	}
	return err
}

// observe reads what is there. Kinds that are gone already have no objects.
func (t *teardown) observe(ctx context.Context) (*seen, error) {
	s := &seen{host: t.hub.Config.Host}
	var ks v1alpha1.KustomizationList
	var clusters v1alpha1.ClusterList
	var sources v1alpha1.GitRepositoryList
	var assignments v1alpha1.AssignmentList
	for _, list := range []client.ObjectList{&ks, &clusters, &sources, &assignments} {
		if err := t.hub.List(ctx, list); err != nil && !gone(err) {
			return nil, fmt.Errorf("cannot list what there is: %w", err)
		}
	}
	for i := range ks.Items {
		s.kustomizations = append(s.kustomizations, ks.Items[i].Namespace+"/"+ks.Items[i].Name)
		if o := &ks.Items[i]; o.Namespace == v1alpha1.SystemNamespace && o.Name == v1alpha1.SystemNamespace {
			s.path = o.Spec.Path
		}
	}
	for i := range clusters.Items {
		c := &clusters.Items[i]
		if c.Name == v1alpha1.HubCluster && c.Spec.KubeConfig == nil {
			continue
		}
		s.clusters = append(s.clusters, c.Namespace+"/"+c.Name)
		if !apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ReachableCondition) {
			s.silent = append(s.silent, c.Name)
		}
	}
	for i := range sources.Items {
		s.sources = append(s.sources, sources.Items[i].Namespace+"/"+sources.Items[i].Name)
		if o := &sources.Items[i]; s.path != "" && o.Namespace == v1alpha1.SystemNamespace && o.Name == v1alpha1.SystemNamespace {
			s.url = o.Spec.URL
		}
	}
	for i := range assignments.Items {
		for j := range assignments.Items[i].Status.Entries {
			s.objects += int(assignments.Items[i].Status.Entries[j].Objects.Applied)
		}
	}
	own, err := t.own(ctx)
	if err != nil {
		return nil, err
	}
	definitions, err := t.definitions(ctx)
	if err != nil {
		return nil, err
	}
	s.components, s.kinds = len(own), len(definitions)
	return s, t.observeNamespace(ctx, s)
}

func (t *teardown) observeNamespace(ctx context.Context, s *seen) error {
	ns := &corev1.Namespace{}
	err := t.hub.Get(ctx, client.ObjectKey{Name: v1alpha1.SystemNamespace}, ns)
	if apierrors.IsNotFound(err) || err == nil && !ns.DeletionTimestamp.IsZero() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the namespace %s: %w", v1alpha1.SystemNamespace, err)
	}
	s.namespace = true
	secrets := metadataList(corev1.SchemeGroupVersion.WithKind("Secret"))
	err = t.hub.List(ctx, secrets, client.InNamespace(v1alpha1.SystemNamespace))
	switch {
	case apierrors.IsForbidden(err):
		s.secrets = unknownSecrets
	case err != nil:
		return fmt.Errorf("cannot list the Secrets of %s: %w", v1alpha1.SystemNamespace, err)
	default:
		s.secrets = len(secrets.Items)
	}
	return nil
}

// gone reports whether the kind is not there any more.
func gone(err error) bool { return apimeta.IsNoMatchError(err) || apierrors.IsNotFound(err) }

func metadataList(kind schema.GroupVersionKind) *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	kind.Kind += "List"
	list.SetGroupVersionKind(kind)
	return list
}

// held are the kinds whose objects the hub has to let go of.
var held = []string{v1alpha1.KustomizationKind, v1alpha1.ClusterKind}

// release deletes Kustomizations and Clusters, those first that no other Kustomization keeps: as long as one
// is there, it would make again what it keeps. The hub's own Cluster goes last, which the others' way leads
// through.
func (t *teardown) release(ctx context.Context, s *factory.Step) error {
	t.identify(ctx)
	total, choose := 0, t.nextRound
	if t.DeletionPolicy == policyAbandon {
		choose = clustersFirst
	}
	for {
		all, err := t.objects(ctx, held)
		if err != nil {
			return err
		}
		next := choose(all)
		if len(next) == 0 {
			s.Donef("%d deleted", total)
			return nil
		}
		total += len(next)
		for _, o := range next {
			if err := t.deleteHeld(ctx, o); err != nil {
				return err
			}
		}
		if err := t.waitGone(ctx, s, held, next); err != nil {
			return err
		}
	}
}

// nextRound returns what is deleted next: what no Kustomization that is still there keeps; where everything is
// kept, all of it; and the hub's own Clusters when nothing else is left.
func (t *teardown) nextRound(all []metav1.PartialObjectMetadata) []metav1.PartialObjectMetadata {
	var free, kept, hubs []metav1.PartialObjectMetadata
	for _, o := range all {
		switch {
		case o.Kind == v1alpha1.ClusterKind && o.Name == v1alpha1.HubCluster:
			hubs = append(hubs, o)
		case o.Labels[v1alpha1.OwnerLabel] == "" || !o.DeletionTimestamp.IsZero() || t.keepsItself(&o):
			free = append(free, o)
		default:
			kept = append(kept, o)
		}
	}
	switch {
	case len(free) > 0:
		return free
	case len(kept) > 0:
		return kept
	}
	return hubs
}

// clustersFirst is the order of abandon: a Cluster that is gone, abandoned, gets nothing of a Kustomization that
// goes after it, whatever hub may still run elsewhere.
func clustersFirst(all []metav1.PartialObjectMetadata) []metav1.PartialObjectMetadata {
	rest := slices.Clone(all)
	clusters := slices.DeleteFunc(slices.Clone(all), func(o metav1.PartialObjectMetadata) bool { return o.Kind != v1alpha1.ClusterKind })
	return append(clusters, slices.DeleteFunc(rest, func(o metav1.PartialObjectMetadata) bool { return o.Kind == v1alpha1.ClusterKind })...)
}

// keepsItself reports whether a Kustomization is among its own objects, as the one is that holds the hub.
func (t *teardown) keepsItself(o *metav1.PartialObjectMetadata) bool {
	label := o.Labels[v1alpha1.OwnerLabel]
	return o.Kind == v1alpha1.KustomizationKind && slices.ContainsFunc(t.identities, func(hub string) bool {
		return object.Owner{Hub: hub, Namespace: o.Namespace, Name: o.Name}.Label() == label
	})
}

// objects lists the metadata of the kinds in all namespaces.
func (t *teardown) objects(ctx context.Context, kinds []string) ([]metav1.PartialObjectMetadata, error) {
	var all []metav1.PartialObjectMetadata
	for _, kind := range kinds {
		list := metadataList(v1alpha1.GroupVersion.WithKind(kind))
		if err := t.hub.List(ctx, list); err != nil {
			if gone(err) {
				continue
			}
			return nil, fmt.Errorf("cannot list what there is: %w", err)
		}
		for _, o := range list.Items {
			o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
			all = append(all, o)
		}
	}
	return all, nil
}

// deleteHeld prints what is to become of the objects on the clusters, and then deletes.
func (t *teardown) deleteHeld(ctx context.Context, o metav1.PartialObjectMetadata) error {
	policy := map[string]string{policyOrphan: "Orphan", policyDelete: "Delete", policyAbandon: "Orphan"}[t.DeletionPolicy]
	switch {
	case o.Kind == v1alpha1.ClusterKind && t.DeletionPolicy == policyAbandon:
		policy = string(v1alpha1.ClusterDeletionAbandon)
	case o.Kind == v1alpha1.KustomizationKind && o.Namespace == v1alpha1.SystemNamespace && o.Name == v1alpha1.SystemNamespace:
		policy = string(v1alpha1.DeletionOrphan) // it holds the hub, which has work to do
	}
	body, err := json.Marshal(map[string]any{"spec": map[string]any{"deletionPolicy": policy}})
	if err != nil {
		return fmt.Errorf("cannot encode the change: %w", err)
	}
	name := strings.ToLower(o.Kind) + " " + o.Namespace + "/" + o.Name
	err = t.hub.Patch(ctx, &o, client.RawPatch(types.MergePatchType, body), client.FieldOwner(apply.FieldManager))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot set deletionPolicy of %s: %w", name, err)
	}
	if !o.DeletionTimestamp.IsZero() {
		return nil
	}
	if err := t.hub.Delete(ctx, &o, client.Preconditions{UID: &o.UID}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot delete %s: %w", name, err)
	}
	return nil
}

// waitGone waits until the objects are gone. With abandon, what the hub does not let go of in the grace is
// let go of here; otherwise only the hub knows what it left on the edges.
func (t *teardown) waitGone(ctx context.Context, s *factory.Step, kinds []string, objects []metav1.PartialObjectMetadata) error {
	left := map[types.UID]bool{}
	for _, o := range objects {
		left[o.UID] = true
	}
	bounded, cancel := ctx, context.CancelFunc(func() {})
	if t.DeletionPolicy == policyAbandon {
		bounded, cancel = context.WithTimeout(ctx, hubGrace)
	}
	defer cancel()
	var there []metav1.PartialObjectMetadata
	letGo := t.stopped // there is no hub to be waited for
	err := wait.Changes(bounded, t.hub, lists(kinds), func() (bool, error) {
		all, err := t.objects(ctx, kinds)
		if err != nil {
			return false, err
		}
		there = slices.DeleteFunc(all, func(o metav1.PartialObjectMetadata) bool { return !left[o.UID] })
		if letGo && len(there) > 0 {
			letGo = false
			return false, t.removeFinalizers(ctx, there)
		}
		if len(there) > 0 {
			s.Notef("%s left: %s", text.Count(len(there), "object"), namesOf(there))
		}
		return len(there) == 0, nil
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return t.removeFinalizers(ctx, there)
	case errors.Is(err, context.DeadlineExceeded):
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return factory.Next(fmt.Errorf("the hub has not let go of %s: %s", namesOf(there), diagnose.Hub(late, t.hub)),
			"run this again to go on; a hub that does not run any more takes nothing off the edges: 'skerry uninstall --deletion-policy abandon' leaves them as they are")
	}
	return err
}

func lists(kinds []string) []client.ObjectList {
	out := make([]client.ObjectList, len(kinds))
	for i, kind := range kinds {
		out[i] = metadataList(v1alpha1.GroupVersion.WithKind(kind))
	}
	return out
}

func namesOf(objects []metav1.PartialObjectMetadata) string {
	names := make([]string, len(objects))
	for i, o := range objects {
		names[i] = strings.ToLower(o.Kind) + " " + o.Namespace + "/" + o.Name
	}
	return some(names)
}

// removeFinalizers takes Skerry's finalizer off objects that are being deleted, and no other.
func (t *teardown) removeFinalizers(ctx context.Context, objects []metav1.PartialObjectMetadata) error {
	for _, o := range objects {
		rest := slices.DeleteFunc(slices.Clone(o.Finalizers), func(f string) bool { return f == v1alpha1.Finalizer })
		if len(rest) == len(o.Finalizers) {
			continue
		}
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": o.UID, "resourceVersion": o.ResourceVersion, "finalizers": rest}})
		if err != nil {
			return fmt.Errorf("cannot encode the change: %w", err)
		}
		if err := t.hub.Patch(ctx, &o, client.RawPatch(types.MergePatchType, body), client.FieldOwner(apply.FieldManager)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("cannot let go of %s %s/%s: %w", strings.ToLower(o.Kind), o.Namespace, o.Name, err)
		}
	}
	return nil
}

// sources deletes what is left of the kinds of Skerry: sources, and what the hub keeps for itself.
func (t *teardown) sources(ctx context.Context, s *factory.Step) error {
	definitions, err := t.definitions(ctx)
	if err != nil {
		return err
	}
	var kinds []string
	for i := range definitions {
		if served(&definitions[i]) {
			kinds = append(kinds, definitions[i].Spec.Names.Kind)
		}
	}
	all, err := t.objects(ctx, kinds)
	if err != nil {
		return err
	}
	for i := range all {
		if err := t.hub.Delete(ctx, &all[i], client.Preconditions{UID: &all[i].UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("cannot delete %s: %w", namesOf(all[i:i+1]), err)
		}
	}
	s.Donef("%d deleted", len(all))
	if len(all) == 0 {
		return nil
	}
	return t.waitGone(ctx, s, kinds, all)
}
