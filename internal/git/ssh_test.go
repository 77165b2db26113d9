package git_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// sshWorld is a world whose requests go over SSH.
type sshWorld struct {
	*world
	ssh *gitserver.SSH
}

func newSSHWorld(t *testing.T) *sshWorld {
	t.Helper()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	return &sshWorld{w, must(w.host.ServeSSH())(t)}
}

func (w *sshWorld) request(ref git.Reference) git.Request {
	w.Helper()
	req := w.world.request(ref)
	req.URL = w.ssh.URL(w.repo)
	return w.with(req, secret("identity", string(must(w.ssh.Identity(""))(w)), "known_hosts", string(w.ssh.KnownHosts())))
}

func TestSSHFollow(t *testing.T) {
	t.Parallel()
	w := newSSHWorld(t)
	w.commit("main", manyFiles(100))
	known := ""
	for i := range 25 {
		hash := w.commit("main", write("apps/00/app-000.yaml", fmt.Sprint(i)))
		req := w.request(git.Reference{Branch: "main"})
		req.Known = known
		got := w.follow(req)
		if got.Hash != hash || !got.Fetched || got.ForcePushed {
			t.Fatalf("got %+v, want %s fetched", got, hash)
		}
		known = got.Revision
		again := w.follow(req)
		if again.Fetched {
			t.Error("an unchanged branch was fetched")
		}
	}
	hash := known[len("main@sha1:"):]
	if diff := cmp.Diff(w.files(hash), treeFiles(t, w.tree(hash))); diff != "" {
		t.Errorf("files (-server +tree):\n%s", diff)
	}
	w.fsck()
}

func TestSSHForms(t *testing.T) {
	t.Parallel()
	w := newSSHWorld(t)
	hash := w.commit("main", write("f", "1"))
	if err := w.repo.Tag("v1", hash, "one"); err != nil {
		t.Fatal(err)
	}
	req := w.request(git.Reference{Tag: "v1"})
	if got := w.follow(req); got.Revision != "v1@sha1:"+hash {
		t.Errorf("got %s", got.Revision)
	}
	locked := string(must(w.ssh.Identity("pass"))(t))
	w.follow(w.with(req, secret("identity", locked, "password", "pass", "known_hosts", string(w.ssh.KnownHosts()))))
	req.URL = strings.Replace(req.URL, "git@", "", 1)
	w.follow(req)
}

func TestSSHFailures(t *testing.T) {
	t.Parallel()
	w := newSSHWorld(t)
	req := w.request(git.Reference{Branch: "main"})
	w.fails(git.ErrEmptyRepository, req)
	w.commit("main", write("f", "1"))
	w.follow(req)

	t.Run("no such repository", func(t *testing.T) {
		missing := req
		missing.URL = strings.Replace(req.URL, "config.git", "it's!none.git", 1)
		w.fails(git.ErrRepositoryNotFound, missing)
	})
	t.Run("no such branch", func(t *testing.T) {
		w.fails(git.ErrReferenceNotFound, w.request(git.Reference{Branch: "none"}))
		w.fails(git.ErrReferenceNotFound, w.request(git.Reference{Commit: strings.Repeat("a", 40)}))
	})
	t.Run("another key", func(t *testing.T) {
		other := must(w.host.ServeSSH())(t)
		w.fails(git.ErrAuthenticationFailed, w.with(req, secret("identity", string(must(other.Identity(""))(t)), "known_hosts", string(w.ssh.KnownHosts()))))
	})
	t.Run("host not in known_hosts", func(t *testing.T) {
		other := must(w.host.ServeSSH())(t)
		got := w.fails(git.ErrHostKeyRefused, w.with(req, secret("identity", string(must(w.ssh.Identity(""))(t)), "known_hosts", string(other.KnownHosts()))))
		if !strings.Contains(got, "has no key for "+w.ssh.Addr()) {
			t.Errorf("message is %q", got)
		}
	})
	t.Run("host key changed", func(t *testing.T) {
		if err := w.ssh.ChangeHostKey(); err != nil {
			t.Fatal(err)
		}
		got := w.fails(git.ErrHostKeyRefused, req)
		if !strings.Contains(got, "not the one in known_hosts") || strings.Contains(got, "SHA256") {
			t.Errorf("message is %q", got)
		}
	})
	t.Run("only a key of another kind is known", func(t *testing.T) {
		got := w.fails(git.ErrHostKeyRefused, w.with(req, secret("identity", string(must(w.ssh.Identity(""))(t)), "known_hosts", ecdsaLine(w.ssh.Addr()))))
		if !strings.Contains(got, "not the one in known_hosts") {
			t.Errorf("message is %q", got)
		}
	})
	t.Run("no server", func(t *testing.T) {
		if err := w.ssh.Stop(); err != nil {
			t.Fatal(err)
		}
		if got := w.fails(git.ErrUnreachable, req); !strings.Contains(got, "connection refused") {
			t.Errorf("message is %q", got)
		}
	})
}

// ecdsaLine is a known_hosts line with a key that nobody has.
func ecdsaLine(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf("[%s]:%s ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=\n", host, port)
}

func TestSSHServerThatHangsIsCutOff(t *testing.T) {
	t.Parallel()
	w := newSSHWorld(t)
	w.commit("main", write("f", "1"))
	for _, stall := range []gitserver.Stall{gitserver.StallAtConnect, gitserver.StallAtCommand} {
		w.ssh.SetStall(stall)
		req := w.request(git.Reference{})
		req.Timeout = 300 * time.Millisecond
		w.fails(git.ErrTimeout, req)
	}
	w.ssh.SetStall(gitserver.StallNever)
	w.follow(w.request(git.Reference{}))
	// The connections that were cut off are gone: stopping waits for them all.
	if err := w.ssh.Stop(); err != nil {
		t.Error(err)
	}
}

// TestSSHPortOfAnotherProtocol talks SSH to an HTTP server.
func TestSSHPortOfAnotherProtocol(t *testing.T) {
	t.Parallel()
	w := newSSHWorld(t)
	req := w.request(git.Reference{})
	addr := strings.TrimPrefix(w.http.Root(), "http://")
	req.URL = "ssh://git@" + addr + "/config.git"
	req = w.with(req, secret("identity", string(must(w.ssh.Identity(""))(t)), "known_hosts", ecdsaLine(addr)))
	w.fails(git.ErrUnreachable, req)
}
