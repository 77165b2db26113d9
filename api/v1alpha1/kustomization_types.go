package v1alpha1

import (
	"github.com/fluxcd/pkg/apis/kustomize"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// KustomizationSpec says what to render, how, and onto which clusters.
type KustomizationSpec struct {
	// SourceRef names the source.
	// +required
	SourceRef SourceReference `json:"sourceRef"`

	// Path of the directory to render, relative to the root of the source. It may hold
	// ${cluster_name}, ${cluster_namespace} and ${key} for every key of the Cluster's vars.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.split('/').exists(p, p == '..')",message="path must be relative and must not contain '..'"
	// +kubebuilder:default="./"
	// +optional
	Path string `json:"path,omitempty"`

	// Clusters selects the Clusters that get the objects; absent, the hub's own.
	// +nullable
	// +optional
	Clusters *ClusterTargets `json:"clusters,omitempty"`

	// Rollout says how a change reaches the clusters; absent, in three stages that stop by themselves.
	// +nullable
	// +optional
	Rollout *Rollout `json:"rollout,omitempty"`

	// Interval between two full verifications of each cluster, from 5s to 24h. Drift is corrected
	// as it happens, whatever the interval.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('5s') && duration(self) <= duration('24h')",message="interval must lie between 5s and 24h"
	// +required
	Interval metav1.Duration `json:"interval"`

	// RetryInterval between two tries after a failure, from 1s to 24h; interval when absent. What only
	// a change of an object helps against is tried again at interval.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="retryInterval must lie between 1s and 24h"
	// +nullable
	// +optional
	RetryInterval *metav1.Duration `json:"retryInterval,omitempty"`

	// Timeout for the objects to become healthy after they were applied, from 1s to 24h; interval
	// when absent.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="timeout must lie between 1s and 24h"
	// +nullable
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// Prune deletes objects that were applied once and are no longer rendered.
	// +kubebuilder:default=true
	// +optional
	Prune *bool `json:"prune,omitempty"`

	// MaxPrune is how many objects one commit may take from a cluster: a number, or a percentage of those
	// that are there. More are refused as PruneLimitExceeded until a person acknowledges the revision. An
	// object that is replaced by a new one of its kind and namespace does not count. With 0 nothing is
	// pruned without acknowledgement; with 100% there is no limit, and the last Namespace or
	// CustomResourceDefinition may go as well. Absent, up to half of the objects, and a single one.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern="^([0-9][0-9]?|100)%$"
	// +kubebuilder:validation:XValidation:rule="type(self) != int || self >= 0",message="must be a number or a percentage from 0% to 100%"
	// +optional
	MaxPrune *intstr.IntOrString `json:"maxPrune,omitempty"`

	// Drift says what becomes of drift, and which fields are another manager's. Absent, drift is corrected. An
	// edit, also of ignore and maxPrune, reaches all clusters at once, outside of the rollout.
	// +nullable
	// +optional
	Drift *Drift `json:"drift,omitempty"`

	// Ignore are rules as in drift.ignore, at the place where Flux has them. Both apply.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Ignore []IgnoreRule `json:"ignore,omitempty"`

	// Force deletes and creates again an object whose change the API server refuses because a field
	// is immutable. A Namespace or CustomResourceDefinition never is, and what holds data, such as a
	// PersistentVolumeClaim, only when it has the annotation skerry.dev/force: enabled itself.
	// +optional
	Force bool `json:"force,omitempty"`

	// Wait lets Ready wait until the objects are healthy. When false, Ready means that they are
	// applied; their health still shows in the counts.
	// +kubebuilder:default=true
	// +optional
	Wait *bool `json:"wait,omitempty"`

	// HealthChecks names objects on each cluster that must be healthy before Ready is true, also such as
	// this Kustomization does not apply. With wait they are waited for beside all others; without, they
	// alone are.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +nullable
	// +optional
	HealthChecks []HealthCheckReference `json:"healthChecks,omitempty"`

	// HealthCheckExprs judges the health of objects of some kinds, in place of what is known of them.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +nullable
	// +optional
	HealthCheckExprs []HealthCheckExpressions `json:"healthCheckExprs,omitempty"`

	// Suspend stops rendering, applying, pruning and correcting drift.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// DependsOn names Kustomizations that must be ready first, on the same cluster.
	// +kubebuilder:validation:MaxItems=64
	// +nullable
	// +optional
	DependsOn []DependencyReference `json:"dependsOn,omitempty"`

	// DeletionPolicy decides what happens to the objects when this Kustomization is deleted or a cluster is
	// no longer selected: Delete and WaitForTermination delete them, and the Kustomization stays until they
	// are gone (DeletionPending names one that is not within timeout); Orphan leaves them; MirrorPrune
	// deletes them when prune is true and leaves them when it is false.
	// +kubebuilder:validation:Enum=MirrorPrune;Delete;WaitForTermination;Orphan
	// +kubebuilder:default=MirrorPrune
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// TargetNamespace overrides the namespace of every namespaced object.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	TargetNamespace string `json:"targetNamespace,omitempty"`

	// NamePrefix is put before the name of every object.
	// +kubebuilder:validation:MaxLength=200
	// +optional
	NamePrefix string `json:"namePrefix,omitempty"`

	// NameSuffix is put behind the name of every object.
	// +kubebuilder:validation:MaxLength=200
	// +optional
	NameSuffix string `json:"nameSuffix,omitempty"`

	// CommonMetadata is added to every object.
	// +nullable
	// +optional
	CommonMetadata *CommonMetadata `json:"commonMetadata,omitempty"`

	// Patches are applied after the directory was rendered, each to the clusters that it selects.
	// +kubebuilder:validation:MaxItems=256
	// +nullable
	// +optional
	Patches []Patch `json:"patches,omitempty"`

	// Images replaces image names, tags and digests, each on the clusters that it selects.
	// +kubebuilder:validation:MaxItems=256
	// +nullable
	// +optional
	Images []Image `json:"images,omitempty"`

	// Components are directories, relative to path, of kustomize components.
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=1024
	// +nullable
	// +optional
	Components []string `json:"components,omitempty"`

	// IgnoreMissingComponents leaves out components that the source does not have.
	// +optional
	IgnoreMissingComponents bool `json:"ignoreMissingComponents,omitempty"`

	// BuildMetadata adds annotations that say where an object comes from: originAnnotations its file,
	// transformerAnnotations what changed it.
	// +kubebuilder:validation:MaxItems=2
	// +listType=set
	// +nullable
	// +optional
	BuildMetadata []BuildMetadataOption `json:"buildMetadata,omitempty"`

	// PostBuild substitutes variables in what was rendered.
	// +nullable
	// +optional
	PostBuild *PostBuild `json:"postBuild,omitempty"`

	// Decryption says how files that are encrypted are decrypted; absent, they are refused.
	// +nullable
	// +optional
	Decryption *Decryption `json:"decryption,omitempty"`

	// ServiceAccountName names a ServiceAccount of the namespace of the Kustomization, on each cluster that it is
	// applied to: everything is applied, watched and deleted in its name (impersonated), and nothing with the
	// rights of the Cluster's credentials in its place. Absent: the hub's --default-service-account, or those
	// credentials.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$`
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	UnsupportedFields `json:",inline"`
}

// ClusterTargets selects Clusters: those that the selector picks and those that are named, in the
// Kustomization's own namespace or in those that namespaces picks.
// +kubebuilder:validation:XValidation:rule="has(self.selector) || has(self.names) && size(self.names) > 0",message="clusters needs a selector, names, or both; an empty selector picks every cluster but the hub's own"
type ClusterTargets struct {
	// Selector picks Clusters by label; an empty one picks every Cluster but the hub's own.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// Names of Clusters.
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Names []string `json:"names,omitempty"`

	// Namespaces picks the namespaces whose Clusters are selected; absent, that of the Kustomization
	// alone. The hub's own cluster of another namespace is never selected. A hub with
	// --no-cross-namespace-refs refuses the Clusters of other namespaces unless accessFrom of the Cluster
	// admits the Kustomization's.
	// +optional
	Namespaces *ClusterNamespaces `json:"namespaces,omitempty"`
}

// Patch is a patch of kustomize, for some clusters or for all.
// +kubebuilder:validation:XValidation:rule="size(self.patch) <= 262144",message="patch must have at most 262144 characters; put a larger one into the repository"
type Patch struct {
	kustomize.Patch `json:",inline"`

	// ClusterSelector picks the clusters, by label, that the patch is for; absent, all.
	// +nullable
	// +optional
	ClusterSelector *metav1.LabelSelector `json:"clusterSelector,omitempty"`
}

// Image is an image replacement of kustomize, for some clusters or for all.
type Image struct {
	kustomize.Image `json:",inline"`

	// ClusterSelector picks the clusters, by label, that the replacement is for; absent, all.
	// +optional
	ClusterSelector *metav1.LabelSelector `json:"clusterSelector,omitempty"`
}

// BuildMetadataOption is a kind of annotations that kustomize adds.
// +kubebuilder:validation:Enum=originAnnotations;transformerAnnotations
type BuildMetadataOption string

// CommonMetadata is added to every object.
type CommonMetadata struct {
	// Labels are added to all objects; those of the manifests lose against them.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations are added to all objects; those of the manifests lose against them.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// PostBuild substitutes ${variables} in what was rendered. Variables of the Cluster come first,
// substituteFrom overrides them in its order, substitute overrides all. A variable without a value and
// without a default is refused. When substitute and substituteFrom are empty, nothing is substituted unless
// substituteStrategy is Always.
type PostBuild struct {
	// SubstituteStrategy decides when variables are substituted: WithVariables when substitute or
	// substituteFrom names some, Always also when they do not, so that the variables of the Cluster and the
	// defaults in expressions such as ${region:=north} are. WithVariables when absent.
	// +optional
	SubstituteStrategy SubstituteStrategy `json:"substituteStrategy,omitempty"`

	// Substitute holds variables and their values.
	// +nullable
	// +optional
	Substitute map[string]string `json:"substitute,omitempty"`

	// SubstituteFrom names ConfigMaps and Secrets of this namespace whose data are variables.
	// +kubebuilder:validation:MaxItems=32
	// +nullable
	// +optional
	SubstituteFrom []SubstituteReference `json:"substituteFrom,omitempty"`
}

// SubstituteReference names a ConfigMap or Secret of the same namespace.
type SubstituteReference struct {
	// Kind of the object whose keys are variables.
	// +kubebuilder:validation:Enum=Secret;ConfigMap
	// +required
	Kind string `json:"kind"`

	// Name of the object, in the namespace of the Kustomization.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`

	// Optional lets the build go on when the object does not exist.
	// +optional
	Optional bool `json:"optional,omitempty"`
}

// KustomizationStatus rolls up what the clusters report.
type KustomizationStatus struct {
	// ObservedGeneration is the generation of the spec that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, Reconciling, Stalled.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// LastAttemptedRevision is the revision that was rendered last, whether or not that went well.
	// +optional
	LastAttemptedRevision string `json:"lastAttemptedRevision,omitempty"`

	// LastAppliedRevision is the revision that every cluster counted as ready was ready at last.
	// +optional
	LastAppliedRevision string `json:"lastAppliedRevision,omitempty"`

	// Rendered says which bundles lastAttemptedRevision was rendered to, and, after it, the revisions
	// before it that clusters are still assigned.
	// +kubebuilder:validation:MaxItems=4
	// +listType=atomic
	// +optional
	Rendered []RenderedRevision `json:"rendered,omitempty"`

	// Clusters counts the clusters by state.
	// +optional
	Clusters ClusterCounts `json:"clusters,omitempty"`

	// Objects counts the objects of all clusters together.
	// +optional
	Objects ObjectCounts `json:"objects,omitempty"`

	// Failures names at most 10 clusters that are not right, and why.
	// +kubebuilder:validation:MaxItems=10
	// +optional
	Failures []ClusterFailure `json:"failures,omitempty"`

	// History holds at most 5 revisions that became ready, the newest first.
	// +kubebuilder:validation:MaxItems=5
	// +optional
	History []HistoryEntry `json:"history,omitempty"`

	// Rollout says where the rollout of the last change stands.
	// +optional
	Rollout *RolloutStatus `json:"rollout,omitempty"`

	// LastHandledReconcileAt is the last handled value of skerry.dev/reconcile-requested-at.
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`
}

// ClusterCounts counts clusters. Each desired cluster is counted in exactly one of ready,
// progressing, failed and unreachable; updated ones are at the last attempted revision.
type ClusterCounts struct {
	// Desired are those that are selected.
	Desired int32 `json:"desired"`
	// Updated are at the last attempted revision, whatever their health.
	Updated int32 `json:"updated"`
	// Ready have all objects healthy.
	Ready int32 `json:"ready"`
	// Progressing are being applied, or wait for health or a dependency.
	Progressing int32 `json:"progressing"`
	// Failed report an error.
	Failed int32 `json:"failed"`
	// Unreachable have not answered; what is known of them is old.
	Unreachable int32 `json:"unreachable"`
}

// ObjectCounts counts objects.
type ObjectCounts struct {
	// Total is how many objects are wanted.
	Total int32 `json:"total"`
	// Applied is how many of them stand as wanted.
	Applied int32 `json:"applied"`
	// Ready is how many of those are healthy.
	Ready int32 `json:"ready"`
}

// ClusterFailure says what is not right on one cluster.
type ClusterFailure struct {
	// Cluster is its name, "namespace/name" in another namespace than the Kustomization.
	Cluster string `json:"cluster"`
	// Reason is one of the reasons of conditions.
	Reason string `json:"reason"`
	// Message explains the reason to a person.
	// +optional
	Message string `json:"message,omitempty"`
}

// HistoryEntry is one revision that became ready.
type HistoryEntry struct {
	// Revision of the source.
	Revision string `json:"revision"`
	// ReadyAt is when it was ready on all clusters that count.
	ReadyAt metav1.Time `json:"readyAt"`
}

// Kustomization is a directory of a source, rendered with kustomize and kept on clusters.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=skks,categories=skerry
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Clusters",type=integer,JSONPath=`.status.clusters.desired`
// +kubebuilder:printcolumn:name="OK",type=integer,JSONPath=`.status.clusters.ready`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.clusters.failed`
// +kubebuilder:printcolumn:name="Unreachable",type=integer,JSONPath=`.status.clusters.unreachable`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.lastAppliedRevision`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Kustomization struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what to render, how, and onto which clusters.
	// +required
	Spec KustomizationSpec `json:"spec"`
	// Status of an object that no controller has seen is of no generation, so that a program that computes a
	// status from it does not take it for done.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status KustomizationStatus `json:"status,omitempty"`
}

// KustomizationList is a list of Kustomization.
//
// +kubebuilder:object:root=true
type KustomizationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Kustomization `json:"items"`
}

// GetConditions returns the conditions of the status.
func (k *Kustomization) GetConditions() []metav1.Condition { return k.Status.Conditions }

// IsSuspended reports whether the hub leaves it alone: spec.suspend is set, and no request to reconcile it once
// all the same is under way.
func (k *Kustomization) IsSuspended() bool {
	once := k.Annotations[ReconcileOnceAnnotation]
	isRequested := once != "" && once == ReconcileRequest(k.Annotations)
	return k.Spec.Suspend && (!isRequested || once == k.Status.LastHandledReconcileAt)
}

// SetConditions replaces the conditions of the status.
func (k *Kustomization) SetConditions(c []metav1.Condition) { k.Status.Conditions = c }
