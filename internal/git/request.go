package git

import "github.com/skerry-dev/skerry/api/v1alpha1"

// RequestFor is what the spec and the last artifact of a GitRepository ask for, without a key and without
// what comes from Secrets. The hub and `skerry build` ask alike.
func RequestFor(repo *v1alpha1.GitRepository) Request {
	req := Request{URL: repo.Spec.URL, Sparse: repo.Spec.SparseCheckout, Submodules: repo.Spec.RecurseSubmodules}
	if ref := repo.Spec.Reference; ref != nil {
		req.Reference = Reference{
			Branch: ref.Branch, Tag: ref.Tag, SemVer: ref.SemVer, SemVerFilter: ref.SemVerFilter, Name: ref.Name, Commit: ref.Commit,
		}
	}
	if repo.Spec.Timeout != nil {
		req.Timeout = repo.Spec.Timeout.Duration
	}
	if repo.Status.Artifact != nil {
		req.Known = repo.Status.Artifact.Revision
	}
	if repo.Spec.RequireFastForward {
		req.Forward = Forward{
			Required: true, Accept: repo.Annotations[v1alpha1.AcceptRevisionAnnotation],
			Remedy: ": if that is right, annotate the GitRepository with " + v1alpha1.AcceptRevisionAnnotation + "=<that revision>",
		}
	}
	return req
}

// AuthFor reads the Secrets that a GitRepository names for the way to its server, with a function that
// returns the data of a Secret of its namespace. Errors are those of that function and of
// ParseProviderAuth.
func AuthFor(repo *v1alpha1.GitRepository, read func(name string) (map[string][]byte, error)) (Auth, error) {
	var data map[string][]byte
	var err error
	if ref := repo.Spec.SecretRef; ref != nil {
		if data, err = read(ref.Name); err != nil {
			return Auth{}, err
		}
	}
	auth, err := ParseProviderAuth(repo.Spec.Provider, repo.Spec.URL, data)
	if err != nil || repo.Spec.ProxySecretRef == nil {
		return auth, err
	}
	if data, err = read(repo.Spec.ProxySecretRef.Name); err != nil {
		return Auth{}, err
	}
	return auth.WithProxy(data)
}
