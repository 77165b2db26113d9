package gitserver_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

func git(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir, cmd.Env = dir, append(gitserver.Env(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func seeded(t *testing.T, h *gitserver.Host) *gitserver.Repo {
	t.Helper()
	repo, err := h.Repo("team/config")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Commit("main", gitserver.Change{Write: map[string]string{"a b/\"c\".yaml": "one\n", "d": "two"}}); err != nil {
		t.Fatal(err)
	}
	return repo
}

// cloneAndPush clones, changes a large file and a small one, pushes, and checks what arrived.
func cloneAndPush(t *testing.T, repo *gitserver.Repo, url string, env ...string) {
	t.Helper()
	work := filepath.Join(t.TempDir(), "work")
	git(t, "", env, "clone", "--quiet", url, work)
	if raw, err := os.ReadFile(filepath.Join(work, "a b", `"c".yaml`)); err != nil || string(raw) != "one\n" {
		t.Fatalf("clone holds %q, %v", raw, err)
	}
	large := make([]byte, 3<<20) // above http.postBuffer, so that git sends it in chunks
	_, _ = rand.Read(large)
	if err := os.WriteFile(filepath.Join(work, "large"), large, 0o600); err != nil {
		t.Fatal(err)
	}
	git(t, work, env, "add", ".")
	git(t, work, env, "commit", "--quiet", "-m", "large")
	git(t, work, env, "push", "--quiet", "origin", "HEAD:main")
	want := git(t, work, env, "rev-parse", "HEAD")
	if got, err := repo.Resolve("main"); err != nil || got != want {
		t.Errorf("main is %s (%v) after the push, want %s", got, err, want)
	}
}

func TestHTTPCloneAndPush(t *testing.T) {
	h := gitserver.New(t)
	repo := seeded(t, h)
	s, err := h.ServeHTTP(gitserver.HTTPOptions{Username: "ann", Password: "secret", TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, s.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	url := strings.Replace(s.URL(repo), "https://", "https://ann:secret@", 1)
	cloneAndPush(t, repo, url, "GIT_SSL_CAINFO="+ca)
	if s.Requests("list") == 0 || s.Requests("fetch") == 0 || s.Requests("push") == 0 || s.Sent() == 0 {
		t.Errorf("counted %d lists, %d fetches, %d pushes, %d bytes", s.Requests("list"), s.Requests("fetch"), s.Requests("push"), s.Sent())
	}
}

func TestSSHCloneAndPush(t *testing.T) {
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("no ssh client on this machine")
	}
	h := gitserver.New(t)
	repo := seeded(t, h)
	s, err := h.ServeSSH()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	identity, err := s.Identity("")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"identity": identity, "known_hosts": s.KnownHosts()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := fmt.Sprintf("ssh -F none -i %s/identity -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile=%s/known_hosts", dir, dir)
	cloneAndPush(t, repo, s.URL(repo), "GIT_SSH_COMMAND="+command)
}

func TestCommitsBranchesAndTags(t *testing.T) {
	repo := seeded(t, gitserver.New(t))
	first, _ := repo.Resolve("main")
	start := time.Now()
	second, err := repo.Commit("main", gitserver.Change{
		Write:      map[string]string{"new.yaml": "x"},
		Delete:     []string{"d"},
		Links:      map[string]string{"link": "new.yaml"},
		Submodules: map[string]string{"sub": strings.Repeat("1", 40)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("one commit took %s", time.Since(start).Round(time.Millisecond))
	list := git(t, repo.Dir(), nil, "ls-tree", "-r", "main")
	for _, want := range []string{"100644 blob", "new.yaml", "120000 blob", "160000 commit " + strings.Repeat("1", 40)} {
		if !strings.Contains(list, want) {
			t.Errorf("tree lacks %q:\n%s", want, list)
		}
	}
	if strings.Contains(list, "\td") {
		t.Errorf("tree still holds d:\n%s", list)
	}
	if parent, _ := repo.Resolve(second + "^"); parent != first {
		t.Errorf("parent of %s is %s, want %s", second, parent, first)
	}
	forced, err := repo.Commit("main", gitserver.Change{Onto: first, Write: map[string]string{"other": "y"}})
	if err != nil {
		t.Fatal(err)
	}
	if parent, _ := repo.Resolve(forced + "^"); parent != first {
		t.Errorf("parent after a forced push is %s, want %s", parent, first)
	}
	orphan, err := repo.Commit("main", gitserver.Change{Onto: "none", Write: map[string]string{"only": "z"}})
	if err != nil {
		t.Fatal(err)
	}
	if out := git(t, repo.Dir(), nil, "log", "--format=%H", orphan); out != orphan {
		t.Errorf("history of an orphan is %q", out)
	}
	if err := repo.Tag("v1", orphan, "one"); err != nil {
		t.Fatal(err)
	}
	if object, _ := repo.Resolve("v1"); object == orphan {
		t.Error("an annotated tag is the commit itself")
	}
	if err := repo.DeleteBranch("main"); err != nil {
		t.Fatal(err)
	}
	if got, err := repo.Resolve("main"); err == nil {
		t.Errorf("main is still %s", got)
	}
}

func TestStopAndStartOnTheSamePort(t *testing.T) {
	h := gitserver.New(t)
	repo := seeded(t, h)
	s, err := h.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before := s.URL(repo)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "git", "ls-remote", before)
	cmd.Env = gitserver.Env()
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("a stopped server answers: %s", out)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if s.URL(repo) != before {
		t.Errorf("URL moved from %s to %s", before, s.URL(repo))
	}
	git(t, "", nil, "ls-remote", before)
}
