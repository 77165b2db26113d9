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
	// OrphanedCondition of a Cluster is True while there are inventories on it that no Kustomization of
	// this hub claims, so that nothing keeps or deletes what they name.
	OrphanedCondition = "Orphaned"
	// SourceVerifiedCondition of a GitRepository with spec.verify says whether what its ref leads to is
	// signed as it must be.
	SourceVerifiedCondition = "SourceVerified"
	// DriftedCondition of a Kustomization is True while objects differ from Git and are left as they are,
	// because drift.mode is Report; else it is absent.
	DriftedCondition = "Drifted"
	// ReachableCondition of a Cluster is True while it is heard from.
	ReachableCondition = "Reachable"
)

// Reasons of every kind.
const (
	// SucceededReason means that everything that was asked for holds.
	SucceededReason = "Succeeded"
	// ProgressingReason means that the work towards the newest spec or revision goes on.
	ProgressingReason = "Progressing"
	// SuspendedReason means that spec.suspend is set, on the object or on its Cluster.
	SuspendedReason = "Suspended"
	// FailedReason means that the work failed; the message names the cause.
	FailedReason = "Failed"
	// InternalErrorReason means that a panic of the hub was recovered: what it concerned is tried again
	// with growing pauses, everything else goes on, and the hub's log has the details.
	InternalErrorReason = "InternalError"
	// TornDownReason means that a Kustomization or Cluster went with its namespace, its kind or the hub:
	// what it has on clusters stays there, and is taken up again by one of its name.
	TornDownReason = "TornDown"
)

// Reasons of a GitRepository.
const (
	// AuthenticationFailedReason means that the Git server refused the credentials.
	AuthenticationFailedReason = "AuthenticationFailed"
	// HostKeyRefusedReason means that the SSH server showed a key that known_hosts does not have.
	HostKeyRefusedReason = "HostKeyRefused"
	// RepositoryNotFoundReason means that the Git server has no such repository, or hides it from these credentials.
	RepositoryNotFoundReason = "RepositoryNotFound"
	// ReferenceNotFoundReason means that the repository has no such branch, tag or commit.
	ReferenceNotFoundReason = "ReferenceNotFound"
	// HistoryRewrittenReason means that the ref has moved to a commit which does not follow from the one
	// before, and spec.requireFastForward is set.
	HistoryRewrittenReason = "HistoryRewritten"
	// InvalidReferenceReason means that spec.ref holds what cannot be a reference or a range of versions.
	InvalidReferenceReason = "InvalidReference"
	// EmptyRepositoryReason means that the repository has no commit.
	EmptyRepositoryReason = "EmptyRepository"
	// UnreachableReason means that the Git server, or the cluster, does not answer.
	UnreachableReason = "Unreachable"
	// TimeoutReason means that the fetch took longer than spec.timeout.
	TimeoutReason = "Timeout"
	// TooLargeReason means that the repository is beyond a limit of the hub.
	TooLargeReason = "TooLarge"
	// InvalidURLReason means that spec.url is not one that can be fetched from.
	InvalidURLReason = "InvalidURL"
	// SecretNotFoundReason means that the Secret that the spec names is not there.
	SecretNotFoundReason = "SecretNotFound"
	// InvalidSecretReason means that the Secret lacks a key, or has one that cannot be used.
	InvalidSecretReason = "InvalidSecret"
	// InvalidProviderConfigurationReason means that spec.provider does not go with the Secret or the URL, or that
	// an issuer of spec.oidcProviders is not one that the hub asks.
	InvalidProviderConfigurationReason = "InvalidProviderConfiguration"
	// UnsupportedProviderReason means that credentials of spec.provider are not supported.
	UnsupportedProviderReason = "UnsupportedProvider"
	// IgnoredSecretKeysReason says in an event that a Secret has keys which nothing reads.
	IgnoredSecretKeysReason = "IgnoredSecretKeys"
	// UnsupportedObjectFormatReason means that the repository names its objects otherwise than by SHA-1.
	UnsupportedObjectFormatReason = "UnsupportedObjectFormat"
	// StorageFailedReason means that the hub's own storage is full, read-only or broken; of a Kustomization as well.
	StorageFailedReason = "StorageFailed"
	// LayoutFailedReason means that a path of spec.sparseCheckout or spec.include is not there, or that
	// something is in the place of what is included.
	LayoutFailedReason = "LayoutFailed"
	// SubmoduleFailedReason means that a submodule cannot be fetched, or lies on another host.
	SubmoduleFailedReason = "SubmoduleFailed"
	// IncludeUnavailableReason means that a GitRepository of spec.include is not there, or has fetched nothing.
	IncludeUnavailableReason = "IncludeUnavailable"
	// IncludeCycleReason means that a GitRepository includes itself, by way of others.
	IncludeCycleReason = "IncludeCycle"
	// InvalidCommitSignatureReason means that spec.verify wants the commit signed by a trusted key, and it is not.
	InvalidCommitSignatureReason = "InvalidCommitSignature"
	// InvalidTagSignatureReason means that spec.verify wants the tag signed by a trusted key, and it is not.
	InvalidTagSignatureReason = "InvalidTagSignature"
	// InvalidVerificationModeReason means that spec.verify wants a tag verified, and spec.ref names none.
	InvalidVerificationModeReason = "InvalidVerificationMode"
	// VerificationErrorReason means that the Secret with the public keys is not there, or cannot be used.
	VerificationErrorReason = "VerificationError"
	// FetchFailedReason means that the fetch failed for a reason that has no name of its own.
	FetchFailedReason = "FetchFailed"
)

