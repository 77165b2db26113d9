package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// AssignmentSpec is what the hub decided for one cluster. Only the hub writes it.
type AssignmentSpec struct {
	// Entries holds one entry per Kustomization assigned to the cluster, each of another name. The
	// list is atomic: who manages which field of which entry would be remembered at more cost than
	// the entries themselves.
	// +listType=atomic
	// +optional
	Entries []AssignmentEntry `json:"entries,omitempty"`
}

// AssignmentEntry says what one Kustomization wants on the cluster.
type AssignmentEntry struct {
	// Name of the Kustomization; "namespace/name" of one that is not in the namespace of the Assignment.
	Name string `json:"name"`

	// Revision of the source that rendered the digest for the cluster first. A later revision that
	// renders the same digest does not change the entry; status.rendered of the Kustomization names it.
	// +optional
	Revision string `json:"revision,omitempty"`

	// Digest of the rendered bundle: "sha256:<hex>".
	// +optional
	Digest string `json:"digest,omitempty"`

	// Change is the id of the change that brought the digest here.
	// +optional
	Change string `json:"change,omitempty"`

	// AssignedAt is when the digest was assigned.
	// +optional
	AssignedAt *metav1.Time `json:"assignedAt,omitempty"`

	// Fallback is what the cluster goes back to when the change that it was sent is undone.
	// +optional
	Fallback *Bundle `json:"fallback,omitempty"`

	// Interval between two full verifications.
	Interval metav1.Duration `json:"interval"`
	// RetryInterval between two tries after a failure; interval when absent.
	// +optional
	RetryInterval *metav1.Duration `json:"retryInterval,omitempty"`
	// Timeout for the objects to become healthy.
	Timeout metav1.Duration `json:"timeout"`

	// ServiceAccountName is in whose name the entry is applied: a ServiceAccount of the namespace of the
	// Kustomization. Absent: with the rights of the credentials.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// RequireServiceAccount means that the hub lends the rights of the credentials to no Kustomization of this
	// namespace, and that the entry names no account to use in their place: it is refused, by an agent as well.
	// +optional
	RequireServiceAccount bool `json:"requireServiceAccount,omitempty"`

	// Prune deletes from the cluster what a new bundle does not hold any more.
	// +optional
	Prune bool `json:"prune,omitempty"`
	// MaxPrune is how many objects a bundle may take from the cluster: a number or a percentage.
	// +kubebuilder:validation:XIntOrString
	// +optional
	MaxPrune *intstr.IntOrString `json:"maxPrune,omitempty"`
	// Drift says what becomes of drift; absent, it is corrected.
	// +optional
	Drift *Drift `json:"drift,omitempty"`
	// Force recreates objects whose immutable fields change.
	// +optional
	Force bool `json:"force,omitempty"`
	// Wait makes the entry ready only when all of its objects are healthy.
	// +optional
	Wait bool `json:"wait,omitempty"`
	// Suspend leaves the objects alone until it is taken away.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// HealthChecks are those of the Kustomization.
	// +listType=atomic
	// +optional
	HealthChecks []HealthCheckReference `json:"healthChecks,omitempty"`
	// HealthCheckExprs are those of the Kustomization.
	// +listType=atomic
	// +optional
	HealthCheckExprs []HealthCheckExpressions `json:"healthCheckExprs,omitempty"`

	// DependsOn names entries that must be ready first.
	// +optional
	DependsOn []string `json:"dependsOn,omitempty"`

	// AllowPrune means that a person acknowledged, for this revision, an empty build or a prune
	// beyond the guard.
	// +optional
	AllowPrune bool `json:"allowPrune,omitempty"`

	// Remove means that the Kustomization no longer wants the cluster: its objects go as
	// deletionPolicy says, then the entry.
	// +optional
	Remove bool `json:"remove,omitempty"`

	// DeletionPolicy of an entry with remove; Delete when absent.
	// +kubebuilder:validation:Enum=Delete;Orphan
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// KeepFor names bundles that other Kustomizations render for the cluster and that have not arrived
	// there, and a bundle of what one may desire that cannot be rendered: what they hold is not deleted, and
	// stays with this entry until it is released to them.
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +optional
	KeepFor []string `json:"keepFor,omitempty"`

	// HoldPrune means that not every bundle is known which other Kustomizations render for the cluster:
	// until it is, nothing is deleted.
	// +optional
	HoldPrune bool `json:"holdPrune,omitempty"`

	// Undone is the digest of the bundle of the source's revision, where the cluster was given back an
	// earlier one: of what it holds, an object that the Kustomization did not create is not deleted.
	// Another one may have had it before, and let go of it since.
	// +optional
	Undone string `json:"undone,omitempty"`

	// RequestedAt is a value that asks for a full verification when it changes.
	// +optional
	RequestedAt string `json:"requestedAt,omitempty"`
}

