package git_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

func TestFollowBranch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	hash := w.commit("main", gitserver.Change{
		Message: "first\x1b[31m line\n\nand more\n",
		Write:   map[string]string{"kustomization.yaml": "resources: [apps]\n", "apps/a.yaml": "a: 1\n"},
	})
	got := w.branch("main", "")
	want := git.Commit{
		Revision: "main@sha1:" + hash, Hash: hash,
		Digest:  "sha1:" + strings.TrimSpace(gitOut(t, w.repo.Dir(), "rev-parse", hash+"^{tree}")),
		Size:    got.Size,
		Fetched: true, Author: "Skerry", Subject: "first [31m line", Time: got.Time,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("commit (-want +got):\n%s", diff)
	}
	if got.Size < 100 || got.Size > 1000 {
		t.Errorf("the store keeps %d bytes", got.Size)
	}
	if got.Time.Year() != 2023 || got.Time.Location() != time.UTC {
		t.Errorf("time is %s", got.Time)
	}
	tr := w.tree(hash)
	if diff := cmp.Diff(w.files(hash), treeFiles(t, tr)); diff != "" {
		t.Errorf("files (-server +tree):\n%s", diff)
	}
	if tr.Digest() != got.Digest {
		t.Errorf("tree is %s, commit says %s", tr.Digest(), got.Digest)
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	first := w.commit("main", write("f", "1"))
	second := w.commit("main", write("f", "2"))
	third := w.commit("main", write("f", "3"))
	other := w.commit("team/other", write("f", "4"))
	for name, message := range map[string]string{"light": "", "annotated": "a release"} {
		if err := w.repo.Tag(name, second, message); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name     string
		ref      git.Reference
		revision string
	}{
		{"HEAD", git.Reference{}, "main@sha1:" + third},
		{"branch", git.Reference{Branch: "main"}, "main@sha1:" + third},
		{"branch with a slash", git.Reference{Branch: "team/other"}, "team/other@sha1:" + other},
		{"light tag", git.Reference{Tag: "light"}, "light@sha1:" + second},
		{"annotated tag", git.Reference{Tag: "annotated"}, "annotated@sha1:" + second},
		{"tag wins over branch", git.Reference{Tag: "light", Branch: "main"}, "light@sha1:" + second},
		{"commit at a tip", git.Reference{Commit: third}, "sha1:" + third},
		{"commit behind a tip", git.Reference{Commit: first}, "sha1:" + first},
		{"commit in a branch wins over tag", git.Reference{Commit: first, Branch: "main", Tag: "light"}, "main@sha1:" + first},
	} {
		for _, gives := range []string{"false", "true"} {
			t.Run(c.name+", any commit="+gives, func(t *testing.T) {
				if err := w.repo.Config("uploadpack.allowAnySHA1InWant", gives); err != nil {
					t.Fatal(err)
				}
				w := &world{T: t, repo: w.repo, http: w.http, dir: t.TempDir()}
				w.store = must(git.OpenStore(w.dir, git.Options{}))(t)
				for _, fetched := range []bool{true, false} {
					got := w.follow(w.request(c.ref))
					if got.Revision != c.revision || got.Fetched != fetched {
						t.Errorf("got %s, fetched %t; want %s, %t", got.Revision, got.Fetched, c.revision, fetched)
					}
				}
				_, hash, _ := strings.Cut(c.revision, "sha1:")
				if diff := cmp.Diff(w.files(hash), treeFiles(t, w.tree(hash))); diff != "" {
					t.Errorf("files (-server +tree):\n%s", diff)
				}
				w.fsck()
			})
		}
	}
}

func TestHeadWithoutMain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	hash := w.commit("trunk", write("f", "1"))
	w.fails(git.ErrReferenceNotFound, w.request(git.Reference{}))
	if err := w.repo.SetHead("trunk"); err != nil {
		t.Fatal(err)
	}
	if got := w.follow(w.request(git.Reference{})); got.Revision != "trunk@sha1:"+hash {
		t.Errorf("got %s", got.Revision)
	}
}

func TestUnchangedIsOneListing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	w.commit("main", write("f", "1"))
	first := w.branch("main", "")
	lists, fetches := w.http.Requests("list"), w.http.Requests("fetch")
	again := w.branch("main", first.Revision)
	if got := w.http.Requests("list") - lists; got != 1 {
		t.Errorf("listed %d times, want once", got)
	}
	if got := w.http.Requests("fetch") - fetches; got != 0 || again.Fetched {
		t.Errorf("fetched %d times (said %t), want never", got, again.Fetched)
	}
	first.Fetched = false
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("an unchanged commit differs:\n%s", diff)
	}
}