// Reasons of a Receiver.
const (
	// ReceiversDisabledReason means that the hub runs without --receiver-bind-address, and accepts no webhooks.
	ReceiversDisabledReason = "ReceiversDisabled"
)

// Reasons of a Kustomization that come from the hub's side: source, selection, render.
const (
	// SourceNotFoundReason means that spec.sourceRef names a GitRepository that is not there.
	SourceNotFoundReason = "SourceNotFound"
	// SourceNotReadyReason means that the GitRepository has fetched nothing yet.
	SourceNotReadyReason = "SourceNotReady"
	// AccessDeniedReason refuses a reference to an object of another namespace, which spec.accessFrom of
	// that object, or --no-cross-namespace-refs of the hub, does not admit.
	AccessDeniedReason = "AccessDenied"
	// NoClustersMatchedReason means that spec.clusters selects no Cluster.
	NoClustersMatchedReason = "NoClustersMatched"
	// PathNotFoundReason means that spec.path is not in the commit.
	PathNotFoundReason = "PathNotFound"
	// RemoteReferenceReason means that a kustomization refers to something outside of the repository.
	RemoteReferenceReason = "RemoteReference"
	// PathOutsideRootReason means that a path leads out of the repository.
	PathOutsideRootReason = "PathOutsideRoot"
	// PluginRefusedReason means that a kustomization asks for a plugin, a function or Helm, which would run a program.
	PluginRefusedReason = "PluginRefused"
	// InvalidYAMLReason means that a file is not YAML.
	InvalidYAMLReason = "InvalidYAML"
	// InvalidKustomizationReason means that a kustomization file is none, or has a field that kustomize does
	// not know.
	InvalidKustomizationReason = "InvalidKustomization"
	// SchemaRefusedReason means that a kustomization brings a schema of its own (openapi).
	SchemaRefusedReason = "SchemaRefused"
	// LFSPointerReason means that a file is a pointer of Git LFS, whose content is not in the repository.
	LFSPointerReason = "LFSPointer"
	// YAMLBombReason means that a file expands beyond the limits.
	YAMLBombReason = "YAMLBomb"
	// BuildFailedReason means that kustomize refused the input.
	BuildFailedReason = "BuildFailed"
	// SubstitutionFailedReason means that a variable is not set, or cannot stand where it is used.
	SubstitutionFailedReason = "SubstitutionFailed"
	// DecryptionFailedReason means that a file is encrypted, and why it cannot be decrypted: no key, another
	// key, or a file that was changed or cut off.
	DecryptionFailedReason = "DecryptionFailed"
	// DuplicateObjectReason means that two manifests describe one object.
	DuplicateObjectReason = "DuplicateObject"
	// ReservedObjectReason refuses an object that Skerry keeps for itself: an Assignment, an inventory,
	// the claim or the lease of a hub.
	ReservedObjectReason = "ReservedObject"
	// NotPermittedReason refuses an object by which a Kustomization outside the hub's namespace would
	// change the hub, what Skerry keeps on an edge, or another namespace's Kustomizations. An object that the
	// rights of a ServiceAccount do not admit is Forbidden.
	NotPermittedReason = "NotPermitted"
	// ForbiddenReason means that the ServiceAccount in whose name a Kustomization is applied has no right to an
	// object, or to see those of its kind. Nothing is tried with other rights in its place. Of a command: that the
	// credentials at hand may not read something.
	ForbiddenReason = "Forbidden"
	// ServiceAccountNotFoundReason means that the ServiceAccount of the Kustomization is not on the cluster.
	ServiceAccountNotFoundReason = "ServiceAccountNotFound"
	// ServiceAccountRequiredReason refuses a Kustomization without serviceAccountName where the hub lends its own
	// rights to no namespace but its own (--require-service-account).
	ServiceAccountRequiredReason = "ServiceAccountRequired"
	// ImpersonationFailedReason means that the credentials of the Cluster may not impersonate the ServiceAccount of
	// the Kustomization, or that the cluster takes what is asked in its name for something else.
	ImpersonationFailedReason = "ImpersonationFailed"
	// InvalidObjectReason means that a manifest is no object that can be applied.
	InvalidObjectReason = "InvalidObject"
	// ClustersUnreachable means that clusters of the Kustomization do not answer.
	ClustersUnreachable = "ClustersUnreachable"
	// DependencyCycleReason means that spec.dependsOn leads in a circle.
	DependencyCycleReason = "DependencyCycle"
	// InvalidCELExpressionReason means that a readyExpr of spec.dependsOn is not CEL, or results in something
	// else than true or false.
	InvalidCELExpressionReason = "InvalidCELExpression"
	// InvalidSelectorReason means that spec.clusters.selector cannot be read.
	InvalidSelectorReason = "InvalidSelector"
	// ClusterNotFoundReason means that spec.clusters.names names a Cluster that is not there.
	ClusterNotFoundReason = "ClusterNotFound"
	// InvalidRolloutReason means that spec.rollout cannot be followed: a time zone or schedule that
	// does not exist, say.
	InvalidRolloutReason = "InvalidRollout"
	// InvalidHealthCheckReason means that an expression of spec.healthCheckExprs cannot be read.
	InvalidHealthCheckReason = "InvalidHealthCheck"
	// InvalidIgnoreRuleReason means that a rule of spec.drift.ignore or spec.ignore cannot be followed.
	InvalidIgnoreRuleReason = "InvalidIgnoreRule"
	// RolloutHaltedReason means that a change failed on too many clusters, or was undone, and goes no
	// further.
	RolloutHaltedReason = "RolloutHalted"
	// RolloutWaitingReason means that a change waits for a stage, a soak, a window or a person.
	RolloutWaitingReason = "RolloutWaiting"
)

