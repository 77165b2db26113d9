package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Types of webhook senders.
const (
	GenericReceiver     = "generic"
	GenericHMACReceiver = "generic-hmac"
	GitHubReceiver      = "github"
	GitLabReceiver      = "gitlab"
	BitbucketReceiver   = "bitbucket"
	GiteaReceiver       = "gitea"
	AzureDevOpsReceiver = "azuredevops"
	HarborReceiver      = "harbor"
	DockerHubReceiver   = "dockerhub"
	QuayReceiver        = "quay"
	NexusReceiver       = "nexus"
	ACRReceiver         = "acr"
	CDEventsReceiver    = "cdevents"
)

// ReceiverWebhookPath begins the path of every Receiver.
const ReceiverWebhookPath = "/hook/"

// ReceiverSpec says who sends webhooks, and which sources are fetched again when one arrives.
type ReceiverSpec struct {
	// Type of the sender, which decides how a webhook is authenticated. By a signature of the body with the
	// token: generic-hmac, github, bitbucket (Cloud and Data Center), gitea (and Forgejo), nexus. By the token
	// in a header: gitlab, harbor, azuredevops (the password of basic authentication). By the path alone:
	// generic, dockerhub, quay, acr, cdevents.
	// +kubebuilder:validation:Enum=generic;generic-hmac;github;gitlab;bitbucket;gitea;azuredevops;harbor;dockerhub;quay;nexus;acr;cdevents
	// +required
	Type string `json:"type"`

	// Interval is there for the manifests of Flux, and changes nothing: the Secret is watched.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('8760h')",message="interval must lie between 0s and 8760h"
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`

	// Events are the types of events that cause a fetch, in upper or lower case, as push for GitHub and Push Hook
	// for GitLab; all when empty. An authenticated webhook of another type is answered with success, and
	// does nothing. The types github, gitlab, bitbucket, gitea, azuredevops and cdevents have events.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	// +optional
	Events []string `json:"events,omitempty"`

	// Resources are the sources that are fetched again when a webhook arrives.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +required
	Resources []ReceiverResource `json:"resources"`

	// ResourceFilter is a CEL expression that results in true or false, and is evaluated for each of the resources
	// when a webhook arrives: a resource for which it is false is not fetched. It reads the metadata of the
	// resource as res, and the body of the webhook, which must be a JSON object, as req.
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	ResourceFilter string `json:"resourceFilter,omitempty"`

	// SecretRef names a Secret of the same namespace whose token authenticates webhooks, and makes their
	// path.
	// +required
	SecretRef meta.LocalObjectReference `json:"secretRef"`

	// Suspend refuses webhooks until it is false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// ReceiverResource names a source, or those of a namespace whose labels match.
//
// +kubebuilder:validation:XValidation:rule="self.name == '*' || !has(self.matchLabels) || size(self.matchLabels) == 0",message="matchLabels needs the name '*'"
// +kubebuilder:validation:XValidation:rule="self.name != '*' || (has(self.matchLabels) && size(self.matchLabels) > 0)",message="the name '*' needs matchLabels"
type ReceiverResource struct {
	// APIVersion of the source. It may stand there, as in Flux, and changes nothing: kind alone decides.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the source. A Kustomization needs no webhook: it follows its source at once.
	// +kubebuilder:validation:Enum=GitRepository
	// +required
	Kind string `json:"kind"`

	// Name of the source, or * for those that matchLabels selects.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`

	// Namespace of the source; that of the Receiver when absent. A hub with --no-cross-namespace-refs
	// refuses another one unless accessFrom of the source admits it.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// MatchLabels are the labels of the sources that the name * stands for.
	// +kubebuilder:validation:MaxProperties=32
	// +optional
	MatchLabels map[string]string `json:"matchLabels,omitempty"`

	// Filter is a CEL expression as resourceFilter is, for this resource; both must be true.
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	Filter string `json:"filter,omitempty"`
}

// ReceiverStatus says at which path webhooks are accepted.
type ReceiverStatus struct {
	// ObservedGeneration is the generation of the spec that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, Reconciling, Stalled.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// WebhookPath is the path of the URL to which the sender posts: /hook/ and the SHA-256 of token, name
	// and namespace. Who knows it may ask for a fetch where the type authenticates by the path alone.
	// +optional
	WebhookPath string `json:"webhookPath,omitempty"`

	// LastHandledReconcileAt is the last handled value of skerry.dev/reconcile-requested-at.
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`
}

// Receiver accepts webhooks of a Git server or registry, and has sources fetched again.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=skrecv,categories=skerry
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Path",type=string,priority=1,JSONPath=`.status.webhookPath`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Receiver struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says who sends webhooks, and what they cause.
	// +required
	Spec ReceiverSpec `json:"spec"`
	// Status of an object that no controller has reconciled is of no generation, so that a computed
	// status does not take it for current.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status ReceiverStatus `json:"status,omitempty"`
}

// ReceiverList is a list of Receiver.
//
// +kubebuilder:object:root=true
type ReceiverList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Receiver `json:"items"`
}

// GetConditions returns the conditions of the status.
func (r *Receiver) GetConditions() []metav1.Condition { return r.Status.Conditions }

// SetConditions replaces the conditions of the status.
func (r *Receiver) SetConditions(c []metav1.Condition) { r.Status.Conditions = c }

// WebhookPathFor returns the path for a token, which is the path that Flux makes of it.
func (r *Receiver) WebhookPathFor(token string) string {
	sum := sha256.Sum256([]byte(token + r.Name + r.Namespace))
	return ReceiverWebhookPath + hex.EncodeToString(sum[:])
}