func TestFetchesOnlyWhatIsNew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	w.commit("main", manyFiles(400))
	for i := range 30 {
		w.commit("main", write("apps/00/app-000.yaml", fmt.Sprintf("version: %d\n", i)))
	}
	commit := w.branch("main", "")
	whole := w.http.Sent()
	for i := range 25 {
		w.commit("main", write("apps/03/app-060.yaml", fmt.Sprintf("pushed: %d\n", i)))
		before := w.http.Sent()
		commit = w.branch("main", commit.Revision)
		if moved := w.http.Sent() - before; moved > 2500 {
			t.Errorf("push %d moved %d bytes, want at most 2500 (all: %d)", i, moved, whole)
		}
		if !commit.Fetched || commit.ForcePushed {
			t.Errorf("push %d: fetched %t, force-pushed %t", i, commit.Fetched, commit.ForcePushed)
		}
	}
	if diff := cmp.Diff(w.files(commit.Hash), treeFiles(t, w.tree(commit.Hash))); diff != "" {
		t.Errorf("files (-server +tree):\n%s", diff)
	}
	w.fsck()
}

func TestSingleFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	hash := w.commit("main", write("f", "1"))
	arrived, answer := make(chan struct{}, 1), make(chan struct{})
	w.http.SetFault(func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodGet {
			arrived <- struct{}{}
			<-answer
		}
		next.ServeHTTP(rw, r)
	})
	req := w.request(git.Reference{Branch: "main"})
	var all sync.WaitGroup
	var started sync.WaitGroup
	for range 20 {
		started.Add(1)
		all.Go(func() {
			started.Done()
			if c, err := w.store.Follow(t.Context(), req); err != nil || c.Hash != hash {
				t.Errorf("got %q, %v", c.Hash, err)
			}
		})
	}
	impatient, cancel := context.WithCancel(t.Context())
	all.Go(func() {
		if _, err := w.store.Follow(impatient, req); !errors.Is(err, context.Canceled) {
			t.Errorf("who gives up gets %v", err)
		}
	})
	started.Wait()
	<-arrived
	cancel()
	close(answer)
	all.Wait()
	// Whoever came after the first flight had landed listed again; nobody fetched again.
	if lists, fetches := w.http.Requests("list"), w.http.Requests("fetch"); lists > 3 || fetches != 1 {
		t.Errorf("listed %d times and fetched %d times", lists, fetches)
	}
}

// TestFlightsKeepCredentialsApart lets someone without them ask while someone with them is served.
func TestFlightsKeepCredentialsApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{Username: "ann", Password: "secret"}, git.Options{})
	w.commit("main", write("f", "1"))
	good := w.with(w.request(git.Reference{}), secret("username", "ann", "password", "secret"))
	bad := w.with(good, secret("username", "ann", "password", "guess"))
	arrived, answer := make(chan struct{}, 1), make(chan struct{})
	w.http.SetFault(func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodGet {
			arrived <- struct{}{}
			<-answer
		}
		next.ServeHTTP(rw, r)
	})
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := w.store.Follow(t.Context(), good); err != nil {
			t.Errorf("with credentials: %v", err)
		}
	})
	<-arrived
	started := make(chan struct{})
	all.Go(func() {
		close(started)
		if _, err := w.store.Follow(t.Context(), bad); !errors.Is(err, git.ErrAuthenticationFailed) {
			t.Errorf("without credentials: %v", err)
		}
	})
	<-started
	close(answer)
	all.Wait()
}

func TestManyRepositoriesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	var all sync.WaitGroup
	for i := range 8 {
		repo := must(w.host.Repo(fmt.Sprintf("repo-%d", i)))(t)
		all.Go(func() {
			known := ""
			for n := range 4 {
				hash, err := repo.Commit("main", write("f", fmt.Sprint(i, n), fmt.Sprint(n), "x"))
				if err != nil {
					t.Error(err)
					return
				}
				req := git.Request{Key: repo.Name(), URL: w.http.URL(repo), Known: known, Timeout: time.Minute}
				c, err := w.store.Follow(t.Context(), req)
				if err != nil || c.Hash != hash {
					t.Errorf("%s: got %q, %v; want %s", repo.Name(), c.Hash, err, hash)
					return
				}
				known = c.Revision
				tr, err := w.store.Tree(t.Context(), repo.Name(), hash)
				if err != nil {
					t.Error(err)
					return
				}
				if data, err := tr.ReadFile("f"); string(data) != fmt.Sprint(i, n) {
					t.Errorf("%s holds %q, %v", repo.Name(), data, err)
				}
			}
		})
	}
	all.Wait()
}