// Reasons of an entry of an Assignment, that come from the engine.
const (
	// EmptyBuildReason refuses a build without objects where there were some.
	EmptyBuildReason = "EmptyBuild"
	// PruneLimitExceededReason refuses to delete most objects, or every Namespace or CRD.
	PruneLimitExceededReason = "PruneLimitExceeded"
	// OwnershipConflictReason means that another Kustomization owns an object.
	OwnershipConflictReason = "OwnershipConflict"
	// OwnedByAnotherHubReason means that another hub manages the cluster.
	OwnedByAnotherHubReason = "OwnedByAnotherHub"
	// ApplyFailedReason means that the cluster refused at least one object.
	ApplyFailedReason = "ApplyFailed"
	// ImmutableFieldReason means that a change needs force.
	ImmutableFieldReason = "ImmutableField"
	// NamespaceNotFoundReason means that an object's namespace is missing.
	NamespaceNotFoundReason = "NamespaceNotFound"
	// KindNotFoundReason means that the cluster does not know an object's kind.
	KindNotFoundReason = "KindNotFound"
	// PruneHeldReason means that objects which left a Kustomization stay, under its label, until it is
	// known whether another Kustomization desires them at the same revision.
	PruneHeldReason = "PruneHeld"
	// KindNotKeptReason refuses an object of a kind that the cluster does not keep: a review or a
	// binding can be created, and neither listed nor watched.
	KindNotKeptReason = "KindNotKept"
	// KindUnavailableReason means that the objects of a kind cannot be seen at the moment: the server
	// behind an aggregated API does not answer, or the credentials may not list and watch them.
	KindUnavailableReason = "KindUnavailable"
	// PruneFailedReason means that the cluster refused a deletion.
	PruneFailedReason = "PruneFailed"
	// DeletionPendingReason means that an object was deleted and is not gone: its finalizers hold it.
	DeletionPendingReason = "DeletionPending"
	// HealthCheckLimitExceededReason means that the expressions of spec.healthCheckExprs take more steps than
	// they may for one object, or in sum on one cluster or on all, so that the health of objects is not known.
	// They are evaluated again as steps are given back; a cheaper expression ends it.
	HealthCheckLimitExceededReason = "HealthCheckLimitExceeded"
	// HealthCheckFailedReason means that an object failed, or was not healthy within timeout.
	HealthCheckFailedReason = "HealthCheckFailed"
	// WaitingForHealthReason means that objects are applied and on their way.
	WaitingForHealthReason = "WaitingForHealth"
	// DependencyNotReadyReason means that a dependsOn is not ready on the same cluster.
	DependencyNotReadyReason = "DependencyNotReady"
	// BundleNotFoundReason means that the rendered bundle is not (yet) in the store.
	BundleNotFoundReason = "BundleNotFound"
	// DriftLoopReason means that another manager keeps changing an object back.
	DriftLoopReason = "DriftLoop"
	// ObjectMissingReason means that an object was deleted on the cluster, and that drift.mode leaves it so.
	ObjectMissingReason = "ObjectMissing"
	// InventoryCorruptReason means that what is recorded of a Kustomization on the cluster cannot be read.
	InventoryCorruptReason = "InventoryCorrupt"
	// HubStateOutdatedReason means that a cluster has what this hub decided on later than what it would
	// apply now: it was restored from a backup.
	HubStateOutdatedReason = "HubStateOutdated"
	// InventoryFailedReason means that the inventory could not be read or written.
	InventoryFailedReason = "InventoryFailed"
)

