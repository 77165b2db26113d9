package gitpush

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

var author = Author{Name: "Ann", Email: "ann@example.com", When: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}

// way is one way to reach a host's repositories.
type way struct {
	host   *gitserver.Host
	url    func(*gitserver.Repo) string
	secret map[string][]byte
}

func ways(t *testing.T) map[string]way {
	t.Helper()
	h := gitserver.New(t)
	https, err := h.ServeHTTP(gitserver.HTTPOptions{Username: "ann", Password: "s3cret", TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	bearer, err := h.ServeHTTP(gitserver.HTTPOptions{Token: "t0ken"})
	if err != nil {
		t.Fatal(err)
	}
	ssh, err := h.ServeSSH()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := ssh.Identity("")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := ssh.Identity("open sesame")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]way{
		"https":               {h, https.URL, map[string][]byte{"username": []byte("ann"), "password": []byte("s3cret"), "ca.crt": https.CA()}},
		"bearer":              {h, bearer.URL, map[string][]byte{"bearerToken": []byte("t0ken")}},
		"ssh":                 {h, ssh.URL, map[string][]byte{"identity": plain, "known_hosts": ssh.KnownHosts()}},
		"ssh with passphrase": {h, ssh.URL, map[string][]byte{"identity": locked, "known_hosts": ssh.KnownHosts(), "password": []byte("open sesame")}},
	}
}

func (w way) open(t *testing.T, repo *gitserver.Repo) *Remote {
	t.Helper()
	r, err := Open(w.url(repo), w.secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func gitOut(t *testing.T, repo *gitserver.Repo, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", repo.Dir()}, args...)...)
	cmd.Env = gitserver.Env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func newRepo(t *testing.T, h *gitserver.Host, name string) *gitserver.Repo {
	t.Helper()
	repo, err := h.Repo(name)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

func commit(t *testing.T, repo *gitserver.Repo, change gitserver.Change) string {
	t.Helper()
	hash, err := repo.Commit("main", change)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

var files = map[string][]byte{"clusters/hub/a.yaml": []byte("a: 1\n"), "clusters/hub/sub/b.yaml": []byte("b: 2\n")}

func TestPush(t *testing.T) {
	for name, w := range ways(t) {
		t.Run(name, func(t *testing.T) {
			repo := newRepo(t, w.host, strings.ReplaceAll(name, " ", "-"))
			commit(t, repo, gitserver.Change{Write: map[string]string{"README": "hello", "clusters/hub.yaml": "x", "clusters/hub/z.yaml": "z", "clusters/hub/a.yaml": "a: 0\n"}, Links: map[string]string{"link": "README"}})
			base := commit(t, repo, gitserver.Change{Write: map[string]string{"README": "hello again"}})
			r := w.open(t, repo)
			if err := r.MayPush(t.Context()); err != nil {
				t.Fatal(err)
			}
			s, err := r.Fetch(t.Context(), "main")
			if err != nil {
				t.Fatal(err)
			}
			if s.commit.String() != base {
				t.Errorf("fetched %s, want %s", s.commit.String(), base)
			}
			next, err := s.Write(files, author, "Add files\n\nAnd say why.")
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Push(t.Context(), next); err != nil {
				t.Fatal(err)
			}
			if now, err := repo.Resolve("main"); err != nil || now != next.commit.String() {
				t.Fatalf("main is %s (%v), want %s", now, err, next.commit.String())
			}
			gitOut(t, repo, "fsck", "--strict")
			if diff := cmp.Diff("README\nclusters/hub.yaml\nclusters/hub/a.yaml\nclusters/hub/sub/b.yaml\nclusters/hub/z.yaml\nlink\n", gitOut(t, repo, "ls-tree", "-r", "--name-only", "main")); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if got := gitOut(t, repo, "show", "-s", "--format=%an <%ae> %P %s %aI", "main"); got != "Ann <ann@example.com> "+base+" Add files 2026-01-01T12:00:00+00:00\n" {
				t.Errorf("commit is %q", got)
			}
			if got := gitOut(t, repo, "show", "main:clusters/hub/a.yaml"); got != "a: 1\n" {
				t.Errorf("a.yaml is %q", got)
			}

			again, err := r.Fetch(t.Context(), "main")
			if err != nil {
				t.Fatal(err)
			}
			same, err := again.Write(files, author, "Again")
			if err != nil || same.Changed() || same.commit.String() != next.commit.String() {
				t.Errorf("a second time: changed %t, %v", same.Changed(), err)
			}
			files, err := again.Tree()
			if err != nil {
				t.Fatal(err)
			}
			if data, err := files.ReadFile("link"); err != nil || string(data) != "hello again" {
				t.Errorf("link leads to %q, %v", data, err)
			}
		})
	}
}

func TestPushToAnEmptyRepository(t *testing.T) {
	for name, w := range ways(t) {
		t.Run(name, func(t *testing.T) {
			repo := newRepo(t, w.host, "empty-"+strings.ReplaceAll(name, " ", "-"))
			r := w.open(t, repo)
			if err := r.MayPush(t.Context()); err != nil {
				t.Fatal(err)
			}
			s, err := r.Fetch(t.Context(), "main")
			if err != nil {
				t.Fatal(err)
			}
			if files, err := s.Tree(); err != nil || len(files.Files()) != 0 {
				t.Errorf("an empty repository has %v, %v", files, err)
			}
			s, err = s.Write(files, author, "First")
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Push(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if got := gitOut(t, repo, "log", "--format=%s", "main"); got != "First\n" {
				t.Errorf("log is %q", got)
			}
		})
	}
}

func TestPushNeverOverwrites(t *testing.T) {
	for name, w := range ways(t) {
		t.Run(name, func(t *testing.T) {
			repo := newRepo(t, w.host, "race-"+strings.ReplaceAll(name, " ", "-"))
			commit(t, repo, gitserver.Change{Write: map[string]string{"a": "1"}})
			r := w.open(t, repo)
			s, err := r.Fetch(t.Context(), "main")
			if err != nil {
				t.Fatal(err)
			}
			s, err = s.Write(files, author, "Mine")
			if err != nil {
				t.Fatal(err)
			}
			theirs := commit(t, repo, gitserver.Change{Write: map[string]string{"a": "2"}})
			if err := r.Push(t.Context(), s); !errors.Is(err, ErrMoved) {
				t.Errorf("error is %v", err)
			}
			if now, _ := repo.Resolve("main"); now != theirs {
				t.Error("the other commit is gone")
			}
		})
	}
}

func TestPushRefusedByTheServer(t *testing.T) {
	for name, w := range ways(t) {
		t.Run(name, func(t *testing.T) {
			repo := newRepo(t, w.host, "hook-"+strings.ReplaceAll(name, " ", "-"))
			base := commit(t, repo, gitserver.Change{Write: map[string]string{"a": "1"}})
			hook := "#!/bin/sh\nprintf 'main is \\033[31mprotected\\033[0m' >&2\nexit 1\n"
			if err := os.MkdirAll(filepath.Join(repo.Dir(), "hooks"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(repo.Dir(), "hooks", "pre-receive"), []byte(hook), 0o700); err != nil {
				t.Fatal(err)
			}
			r := w.open(t, repo)
			s, err := r.Fetch(t.Context(), "main")
			if err != nil {
				t.Fatal(err)
			}
			s, err = s.Write(files, author, "Mine")
			if err != nil {
				t.Fatal(err)
			}
			err = r.Push(t.Context(), s)
			if !errors.Is(err, ErrPushRefused) || !strings.Contains(err.Error(), "main is [31mprotected[0m") {
				t.Errorf("error is %q", err)
			}
			if now, _ := repo.Resolve("main"); now != base {
				t.Error("main has moved")
			}
		})
	}
}

// TestPushWhoseAnswerIsLost has arrived.
func TestPushWhoseAnswerIsLost(t *testing.T) {
	h := gitserver.New(t)
	server, err := h.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	repo := newRepo(t, h, "lost")
	commit(t, repo, gitserver.Change{Write: map[string]string{"a": "1"}})
	r, err := Open(server.URL(repo), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Fetch(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	if s, err = s.Write(files, author, "Mine"); err != nil {
		t.Fatal(err)
	}
	server.SetFault(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		if req.Method != http.MethodPost || !strings.HasSuffix(req.URL.Path, "git-receive-pack") {
			next.ServeHTTP(w, req)
			return
		}
		next.ServeHTTP(discard{http.Header{}}, req)
		w.WriteHeader(http.StatusBadGateway)
	})
	if err := r.Push(t.Context(), s); err != nil {
		t.Error(err)
	}
	if now, _ := repo.Resolve("main"); now != s.commit.String() {
		t.Error("the commit has not arrived")
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func TestWhatCannotBeOpened(t *testing.T) {
	h := gitserver.New(t)
	repo := newRepo(t, h, "x")
	commit(t, repo, gitserver.Change{Write: map[string]string{"a": "1"}})
	server, err := h.ServeHTTP(gitserver.HTTPOptions{Username: "ann", Password: "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	ssh, err := h.ServeSSH()
	if err != nil {
		t.Fatal(err)
	}
	other, err := h.ServeSSH()
	if err != nil {
		t.Fatal(err)
	}
	identity, _ := ssh.Identity("")
	otherIdentity, _ := other.Identity("")
	right := map[string][]byte{"username": []byte("ann"), "password": []byte("s3cret")}
	missing := strings.Replace(server.URL(repo), "x.git", "nothing.git", 1)
	tests := map[string]struct {
		url    string
		secret map[string][]byte
		branch string
		want   error
		says   string
	}{
		"no credentials":      {url: server.URL(repo), want: git.ErrAuthenticationFailed},
		"wrong password":      {url: server.URL(repo), secret: map[string][]byte{"username": []byte("ann"), "password": []byte("no")}, want: git.ErrAuthenticationFailed},
		"no repository":       {url: missing, secret: right, want: git.ErrRepositoryNotFound},
		"no branch":           {url: server.URL(repo), secret: right, branch: "master", want: git.ErrReferenceNotFound, says: `branch "master" does not exist`},
		"another key":         {url: ssh.URL(repo), secret: map[string][]byte{"identity": otherIdentity, "known_hosts": ssh.KnownHosts()}, want: git.ErrAuthenticationFailed},
		"another host key":    {url: ssh.URL(repo), secret: map[string][]byte{"identity": identity, "known_hosts": []byte(strings.Replace(string(other.KnownHosts()), other.Addr(), ssh.Addr(), 1))}, want: git.ErrHostKeyRefused},
		"no host key":         {url: ssh.URL(repo), secret: map[string][]byte{"identity": identity, "known_hosts": other.KnownHosts()}, want: git.ErrHostKeyRefused},
		"no repository (ssh)": {url: strings.Replace(ssh.URL(repo), "x.git", "nothing.git", 1), secret: map[string][]byte{"identity": identity, "known_hosts": ssh.KnownHosts()}, want: git.ErrRepositoryNotFound, says: "does not appear to be a git repository"},
		"in the URL":          {url: strings.Replace(server.URL(repo), "//", "//ann:s3cret@", 1), want: git.ErrInvalidURL},
		"no scheme":           {url: "git.example.com/x", want: git.ErrInvalidURL},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := Open(tt.url, tt.secret, nil)
			if err == nil {
				branch := "main"
				if tt.branch != "" {
					branch = tt.branch
				}
				_, err = r.Fetch(t.Context(), branch)
				if !errors.Is(err, git.ErrReferenceNotFound) {
					if pushErr := r.MayPush(t.Context()); !errors.Is(pushErr, tt.want) {
						t.Errorf("MayPush: %v", pushErr)
					}
				}
			}
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v, want %v that says %q", err, tt.want, tt.says)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Error("the error holds the password")
			}
		})
	}
}

func TestRedirectsStayAtHome(t *testing.T) {
	h := gitserver.New(t)
	repo := newRepo(t, h, "x")
	home, err := h.ServeHTTP(gitserver.HTTPOptions{Username: "ann", Password: "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	away, err := h.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	home.SetFault(gitserver.Redirect(away.Root()))
	r, err := Open(home.URL(repo), map[string][]byte{"username": []byte("ann"), "password": []byte("s3cret")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Fetch(t.Context(), "main"); err == nil || !strings.Contains(err.Error(), "redirects to another server, "+away.Root()) {
		t.Errorf("error is %v", err)
	}
	if away.Requests("") != 0 {
		t.Error("the redirect was followed")
	}
}

func TestAServerThatHangsEndsWithTheContext(t *testing.T) {
	h := gitserver.New(t)
	repo := newRepo(t, h, "x")
	web, err := h.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	web.SetFault(gitserver.Hang)
	ssh, err := h.ServeSSH()
	if err != nil {
		t.Fatal(err)
	}
	identity, _ := ssh.Identity("")
	sshSecret := map[string][]byte{"identity": identity, "known_hosts": ssh.KnownHosts()}
	for name, at := range map[string]struct {
		url    string
		secret map[string][]byte
		stall  gitserver.Stall
	}{
		"http":                     {url: web.URL(repo)},
		"ssh when it is connected": {url: ssh.URL(repo), secret: sshSecret, stall: gitserver.StallAtConnect},
		"ssh when it is asked":     {url: ssh.URL(repo), secret: sshSecret, stall: gitserver.StallAtCommand},
	} {
		t.Run(name, func(t *testing.T) {
			ssh.SetStall(at.stall)
			r, err := Open(at.url, at.secret, nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if _, err := r.Fetch(ctx, "main"); !errors.Is(err, git.ErrTimeout) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// TestSomethingElseInTheWay is left alone.
func TestSomethingElseInTheWay(t *testing.T) {
	w := ways(t)["bearer"]
	repo := newRepo(t, w.host, "way")
	commit(t, repo, gitserver.Change{Write: map[string]string{"file": "x"}, Links: map[string]string{"link": "file"}})
	s, err := w.open(t, repo).Fetch(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"file/a", "link/a", "link"} {
		if _, err := s.Write(map[string][]byte{path: []byte("x")}, author, "m"); err == nil || !strings.Contains(err.Error(), "something of another sort is there") {
			t.Errorf("%s: %v", path, err)
		}
	}
	// What a failed try made is pushed with the next one.
	next, err := s.Write(map[string][]byte{"dir/a": []byte("x")}, author, "m")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.open(t, repo).Push(t.Context(), next); err != nil {
		t.Error(err)
	}
	gitOut(t, repo, "fsck", "--strict")
}

// TestAServerThatInsistsOnMultiACK is Azure DevOps or AWS CodeCommit.
func TestAServerThatInsistsOnMultiACK(t *testing.T) {
	h := gitserver.New(t)
	server, err := h.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server.SetFault(gitserver.NeedsMultiACK)
	repo := newRepo(t, h, "x")
	commit(t, repo, gitserver.Change{Write: map[string]string{"a": "1"}})
	r, err := Open(server.URL(repo), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Fetch(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	if s, err = s.Write(files, author, "Mine"); err != nil {
		t.Fatal(err)
	}
	if err := r.Push(t.Context(), s); err != nil {
		t.Error(err)
	}
	if now, _ := repo.Resolve("main"); now != s.commit.String() {
		t.Error("the commit has not arrived")
	}
}

func TestASHA256RepositoryIsRefusedByName(t *testing.T) {
	h := gitserver.New(t)
	server, err := h.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	gitOut(t, newRepo(t, h, "x"), "init", "--quiet", "--bare", "--object-format=sha256", "../sha.git")
	repo := newRepo(t, h, "sha")
	commit(t, repo, gitserver.Change{Write: map[string]string{"a": "1"}})
	r, err := Open(server.URL(repo), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Head(t.Context(), "main"); !errors.Is(err, git.ErrObjectFormat) {
		t.Errorf("error is %v", err)
	}
}
