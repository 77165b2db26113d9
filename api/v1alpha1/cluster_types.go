package v1alpha1

import (
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClusterSpec says how to reach one cluster. The Cluster named "hub" is the hub's own and has
// neither kubeConfig nor agent; every other has exactly one of the two.
// +kubebuilder:validation:XValidation:rule="!has(self.agent) || !has(self.sharing) || self.sharing != 'Shared'",message="sharing: Shared is for a cluster that the hub reaches: an agent has its cluster to itself"
// +kubebuilder:validation:XValidation:rule="!has(self.agent) || !has(self.namespaces)",message="namespaces is for a cluster that the hub reaches: an agent is given --namespaces"
type ClusterSpec struct {
	// KubeConfig is for a cluster that the hub reaches.
	// +optional
	KubeConfig *KubeConfig `json:"kubeConfig,omitempty"`

	// Agent is for a cluster that reaches the hub: an agent there pulls.
	// +optional
	Agent *Agent `json:"agent,omitempty"`

	// Vars are seen by path and by postBuild of every Kustomization on this cluster.
	// +kubebuilder:validation:MaxProperties=128
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^[a-zA-Z_][a-zA-Z0-9_]*$') && k != 'cluster_name' && k != 'cluster_namespace')",message="a key of vars must be a variable name other than cluster_name and cluster_namespace"
	// +optional
	Vars map[string]VarValue `json:"vars,omitempty"`

	// VarsFrom names ConfigMaps and Secrets of this namespace whose data are vars too; a later one
	// overrides an earlier one, and vars overrides them all. Keys that are no variable names are
	// passed over.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	VarsFrom []SubstituteReference `json:"varsFrom,omitempty"`

	// DeletionPolicy decides what happens to the objects that the hub applied to the cluster when this
	// Cluster is deleted.
	// +kubebuilder:default=Orphan
	// +optional
	DeletionPolicy ClusterDeletionPolicy `json:"deletionPolicy,omitempty"`

	// AccessFrom names the other namespaces whose Kustomizations may select this Cluster. Absent, all may,
	// or none when the hub runs with --no-cross-namespace-refs. What is on the cluster already of one that
	// may no longer stays there as it is, and gets no further change.
	// +nullable
	// +optional
	AccessFrom *AccessFrom `json:"accessFrom,omitempty"`

	// Namespaces are those that the credentials reach, where they reach no others: objects are listed and watched
	// in each by itself, and one of another namespace, or of none, is refused before anything is sent. Beside
	// them the credentials need the ConfigMaps of skerry-system, and "get" of the namespace kube-system. Absent:
	// all of the cluster.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Namespaces []string `json:"namespaces,omitempty"`

	// Sharing Shared lets other Clusters that lead to the same cluster, of this hub and of others, have a part of it
	// as well, where all of them say so. Owner labels keep the parts apart: an object that one has, another is
	// refused. A cluster without it belongs to one Cluster of one hub.
	// +optional
	Sharing ClusterSharing `json:"sharing,omitempty"`

	// Suspend leaves the cluster as it is.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// ClusterSharing decides who else may have a part of a cluster.
// +kubebuilder:validation:Enum=Exclusive;Shared
type ClusterSharing string

const (
	// SharingExclusive is for a cluster that belongs to one Cluster of one hub; so does an empty value.
	SharingExclusive ClusterSharing = "Exclusive"
	// SharingShared is for one that others have a part of.
	SharingShared ClusterSharing = "Shared"
)

// ClusterDeletionPolicy decides what happens to the objects that the hub applied to a cluster when its
// Cluster is deleted. Delete and Orphan need the cluster to answer; the hub waits some minutes for one
// that does not, and then lets the Cluster go with an event that names what stays there.
// +kubebuilder:validation:Enum=Delete;Orphan;Abandon
type ClusterDeletionPolicy string

const (
	// ClusterDeletionDelete deletes every object that was applied, and then the inventories, the claim
	// and the account of the hub.
	ClusterDeletionDelete ClusterDeletionPolicy = "Delete"
	// ClusterDeletionOrphan leaves the objects, takes the owner labels off them, and deletes the
	// inventories, the claim and the account of the hub, so that another hub may adopt the objects.
	ClusterDeletionOrphan ClusterDeletionPolicy = "Orphan"
	// ClusterDeletionAbandon sends no request to the cluster at all.
	ClusterDeletionAbandon ClusterDeletionPolicy = "Abandon"
)

// VarValue is the value of one variable.
// +kubebuilder:validation:MaxLength=4096
type VarValue string

// KubeConfig names the Secret that holds a kubeconfig.
type KubeConfig struct {
	// SecretRef names a Secret of the same namespace, and the key in it ("value", or "value.yaml",
	// when absent). The kubeconfig holds its certificates and token inline.
	// +required
	SecretRef meta.SecretKeyReference `json:"secretRef"`
}

// ClusterStatus says what is known of the cluster.
type ClusterStatus struct {
	// ObservedGeneration is the generation of the spec that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready (usable), Reachable (heard from).
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// UID of the cluster's kube-system namespace. When it changes, it is another cluster.
	// +optional
	UID string `json:"uid,omitempty"`

	// Version of its API server.
	// +optional
	Version string `json:"version,omitempty"`

	// Agent of a cluster that has one.
	// +optional
	Agent *AgentStatus `json:"agent,omitempty"`

	// LastSeen is when the cluster was last heard from; written when that changes in kind, and
	// every few minutes, not with every word.
	// +optional
	LastSeen *metav1.Time `json:"lastSeen,omitempty"`

	// LastHandledReconcileAt is the last handled value of skerry.dev/reconcile-requested-at.
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`

	// Shard that works on the cluster, "k/n", where several hubs share a fleet. It is written by the hub
	// that takes the cluster, or gives it to another.
	// +kubebuilder:validation:Pattern=`^[1-9][0-9]?/[1-9][0-9]?$`
	// +optional
	Shard string `json:"shard,omitempty"`
}

// Cluster is one edge cluster.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=skcl,categories=skerry
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reachable",type=string,JSONPath=`.status.conditions[?(@.type=="Reachable")].status`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="Seen",type=date,JSONPath=`.status.lastSeen`
// +kubebuilder:printcolumn:name="Agent",type=string,JSONPath=`.status.agent.version`,priority=1
// +kubebuilder:printcolumn:name="Connected",type=date,JSONPath=`.status.agent.connectedSince`,priority=1
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'hub' ? !has(self.spec.kubeConfig) && !has(self.spec.agent) : has(self.spec.kubeConfig) != has(self.spec.agent)",message="the Cluster named hub has neither kubeConfig nor agent, every other exactly one of them"
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a Cluster has at most 63 characters"
type Cluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says how the cluster is reached and what it has of its own.
	// +required
	Spec ClusterSpec `json:"spec"`
	// Status of an object that no controller has seen is of no generation, so that a program that computes a
	// status from it does not take it for done.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status ClusterStatus `json:"status,omitempty"`
}

// ClusterList is a list of Cluster.
//
// +kubebuilder:object:root=true
type ClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Cluster `json:"items"`
}

// GetConditions returns the conditions of the status.
func (c *Cluster) GetConditions() []metav1.Condition { return c.Status.Conditions }

// SetConditions replaces the conditions of the status.
func (c *Cluster) SetConditions(s []metav1.Condition) { c.Status.Conditions = s }
