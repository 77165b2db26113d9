package git_test

import (
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

func (w *world) tag(name, commit, message string) {
	w.Helper()
	if err := w.repo.Tag(name, commit, message); err != nil {
		w.Fatal(err)
	}
}

func TestSemVerFollowsTheHighestTag(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	one := w.commit("main", write("f", "1"))
	w.tag("v1.0.0", one, "")
	req := w.request(git.Reference{SemVer: "1.x", Branch: "main", Tag: "v0.0.1"})
	if got := w.follow(req); got.Revision != "v1.0.0@sha1:"+one {
		t.Errorf("revision is %s", got.Revision)
	}
	two := w.commit("main", write("f", "2"))
	w.tag("v1.1.0", two, "annotated")
	w.tag("v2.0.0", one, "")
	req.Known = "v1.0.0@sha1:" + one
	if got := w.follow(req); got.Revision != "v1.1.0@sha1:"+two || !got.Fetched || got.ForcePushed {
		t.Errorf("got %+v", got)
	}
	if got := w.follow(req); got.Revision != "v1.1.0@sha1:"+two || got.Fetched {
		t.Errorf("got %+v", got)
	}
	req.Reference.SemVerFilter = "^v1\\.0"
	if got := w.follow(req); got.Revision != "v1.0.0@sha1:"+one {
		t.Errorf("revision is %s", got.Revision)
	}
	w.tag("v3.0.0-rc.1", two, "")
	for _, c := range []struct {
		within, filter string
		kind           error
		want           string
	}{
		{">=4.0.0", "", git.ErrReferenceNotFound, `no tag is a version in the range ">=4.0.0"`},
		{"3.x", "", git.ErrReferenceNotFound, "there are prereleases"},
		{"main", "", git.ErrInvalidReference, `semver "main" is not a range`},
		{"1.x", "(", git.ErrInvalidReference, `semverFilter "(" is not a regular expression`},
		{"", "x", git.ErrInvalidReference, "semverFilter is set and semver is not"},
	} {
		if got := w.fails(c.kind, w.request(git.Reference{SemVer: c.within, SemVerFilter: c.filter})); !strings.Contains(got, c.want) {
			t.Errorf("message is %q, want %q", got, c.want)
		}
	}
}

func TestFullNameOfAReference(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	one := w.commit("main", write("f", "1"))
	w.tag("v1", one, "annotated")
	pull := w.commit("feature", write("f", "2"))
	gitOut(t, w.repo.Dir(), "update-ref", "refs/pull/420/head", pull)
	if err := w.repo.DeleteBranch("feature"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"refs/heads/main":    "refs/heads/main@sha1:" + one,
		"refs/tags/v1":       "refs/tags/v1@sha1:" + one,
		"refs/tags/v1^{}":    "refs/tags/v1@sha1:" + one,
		"refs/pull/420/head": "refs/pull/420/head@sha1:" + pull,
		"HEAD":               "main@sha1:" + one,
	} {
		req := w.request(git.Reference{Name: name, SemVer: "1.x", Tag: "no", Branch: "no"})
		if got := w.follow(req); got.Revision != want {
			t.Errorf("%s: revision is %s, want %s", name, got.Revision, want)
		}
	}
	// A commit beside a name is looked for in what the name stands for.
	at := git.Reference{Name: "refs/pull/420/head"}.At("refs/pull/420/head@sha1:" + pull)
	next := w.commit("next", gitserver.Change{Onto: pull, Write: map[string]string{"f": "3"}})
	gitOut(t, w.repo.Dir(), "update-ref", "refs/pull/420/head", next)
	if err := w.repo.DeleteBranch("next"); err != nil {
		t.Fatal(err)
	}
	req := w.request(at)
	req.Key = "another"
	if got := w.follow(req); got.Hash != pull {
		t.Errorf("followed %s, want %s", got.Hash, pull)
	}
	for name, kind := range map[string]error{
		"refs/pull/421/head": git.ErrReferenceNotFound,
		"refs/heads/none":    git.ErrReferenceNotFound,
		"main":               git.ErrInvalidReference,
		"heads/main":         git.ErrInvalidReference,
		"refs/heads/a..b":    git.ErrInvalidReference,
		"refs/":              git.ErrInvalidReference,
		"--upload-pack=x":    git.ErrInvalidReference,
	} {
		w.fails(kind, w.request(git.Reference{Name: name}))
	}
}
