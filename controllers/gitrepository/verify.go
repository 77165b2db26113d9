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
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/signature"
)

// unverified is an error about a signature, or about the keys to verify it with.
type unverified struct{ error }

func (u unverified) Unwrap() error { return u.error }

// isUnverified reports whether an error is about a signature, or about the keys to verify it with.
func isUnverified(err error) bool {
	_, keys := errors.AsType[unverified](err)
	return keys || errors.Is(err, git.ErrCommitSignature) || errors.Is(err, git.ErrTagSignature) || errors.Is(err, git.ErrNotATag)
}

// verification reads what must be signed, and the Secret with the keys. Keys that are not there, or that
// cannot be read, trust no commit: nothing is fetched with them.
func (r *Reconciler) verification(ctx context.Context, repo *v1alpha1.GitRepository) (git.Verification, error) {
	v := repo.Spec.Verification
	if v == nil {
		return git.Verification{}, nil
	}
	secret := &corev1.Secret{}
	err := r.Direct.Get(ctx, types.NamespacedName{Namespace: repo.Namespace, Name: v.SecretRef.Name}, secret)
	if apierrors.IsNotFound(err) {
		return git.Verification{}, unverified{&report.Waiting{Reason: v1alpha1.VerificationErrorReason, Err: fmt.Errorf("there is no Secret %s with public keys", v.SecretRef.Name)}}
	}
	if err != nil {
		return git.Verification{}, fmt.Errorf("cannot read Secret: %w", err)
	}
	keys, err := signature.ParseKeys(secret.Data)
	if err != nil {
		return git.Verification{}, unverified{&report.Stalled{Reason: v1alpha1.VerificationErrorReason, Err: fmt.Errorf("cannot use the Secret %s: %w", v.SecretRef.Name, err)}}
	}
	return git.Verification{Head: v.VerifiesHEAD(), Tag: v.VerifiesTag(), Keys: keys, Now: r.Now}, nil
}
