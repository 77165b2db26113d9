package git_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// shown is what the tree of a commit shows.
func (w *world) shown(key string, c git.Commit) map[string]string {
	w.Helper()
	t := must(w.store.Tree(w.Context(), key, c.TreeName()))(w)
	if t.Digest() != c.Digest {
		w.Errorf("the tree has the digest %s, want %s", t.Digest(), c.Digest)
	}
	return treeFiles(w, t)
}

func (w *world) shows(c git.Commit, want map[string]string) {
	w.Helper()
	if diff := cmp.Diff(want, w.shown("default/config", c)); diff != "" {
		w.Errorf("the tree shows (-want +got):\n%s", diff)
	}
}

func TestSparseDirectoriesAreAllThatIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	w.commit("main", write("apps/web/a", "1", "apps/db/b", "2", "infra/c", "3", "top", "4"))
	req := w.request(git.Reference{Branch: "main"})
	req.Sparse = []string{"./apps/web", "/infra/"}
	first := w.follow(req)
	w.shows(first, map[string]string{"apps/web/a": "1", "infra/c": "3"})

	w.commit("main", write("apps/db/b", "changed"))
	second := w.follow(req)
	if second.Digest != first.Digest || second.Hash == first.Hash {
		t.Errorf("a commit elsewhere gives %s at %s, before %s at %s", second.Digest, second.Revision, first.Digest, first.Revision)
	}
	w.commit("main", write("apps/web/a", "changed"))
	third := w.follow(req)
	if third.Digest == first.Digest {
		t.Error("a commit that changes what is shown keeps the digest")
	}
	w.shows(third, map[string]string{"apps/web/a": "changed", "infra/c": "3"})
	w.shows(second, map[string]string{"apps/web/a": "1", "infra/c": "3"}) // a reconcile may still read it

	req.Sparse = []string{"nope"}
	if msg := w.fails(git.ErrLayout, req); !strings.Contains(msg, `"nope"`) {
		t.Error(msg)
	}
	req.Sparse = []string{"../x"}
	w.fails(git.ErrLayout, req)
}

// TestALayoutThatIsGoneIsMadeAgain: of what is missing in the store, the next check brings all.
func TestALayoutThatIsGoneIsMadeAgain(t *testing.T) {
	t.Parallel()
	var damaged []string
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{Damaged: func(key string) { damaged = append(damaged, key) }})
	w.commit("main", write("apps/a", "1", "b", "2"))
	req := w.request(git.Reference{Branch: "main"})
	req.Sparse = []string{"apps"}
	c := w.follow(req)
	files := must(filepath.Glob(filepath.Join(w.dir, "*", "layouts", "*")))(t)
	for _, change := range []func(string) error{
		os.Remove,
		func(name string) error { return os.WriteFile(name, []byte("{"), 0o600) },
		func(name string) error {
			return os.WriteFile(name, []byte(`{"key":"default/config","commit":"`+c.Hash+`"}`), 0o600)
		},
	} {
		damaged = nil
		for _, f := range files {
			if err := change(f); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.store.Tree(t.Context(), req.Key, c.Digest); !errors.Is(err, git.ErrNotStored) {
			t.Errorf("got %v", err)
		}
		if !slices.Contains(damaged, req.Key) {
			t.Error("no check is asked for")
		}
		again := w.follow(req)
		if !again.Fetched {
			t.Error("who waits for the tree is not told that it is there again")
		}
		w.shows(again, map[string]string{"apps/a": "1"})
	}
}

func TestLayoutsDoNotPileUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	req := w.request(git.Reference{Branch: "main"})
	req.Sparse = []string{"apps"}
	for i := range 8 {
		w.commit("main", write("apps/a", fmt.Sprint(i)))
		w.shows(w.follow(req), map[string]string{"apps/a": fmt.Sprint(i)})
	}
	if files := must(filepath.Glob(filepath.Join(w.dir, "*", "layouts", "*")))(t); len(files) > 4 {
		t.Errorf("%d layouts are kept", len(files))
	}
}

