package v1alpha1

import (
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GitRepositorySpec says which repository and which ref of it to follow.
type GitRepositorySpec struct {
	// URL of the repository: http, https, ssh, or the short form of an ssh URL, user@host:path. Credentials
	// belong into the Secret, not here. "builtin://agent" stands for the agent that goes with the hub's version.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern="^(builtin://agent$|(http|https|ssh)://[^/\\s]+/|[A-Za-z0-9._-]+@([A-Za-z0-9._-]+|\\[[^\\]/\\s]+\\]):)[^\\s]*$"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^https?://[^/]*@')",message="credentials belong into secretRef, not into the url"
	// +required
	URL string `json:"url"`

	// Reference to follow; the branch that the server's HEAD names when absent.
	// +nullable
	// +optional
	Reference *GitRepositoryRef `json:"ref,omitempty"`

	// RequireFastForward refuses what the ref has moved to where that does not have the commit before among
	// its ancestors, as after a forced push: the reason is HistoryRewritten, and what was fetched before stays
	// in use until the annotation skerry.dev/accept-revision has the new revision as its value, or the ref
	// moves back. A ref of another name, as the tag of a new version, may be anything.
	// +optional
	RequireFastForward bool `json:"requireFastForward,omitempty"`

	// Interval between two checks of the ref, from 1s to 24h.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="interval must lie between 1s and 24h"
	// +required
	Interval metav1.Duration `json:"interval"`

	// Timeout of one check including its fetch, from 1s to 1h. It begins anew, up to nine times, while a
	// fetch makes progress: 1 MiB has arrived within it, or what arrived is being indexed. So the first
	// fetch of a large repository needs no longer one.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="timeout must lie between 1s and 1h"
	// +kubebuilder:default="60s"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// SecretRef names a Secret of the same namespace with the credentials. For http(s): username and
	// password, or bearerToken; tls.crt and tls.key for a client certificate; and ca.crt for a server's
	// certificate of an authority of one's own. For ssh: identity and known_hosts, and password where the
	// identity has one. Keys that nothing reads are named by a warning event.
	// +nullable
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// Provider of the credentials: generic, the default, for those of secretRef as they are; github for a
	// GitHub App, of which secretRef has githubAppID, githubAppInstallationID or githubAppInstallationOwner,
	// githubAppPrivateKey, and githubAppBaseURL for a GitHub Enterprise Server. The identities of the
	// clouds, azure, aws and gcp, are refused with the reason UnsupportedProvider.
	// +kubebuilder:validation:Enum=generic;github;azure;aws;gcp
	// +optional
	Provider string `json:"provider,omitempty"`

	// ServiceAccountName is not supported, and refused, as the identities of the clouds are.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == ''",message="serviceAccountName is not supported: put a token, key or GitHub App into the Secret of secretRef"
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// ProxySecretRef names a Secret of the same namespace with the proxy to the server, and to GitHub's API:
	// address (an http, https or socks5 URL; socks5 for ssh), and username and password where it wants them.
	// It takes precedence over the proxy of the hub's environment.
	// +nullable
	// +optional
	ProxySecretRef *meta.LocalObjectReference `json:"proxySecretRef,omitempty"`

	// Ignore holds patterns in the format of .gitignore, for files of the repository that are not
	// rendered, as if they were not there. They come after those of .sourceignore files.
	// +kubebuilder:validation:MaxLength=65536
	// +nullable
	// +optional
	Ignore *string `json:"ignore,omitempty"`

	// SparseCheckout lists the directories of the repository that are rendered from, relative to its root;
	// all when empty. A commit that changes nothing in them changes nothing.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +listType=atomic
	// +optional
	SparseCheckout []string `json:"sparseCheckout,omitempty"`

	// RecurseSubmodules fetches the submodules of the repository, and theirs, at the commits that it pins: up
	// to 64, 5 deep, of the repository's own host only and with its credentials. Without it, they are left out.
	// +optional
	RecurseSubmodules bool `json:"recurseSubmodules,omitempty"`

	// Include shows files of other GitRepositories of the namespace in this one.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Include []GitRepositoryInclude `json:"include,omitempty"`

	// Verification says what must be signed by which keys, so that a commit is used. What is not verified is
	// not rendered; what was fetched before stays in use.
	// +nullable
	// +optional
	Verification *GitRepositoryVerification `json:"verify,omitempty"`

	// AccessFrom names the other namespaces whose Kustomizations may render this source. Absent, all may,
	// or none when the hub runs with --no-cross-namespace-refs.
	// +nullable
	// +optional
	AccessFrom *AccessFrom `json:"accessFrom,omitempty"`

	// Suspend stops looking at the repository; what was fetched stays in use.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// GitRepositoryRef is what to follow: commit wins over name, name over semver, semver over tag, tag over
// branch.
//
// +kubebuilder:validation:XValidation:rule="!has(self.semverFilter) || has(self.semver)",message="semverFilter needs semver"
type GitRepositoryRef struct {
	// Branch to follow.
	// +kubebuilder:validation:MaxLength=255
	// +optional
	Branch string `json:"branch,omitempty"`

	// Tag to follow.
	// +kubebuilder:validation:MaxLength=255
	// +optional
	Tag string `json:"tag,omitempty"`

	// SemVer is a range of versions, as ">=1.0.0 <2.0.0" or "1.x": the tag of the highest version in it is
	// followed. A tag is a version with or without a "v" in front. Prereleases are in a range that names
	// one, as ">=1.0.0-0" does. Of versions that differ in their build alone, the one whose build is the
	// highest is followed: parts that are numbers by number, others by name.
	// +kubebuilder:validation:MaxLength=255
	// +optional
	SemVer string `json:"semver,omitempty"`

	// SemVerFilter is a regular expression (RE2) that a tag must match to be looked at for semver.
	// +kubebuilder:validation:MaxLength=255
	// +optional
	SemVerFilter string `json:"semverFilter,omitempty"`

	// Name is the full name of a reference that the server lists, as refs/heads/main, refs/tags/v1.0.0,
	// refs/pull/420/head or refs/merge-requests/1/head. The revision then has the full name.
	// +kubebuilder:validation:MaxLength=255
	// +optional
	Name string `json:"name,omitempty"`

	// Commit to stay on, as 40 hexadecimal digits. Beside a branch or name it is looked for in the history
	// of that.
	// +kubebuilder:validation:Pattern="^[0-9a-f]{40}$"
	// +optional
	Commit string `json:"commit,omitempty"`
}

// GitRepositoryStatus says what was fetched last.
type GitRepositoryStatus struct {
	// ObservedGeneration is the generation of the spec that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Ready, Reconciling, Stalled; SourceVerified where spec.verify is set.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Artifact is the tree that Kustomizations render; it stays while later fetches fail.
	// +optional
	Artifact *Artifact `json:"artifact,omitempty"`

	// IncludedArtifacts are those of spec.include that the artifact was put together of, in its order.
	// +listType=atomic
	// +optional
	IncludedArtifacts []Artifact `json:"includedArtifacts,omitempty"`

	// SourceVerificationMode is what of the artifact was verified to be signed.
	// +optional
	SourceVerificationMode *GitVerificationMode `json:"sourceVerificationMode,omitempty"`

	// LastHandledReconcileAt is the last handled value of skerry.dev/reconcile-requested-at.
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`
}

// Artifact names an immutable tree.
type Artifact struct {
	// Revision is where the tree comes from: "main@sha1:<commit>", "v1.2@sha1:<commit>",
	// "refs/pull/420/head@sha1:<commit>" or "sha1:<commit>", and "+<name>@<12 digits of its commit>" behind
	// that for each GitRepository included.
	Revision string `json:"revision"`

	// Digest names the content: "sha1:<git tree>", or "sha256:…" where the tree is put together of parts.
	Digest string `json:"digest"`

	// LastUpdateTime is when this revision was fetched.
	LastUpdateTime metav1.Time `json:"lastUpdateTime"`

	// Size is how many bytes the hub keeps of the repository, compressed.
	// +optional
	Size int64 `json:"size,omitempty"`
}

// GitRepository is a Git repository and a ref to follow.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=skrepo,categories=skerry
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.artifact.revision`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type GitRepository struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which repository is followed, and at which ref.
	// +required
	Spec GitRepositorySpec `json:"spec"`
	// Status of an object that no controller has seen is of no generation, so that a program that computes a
	// status from it does not take it for done.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status GitRepositoryStatus `json:"status,omitempty"`
}

// GitRepositoryList is a list of GitRepository.
//
// +kubebuilder:object:root=true
type GitRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []GitRepository `json:"items"`
}

// GetConditions returns the conditions of the status.
func (r *GitRepository) GetConditions() []metav1.Condition { return r.Status.Conditions }

// SetConditions replaces the conditions of the status.
func (r *GitRepository) SetConditions(c []metav1.Condition) { r.Status.Conditions = c }
