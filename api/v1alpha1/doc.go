// Package v1alpha1 holds the kinds of skerry.dev: GitRepository, Receiver, Kustomization, Cluster and
// Assignment, their conditions and the reasons those carry.
//
// Where a concept exists in Flux (source.toolkit.fluxcd.io/v1, kustomize.toolkit.fluxcd.io/v1) the
// field has the same name, meaning and default. The package imports nothing of ours.
//
// +kubebuilder:object:generate=true
// +groupName=skerry.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is the API group of every kind in this package.
const Group = "skerry.dev"

// GroupVersion is the group and version of every kind in this package.
var GroupVersion = schema.GroupVersion{Group: Group, Version: "v1alpha1"}

var schemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

// AddToScheme registers the kinds of this package.
var AddToScheme = schemeBuilder.AddToScheme

func addKnownTypes(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&GitRepository{}, &GitRepositoryList{},
		&Kustomization{}, &KustomizationList{},
		&Cluster{}, &ClusterList{},
		&Assignment{}, &AssignmentList{},
		&Receiver{}, &ReceiverList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// Kinds as they stand in a reference.
const (
	GitRepositoryKind = "GitRepository"
	KustomizationKind = "Kustomization"
	ClusterKind       = "Cluster"
	AssignmentKind    = "Assignment"
	ReceiverKind      = "Receiver"
)

const (
	// ReconcileRequestAnnotation asks for a reconciliation now: any new value on a GitRepository,
	// Kustomization or Cluster. The value that was handled is in status.lastHandledReconcileAt.
	ReconcileRequestAnnotation = "skerry.dev/reconcile-requested-at"

	// FluxReconcileRequestAnnotation is Flux's annotation of the same meaning, which is honoured as well: see
	// ReconcileRequest.
	FluxReconcileRequestAnnotation = "reconcile.fluxcd.io/requestedAt"

	// ReconcileOnceAnnotation on a suspended Kustomization, with the value of ReconcileRequestAnnotation, lets
	// the hub work on it until that request is handled.
	ReconcileOnceAnnotation = "skerry.dev/reconcile-once"

	// AcceptRevisionAnnotation on a GitRepository with spec.requireFastForward acknowledges that its ref has
	// moved to the one revision that is its value, though that does not follow from the one before.
	AcceptRevisionAnnotation = "skerry.dev/accept-revision"

	// AllowPruneAnnotation on a Kustomization acknowledges, for the one revision that is its value,
	// an empty build or a prune beyond the guard; or, for the one selection that its value names
	// ("clusters-1f2e3d4c"), that most clusters leave it.
	AllowPruneAnnotation = "skerry.dev/allow-prune"

	// RolloutPausedAnnotation with the value "true" on a Kustomization lets its rollout start no further
	// cluster.
	RolloutPausedAnnotation = "skerry.dev/rollout-paused"

	// RolloutPromoteAnnotation on a Kustomization lets a stage of the change with the given id begin
	// now, without soak and approval: "<id>/<stage>". "<id>/*" sends the change to every cluster,
	// whatever fails, even when it was halted.
	RolloutPromoteAnnotation = "skerry.dev/rollout-promote"

	// RolloutUndoAnnotation on a Kustomization halts the change with the given id and sends every
	// cluster that has it back to what it had before.
	RolloutUndoAnnotation = "skerry.dev/rollout-undo"

	// TakeOverAnnotation on a Cluster lets this hub take it over from another one with the same identity,
	// which its value names as the message of DuplicateHub does.
	TakeOverAnnotation = "skerry.dev/take-over"

	// RenewTokenAnnotation on the Secret of a kubeconfig, "enabled", lets the hub renew the token in it before it
	// expires: that of a ServiceAccount which may request tokens for itself.
	RenewTokenAnnotation = "skerry.dev/renew-token" //nolint:gosec // the name of an annotation

	// SummarisedClustersAnnotation on an Event that stands for others of its kind names the Clusters that those are of,
	// sorted and separated by commas; "*" is the last name where there are more.
	SummarisedClustersAnnotation = "skerry.dev/summarised-clusters"

	// OwnerLabel is on every object that Skerry applies; its value names the hub and the
	// Kustomization. Its field manager is the lock that keeps two owners apart.
	OwnerLabel = "skerry.dev/owner"

	// PartLabel is on what Skerry keeps on a cluster for itself; its value says what it is.
	PartLabel = "skerry.dev/part"

	// ClaimName is the ConfigMap that says which hub works on a cluster, and InventoryPrefix begins the
	// names of those that say what it has there. Both are in SystemNamespace.
	ClaimName       = "skerry-hub"
	InventoryPrefix = "skerry-inventory-"

	// Finalizer keeps a Kustomization or Cluster until what it left on clusters is dealt with.
	Finalizer = "skerry.dev/finalizer"

	// HubCluster is the name of the Cluster that is the hub's own.
	HubCluster = "hub"

	// SystemNamespace holds the hub's parts, and on every cluster the inventories.
	SystemNamespace = "skerry-system"
)
