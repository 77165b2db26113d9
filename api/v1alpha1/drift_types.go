package v1alpha1

import (
	"slices"

	"github.com/fluxcd/pkg/apis/kustomize"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DriftMode is what becomes of drift: of an object that was changed or deleted on a cluster.
// +kubebuilder:validation:Enum=Correct;Report;Off
type DriftMode string

const (
	// DriftCorrect puts drift back as it is seen.
	DriftCorrect DriftMode = "Correct"
	// DriftReport shows drift in the status and corrects nothing. A commit applies the objects that it
	// changes, each of them whole, and leaves the others as they are.
	DriftReport DriftMode = "Report"
	// DriftOff neither corrects nor reports drift. A commit applies the objects that it changes. At
	// interval it is verified that the objects are there and healthy.
	DriftOff DriftMode = "Off"
)

// Drift says what becomes of drift, and which fields are another manager's.
type Drift struct {
	// Mode is Correct, Report or Off; Correct when absent.
	// +kubebuilder:default=Correct
	// +optional
	Mode DriftMode `json:"mode,omitempty"`

	// Ignore leaves fields to the managers that own them on the cluster, in every mode.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Ignore []IgnoreRule `json:"ignore,omitempty"`
}

// IgnoreRule names fields that another manager may own. Git sets such a field when it creates the
// object, and for as long as no other manager has written it. From then on the field is that manager's:
// its changes are no drift, and a commit does not take it back.
type IgnoreRule struct {
	// Paths are JSON pointers (RFC 6901) to fields of the object as it stands in Git, such as
	// /spec/replicas or /spec/template/spec/containers/0/resources. All that is below a path counts as
	// well. A list that the API server merges as a whole can only be ignored as a whole.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:Pattern="^(/([^/~]|~[01])+)+$"
	// +listType=atomic
	// +required
	Paths []string `json:"paths"`

	// Target selects the objects; absent, all. Group, version, kind, name and namespace are regular
	// expressions that match the whole of the value.
	// +nullable
	// +optional
	Target *kustomize.Selector `json:"target,omitempty"`
}

// Equal returns whether both say the same.
func (d *Drift) Equal(other *Drift) bool {
	if d == nil || other == nil {
		return d == other
	}
	return d.Mode == other.Mode && slices.EqualFunc(d.Ignore, other.Ignore, func(a, b IgnoreRule) bool { return equality.Semantic.DeepEqual(a, b) })
}

// GetMode returns the mode, Correct when there is none.
func (d *Drift) GetMode() DriftMode {
	if d == nil || d.Mode == "" {
		return DriftCorrect
	}
	return d.Mode
}

// Rules returns the rules; none when there is no Drift.
func (d *Drift) Rules() []IgnoreRule {
	if d == nil {
		return nil
	}
	return d.Ignore
}

// DriftChange is what happened to an object.
// +kubebuilder:validation:Enum=Changed;Deleted;Recreated
type DriftChange string

const (
	// DriftChanged means that fields of the object were changed.
	DriftChanged DriftChange = "Changed"
	// DriftDeleted means that the object was deleted.
	DriftDeleted DriftChange = "Deleted"
	// DriftRecreated means that another object has its name.
	DriftRecreated DriftChange = "Recreated"
)

// DriftAction is what was done about drift.
// +kubebuilder:validation:Enum=Corrected;Reported
type DriftAction string

const (
	// DriftCorrected means that the object was put back.
	DriftCorrected DriftAction = "Corrected"
	// DriftReported means that the object differs from Git and is left as it is.
	DriftReported DriftAction = "Reported"
)

// DriftRecord is one object that was found to differ from Git. It never holds a value.
type DriftRecord struct {
	// Object: "Deployment.apps/shop/web".
	Object string `json:"object"`
	// Change is what happened to it.
	Change DriftChange `json:"change"`
	// Paths are the fields that differ, as far as they are known: ".spec.replicas". There are at most 5.
	// +listType=atomic
	// +optional
	Paths []string `json:"paths,omitempty"`
	// MorePaths counts the others.
	// +optional
	MorePaths int32 `json:"morePaths,omitempty"`
	// Manager is the field manager that wrote them, where it is known.
	// +optional
	Manager string `json:"manager,omitempty"`
	// At is when the object was corrected, or since when it differs.
	At metav1.Time `json:"at"`
	// Action is what was done about it.
	Action DriftAction `json:"action"`
}
