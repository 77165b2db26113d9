package gitrepository

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/report"
)

// auth reads the Secrets with the credentials and the proxy, where the repository names any.
func (r *Reconciler) auth(ctx context.Context, repo *v1alpha1.GitRepository) (git.Auth, error) {
	if repo.Spec.URL == v1alpha1.AgentSourceURL { // the hub holds it itself
		return git.Auth{}, nil
	}
	auth, err := git.AuthFor(repo, func(name string) (map[string][]byte, error) {
		secret := &corev1.Secret{}
		err := r.Direct.Get(ctx, types.NamespacedName{Namespace: repo.Namespace, Name: name}, secret)
		if apierrors.IsNotFound(err) {
			return nil, &report.Waiting{Reason: v1alpha1.SecretNotFoundReason, Err: fmt.Errorf("there is no Secret %s", name)}
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read Secret: %w", err)
		}
		return secret.Data, nil
	})
	if err != nil {
		return git.Auth{}, explain(err)
	}
	return auth, nil
}

// reasons are what the kinds of errors of a repository are called in conditions, the stalled ones
// apart: those only a change of the GitRepository or its Secret can help.
var reasons = []struct {
	kind    error
	reason  string
	stalled bool
}{
	{git.ErrInvalidURL, v1alpha1.InvalidURLReason, true},
	{git.ErrInvalidSecret, v1alpha1.InvalidSecretReason, true},
	{git.ErrProviderConfiguration, v1alpha1.InvalidProviderConfigurationReason, true},
	{git.ErrUnsupportedProvider, v1alpha1.UnsupportedProviderReason, true},
	{git.ErrAuthenticationFailed, v1alpha1.AuthenticationFailedReason, false},
	{git.ErrHostKeyRefused, v1alpha1.HostKeyRefusedReason, false},
	{git.ErrRepositoryNotFound, v1alpha1.RepositoryNotFoundReason, false},
	{git.ErrEmptyRepository, v1alpha1.EmptyRepositoryReason, false},
	{git.ErrInvalidReference, v1alpha1.InvalidReferenceReason, true},
	{git.ErrReferenceNotFound, v1alpha1.ReferenceNotFoundReason, false},
	{git.ErrUnreachable, v1alpha1.UnreachableReason, false},
	{git.ErrTimeout, v1alpha1.TimeoutReason, false},
	{git.ErrTooLarge, v1alpha1.TooLargeReason, false},
	{git.ErrFetchFailed, v1alpha1.FetchFailedReason, false},
	{git.ErrObjectFormat, v1alpha1.UnsupportedObjectFormatReason, false},
	{git.ErrLayout, v1alpha1.LayoutFailedReason, false},
	{git.ErrSubmodule, v1alpha1.SubmoduleFailedReason, false},
	{git.ErrHistoryRewritten, v1alpha1.HistoryRewrittenReason, false},
	{git.ErrCommitSignature, v1alpha1.InvalidCommitSignatureReason, false},
	{git.ErrTagSignature, v1alpha1.InvalidTagSignatureReason, false},
	{git.ErrNotATag, v1alpha1.InvalidVerificationModeReason, true},
	{git.ErrStoreFailed, v1alpha1.StorageFailedReason, false},
}

// explain turns an error of the Git store into one that conditions speak of. An error of no kind is
// that of a context: the hub stops.
func explain(err error) error {
	if report.IsReportable(err) {
		return err
	}
	if p, ok := errors.AsType[*recovery.Panic](err); ok {
		return &report.Transient{Reason: v1alpha1.InternalErrorReason, Err: p}
	}
	for _, r := range reasons {
		switch {
		case !errors.Is(err, r.kind):
		case r.stalled:
			return &report.Stalled{Reason: r.reason, Err: err}
		default:
			return &report.Transient{Reason: r.reason, Err: err}
		}
	}
	return fmt.Errorf("cannot follow: %w", err)
}