// another is a second repository of the host.
func (w *world) another(name string, c gitserver.Change) (repo *gitserver.Repo, commit string) {
	w.Helper()
	repo = must(w.host.Repo(name))(w)
	return repo, must(repo.Commit("main", c))(w)
}

func modulesOf(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&b, "[submodule %q]\n\tpath = %s\n\turl = %s\n", pairs[i], pairs[i], pairs[i+1])
	}
	return b.String()
}

func withModules(c gitserver.Change, modules map[string]string) gitserver.Change {
	c.Submodules = modules
	return c
}

func (w *world) recursing() git.Request {
	req := w.request(git.Reference{Branch: "main"})
	req.Submodules = true
	return req
}

func TestSubmodulesAreShownAtTheCommitsThatArePinned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{Username: "ann", Password: "secret"}, git.Options{})
	inner, innerCommit := w.another("libs/inner", write("i", "inner"))
	lib, libCommit := w.another("libs/lib", withModules(write("l", "1", ".gitmodules", modulesOf("deep", "../inner.git")), map[string]string{"deep": innerCommit}))
	_ = must(lib.Commit("main", write("l", "2")))(t) // not pinned
	_ = must(inner.Commit("main", write("i", "later")))(t)
	sshLike := "git@" + strings.Split(strings.TrimPrefix(w.http.URL(w.repo), "http://"), ":")[0] + ":libs/lib.git"
	w.commit("main", withModules(
		write("a", "1", ".gitmodules", modulesOf("x/abs", w.http.URL(lib), "rel", "../config/../libs/lib", "ssh", sshLike)),
		map[string]string{"x/abs": libCommit, "rel": libCommit, "ssh": libCommit, "stray": libCommit}))
	req := w.recursing()
	req.Auth = must(git.ParseAuth(req.URL, map[string][]byte{"username": []byte("ann"), "password": []byte("secret")}))(t)
	got := w.follow(req)
	if diff := cmp.Diff([]string{"stray"}, got.Submodules); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	files := w.shown(req.Key, got)
	delete(files, ".gitmodules")
	want := map[string]string{"a": "1"}
	for _, at := range []string{"x/abs", "rel", "ssh"} {
		want[at+"/l"], want[at+"/deep/i"] = "1", "inner"
		delete(files, at+"/.gitmodules")
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("the tree shows (-want +got):\n%s", diff)
	}

	// An unchanged branch costs one listing, of its own repository.
	before := w.http.Requests("")
	if again := w.follow(req); again.Digest != got.Digest || again.Fetched {
		t.Errorf("the second check gave %+v", again)
	}
	if n := w.http.Requests("") - before; n > 2 {
		t.Errorf("a check of an unchanged branch took %d requests", n)
	}
	// So it does after a restart.
	w.store = must(git.OpenStore(w.dir, git.Options{}))(t)
	before = w.http.Requests("")
	if again := w.follow(req); again.Digest != got.Digest {
		t.Errorf("after a restart: %+v", again)
	}
	if n := w.http.Requests("") - before; n > 2 {
		t.Errorf("a check after a restart took %d requests", n)
	}

	// A commit that pins another one shows that.
	tip := must(lib.Resolve("main"))(t)
	w.commit("main", gitserver.Change{Submodules: map[string]string{"rel": tip}})
	if files := w.shown(req.Key, w.follow(req)); files["rel/l"] != "2" || files["ssh/l"] != "1" {
		t.Errorf("got %v", files)
	}

	// What was fetched goes with the repository.
	if err := w.store.Retain([]string{req.Key}); err != nil {
		t.Fatal(err)
	}
	if n := len(must(filepath.Glob(filepath.Join(w.dir, "*-*")))(t)); n != 6 {
		t.Errorf("%d submodules are kept, want 6", n)
	}
	if err := w.store.Forget(req.Key); err != nil {
		t.Fatal(err)
	}
	if left := must(filepath.Glob(filepath.Join(w.dir, "*", "HEAD")))(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSubmodulesThatCannotBeFetched(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	_, lib := w.another("lib", write("l", "1"))
	base := strings.TrimSuffix(w.http.URL(w.repo), "/config.git")
	many := map[string]string{}
	var pairs []string
	for i := range 65 {
		many[fmt.Sprint("m", i)] = lib
		pairs = append(pairs, fmt.Sprint("m", i), base+"/lib.git")
	}
	for name, c := range map[string]struct {
		modules string
		pins    map[string]string
		want    string
	}{
		"another host":      {modulesOf("m", "https://evil.example/lib.git"), nil, `"m": it lies on another host, evil.example: submodules are fetched from 127.0.0.1`},
		"another port":      {modulesOf("m", "http://127.0.0.1:1/lib.git"), nil, `"m": it lies on another host, 127.0.0.1:1`},
		"a file":            {modulesOf("m", "file:///etc"), nil, `"m": invalid URL: only http, https and ssh are supported`},
		"an option":         {modulesOf("m", "--upload-pack=x"), nil, `"m": invalid URL`},
		"a command":         {modulesOf("m", "ext::sh -c id"), nil, `"m": invalid URL`},
		"out of the root":   {modulesOf("m", "../../../../etc"), nil, `"m": invalid URL: the relative URL of the submodule leads out`},
		"missing":           {modulesOf("m", base+"/nope.git"), nil, `"m": repository not found`},
		"missing commit":    {modulesOf("m", base+"/lib.git"), map[string]string{"m": strings.Repeat("1", 40)}, `"m": reference not found`},
		"unreadable":        {"[submodule \"m\n", nil, `.gitmodules cannot be read`},
		"too many":          {modulesOf(pairs...), many, `there are more than 64`},
		"credentials in it": {modulesOf("m", strings.Replace(base, "http://", "http://a:CANARY@", 1)+"/lib.git"), nil, `"m": invalid URL: credentials belong into the Secret`},
	} {
		t.Run(name, func(t *testing.T) {
			if c.pins == nil {
				c.pins = map[string]string{"m": lib}
			}
			change := withModules(write("a", "1", ".gitmodules", c.modules), c.pins)
			change.Onto = "none"
			must(w.repo.Commit("main", change))(t)
			inner := *w
			inner.T = t
			msg := inner.fails(git.ErrSubmodule, inner.recursing())
			if !strings.Contains(msg, c.want) || strings.Contains(msg, "CANARY") {
				t.Errorf("got %q, want %q", msg, c.want)
			}
		})
	}
	w.commit("main", gitserver.Change{Onto: "none", Write: map[string]string{"a": "2"}})
	w.shows(w.follow(w.recursing()), map[string]string{"a": "2"})
}

// TestSubmodulesOutsideOfSparseDirectoriesAreNotFetched: nor may one that cannot be fetched hold the rest.
func TestSubmodulesOutsideOfSparseDirectoriesAreNotFetched(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	_, lib := w.another("lib", write("l", "1"))
	w.commit("main", withModules(write("apps/a", "1", ".gitmodules", modulesOf("apps/lib", "../lib.git", "other", "https://evil.example/x")),
		map[string]string{"apps/lib": lib, "other": lib}))
	req := w.recursing()
	req.Sparse = []string{"apps"}
	w.shows(w.follow(req), map[string]string{"apps/a": "1", "apps/lib/l": "1"})
}

func (w *world) other(key string, repo *gitserver.Repo, change func(*git.Request)) git.Commit {
	w.Helper()
	req := w.request(git.Reference{Branch: "main"})
	req.Key, req.URL = key, w.http.URL(repo)
	if change != nil {
		change(&req)
	}
	return w.follow(req)
}

func (w *world) include(key string, base git.Commit, parts []git.Part) string {
	w.Helper()
	digest, _, err := w.store.Include(w.Context(), key, base, parts)
	if err != nil {
		w.Fatal(err)
	}
	return digest
}

func TestIncludedRepositoriesAreShownInTheTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	w.commit("main", write("apps/a", "1"))
	baseRepo, _ := w.another("base", write("deploy/x", "x", "deploy/sub/y", "y", "README", "r"))
	thirdRepo, _ := w.another("third", write("t/z", "z"))
	c := w.follow(w.request(git.Reference{Branch: "main"}))
	base := w.other("default/base", baseRepo, func(r *git.Request) { r.Sparse = []string{"deploy"} })
	third := w.other("default/third", thirdRepo, nil)

	// What is included may itself be put together.
	nested := w.include("default/base", base, []git.Part{{At: "deploy/third", Key: "default/third", Commit: third.Hash, Digest: third.Digest, From: "t"}})
	part := git.Part{At: "base", Key: "default/base", Commit: base.Hash, Digest: nested, From: "./deploy/"}
	digest := w.include("default/config", c, []git.Part{part})
	want := map[string]string{"apps/a": "1", "base/x": "x", "base/sub/y": "y", "base/third/z": "z"}
	c.Digest = digest
	w.shows(c, want)
	if again := w.include("default/config", w.follow(w.request(git.Reference{Branch: "main"})), []git.Part{part}); again != digest {
		t.Error("the same parts give another digest")
	}

	// What its repository ignores is not shown, neither now nor when the tree is opened again.
	part.Ignore = "/deploy/sub\n"
	c.Digest = w.include("default/config", w.follow(w.request(git.Reference{Branch: "main"})), []git.Part{part})
	w.shows(c, map[string]string{"apps/a": "1", "base/x": "x", "base/third/z": "z"})
	if c.Digest == digest {
		t.Error("other rules give the same digest")
	}
	c.Digest = digest

	// What is included moves on: the tree that was put together stays as it is.
	must(baseRepo.Commit("main", write("deploy/x", "new")))(t)
	w.other("default/base", baseRepo, func(r *git.Request) { r.Sparse = []string{"deploy"} })
	w.shows(c, want)

	// Its store is lost: the tree is gone as well, and both are looked at.
	var damaged []string
	w.store = must(git.OpenStore(w.dir, git.Options{Damaged: func(key string) { damaged = append(damaged, key) }}))(t)
	if err := w.store.Forget("default/third"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Tree(t.Context(), "default/config", digest); !errors.Is(err, git.ErrNotStored) {
		t.Errorf("got %v", err)
	}
	if !slices.Contains(damaged, "default/config") || !slices.Contains(damaged, "default/third") {
		t.Errorf("checks are asked for at %v", damaged)
	}
}

func TestIncludesThatHaveNoPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	w.commit("main", write("apps/a", "1"))
	baseRepo, _ := w.another("base", write("deploy/x", "x"))
	c := w.follow(w.request(git.Reference{Branch: "main"}))
	base := w.other("default/base", baseRepo, nil)
	for name, p := range map[string]git.Part{
		"occupied":   {At: "apps", From: "."},
		"the root":   {At: "/", From: "."},
		"outside":    {At: "../x", From: "."},
		"from above": {At: "x", From: "../y"},
		"missing":    {At: "x", From: "nope"},
	} {
		p.Key, p.Commit, p.Digest = "default/base", base.Hash, base.Digest
		_, _, err := w.store.Include(t.Context(), "default/config", c, []git.Part{p})
		w.isKind(git.ErrLayout, err)
		t.Log(name, err)
	}
	if _, _, err := w.store.Include(t.Context(), "default/config", c, []git.Part{{At: "x", From: ".", Key: "default/base", Digest: "sha256:" + strings.Repeat("0", 64)}}); !errors.Is(err, git.ErrNotStored) {
		t.Errorf("got %v", err)
	}
}

// TestNoFileIsReadToPutATreeTogether: files are read when a render asks for them.
func TestNoFileIsReadToPutATreeTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	w.commit("main", write("apps/a", "1", "b", strings.Repeat("x", 1<<20)))
	req := w.request(git.Reference{Branch: "main"})
	req.Sparse = []string{"apps"}
	c := w.follow(req)
	made := must(w.store.Tree(t.Context(), req.Key, c.Digest))(t)
	if names := slices.Sorted(maps.Keys(treeFiles(t, made))); !slices.Equal(names, []string{"apps/a"}) || made.Err() != nil {
		t.Errorf("got %v, %v", names, made.Err())
	}
	if got := git.CachedBytes(w.store); got > 10<<10 {
		t.Errorf("%d bytes of files are in memory", got)
	}
}
