package targeting

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRetain(t *testing.T) {
	var many []Neighbour
	for n := range strings.SplitSeq("abcdefghi", "") {
		many = append(many, Neighbour{Name: n, Digest: "sha256:" + n, Takes: true})
	}
	for name, test := range map[string]struct {
		neighbours []Neighbour
		want       Retention
	}{
		"nobody takes it":             {[]Neighbour{{Name: "a", Digest: "1"}, {Name: "b", Digest: "2", Arrived: true}}, Retention{}},
		"the receiver has arrived":    {[]Neighbour{{Name: "a", Digest: "1", Takes: true, Arrived: true}}, Retention{}},
		"the receiver is to arrive":   {[]Neighbour{{Name: "a", Digest: "1", Takes: true}}, Retention{KeepFor: []string{"1"}, Waits: []string{"a"}}},
		"two receivers, in any order": {[]Neighbour{{Name: "b", Digest: "2", Takes: true}, {Name: "a", Digest: "1", Takes: true}}, Retention{KeepFor: []string{"1", "2"}, Waits: []string{"a", "b"}}},
		"one is not known":            {[]Neighbour{{Name: "a", Unknown: "is suspended"}, {Name: "b", Digest: "2", Takes: true}}, Retention{KeepFor: []string{"2"}, Waits: []string{"b"}, Hold: "Kustomization a is suspended"}},
		"more are not known":          {[]Neighbour{{Name: "a", Unknown: "is suspended"}, {Name: "b", Unknown: "fails"}}, Retention{Hold: "Kustomization a is suspended (and 1 more)"}},
		"one may take some of it": {[]Neighbour{{Name: "a", Unknown: "has no Secret", Digest: "3", Objects: []string{"y", "x"}}, {Name: "b", Digest: "2", Takes: true}},
			Retention{KeepFor: []string{"2", "3"}, Waits: []string{"b"}, Unknown: "Kustomization a has no Secret", Objects: []string{"x", "y"}}},
		"two may take the same": {[]Neighbour{{Name: "a", Unknown: "has no Secret", Digest: "3", Objects: []string{"x"}}, {Name: "b", Unknown: "has none either", Digest: "3", Objects: []string{"x"}}},
			Retention{KeepFor: []string{"3"}, Unknown: "Kustomization a has no Secret (and 1 more)", Objects: []string{"x"}}},
		"too many to name": {many, Retention{Waits: strings.Split("abcdefghi", ""), Hold: "9 Kustomizations that take some of them have not arrived"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Retain(test.neighbours)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHeldNamesWhatStaysAndWhatHelps(t *testing.T) {
	for want, r := range map[string]Retention{
		"": {KeepFor: []string{"1"}, Waits: []string{"b"}},
		"edge-1 keeps what was dropped, because it may have moved: Kustomization a fails; to delete it now, annotate the Kustomization with skerry.dev/allow-prune=main@sha1:2":   {Hold: "Kustomization a fails", Unknown: "Kustomization b fails", Objects: []string{"x"}},
		"edge-1 keeps w, x, y and 1 more, because it may have moved: Kustomization b fails; to delete it now, annotate the Kustomization with skerry.dev/allow-prune=main@sha1:2": {Unknown: "Kustomization b fails", Objects: []string{"w", "x", "y", "z"}},
	} {
		if got := r.Held("edge-1", "main@sha1:2"); got != want {
			t.Errorf("got %q\nwant %q", got, want)
		}
	}
}
