package git_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/tree"
)

// world is a Git host with one repository, an HTTP server for it, and a store.
type world struct {
	*testing.T
	host  *gitserver.Host
	repo  *gitserver.Repo
	http  *gitserver.HTTP
	dir   string
	store *git.Store
}

func newWorld(t *testing.T, http gitserver.HTTPOptions, options git.Options) *world {
	t.Helper()
	w := &world{T: t, host: gitserver.New(t), dir: t.TempDir()}
	w.repo = must(w.host.Repo("config"))(t)
	w.http = must(w.host.ServeHTTP(http))(t)
	w.store = must(git.OpenStore(w.dir, options))(t)
	return w
}

// must ends the test if a call failed: must(f())(t).
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w *world) commit(branch string, changes ...gitserver.Change) string {
	w.Helper()
	return must(w.repo.Commits(branch, changes...))(w)
}

func write(pairs ...string) gitserver.Change {
	c := gitserver.Change{Write: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		c.Write[pairs[i]] = pairs[i+1]
	}
	return c
}

// request is one for the repository over HTTP that ends soon.
func (w *world) request(ref git.Reference) git.Request {
	return git.Request{Key: "default/config", URL: w.http.URL(w.repo), Reference: ref, Timeout: time.Minute}
}

func (w *world) follow(req git.Request) git.Commit {
	w.Helper()
	return must(w.store.Follow(w.Context(), req))(w)
}

// branch follows a branch, with what was known before.
func (w *world) branch(name, known string) git.Commit {
	w.Helper()
	req := w.request(git.Reference{Branch: name})
	req.Known = known
	return w.follow(req)
}

func (w *world) tree(commit string) *tree.Tree {
	w.Helper()
	t, err := w.store.Tree(w.Context(), "default/config", commit)
	if err != nil {
		w.Fatal(err)
	}
	return t
}

// fails follows twice and wants both errors to be of that kind and the same, and returns the message.
func (w *world) fails(kind error, req git.Request) string {
	w.Helper()
	var messages []string
	for range 2 {
		_, err := w.store.Follow(w.Context(), req)
		messages = append(messages, w.isKind(kind, err))
	}
	if diff := cmp.Diff(messages[0], messages[1]); diff != "" {
		w.Errorf("the message is not stable:\n%s", diff)
	}
	return messages[0]
}

func (w *world) isKind(kind, err error) string {
	w.Helper()
	if err == nil {
		w.Fatalf("got no error, want %v", kind)
	}
	if !strings.HasPrefix(err.Error(), kind.Error()) || !isOneLine(err.Error()) {
		w.Errorf("got %q, want one line that starts with %q", err, kind)
	}
	return err.Error()
}

func isOneLine(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }) }

// files is what the server has at a commit, as git itself reads it: links as "-> target".
func (w *world) files(commit string) map[string]string {
	w.Helper()
	var names, links, hashes []string
	for entry := range strings.SplitSeq(gitOut(w, w.repo.Dir(), "ls-tree", "-r", "-z", commit), "\x00") {
		meta, name, ok := strings.Cut(entry, "\t")
		if !ok || strings.Contains(meta, " commit ") {
			continue
		}
		link := ""
		if strings.HasPrefix(meta, "120000") {
			link = "-> "
		}
		names, links, hashes = append(names, name), append(links, link), append(hashes, strings.Fields(meta)[2])
	}
	cmd := exec.CommandContext(w.Context(), "git", "cat-file", "--batch")
	cmd.Dir, cmd.Env, cmd.Stdin = w.repo.Dir(), gitserver.Env(), strings.NewReader(strings.Join(hashes, "\n"))
	out := bytes.NewReader(must(cmd.Output())(w))
	files := map[string]string{}
	for i, name := range names {
		var hash, kind string
		var size int
		must(fmt.Fscanf(out, "%s %s %d\n", &hash, &kind, &size))(w)
		content := make([]byte, size+1)
		must(io.ReadFull(out, content))(w)
		files[name] = links[i] + string(content[:size])
	}
	return files
}

// treeFiles is what a tree holds, in the form of world.files; links must lie in the root.
func treeFiles(t testing.TB, tr *tree.Tree) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range tr.Files() {
		if to := must(tr.Resolve(name))(t); to != name {
			files[name] = "-> " + to
			continue
		}
		files[name] = string(must(tr.ReadFile(name))(t))
	}
	return files
}

func gitOut(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir, cmd.Env = dir, gitserver.Env()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %v: %v", args, err)
	}
	return string(out)
}

// fsck lets git itself check the kept repository, shallow history and all.
func (w *world) fsck() {
	w.Helper()
	dirs := must(filepath.Glob(filepath.Join(w.dir, "*", "HEAD")))(w)
	if len(dirs) != 1 {
		w.Fatalf("found %d repositories in the store, want 1", len(dirs))
	}
	cmd := exec.CommandContext(w.Context(), "git", "fsck", "--full", "--no-dangling")
	cmd.Dir, cmd.Env = filepath.Dir(dirs[0]), gitserver.Env()
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Errorf("git finds the store damaged: %v\n%s", err, out)
	}
}

// manyFiles is a repository of n small manifests in folders of 20.
func manyFiles(n int) gitserver.Change {
	c := gitserver.Change{Write: map[string]string{}}
	for i := range n {
		c.Write[fmt.Sprintf("apps/%02d/app-%03d.yaml", i/20, i)] = fmt.Sprintf("kind: ConfigMap\nmetadata: {name: app-%d}\ndata: {key: %q}\n", i, strings.Repeat(fmt.Sprint(i), 50))
	}
	return c
}

func countLines(t testing.TB, name string) int {
	t.Helper()
	return strings.Count(string(must(os.ReadFile(name))(t)), "\n")
}
