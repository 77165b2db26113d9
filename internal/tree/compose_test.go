package tree_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/tree"
)

// treeOf makes a tree of "path=content"; "path->target" is a link.
func treeOf(t *testing.T, digest string, files ...string) *tree.Tree {
	t.Helper()
	m := map[string]tree.File{}
	for _, f := range files {
		if name, target, ok := strings.Cut(f, "->"); ok {
			m[name] = tree.File{Data: []byte(target), Link: true}
			continue
		}
		name, content, _ := strings.Cut(f, "=")
		m[name] = tree.File{Data: []byte(content)}
	}
	made, err := tree.New(digest, m)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// contents is "path=content" of each file of a tree, and what each directory lists, so that both ways to
// read agree.
func contents(t *testing.T, tr *tree.Tree) []string {
	t.Helper()
	var all []string
	for _, name := range tr.Files() {
		data, err := tr.ReadFile(name)
		if err != nil {
			t.Errorf("%s is listed: %v", name, err)
		}
		all = append(all, name+"="+string(data))
	}
	return all
}

func TestCompose(t *testing.T) {
	base := treeOf(t, "base", "apps/web/a=1", "apps/db/b=2", "infra/c=3", "top=4")
	lib := treeOf(t, "lib", "deploy/x=5", "deploy/deep/y=6", "README=7", "linked->deploy")
	for name, c := range map[string]struct {
		layout tree.Layout
		want   []string
	}{
		"a directory only":             {tree.Layout{Only: []string{"apps/web"}}, []string{"apps/web/a=1"}},
		"several":                      {tree.Layout{Only: []string{"apps/web", "infra"}}, []string{"apps/web/a=1", "infra/c=3"}},
		"one in another":               {tree.Layout{Only: []string{"apps", "apps/web"}}, []string{"apps/db/b=2", "apps/web/a=1"}},
		"one around another":           {tree.Layout{Only: []string{"apps/web", "apps"}}, []string{"apps/db/b=2", "apps/web/a=1"}},
		"all":                          {tree.Layout{Only: []string{"apps/web", "."}}, []string{"apps/db/b=2", "apps/web/a=1", "infra/c=3", "top=4"}},
		"a file":                       {tree.Layout{Only: []string{"top"}}, []string{"top=4"}},
		"a part at a new place":        {tree.Layout{Parts: []tree.Part{{At: "lib", Tree: lib, From: "deploy"}}}, []string{"apps/db/b=2", "apps/web/a=1", "infra/c=3", "lib/deep/y=6", "lib/x=5", "top=4"}},
		"a part in a directory":        {tree.Layout{Only: []string{"apps"}, Parts: []tree.Part{{At: "apps/web/lib", Tree: lib, From: "deploy/deep"}}}, []string{"apps/db/b=2", "apps/web/a=1", "apps/web/lib/y=6"}},
		"a part beside what is hidden": {tree.Layout{Only: []string{"top"}, Parts: []tree.Part{{At: "apps/web", Tree: lib, From: "deploy/deep"}}}, []string{"apps/web/y=6", "top=4"}},
		"a file of a part":             {tree.Layout{Only: []string{"top"}, Parts: []tree.Part{{At: "doc/R", Tree: lib, From: "README"}}}, []string{"doc/R=7", "top=4"}},
		"through a link":               {tree.Layout{Only: []string{"top"}, Parts: []tree.Part{{At: "l", Tree: lib, From: "linked/deep"}}}, []string{"l/y=6", "top=4"}},
		"a part in a part":             {tree.Layout{Only: []string{"top"}, Parts: []tree.Part{{At: "l", Tree: lib, From: "deploy"}, {At: "l/deep/more", Tree: lib, From: "deploy/deep"}}}, []string{"l/deep/more/y=6", "l/deep/y=6", "l/x=5", "top=4"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tree.Compose(base, c.layout)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, contents(t, got)); diff != "" {
				t.Error(diff)
			}
			// A composed tree is one like any other.
			again, err := tree.Compose(got, tree.Layout{Parts: []tree.Part{{At: "z", Tree: got, From: "."}}})
			if err != nil {
				t.Fatal(err)
			}
			want := c.want
			for _, f := range c.want {
				want = append(slices.Clip(want), "z/"+f)
			}
			if diff := cmp.Diff(want, contents(t, again)); diff != "" {
				t.Errorf("composed again: %s", diff)
			}
		})
	}
}