// Equal reports whether two entries say the same. A hub asks it of each entry whenever it decides about one, and whenever
// an Assignment changes, where reflection would cost a thirtieth of its time.
func (e *AssignmentEntry) Equal(o *AssignmentEntry) bool {
	return e.Name == o.Name && e.Revision == o.Revision && e.Digest == o.Digest && e.Change == o.Change &&
		e.AssignedAt.Equal(o.AssignedAt) && equalPointers(e.Fallback, o.Fallback) &&
		e.Interval == o.Interval && equalPointers(e.RetryInterval, o.RetryInterval) && e.Timeout == o.Timeout &&
		e.ServiceAccountName == o.ServiceAccountName && e.RequireServiceAccount == o.RequireServiceAccount &&
		e.Prune == o.Prune && equalPointers(e.MaxPrune, o.MaxPrune) && e.Drift.Equal(o.Drift) && e.Force == o.Force && e.Wait == o.Wait && e.Suspend == o.Suspend &&
		slices.Equal(e.HealthChecks, o.HealthChecks) && slices.Equal(e.HealthCheckExprs, o.HealthCheckExprs) &&
		slices.Equal(e.DependsOn, o.DependsOn) && e.AllowPrune == o.AllowPrune &&
		e.Remove == o.Remove && e.DeletionPolicy == o.DeletionPolicy && e.RequestedAt == o.RequestedAt &&
		slices.Equal(e.KeepFor, o.KeepFor) && e.HoldPrune == o.HoldPrune && e.Undone == o.Undone
}

func equalPointers[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// Bundle is a revision of a source as it was rendered for one cluster.
type Bundle struct {
	// Revision of the source that the bundle was rendered from.
	Revision string `json:"revision"`
	// Digest of the rendered bundle: "sha256:<hex>".
	Digest string `json:"digest"`
}

// AssignmentStatus is what the engine reports. Only the engine's side writes it.
type AssignmentStatus struct {
	// Entries holds one entry per entry of the spec that the engine has taken up.
	// +listType=atomic
	// +optional
	Entries []AssignmentEntryStatus `json:"entries,omitempty"`
}

// AssignmentEntryStatus says how one Kustomization stands on the cluster.
type AssignmentEntryStatus struct {
	// Name of the entry.
	Name string `json:"name"`

	// Revision that was attempted last; absent, with digest, when it is the one that was applied.
	// +optional
	Revision string `json:"revision,omitempty"`
	// Digest that was attempted last; absent, with revision, when it is the one that was applied.
	// +optional
	Digest string `json:"digest,omitempty"`

	// AppliedRevision is the last revision all of whose objects were applied.
	// +optional
	AppliedRevision string `json:"appliedRevision,omitempty"`
	// AppliedDigest is the digest of that revision.
	// +optional
	AppliedDigest string `json:"appliedDigest,omitempty"`

	// Ready is True, False, or Unknown while it is being worked on.
	Ready metav1.ConditionStatus `json:"ready"`
	// Reason is one of the reasons in this package.
	Reason string `json:"reason"`
	// Message explains the reason to a person.
	// +optional
	Message string `json:"message,omitempty"`

	// Objects counts the objects of the entry on the cluster.
	// +optional
	Objects ObjectCounts `json:"objects,omitempty"`

	// Drift counts the corrections since the engine started.
	// +optional
	Drift int64 `json:"drift,omitempty"`

	// Drifted counts the objects that differ from Git and are left as they are, with drift.mode Report.
	// +optional
	Drifted int32 `json:"drifted,omitempty"`

	// Drifts holds at most 10 drifts: first those that are left as they are, then those that were
	// corrected since the engine started, each the newest first.
	// +kubebuilder:validation:MaxItems=10
	// +listType=atomic
	// +optional
	Drifts []DriftRecord `json:"drifts,omitempty"`

	// VerifiedAt is when all objects were last known to stand as wanted.
	// +optional
	VerifiedAt *metav1.Time `json:"verifiedAt,omitempty"`

	// HandledAt is the requestedAt that was handled last.
	// +optional
	HandledAt string `json:"handledAt,omitempty"`

	// Removed means that an entry with remove has nothing left on the cluster.
	// +optional
	Removed bool `json:"removed,omitempty"`
}

// Attempted returns what was attempted last.
func (s *AssignmentEntryStatus) Attempted() (revision, digest string) {
	if s.Revision == "" && s.Digest == "" {
		return s.AppliedRevision, s.AppliedDigest
	}
	return s.Revision, s.Digest
}

// Equal reports whether two statuses say the same. It is asked for each object that changes on an edge, where
// reflection would cost a tenth of the hub's time.
func (s *AssignmentEntryStatus) Equal(o *AssignmentEntryStatus) bool {
	return s.Name == o.Name && s.Revision == o.Revision && s.Digest == o.Digest &&
		s.AppliedRevision == o.AppliedRevision && s.AppliedDigest == o.AppliedDigest &&
		s.Ready == o.Ready && s.Reason == o.Reason && s.Message == o.Message && s.Objects == o.Objects &&
		s.Drift == o.Drift && s.Drifted == o.Drifted && slices.EqualFunc(s.Drifts, o.Drifts, equalDrifts) &&
		s.VerifiedAt.Equal(o.VerifiedAt) && s.HandledAt == o.HandledAt && s.Removed == o.Removed
}

func equalDrifts(a, b DriftRecord) bool {
	return a.Object == b.Object && a.Change == b.Change && slices.Equal(a.Paths, b.Paths) && a.MorePaths == b.MorePaths &&
		a.Manager == b.Manager && a.At.Equal(&b.At) && a.Action == b.Action
}

// Assignment is the contract between the hub's decisions and the engine, in the hub or an agent, that applies them. There is one per
// Cluster, of the same name and namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=skasg,categories=skerry
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:printcolumn:name="Entries",type=string,JSONPath=`.spec.entries[*].name`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.entries[*].ready`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Assignment struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is written by the hub only.
	// +optional
	Spec AssignmentSpec `json:"spec,omitempty"`
	// Status is written by what applies the entries.
	// +optional
	Status AssignmentStatus `json:"status,omitempty"`
}

// AssignmentList is a list of Assignment.
//
// +kubebuilder:object:root=true
type AssignmentList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Assignment `json:"items"`
}
