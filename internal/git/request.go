package git

import "github.com/skerry-dev/skerry/api/v1alpha1"

// RequestFor is what the spec and the last artifact of a GitRepository ask for, without a key and without
// what comes from Secrets. The hub and `skerry build` ask alike.
func RequestFor(repo *v1alpha1.GitRepository) Request {
	req := Request{URL: repo.Spec.URL}
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
	return req
}