// Reasons of events that the engine sends for a Kustomization.
const (
	// AnnotationIgnoredReason means that objects have an annotation that has no effect here: one by which
	// another tool orders, runs or keeps them, or one of Skerry or Flux whose name or value is unknown.
	AnnotationIgnoredReason = "AnnotationIgnored"
	// ImagePolicyIgnoredReason means that files mark values for Flux's image automation, and that nothing here
	// sets them.
	ImagePolicyIgnoredReason = "ImagePolicyIgnored"
	// AdoptedReason means that an object was there and is managed from now on.
	AdoptedReason = "Adopted"
	// DriftCorrectedReason means that an object was changed or deleted, and is as Git wants it again.
	DriftCorrectedReason = "DriftCorrected"
	// DriftDetectedReason means that an object was changed or deleted, and is left as it is; of the
	// condition Drifted as well.
	DriftDetectedReason = "DriftDetected"
	// ReplicasIgnoredReason means that spec.replicas of an object is not applied, because an autoscaler
	// of the same bundle sets it.
	ReplicasIgnoredReason = "ReplicasIgnored"
	// PrunedReason means that objects were deleted.
	PrunedReason = "Pruned"
	// JobRemovedReason means that a Job is gone and counts as ended, though its end was not seen.
	JobRemovedReason = "JobRemoved"
	// ReleasedReason means that an object left Git, and stays on the cluster without an owner.
	ReleasedReason = "Released"
)

