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
	GCRReceiver         = "gcr"
	GenericOIDCReceiver = "generic-oidc"
)

// DefaultOIDCAudience is the audience of tokens for a provider that names none, as in Flux.
const DefaultOIDCAudience = "notification-controller"

// ReceiverWebhookPath begins the path of every Receiver.
const ReceiverWebhookPath = "/hook/"

// ReceiverSpec says who sends webhooks, and which sources are fetched again when one arrives.
//
// +kubebuilder:validation:XValidation:rule="self.type != 'generic-oidc' || has(self.oidcProviders) && size(self.oidcProviders) > 0",message="the type generic-oidc needs oidcProviders"
// +kubebuilder:validation:XValidation:rule="self.type == 'generic-oidc' || !has(self.oidcProviders) || size(self.oidcProviders) == 0",message="oidcProviders are for the type generic-oidc"
// +kubebuilder:validation:XValidation:rule="self.type == 'generic-oidc' ? !has(self.secretRef) : has(self.secretRef)",message="every type but generic-oidc needs secretRef, and that has none"
type ReceiverSpec struct {
	// Type of the sender, which decides how a webhook is authenticated. By a signature of the body with the
	// token: generic-hmac, github, bitbucket (Cloud and Data Center), gitea (and Forgejo), nexus. By the token
	// in a header: gitlab, harbor, azuredevops (the password of basic authentication). By a token that an OIDC
	// issuer signed: generic-oidc, gcr (of Pub/Sub). By the path alone: generic, dockerhub, quay, acr,
	// cdevents.
	// +kubebuilder:validation:Enum=generic;generic-hmac;generic-oidc;gcr;github;gitlab;bitbucket;gitea;azuredevops;harbor;dockerhub;quay;nexus;acr;cdevents
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
	// resource as res, the body of the webhook, which must be a JSON object, as req, and for generic-oidc the
	// claims of the token as claims.
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	ResourceFilter string `json:"resourceFilter,omitempty"`

	// SecretRef names a Secret of the same namespace whose token authenticates webhooks, and makes their
	// path. For gcr it also has email, the service account of the Pub/Sub subscription, and audience. Required
	// for every type but generic-oidc, which has none.
	// +optional
	SecretRef meta.LocalObjectReference `json:"secretRef,omitzero"`

	// OIDCProviders are the issuers whose tokens authenticate webhooks of the type generic-oidc: the one whose
	// issuerURL is the claim iss of the token decides.
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=issuerURL
	// +optional
	OIDCProviders []OIDCProvider `json:"oidcProviders,omitempty"`

	// Suspend refuses webhooks until it is false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// OIDCProvider accepts the tokens of an OIDC issuer.
type OIDCProvider struct {
	// IssuerURL is the issuer, as the claim iss of its tokens has it: an https URL, below which the issuer says
	// where its keys are. Without the hub's flag --receiver-oidc-issuers: https://token.actions.githubusercontent.com,
	// https://gitlab.com or https://accounts.google.com.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern="^https://[^\\s]+$"
	// +required
	IssuerURL string `json:"issuerURL"`

	// Audience that tokens must be for, notification-controller when absent, as in Flux.
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Audience string `json:"audience,omitempty"`

	// Variables are CEL expressions whose values validations, and variables after them, read as vars.<name>. They
	// read the claims of the token as claims.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Variables []OIDCVariable `json:"variables,omitempty"`

	// Validations are CEL expressions that must all be true. A signature alone authorizes no one: public issuers
	// sign for every user of the Internet, so they have to name whose tokens are accepted.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +required
	Validations []OIDCValidation `json:"validations"`
}

// OIDCVariable is a CEL expression with a name.
type OIDCVariable struct {
	// Name by which it is read, as vars.<name>.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[a-zA-Z_][a-zA-Z0-9_]*$"
	// +required
	Name string `json:"name"`

	// Expression in CEL, of any result.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +required
	Expression string `json:"expression"`
}

// OIDCValidation is a CEL expression that must be true.
type OIDCValidation struct {
	// Expression in CEL that results in true or false.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +required
	Expression string `json:"expression"`

	// Message for the hub's log when the expression is false. The sender is told nothing but that it is refused.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	Message string `json:"message"`
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