func TestLinksAndSubmodules(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	hash := w.commit("main", gitserver.Change{
		Write:      map[string]string{"real.yaml": "x: 1\n", ".gitmodules": "[submodule \"z\"]\n"},
		Links:      map[string]string{"link.yaml": "real.yaml", "out": "../../etc/passwd", "abs": "/etc/passwd"},
		Submodules: map[string]string{"z": strings.Repeat("1", 40), "lib/a": strings.Repeat("2", 40)},
	})
	got := w.branch("main", "")
	if diff := cmp.Diff([]string{"lib/a", "z"}, got.Submodules); diff != "" {
		t.Errorf("submodules:\n%s", diff)
	}
	tr := w.tree(hash)
	if z, a := tr.SubmoduleOf("z"), tr.SubmoduleOf("./lib/a/deep/file"); z != "z" || a != "lib/a" {
		t.Errorf("submodules are %q and %q", z, a)
	}
	if data, err := tr.ReadFile("link.yaml"); string(data) != "x: 1\n" {
		t.Errorf("link reads %q, %v", data, err)
	}
	for _, name := range []string{"out", "abs"} {
		if data, err := tr.ReadFile(name); err == nil {
			t.Errorf("%s leads out of the root: %q", name, data)
		}
	}
	if tr.IsDir("z") || tr.IsDir("lib/a") {
		t.Error("a submodule is a folder of the tree")
	}
}

func TestTreeOfAnEarlierCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	first := w.commit("main", write("f", "1"))
	w.branch("main", "")
	second := w.commit("main", write("f", "2"))
	w.branch("main", "")
	for hash, want := range map[string]string{first: "1", second: "2"} {
		if data, err := w.tree(hash).ReadFile("f"); string(data) != want {
			t.Errorf("%s holds %q, %v", hash, data, err)
		}
	}
	for _, commit := range []string{strings.Repeat("0", 40), strings.Repeat("a", 40), "", "main"} {
		_, err := w.store.Tree(t.Context(), "default/config", commit)
		w.isKind(git.ErrNotStored, err)
	}
	_, err := w.store.Tree(t.Context(), "default/unknown", first)
	w.isKind(git.ErrNotStored, err)
}

// TestSubmodulesFollowTheCommits: what is known of a commit is carried on to the next by what that changes.
func TestSubmodulesFollowTheCommits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	one, two := strings.Repeat("1", 40), strings.Repeat("2", 40)
	known := ""
	for i, c := range []struct {
		change gitserver.Change
		want   []string
	}{
		{gitserver.Change{Write: map[string]string{"a/f": "1", "b/c/f": "1"}, Submodules: map[string]string{"a/sub": one, "b/c/sub": one}}, []string{"a/sub", "b/c/sub"}},
		{write("a/f", "2"), []string{"a/sub", "b/c/sub"}},
		{gitserver.Change{Submodules: map[string]string{"a/sub": two, "top": one}}, []string{"a/sub", "b/c/sub", "top"}},
		{gitserver.Change{Delete: []string{"b"}}, []string{"a/sub", "top"}},
		{gitserver.Change{Write: map[string]string{"a/sub": "a file now"}}, []string{"top"}},
		{gitserver.Change{Delete: []string{"a"}, Submodules: map[string]string{"a": one}}, []string{"a", "top"}},
		{gitserver.Change{Delete: []string{"a", "top"}, Write: map[string]string{"a/g": "1"}}, nil},
	} {
		w.commit("main", c.change)
		got := w.branch("main", known)
		if diff := cmp.Diff(c.want, got.Submodules); diff != "" {
			t.Errorf("commit %d: submodules (-want +got):\n%s", i, diff)
		}
		known = got.Revision
		if i%2 == 0 {
			continue
		}
		w.reopen()
		if diff := cmp.Diff(c.want, w.branch("main", known).Submodules); diff != "" {
			t.Errorf("commit %d, after a restart: submodules (-want +got):\n%s", i, diff)
		}
	}
}