// Reasons of a Cluster.
const (
	// InvalidKubeConfigReason means that the kubeconfig is garbage, or has a field that is refused.
	InvalidKubeConfigReason = "InvalidKubeConfig"
	// TokenRenewalFailedReason means that the token of the kubeconfig was not renewed, why, and when it expires; it is
	// tried again.
	TokenRenewalFailedReason = "TokenRenewalFailed"
	// UnauthorizedReason means that the cluster does not accept the credentials.
	UnauthorizedReason = "Unauthorized"
	// UnexpectedAnswerReason means that what answers is no API server, or one that answers as none does:
	// with a redirect, a web page, or more than was asked for.
	UnexpectedAnswerReason = "UnexpectedAnswer"
	// HubItselfReason means that the kubeconfig leads to the hub's own cluster.
	HubItselfReason = "HubItself"
	// DuplicateClusterReason means that another Cluster leads to the same cluster.
	DuplicateClusterReason = "DuplicateCluster"
	// DuplicateHubReason means that another hub with the same identity works on the cluster: one that was
	// bootstrapped twice, or restored from a backup beside the one that it was taken of.
	DuplicateHubReason = "DuplicateHub"
	// InventoryOrphanedReason means that an inventory is on the cluster that no Kustomization claims.
	InventoryOrphanedReason = "InventoryOrphaned"
	// RemovingReason means that the Cluster is deleted and what stands there is dealt with.
	RemovingReason = "Removing"
	// RetiringReason means that all of that is done, and the hub takes away the last of its own.
	RetiringReason = "Retiring"
	// AgentNotConnectedReason means that no agent has reported.
	AgentNotConnectedReason = "AgentNotConnected"
	// AgentNotApprovedReason means that the agent has joined and waits to be approved.
	AgentNotApprovedReason = "AgentNotApproved"
	// DuplicateAgentReason means that two agents have the key of the Cluster: one is on a copy of its cluster.
	DuplicateAgentReason = "DuplicateAgent"
	// AgentReportRefusedReason means that reports came which the agent did not sign, or not as they came: something that
	// terminates TLS on the way changes, breaks, repeats or leaves out what the agent sends. The edge goes on, and what is
	// known of it is what it has signed. Of one that it has signed and the hub cannot read, the message says so.
	AgentReportRefusedReason = "AgentReportRefused"
	// AgentImageUnknownReason means that the hub keeps no agents at its version, because it does not know the image that
	// goes with it: it is no release, and runs without --agent-image. Agents stay as they are.
	AgentImageUnknownReason = "AgentImageUnknown"
	// ClusterReplacedReason means that the agent connects from another cluster than the one that joined, by the uid of
	// kube-system. It is given nothing to apply, and nothing is deleted on it.
	ClusterReplacedReason = "ClusterReplaced"
)

