package git_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// reopen does what a restart of the process does to the store.
func (w *world) reopen() {
	w.Helper()
	w.store = must(git.OpenStore(w.dir, git.Options{}))(w)
}

func TestStoreSurvivesAReopen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	hash := w.commit("main", manyFiles(40))
	first := w.branch("main", "")
	w.reopen()
	if diff := cmp.Diff(w.files(hash), treeFiles(t, w.tree(hash))); diff != "" {
		t.Errorf("files after a restart (-server +tree):\n%s", diff)
	}
	w.reopen()
	again := w.branch("main", first.Revision)
	if again.Fetched || w.http.Requests("fetch") != 1 {
		t.Errorf("fetched after a restart: %t, %d fetches", again.Fetched, w.http.Requests("fetch"))
	}
	w.commit("main", write("new", "x"))
	w.reopen()
	before := w.http.Sent()
	if third := w.branch("main", again.Revision); !third.Fetched || third.ForcePushed {
		t.Errorf("after a restart: fetched %t, force-pushed %t", third.Fetched, third.ForcePushed)
	}
	if moved := w.http.Sent() - before; moved > 2500 {
		t.Errorf("a push after a restart moved %d bytes", moved)
	}
	w.fsck()
}

// TestDamagedStoreRecovers breaks every file of the store in turn, in each of three ways, and
// follows both the same commit and the next one with a process that knows nothing.
func TestDamagedStoreRecovers(t *testing.T) {
	t.Parallel()
	breaks := map[string]func(string) error{
		"gone":    os.Remove,
		"empty":   func(name string) error { return os.Truncate(name, 0) },
		"flipped": flip,
	}
	for name, damage := range breaks {
		for _, moved := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
				w.commit("main", manyFiles(20))
				known := w.branch("main", "").Revision
				w.commit("main", write("b", "2"))
				known = w.branch("main", known).Revision
				for i := 0; ; i++ {
					files := storeFiles(t, w.dir)
					if i >= len(files) {
						break
					}
					if err := damage(files[i]); err != nil {
						t.Fatal(err)
					}
					w.reopen()
					if moved {
						w.commit("main", write("c", files[i]))
					}
					got := w.branch("main", known)
					if unreadable(w, got.Hash) {
						// A broken file is found when it is read, and brought by the next check.
						if again := w.branch("main", known); !again.Fetched {
							t.Errorf("%s %s: not fetched anew", filepath.Base(files[i]), name)
						}
					}
					if diff := cmp.Diff(w.files(got.Hash), treeFiles(t, w.tree(got.Hash))); diff != "" {
						t.Errorf("%s %s: files (-server +tree):\n%s", filepath.Base(files[i]), name, diff)
					}
					if got.ForcePushed {
						t.Errorf("%s %s: looks like a forced push", filepath.Base(files[i]), name)
					}
					known = got.Revision
				}
			})
		}
	}
}

// unreadable reports whether the store cannot give all files of a commit, and knows that.
func unreadable(w *world, commit string) bool {
	w.Helper()
	tr := w.tree(commit)
	for _, name := range tr.Files() {
		if one := tr.Reopen(); name != "pics/film" {
			_, _ = one.ReadFile(name)
			if one.Err() != nil {
				w.isKind(git.ErrNotStored, one.Err())
				return true
			}
		}
	}
	if tr.Err() == nil {
		return false
	}
	w.isKind(git.ErrNotStored, tr.Err())
	return true
}

// flip changes one bit in the middle of a file.
func flip(name string) error {
	raw, err := os.ReadFile(name)
	if err != nil || len(raw) == 0 {
		return err
	}
	raw[len(raw)/2] ^= 0x10
	if err := os.Chmod(name, 0o600); err != nil {
		return err
	}
	return os.WriteFile(name, raw, 0o600)
}

// storeFiles lists all files of the store, sorted.
func storeFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestStoreDamagedUnderARunningProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	first := w.commit("main", write("f", "1"))
	w.branch("main", "")
	second := w.commit("main", write("f", "2"))
	w.branch("main", "")
	for _, name := range storeFiles(t, w.dir) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.store.Tree(t.Context(), "default/config", first)
	w.isKind(git.ErrNotStored, err)
	if got := w.branch("main", ""); got.Hash != second || !got.Fetched {
		t.Errorf("got %s, fetched %t", got.Hash, got.Fetched)
	}
}

func TestUnfinishedFilesGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	w.commit("main", write("f", "1"))
	w.branch("main", "")
	packs := must(filepath.Glob(filepath.Join(w.dir, "*", "objects", "pack")))(t)
	left := filepath.Join(packs[0], "tmp_pack_1")
	if err := os.WriteFile(left, []byte("PACK"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("an unfinished pack is still there: %v", err)
	}
}

func TestAnotherURLUnderTheSameKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	first := w.commit("main", write("f", "1"))
	w.branch("main", "")
	req := w.request(git.Reference{})
	req.URL = strings.Replace(req.URL, "config", "confgi", 1)
	w.fails(git.ErrRepositoryNotFound, req)
	w.reopen()
	w.tree(first) // a typo in the URL costs nothing

	other := must(w.host.Repo("other"))(t)
	hash := must(other.Commit("main", write("g", "2")))(t)
	req.URL = w.http.URL(other)
	if got := w.follow(req); got.Hash != hash || !got.Fetched {
		t.Errorf("got %s, fetched %t; want %s", got.Hash, got.Fetched, hash)
	}
	if diff := cmp.Diff(map[string]string{"g": "2"}, treeFiles(t, w.tree(hash))); diff != "" {
		t.Errorf("files:\n%s", diff)
	}
	w.fsck()
}

func TestForgetAndRetain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	hash := w.commit("main", write("f", "1"))
	for _, key := range []string{"a/kept", "a/forgotten", "a/stale"} {
		req := w.request(git.Reference{})
		req.Key = key
		w.follow(req)
	}
	if err := w.store.Forget("a/forgotten"); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	if err := w.store.Retain([]string{"a/kept", "a/never"}); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"a/kept": true, "a/forgotten": false, "a/stale": false} {
		if _, err := w.store.Tree(t.Context(), key, hash); (err == nil) != want {
			t.Errorf("%s: there %t, want %t (%v)", key, err == nil, want, err)
		}
	}
	if dirs := must(filepath.Glob(filepath.Join(w.dir, "*", "HEAD")))(t); len(dirs) != 1 {
		t.Errorf("%d repositories left, want 1", len(dirs))
	}
}

// TestOnlyTheOwnerReadsTheStore looks at all that a fetch, a merge of packs and a restart leave there.
func TestOnlyTheOwnerReadsTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	check := func(when string) {
		t.Helper()
		err := filepath.WalkDir(w.dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %s has mode %v", when, strings.TrimPrefix(name, w.dir), info.Mode())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	defer syscall.Umask(syscall.Umask(0))
	known := ""
	for i := range 20 {
		w.commit("main", write("f", strings.Repeat("x", i)))
		known = w.branch("main", known).Revision
	}
	check("after fetches")
	for _, pattern := range []string{"*", "*/*", "*/refs/*"} {
		for _, name := range must(filepath.Glob(filepath.Join(w.dir, pattern)))(t) {
			if err := os.Chmod(name, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.reopen()
	check("after a restart")
	w.branch("main", known)
}

// TestWhatIsNotReadIsNotCounted has pictures, and a file larger than any that is rendered, beside one
// manifest, and less memory than that.
func TestWhatIsNotReadIsNotCounted(t *testing.T) {
	t.Parallel()
	var told []string
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{
		Limits: git.Limits{Cache: 1 << 20}, Damaged: func(key string) { told = append(told, key) },
	})
	c := write("app/a.yaml", "a: 1\n")
	for i := range 8 {
		noise := make([]byte, 256<<10)
		_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(noise)
		c.Write[fmt.Sprintf("pics/%d.png", i)] = string(noise)
	}
	c.Write["pics/film"] = strings.Repeat("0123456789abcdef", 33<<16) // 33 MiB
	w.commit("main", c)
	known := w.branch("main", "").Revision

	// Every file but the manifest is broken, and nothing shows it.
	packs := must(filepath.Glob(filepath.Join(w.dir, "*", "objects", "pack", "*.pack")))(t)
	if len(packs) != 1 {
		t.Fatalf("%d packs", len(packs))
	}
	if err := flip(packs[0]); err != nil {
		t.Fatal(err)
	}
	hash := w.commit("main", write("app/a.yaml", "a: 2\n"))
	got := w.branch("main", known)
	tr := w.tree(hash)
	if data, err := tr.ReadFile("app/a.yaml"); string(data) != "a: 2\n" || tr.Err() != nil {
		t.Errorf("manifest is %q, %v, %v", data, err, tr.Err())
	}
	_, err := tr.ReadFile("pics/film")
	if film := w.isKind(git.ErrTooLarge, err); !strings.Contains(film, "32 MiB") {
		t.Errorf("message is %q", film)
	}
	if len(told) != 0 {
		t.Errorf("damage is told of: %v", told)
	}

	// Once a broken file is read, the next check brings it.
	if !unreadable(w, hash) || len(told) == 0 || told[0] != "default/config" {
		t.Fatalf("told of %v", told)
	}
	if again := w.branch("main", got.Revision); !again.Fetched {
		t.Error("not fetched anew")
	}
	tr = w.tree(hash)
	if data, err := tr.ReadFile("pics/7.png"); string(data) != c.Write["pics/7.png"] {
		t.Errorf("a picture has %d bytes after the repair, %v", len(data), err)
	}
}
