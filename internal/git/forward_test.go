package git_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

func forwardOnly(accept string) git.Forward {
	return git.Forward{Required: true, Accept: accept, Remedy: ": acknowledge it"}
}

// TestRequireFastForward moves a branch in the ways that it can move, over both transports.
func TestRequireFastForward(t *testing.T) {
	t.Parallel()
	for name, branch := range map[string]git.Reference{"branch": {Branch: "main"}, "name": {Name: "refs/heads/main"}} {
		t.Run(name, func(t *testing.T) {
			w := newSSHWorld(t)
			req := w.request(branch)
			if name == "name" {
				req = w.world.request(branch)
			}
			req.Forward = forwardOnly("")
			one := w.commit("main", write("f", "1"))
			move := func() git.Commit {
				t.Helper()
				c := w.follow(req)
				req.Known = c.Revision
				return c
			}
			refused := func(last string) {
				t.Helper()
				got := w.fails(git.ErrHistoryRewritten, req)
				if !strings.Contains(got, "does not follow from sha1:"+last) || !strings.HasSuffix(got, ": acknowledge it") {
					t.Errorf("message is %q", got)
				}
				if got := treeFiles(t, w.tree(last)); len(got) == 0 {
					t.Error("the commit before cannot be read")
				}
			}
			move()
			two := w.commit("main", write("f", "2"))
			move()
			var steps []gitserver.Change
			for i := range 45 { // more than one fetch brings
				steps = append(steps, write("f", fmt.Sprint("step", i)))
			}
			w.commit("main", steps...)
			if c := move(); c.ForcePushed {
				t.Error("a push of many commits counts as forced")
			}
			side := w.commit("side", gitserver.Change{Onto: two, Write: map[string]string{"g": "1"}})
			tip := w.commit("main", gitserver.Change{Write: map[string]string{"f": "merged"}, Merge: []string{side}})
			move()

			// A forced push, back and to the side, and a history of its own.
			for _, onto := range []string{one, "none"} {
				rewritten := w.commit("main", gitserver.Change{Onto: onto, Write: map[string]string{"f": "rewritten"}})
				refused(tip)
				if err := w.repo.Reset("main", tip); err != nil {
					t.Fatal(err)
				}
				if c := move(); c.Hash != tip {
					t.Errorf("followed %s after the branch was moved back, want %s", c.Hash, tip)
				}
				if err := w.repo.Reset("main", rewritten); err != nil {
					t.Fatal(err)
				}
				refused(tip)
				req.Forward = forwardOnly("main@sha1:" + tip)
				refused(tip)
				if err := w.repo.Reset("main", tip); err != nil {
					t.Fatal(err)
				}
				req.Forward = forwardOnly("")
			}
			if err := w.repo.Reset("main", two); err != nil { // to an ancestor
				t.Fatal(err)
			}
			refused(tip)
			req.Forward = forwardOnly(" " + two + "\n")
			if c := move(); c.Hash != two || !c.ForcePushed {
				t.Errorf("got %+v after it was acknowledged", c)
			}
			w.fsck()
		})
	}
}

// TestRequireFastForwardWithoutTheCommitBefore is a store that was lost while the branch was moved.
func TestRequireFastForwardWithoutTheCommitBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	first := w.commit("main", write("f", "1"))
	for i := range 30 {
		w.commit("main", write("f", fmt.Sprint("step", i)))
	}
	req := w.request(git.Reference{Branch: "main"})
	req.Forward, req.Known = forwardOnly(""), "main@sha1:"+first
	req.Known = w.follow(req).Revision // which needs the whole history to be proved

	if err := w.store.Forget(req.Key); err != nil {
		t.Fatal(err)
	}
	w.commit("main", gitserver.Change{Onto: first, Write: map[string]string{"f": "other"}})
	w.fails(git.ErrHistoryRewritten, req)
	before := w.http.Requests("fetch")
	w.fails(git.ErrHistoryRewritten, req)
	if n := w.http.Requests("fetch") - before; n != 0 {
		t.Errorf("a refused move was fetched %d times again", n)
	}
	// A ref of another name is another choice of the user's.
	w.commit("next", write("f", "next"))
	req.Reference = git.Reference{Branch: "next"}
	w.follow(req)
}
