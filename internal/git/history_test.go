package git_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

func TestForcedPush(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		// before is how many commits the branch has when it is followed first.
		before int
		// push rewrites the branch, or not.
		push func(w *world, tip string) string
		want bool
	}{
		{"one commit", 5, func(w *world, _ string) string { return w.commit("main", write("n", "1")) }, false},
		{"many commits, fewer than a fetch brings", 5, pushes(18), false},
		{"more commits than a fetch brings", 5, pushes(30), false},
		{"a merge of a long branch", 5, func(w *world, tip string) string {
			changes := []gitserver.Change{{Onto: tip + "~3", Write: map[string]string{"s": "0"}}}
			for i := range 30 {
				changes = append(changes, write("s", fmt.Sprint(i)))
			}
			side := w.commit("side", changes...)
			return w.commit("main", gitserver.Change{Merge: []string{side}, Write: map[string]string{"m": "1"}})
		}, false},
		{"amended", 5, onto("^"), true},
		{"amended, long history", 50, onto("^"), true},
		{"rewound", 5, func(w *world, tip string) string {
			if err := w.repo.Reset("main", tip+"~2"); err != nil {
				w.Fatal(err)
			}
			return must(w.repo.Resolve("main"))(w)
		}, true},
		{"rebased ten back", 50, onto("~10"), true},
		{"a new history", 5, func(w *world, _ string) string {
			return w.commit("main", gitserver.Change{Onto: "none", Write: map[string]string{"n": "1"}})
		}, true},
		{"a new history in place of a long one", 50, func(w *world, _ string) string {
			return w.commit("main", gitserver.Change{Onto: "none", Write: map[string]string{"n": "1"}})
		}, true},
		{"the first commit amended", 1, func(w *world, _ string) string {
			return w.commit("main", gitserver.Change{Onto: "none", Write: map[string]string{"n": "1"}})
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
			tip := pushes(c.before)(w, "")
			known := w.branch("main", "").Revision
			hash := c.push(w, tip)
			got := w.branch("main", known)
			if got.Hash != hash || got.ForcePushed != c.want {
				t.Errorf("got %s, force-pushed %t; want %s, %t", got.Hash, got.ForcePushed, hash, c.want)
			}
			if diff := cmp.Diff(w.files(hash), treeFiles(t, w.tree(hash))); diff != "" {
				t.Errorf("files (-server +tree):\n%s", diff)
			}
			if w.branch("main", got.Revision).ForcePushed {
				t.Error("the same commit is a forced push of itself")
			}
			w.fsck()
		})
	}
}

func pushes(n int) func(*world, string) string {
	return func(w *world, _ string) (hash string) {
		var changes []gitserver.Change
		for i := range n {
			changes = append(changes, write("n", fmt.Sprint(n, i)))
		}
		return w.commit("main", changes...)
	}
}

func onto(back string) func(*world, string) string {
	return func(w *world, tip string) string {
		return w.commit("main", gitserver.Change{Onto: tip + back, Write: map[string]string{"n": "amended"}})
	}
}

func TestMovedTagIsAForcedPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	first := pushes(3)(w, "")
	req := w.request(git.Reference{Tag: "v1"})
	for i, c := range []struct {
		revision string
		want     bool
	}{{first, false}, {first + "^", true}, {first, false}} {
		if err := w.repo.Tag("v1", c.revision, "x"); err != nil {
			t.Fatal(err)
		}
		got := w.follow(req)
		if got.ForcePushed != c.want {
			t.Errorf("move %d: force-pushed %t, want %t", i, got.ForcePushed, c.want)
		}
		req.Known = got.Revision
	}
}

// TestRandomHistories lets people do what they do to a branch, and compares each commit with what
// git itself says of it on the server.
func TestRandomHistories(t *testing.T) {
	t.Parallel()
	seeds := uint64(3)
	if testing.Short() {
		seeds = 1 // a history is some hundred processes of git
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 0))
			w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
			w.commit("main", manyFiles(30))
			known, knownHash := "", ""
			for step := range 25 {
				for range rnd.IntN(8) {
					w.act(rnd)
				}
				if rnd.IntN(8) == 0 {
					w.reopen()
				}
				got := w.branch("main", known)
				hash := must(w.repo.Resolve("main"))(t)
				if got.Hash != hash {
					t.Fatalf("step %d: got %s, want %s", step, got.Hash, hash)
				}
				if diff := cmp.Diff(w.files(hash), treeFiles(t, w.tree(hash))); diff != "" {
					t.Fatalf("step %d: files (-server +tree):\n%s", step, diff)
				}
				if knownHash != "" && got.ForcePushed == w.isAncestor(knownHash, hash) {
					t.Errorf("step %d: %s to %s: force-pushed %t", step, knownHash, hash, got.ForcePushed)
				}
				known, knownHash = got.Revision, hash
			}
			w.fsck()
		})
	}
}

