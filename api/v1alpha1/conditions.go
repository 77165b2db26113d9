package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Types of conditions, as kstatus reads them.
const (
	// ReadyCondition sums up: True only when everything that was asked for holds.
	ReadyCondition = "Ready"
	// ReconcilingCondition is True while work towards the newest spec or revision goes on.
	ReconcilingCondition = "Reconciling"
	// StalledCondition is True when only a change of the input can help.
	StalledCondition = "Stalled"
	// ReachableCondition of a Cluster is True while it is heard from.
	ReachableCondition = "Reachable"
)

// Reasons of every kind.
const (
	SucceededReason   = "Succeeded"
	ProgressingReason = "Progressing"
	SuspendedReason   = "Suspended"
	FailedReason      = "Failed"
	// TornDownReason says that a Kustomization or Cluster went with its namespace, its kind or the hub:
	// what it has on clusters stays there, and is taken up again by one of its name.
	TornDownReason = "TornDown"
)

// Reasons of a GitRepository.
const (
	AuthenticationFailedReason = "AuthenticationFailed"
	HostKeyRefusedReason       = "HostKeyRefused"
	RepositoryNotFoundReason   = "RepositoryNotFound"
	ReferenceNotFoundReason    = "ReferenceNotFound"
	EmptyRepositoryReason      = "EmptyRepository"
	UnreachableReason          = "Unreachable"
	TimeoutReason              = "Timeout"
	TooLargeReason             = "TooLarge"
	InvalidURLReason           = "InvalidURL"
	SecretNotFoundReason       = "SecretNotFound"
	InvalidSecretReason        = "InvalidSecret"
	FetchFailedReason          = "FetchFailed"
)

// Reasons of a Kustomization that come from the hub's side: source, selection, render.
const (
	SourceNotFoundReason     = "SourceNotFound"
	SourceNotReadyReason     = "SourceNotReady"
	NoClustersMatchedReason  = "NoClustersMatched"
	PathNotFoundReason       = "PathNotFound"
	RemoteReferenceReason    = "RemoteReference"
	PathOutsideRootReason    = "PathOutsideRoot"
	PluginRefusedReason      = "PluginRefused"
	InvalidYAMLReason        = "InvalidYAML"
	YAMLBombReason           = "YAMLBomb"
	BuildFailedReason        = "BuildFailed"
	SubstitutionFailedReason = "SubstitutionFailed"
	DuplicateObjectReason    = "DuplicateObject"
	InvalidObjectReason      = "InvalidObject"
	ClustersUnreachable      = "ClustersUnreachable"
	DependencyCycleReason    = "DependencyCycle"
	InvalidSelectorReason    = "InvalidSelector"
	// ClusterNotFoundReason says that spec.clusters.names names a Cluster that is not there.
	ClusterNotFoundReason = "ClusterNotFound"
	// InvalidRolloutReason says that spec.rollout cannot be followed: a time zone or schedule that
	// does not exist, say.
	InvalidRolloutReason = "InvalidRollout"
	// RolloutHaltedReason says that a change failed on too many clusters, or was undone, and goes no
	// further.
	RolloutHaltedReason = "RolloutHalted"
	// RolloutWaitingReason says that a change waits for a stage, a soak, a window or a person.
	RolloutWaitingReason = "RolloutWaiting"
)

// Reasons of an entry of an Assignment, that come from the engine.
const (
	// EmptyBuildReason refuses a build without objects where there were some.
	EmptyBuildReason = "EmptyBuild"
	// PruneLimitExceededReason refuses to delete most objects, or every Namespace or CRD.
	PruneLimitExceededReason = "PruneLimitExceeded"
	// OwnershipConflictReason says that another Kustomization owns an object.
	OwnershipConflictReason = "OwnershipConflict"
	// OwnedByAnotherHubReason says that another hub manages the cluster.
	OwnedByAnotherHubReason = "OwnedByAnotherHub"
	// ApplyFailedReason says that the cluster refused at least one object.
	ApplyFailedReason = "ApplyFailed"
	// ImmutableFieldReason says that a change needs force.
	ImmutableFieldReason = "ImmutableField"
	// NamespaceNotFoundReason says that an object's namespace is missing.
	NamespaceNotFoundReason = "NamespaceNotFound"
	// KindNotFoundReason says that the cluster does not know an object's kind.
	KindNotFoundReason = "KindNotFound"
	// PruneFailedReason says that the cluster refused a deletion.
	PruneFailedReason = "PruneFailed"
	// HealthCheckFailedReason says that an object failed, or was not healthy within timeout.
	HealthCheckFailedReason = "HealthCheckFailed"
	// WaitingForHealthReason says that objects are applied and on their way.
	WaitingForHealthReason = "WaitingForHealth"
	// DependencyNotReadyReason says that a dependsOn is not ready on the same cluster.
	DependencyNotReadyReason = "DependencyNotReady"
	// BundleNotFoundReason says that the rendered bundle is not (yet) in the store.
	BundleNotFoundReason = "BundleNotFound"
	// DriftLoopReason says that somebody keeps changing an object back.
	DriftLoopReason = "DriftLoop"
	// InventoryFailedReason says that the inventory could not be read or written.
	InventoryFailedReason = "InventoryFailed"
)

// Reasons of a Cluster.
const (
	// InvalidKubeConfigReason says that the kubeconfig is garbage, or has a field that is refused.
	InvalidKubeConfigReason = "InvalidKubeConfig"
	// UnauthorizedReason says that the cluster does not accept the credentials.
	UnauthorizedReason = "Unauthorized"
	// UnexpectedAnswerReason says that what answers is no API server, or one that answers as none does:
	// with a redirect, a web page, or more than was asked for.
	UnexpectedAnswerReason = "UnexpectedAnswer"
	// HubItselfReason says that the kubeconfig leads to the hub's own cluster.
	HubItselfReason = "HubItself"
	// DuplicateClusterReason says that another Cluster leads to the same cluster.
	DuplicateClusterReason = "DuplicateCluster"
	// RemovingReason says that the Cluster is deleted and what stands there is dealt with.
	RemovingReason = "Removing"
	// RetiringReason says that all of that is done, and the hub takes away the last of its own.
	RetiringReason = "Retiring"
	// AgentNotConnectedReason says that no agent has reported.
	AgentNotConnectedReason = "AgentNotConnected"
)

// Conditioned is a kind with conditions.
//
// +kubebuilder:object:generate=false
type Conditioned interface {
	metav1.Object
	GetConditions() []metav1.Condition
	SetConditions([]metav1.Condition)
}

// Condition returns a condition; the caller's report sets transition time and generation.
func Condition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}