func TestPartsThatHaveNoPlace(t *testing.T) {
	base := treeOf(t, "base", "apps/web=1")
	lib := treeOf(t, "lib", "x=5", "out->../..")
	for name, c := range map[string]struct {
		layout tree.Layout
		want   error
	}{
		"only what is not there":        {tree.Layout{Only: []string{"nope"}}, fs.ErrNotExist},
		"only below a file":             {tree.Layout{Only: []string{"apps/web/x"}}, fs.ErrNotExist},
		"from what is not there":        {tree.Layout{Parts: []tree.Part{{At: "l", Tree: lib, From: "nope"}}}, fs.ErrNotExist},
		"from outside":                  {tree.Layout{Parts: []tree.Part{{At: "l", Tree: lib, From: "out"}}}, tree.ErrOutside},
		"onto a directory":              {tree.Layout{Parts: []tree.Part{{At: "apps", Tree: lib, From: "."}}}, tree.ErrOccupied},
		"onto a file":                   {tree.Layout{Parts: []tree.Part{{At: "apps/web", Tree: lib, From: "."}}}, tree.ErrOccupied},
		"below a file":                  {tree.Layout{Parts: []tree.Part{{At: "apps/web/l", Tree: lib, From: "."}}}, tree.ErrOccupied},
		"onto another part":             {tree.Layout{Parts: []tree.Part{{At: "l", Tree: lib, From: "."}, {At: "l", Tree: lib, From: "."}}}, tree.ErrOccupied},
		"a submodule that is not there": {tree.Layout{Parts: []tree.Part{{At: "l", Tree: lib, From: ".", Submodule: true}}}, fs.ErrNotExist},
	} {
		if _, err := tree.Compose(base, c.layout); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// TestLinksOfAPartStayInTheTree: a link in a part is followed from where the part is shown.
func TestLinksOfAPartStayInTheTree(t *testing.T) {
	base := treeOf(t, "base", "secret=1")
	lib := treeOf(t, "lib", "d/up->../x", "d/out->../../../../x", "x=5")
	got, err := tree.Compose(base, tree.Layout{Parts: []tree.Part{{At: "a/l", Tree: lib, From: "."}}})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := got.ReadFile("a/l/d/up"); err != nil || string(data) != "5" {
		t.Errorf("got %q, %v", data, err)
	}
	if _, err := got.ReadFile("a/l/d/out"); !errors.Is(err, tree.ErrOutside) {
		t.Errorf("got %v", err)
	}
}

// TestTheDigestOfACompositionNamesItsContent: each way to differ gives another digest.
func TestTheDigestOfACompositionNamesItsContent(t *testing.T) {
	base, other := treeOf(t, "base", "a/x=1", "b/y=2"), treeOf(t, "other", "a/x=1", "b/y=2")
	lib := treeOf(t, "lib", "c/x=5", "d/y=6")
	part := func(at, from string) tree.Part { return tree.Part{At: at, Tree: lib, From: from} }
	seen := map[string]string{}
	for name, c := range map[string]struct {
		base   *tree.Tree
		layout tree.Layout
	}{
		"a":       {base, tree.Layout{Only: []string{"a"}}},
		"b":       {base, tree.Layout{Only: []string{"b"}}},
		"a and b": {base, tree.Layout{Only: []string{"a", "b"}}},
		"other":   {other, tree.Layout{Only: []string{"a"}}},
		"l":       {base, tree.Layout{Parts: []tree.Part{part("l", "c")}}},
		"m":       {base, tree.Layout{Parts: []tree.Part{part("m", "c")}}},
		"l of d":  {base, tree.Layout{Parts: []tree.Part{part("l", "d")}}},
		"l and m": {base, tree.Layout{Parts: []tree.Part{part("l", "c"), part("m", "c")}}},
	} {
		got, err := tree.Compose(c.base, c.layout)
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := seen[got.Digest()]; ok {
			t.Errorf("%q and %q have the same digest", before, name)
		}
		seen[got.Digest()] = name
	}
}

// TestIncludedTreeIsWithoutWhatItsRepositoryIgnores, as in Flux: by spec.ignore of that repository, and by
// .sourceignore files of it, those above what is shown as well.
func TestIncludedTreeIsWithoutWhatItsRepositoryIgnores(t *testing.T) {
	base := treeOf(t, "base", "top=1")
	plain := treeOf(t, "lib", "deploy/a.yaml=1", "deploy/b.txt=2", "deploy/deep/c.yaml=3", "deploy/link->a.yaml")
	ruled := treeOf(t, "ruled", ".sourceignore=/deploy/deep\n", "deploy/a.yaml=1", "deploy/b.txt=2", "deploy/deep/c.yaml=3", "deploy/link->a.yaml")
	digests := map[string]string{}
	for name, c := range map[string]struct {
		of     *tree.Tree
		ignore string
		want   []string
	}{
		"nothing":                             {plain, "", []string{"lib/a.yaml=1", "lib/b.txt=2", "lib/deep/c.yaml=3", "lib/link=1", "top=1"}},
		"comments":                            {plain, "# none\n", []string{"lib/a.yaml=1", "lib/b.txt=2", "lib/deep/c.yaml=3", "lib/link=1", "top=1"}},
		"files":                               {plain, "*.txt\n", []string{"lib/a.yaml=1", "lib/deep/c.yaml=3", "lib/link=1", "top=1"}},
		"a path of the included repository":   {plain, "/deploy/deep/\n", []string{"lib/a.yaml=1", "lib/b.txt=2", "lib/link=1", "top=1"}},
		"a path of the including one":         {plain, "/lib/\n/top\n", []string{"lib/a.yaml=1", "lib/b.txt=2", "lib/deep/c.yaml=3", "lib/link=1", "top=1"}},
		"all but one":                         {plain, "/*\n!/deploy\n/deploy/*\n!/deploy/b.txt\n", []string{"lib/b.txt=2", "top=1"}},
		"what a link leads to":                {plain, "/deploy/a.yaml\n", []string{"lib/b.txt=2", "lib/deep/c.yaml=3", "top=1"}},
		".sourceignore above what is shown":   {ruled, "", []string{"lib/a.yaml=1", "lib/b.txt=2", "lib/link=1", "top=1"}},
		"spec.ignore overrides .sourceignore": {ruled, "!/deploy/deep\n", []string{"lib/a.yaml=1", "lib/b.txt=2", "lib/deep/c.yaml=3", "lib/link=1", "top=1"}},
	} {
		of, err := tree.Without(c.of, c.ignore, "deploy")
		if err != nil {
			t.Fatal(err)
		}
		got, err := tree.Compose(base, tree.Layout{Parts: []tree.Part{{At: "lib", Tree: of, From: "deploy"}}})
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, f := range got.Files() {
			if data, err := got.ReadFile(f); err == nil { // a link to what is left out leads nowhere
				all = append(all, f+"="+string(data))
			}
		}
		if diff := cmp.Diff(c.want, all); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		digests[name] = got.Digest()
	}
	if digests["nothing"] != digests["comments"] || digests["nothing"] == digests["files"] || digests["files"] == digests["what a link leads to"] {
		t.Errorf("the digest does not name what is shown: %v", digests)
	}
}