// act does one thing to main, never more than what keeps all history within what one fetch brings.
func (w *world) act(rnd *rand.Rand) {
	w.Helper()
	name := fmt.Sprintf("apps/%02d/app-%03d.yaml", rnd.IntN(3), rnd.IntN(60))
	content := fmt.Sprint(rnd.IntN(5))
	switch rnd.IntN(6) {
	case 0:
		w.commit("main", gitserver.Change{Delete: []string{name}})
	case 1:
		w.commit("main", gitserver.Change{Onto: "main~0", Write: map[string]string{name: content}})
	case 2: // amend
		if _, err := w.repo.Resolve("main^"); err == nil {
			w.commit("main", gitserver.Change{Onto: "main^", Write: map[string]string{name: content}})
		}
	case 3: // merge
		side := w.commit("side", gitserver.Change{Onto: "main~0", Write: map[string]string{"side": content}})
		w.commit("main", write(name, content))
		w.commit("main", gitserver.Change{Merge: []string{side}, Write: map[string]string{name: "merged"}})
	default:
		w.commit("main", write(name, content))
	}
}

func (w *world) isAncestor(old, tip string) bool {
	cmd := exec.CommandContext(w.Context(), "git", "merge-base", "--is-ancestor", old, tip)
	cmd.Dir, cmd.Env = w.repo.Dir(), gitserver.Env()
	return cmd.Run() == nil
}

// TestManyFetches keeps the store small: few packs, few shallow commits, few bytes.
func TestManyFetches(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	w.commit("main", manyFiles(100))
	known := w.branch("main", "").Revision
	for i := range 40 { // the packs are merged twice
		w.commit("main", write("apps/00/app-000.yaml", fmt.Sprint(i)))
		if i%30 == 0 {
			w.reopen()
		}
		before := w.http.Sent()
		got := w.branch("main", known)
		if moved := w.http.Sent() - before; moved > 2500 || got.ForcePushed {
			t.Errorf("push %d moved %d bytes, force-pushed %t", i, moved, got.ForcePushed)
		}
		known = got.Revision
	}
	packs := must(filepath.Glob(filepath.Join(w.dir, "*", "objects", "pack", "*")))(t)
	if len(packs) > 2*16 {
		t.Errorf("%d files in the pack folder", len(packs))
	}
	shallow := must(filepath.Glob(filepath.Join(w.dir, "*", "shallow")))(t)
	if lines := countLines(t, shallow[0]); lines != 1 {
		t.Errorf("%d shallow commits, want 1", lines)
	}
	hash := known[len("main@sha1:"):]
	w.reopen()
	if diff := cmp.Diff(w.files(hash), treeFiles(t, w.tree(hash))); diff != "" {
		t.Errorf("files (-server +tree):\n%s", diff)
	}
	w.fsck()
}

// TestOldContentComesBack reverts to files of commits that the store never had, or has lost sight of:
// the server must not think that it has them.
func TestOldContentComesBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ gap, first int }{{1, 44}, {7, 25}, {30, 25}} {
		t.Run(fmt.Sprintf("followed every %d commits", c.gap), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
			known := ""
			var pending []gitserver.Change
			for i := range 65 {
				pending = append(pending, write("f", fmt.Sprint("content ", i), "g", fmt.Sprint(i)))
				if i >= c.first && i%c.gap == 0 {
					w.commit("main", pending...)
					pending = nil
					known = w.branch("main", known).Revision
				}
			}
			if len(pending) > 0 {
				w.commit("main", pending...)
			}
			for i := range 65 {
				if i%6 != 0 {
					continue
				}
				w.commit("main", write("f", fmt.Sprint("content ", i)))
				got := w.branch("main", known)
				if data, err := w.tree(got.Hash).ReadFile("f"); string(data) != fmt.Sprint("content ", i) {
					t.Errorf("reverted to commit %d: f is %q, %v", i, data, err)
				}
				known = got.Revision
			}
			// One listing and one fetch for each: nothing was found missing and fetched anew.
			if lists, fetches := w.http.Requests("list"), w.http.Requests("fetch"); lists != fetches {
				t.Errorf("%d listings, %d fetches", lists, fetches)
			}
			w.fsck()
		})
	}
}

// TestTellsTheServerWhatItHas reads the request for a fetch. A server may leave out whatever can be
// reached from a commit that it is told of, so none may be told of whose history has an end in the
// store that the server does not hear of; and no more ends than there are, one for each push ever.
func TestTellsTheServerWhatItHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	var said []string
	w.http.SetFault(func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if r.Method == http.MethodPost {
			said = strings.Fields(string(body))
		}
		next.ServeHTTP(rw, r)
	})
	tip := pushes(50)(w, "")
	known := w.branch("main", "").Revision
	for range 25 {
		had := strings.Fields(gitOut(t, w.repo.Dir(), "rev-list", "--max-count=20", tip))
		tip = w.commit("main", write("n", tip))
		known = w.branch("main", known).Revision
		var haves, ends []string
		for i, word := range said[:len(said)-1] {
			switch {
			case strings.HasSuffix(word, "have"):
				haves = append(haves, said[i+1])
			case strings.HasSuffix(word, "shallow") && len(said[i+1]) == 40:
				ends = append(ends, said[i+1])
			}
		}
		if diff := cmp.Diff([]string{had[19]}, ends); diff != "" {
			t.Fatalf("ends of history (-want +got):\n%s", diff)
		}
		had = []string{had[0], had[1], had[2], had[3], had[5], had[8], had[13]}
		slices.Sort(had)
		if diff := cmp.Diff(had, haves); diff != "" {
			t.Fatalf("commits at hand (-want +got):\n%s", diff)
		}
	}
}
