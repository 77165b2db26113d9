package report

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func digestOf(n int) string { return fmt.Sprintf("sha256:%012d%052d", n, 0) }

func target(wanted, renders int) TargetFacts {
	t := TargetFacts{}
	if wanted > 0 {
		t.Wanted = &v1alpha1.AssignmentEntry{Digest: digestOf(wanted)}
	}
	if renders > 0 {
		t.Digest = digestOf(renders)
	}
	return t
}

func revision(name string, digests ...int) v1alpha1.RenderedRevision {
	r := v1alpha1.RenderedRevision{Revision: name}
	for _, d := range digests {
		r.Digests = append(r.Digests, v1alpha1.RenderedDigest(digestOf(d)))
	}
	return r
}

func TestRenderedKeepsRevisionsThatClustersStillHave(t *testing.T) {
	type list = []v1alpha1.RenderedRevision
	for name, tt := range map[string]struct {
		before  list
		targets []TargetFacts
		want    list
	}{
		"the first":                      {nil, []TargetFacts{target(0, 1), target(0, 1)}, list{revision("new", 1)}},
		"the same again":                 {list{revision("old", 1)}, []TargetFacts{target(1, 1)}, list{revision("new", 1)}},
		"repeated":                       {list{revision("new", 1), revision("old", 2)}, []TargetFacts{target(1, 1), target(2, 1)}, list{revision("new", 1), revision("old", 2)}},
		"one cluster is behind":          {list{revision("old", 1, 2)}, []TargetFacts{target(1, 1), target(2, 3)}, list{revision("new", 1, 3), revision("old", 1, 2)}},
		"what nobody has is dropped":     {list{revision("b", 2), revision("a", 1)}, []TargetFacts{target(1, 3)}, list{revision("new", 3), revision("a", 1)}},
		"the newest name is enough":      {list{revision("b", 1), revision("a", 1)}, []TargetFacts{target(1, 3)}, list{revision("new", 3), revision("b", 1)}},
		"one that cannot be rendered":    {list{revision("old", 1)}, []TargetFacts{target(1, 0)}, list{revision("new"), revision("old", 1)}},
		"no more than four":              {list{revision("d", 4), revision("c", 3), revision("b", 2), revision("a", 1)}, []TargetFacts{target(1, 5), target(2, 5), target(3, 5), target(4, 5)}, list{revision("new", 5), revision("d", 4), revision("c", 3), revision("b", 2)}},
		"an assignment without a digest": {nil, []TargetFacts{{Wanted: &v1alpha1.AssignmentEntry{}}}, list{revision("new")}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, rendered(tt.before, "new", tt.targets)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRenderedIsBounded(t *testing.T) {
	var targets []TargetFacts
	for i := range v1alpha1.MaxRenderedDigests {
		targets = append(targets, target(0, i+1))
	}
	if n := len(rendered(nil, "new", targets)[0].Digests); n != v1alpha1.MaxRenderedDigests {
		t.Errorf("%d digests", n)
	}
	targets = append(targets, target(0, v1alpha1.MaxRenderedDigests+1))
	if got := rendered(nil, "new", targets); len(got) != 1 || got[0].Digests != nil {
		t.Errorf("%d digests", len(got[0].Digests))
	}
}

func TestRevisionOfADigest(t *testing.T) {
	list := []v1alpha1.RenderedRevision{revision("r9", 1, 5), revision("r7", 2, 5)}
	for digest, want := range map[string]string{digestOf(1): "r9", digestOf(5): "r9", digestOf(2): "r7", digestOf(3): "label", "": "label", "sha256:": "label", "nonsense": "label"} {
		if got := RevisionOf(list, "label", digest); got != want {
			t.Errorf("%s: %s, want %s", digest, got, want)
		}
	}
	if got := RevisionOf(nil, "label", digestOf(1)); got != "label" {
		t.Error(got)
	}
}