// Reasons of events that are not reasons of conditions.
const (
	// NewRevisionReason means that a GitRepository has fetched a revision.
	NewRevisionReason = "NewRevision"
	// ForcePushReason means that the new revision does not follow from the one before.
	ForcePushReason = "ForcePush"
	// SubmodulesIgnoredReason means that the repository has submodules, which are fetched only with
	// spec.recurseSubmodules.
	SubmodulesIgnoredReason = "SubmodulesIgnored"
	// ClusterReachableReason means that a cluster answers again.
	ClusterReachableReason = "ClusterReachable"
	// ClusterUnreachableReason means that a cluster does not answer any more.
	ClusterUnreachableReason = "ClusterUnreachable"
	// RemovedReason means that a Cluster is gone; the message names what became of its objects.
	RemovedReason = "Removed"
	// AbandonedReason means that something is left on a cluster whose Cluster is gone, and that did not answer or was to be left
	// as it is.
	AbandonedReason = "Abandoned"
	// RolloutProgressingReason means that a change has begun a stage.
	RolloutProgressingReason = "RolloutProgressing"
	// RolloutSoakingReason means that a stage is ready everywhere, and is watched for a while.
	RolloutSoakingReason = "RolloutSoaking"
	// RolloutAwaitingApprovalReason means that a change waits for a person.
	RolloutAwaitingApprovalReason = "RolloutAwaitingApproval"
	// RolloutAwaitingWindowReason means that a change waits for a window of time.
	RolloutAwaitingWindowReason = "RolloutAwaitingWindow"
	// RolloutPausedReason means that a person has paused a change.
	RolloutPausedReason = "RolloutPaused"
)

// Reasons that commands give, of what no object says.
const (
	// NotRunningReason means that no hub holds its lease.
	NotRunningReason = "NotRunning"
	// ReachedByAgentReason means that the cluster is reached by its agent alone, and cannot be asked from here.
	ReachedByAgentReason = "Agent"
)

// Reasons that an agent reports on itself.
const (
	// AgentDiskFullReason means that the agent's disk has no room: it works from memory meanwhile.
	AgentDiskFullReason = "AgentDiskFull"
	// AgentDiskReadOnlyReason means that the agent may not write to its disk.
	AgentDiskReadOnlyReason = "AgentDiskReadOnly"
	// AgentDiskFailedReason means that the agent's disk fails, or is not there.
	AgentDiskFailedReason = "AgentDiskFailed"
	// AgentDiskDamagedReason means that records on the agent's disk were damaged, and removed.
	AgentDiskDamagedReason = "AgentDiskDamaged"
	// BundleRefusedReason means that what was downloaded is not what its digest says, and was refused.
	BundleRefusedReason = "BundleRefused"
	// AgentEventsDroppedReason means that an agent that was cut off had more events than it keeps.
	AgentEventsDroppedReason = "AgentEventsDropped"
)

// Reasons of what is carried by medium, between a hub and an edge without a link.
const (
	// MediumImportedReason means that an agent has taken an update that was carried to it.
	MediumImportedReason = "MediumImported"
	// MediumOutdatedReason refuses a file that is older than what is known already.
	MediumOutdatedReason = "MediumOutdated"
	// MediumForAnotherHubReason refuses a file of another hub.
	MediumForAnotherHubReason = "MediumForAnotherHub"
	// MediumForAnotherClusterReason refuses a file of another Cluster.
	MediumForAnotherClusterReason = "MediumForAnotherCluster"
	// MediumForAnotherKeyReason refuses a file that is sealed for a key that was rotated since.
	MediumForAnotherKeyReason = "MediumForAnotherKey"
	// MediumDamagedReason refuses a file that was changed or cut off on its way.
	MediumDamagedReason = "MediumDamaged"
	// MediumNotSignedReason refuses a file that is sealed as it should be, and not signed by whom it says it is from.
	MediumNotSignedReason = "MediumNotSigned"
	// MediumUnsupportedReason refuses a file that is none of Skerry's, goes the other way, or is of a later version.
	MediumUnsupportedReason = "MediumUnsupported"
	// MediumNotExpectedReason refuses a file while the agent, or the Cluster, is in no state to take one.
	MediumNotExpectedReason = "MediumNotExpected"
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

// IsUnadmitted reports whether a reason is one for which nothing at all is done in the name of a ServiceAccount.
func IsUnadmitted(reason string) bool {
	return reason == ServiceAccountRequiredReason || reason == ServiceAccountNotFoundReason || reason == ImpersonationFailedReason
}

// IsDenied reports whether a reason means that the ServiceAccount of a Kustomization is not there, or has not the rights
// that it needs. Only a person can give it these.
func IsDenied(reason string) bool { return reason == ForbiddenReason || IsUnadmitted(reason) }
