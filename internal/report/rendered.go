package report

import (
	"slices"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// RevisionOf returns the revision that a digest on a cluster stands for: the latest of the rendered
// revisions that it belongs to, or else its label, the first revision that rendered it.
func RevisionOf(rendered []v1alpha1.RenderedRevision, label, digest string) string {
	short := v1alpha1.RenderedDigest(digest)
	for _, r := range rendered {
		if _, is := slices.BinarySearch(r.Digests, short); is && short != "" {
			return r.Revision
		}
	}
	return label
}

// rendered puts what a revision renders before what is known of earlier ones. Of those it keeps the ones
// that an assigned digest stands for, as long as the clusters have not come to the new revision.
func rendered(before []v1alpha1.RenderedRevision, revision string, targets []TargetFacts) []v1alpha1.RenderedRevision {
	now := v1alpha1.RenderedRevision{Revision: revision}
	var left []string // assigned, and of no revision yet
	for _, t := range targets {
		if digest := v1alpha1.RenderedDigest(t.Digest); digest != "" {
			now.Digests = append(now.Digests, digest)
		}
		if t.Wanted != nil {
			left = append(left, v1alpha1.RenderedDigest(t.Wanted.Digest))
		}
	}
	slices.Sort(now.Digests)
	now.Digests = slices.Compact(now.Digests)
	left = without(left, now.Digests)
	if len(now.Digests) > v1alpha1.MaxRenderedDigests {
		now.Digests = nil
	}
	list := []v1alpha1.RenderedRevision{now}
	for _, r := range before {
		rest := without(left, r.Digests)
		if r.Revision != revision && len(rest) < len(left) && len(list) < v1alpha1.MaxRenderedRevisions {
			list, left = append(list, r), rest
		}
	}
	return list
}

// without returns the digests that are not among others, which are sorted.
func without(digests, others []string) []string {
	return slices.DeleteFunc(slices.Clone(digests), func(d string) bool {
		_, is := slices.BinarySearch(others, d)
		return is
	})
}

// rendersAsBefore reports whether the last revision renders what the one before it did, which every
// cluster had: then nothing has happened anywhere, and there is no event.
func rendersAsBefore(old, now v1alpha1.KustomizationStatus) bool {
	return len(old.Rendered) == 1 && len(now.Rendered) == 1 && old.LastAppliedRevision == old.Rendered[0].Revision &&
		len(now.Rendered[0].Digests) > 0 && slices.Equal(old.Rendered[0].Digests, now.Rendered[0].Digests)
}
