package git_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

func TestUnreachable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	w.commit("main", write("f", "1"))
	known := w.branch("main", "").Revision
	if err := w.http.Stop(); err != nil {
		t.Fatal(err)
	}
	req := w.request(git.Reference{})
	if got := w.fails(git.ErrUnreachable, req); !strings.Contains(got, "connection refused") {
		t.Errorf("message is %q", got)
	}
	w.tree(known[len("main@sha1:"):]) // what was fetched stays
	if err := w.http.Start(); err != nil {
		t.Fatal(err)
	}
	if got := w.branch("main", known); got.Revision != known || got.Fetched {
		t.Errorf("after the server is back: %s, fetched %t", got.Revision, got.Fetched)
	}
	req.URL = "http://repository.invalid/config.git"
	w.fails(git.ErrUnreachable, req)
}

// TestFaults lets a server fail in many ways, at the listing and at the fetch.
func TestFaults(t *testing.T) {
	t.Parallel()
	page := func(body string) gitserver.Fault {
		return func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
			rw.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = fmt.Fprint(rw, body)
		}
	}
	cut := func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&cutting{ResponseWriter: rw, left: 60}, r)
		panic(http.ErrAbortHandler) // closes the connection in the middle
	}
	for _, c := range []struct {
		name  string
		fault gitserver.Fault
		kind  error
	}{
		{"unauthorized", gitserver.Status(401), git.ErrAuthenticationFailed},
		{"forbidden", gitserver.Status(403), git.ErrAuthenticationFailed},
		{"not found", gitserver.Status(404), git.ErrRepositoryNotFound},
		{"teapot", gitserver.Status(418), git.ErrFetchFailed},
		{"too many requests", gitserver.Status(429), git.ErrUnreachable},
		{"broken", gitserver.Status(500), git.ErrUnreachable},
		{"unavailable", gitserver.Status(503), git.ErrUnreachable},
		{"a page for people", page("<html>\x1b[2J Please log in, token=SECRET</html>"), git.ErrFetchFailed},
		{"nothing", page(""), git.ErrFetchFailed},
		{"a lie about a length", page("ffff"), git.ErrFetchFailed},
		{"an error line", page("0023ERR access denied, token=SECRET\n"), git.ErrFetchFailed},
		{"cut off", cut, git.ErrUnreachable},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(c.name+" at "+method, func(t *testing.T) {
				w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
				w.commit("main", write("f", "1"))
				w.http.SetFault(gitserver.Only(method, c.fault))
				message := w.fails(c.kind, w.request(git.Reference{}))
				if strings.Contains(message, "SECRET") {
					t.Errorf("the message repeats the server's words: %q", message)
				}
				w.http.SetFault(nil)
				w.branch("main", "")
				w.fsck()
			})
		}
	}
}

// cutting passes on so many bytes of an answer.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(p []byte) (int, error) {
	n := min(c.left, len(p))
	c.left -= n
	_, err := c.ResponseWriter.Write(p[:n])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	return len(p), err
}

func TestReferenceNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	w.commit("main", write("f", "1"))
	w.commit("going", write("f", "2"))
	known := w.branch("going", "").Revision
	for _, gives := range []string{"false", "true"} {
		if err := w.repo.Config("uploadpack.allowAnySHA1InWant", gives); err != nil {
			t.Fatal(err)
		}
		for _, ref := range []git.Reference{
			{Branch: "none"}, {Tag: "none"}, {Commit: strings.Repeat("a", 40)},
			{Commit: strings.Repeat("a", 40), Branch: "main"}, {Commit: strings.Repeat("a", 40), Branch: "none"},
			{Branch: "bad..name"}, {Branch: "-option"}, {Tag: "a b"}, {Tag: "new\nline"}, {Commit: "abc"},
			{Commit: strings.Repeat("z", 40)}, {Branch: strings.Repeat("x", 300)},
		} {
			w.fails(git.ErrReferenceNotFound, w.request(ref))
		}
	}
	if err := w.repo.DeleteBranch("going"); err != nil {
		t.Fatal(err)
	}
	req := w.request(git.Reference{Branch: "going"})
	req.Known = known
	if got, want := w.fails(git.ErrReferenceNotFound, req), `reference not found: branch "going" does not exist`; got != want {
		t.Errorf("message is %q, want %q", got, want)
	}
	w.tree(known[len("going@sha1:"):])
}

func TestTagThatIsNoCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	hash := w.commit("main", write("f", "1"))
	for _, object := range []string{hash + "^{tree}", hash + ":f"} {
		if err := w.repo.Tag("odd", object, ""); err != nil {
			t.Fatal(err)
		}
		w.fails(git.ErrReferenceNotFound, w.request(git.Reference{Tag: "odd"}))
	}
}

func TestEmptyRepositoryAndNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	w.fails(git.ErrEmptyRepository, w.request(git.Reference{Branch: "main"}))
	req := w.request(git.Reference{})
	req.URL = strings.Replace(req.URL, "config.git", "none.git", 1)
	w.fails(git.ErrRepositoryNotFound, req)
	w.commit("main", write("f", "1"))
	w.branch("main", "")
}

func TestServerThatHangsIsCutOff(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]gitserver.Fault{"hang": gitserver.Hang, "trickle": gitserver.Trickle} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(name+" at "+method, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
				w.commit("main", write("f", "1"))
				w.http.SetFault(gitserver.Only(method, fault))
				req := w.request(git.Reference{})
				req.Timeout = 300 * time.Millisecond
				if got := w.fails(git.ErrTimeout, req); !strings.Contains(got, "300ms") {
					t.Errorf("message is %q", got)
				}
				w.http.SetFault(nil)
				w.branch("main", "")
			})
		}
	}
}

// TestPortThatAcceptsAndHangs has no server at all behind an open port.
func TestPortThatAcceptsAndHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer listener.Close()
	for _, scheme := range []string{"http", "https"} {
		req := git.Request{Key: scheme, URL: scheme + "://" + listener.Addr().String() + "/r.git", Timeout: 200 * time.Millisecond}
		w.fails(git.ErrTimeout, req)
	}
}

func TestCancelledCallerIsNoTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	arrived, gone := make(chan struct{}), make(chan struct{})
	w.http.SetFault(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		close(arrived)
		<-r.Context().Done()
		close(gone)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	_, err := w.store.Follow(ctx, w.request(git.Reference{}))
	if !errors.Is(err, context.Canceled) || errors.Is(err, git.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	<-gone // the request itself was cancelled, not only the wait for it
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{Username: "ann", Password: "secret"}, git.Options{})
	w.commit("main", write("f", "1"))
	req := w.request(git.Reference{})
	req.Auth = must(git.ParseAuth(req.URL, map[string][]byte{"username": []byte("ann"), "password": []byte("secret")}))(t)

	var seen []string
	thief := must(w.host.ServeHTTP(gitserver.HTTPOptions{}))(t)
	thief.SetFault(func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		seen = append(seen, r.Header.Get("Authorization"))
		next.ServeHTTP(rw, r)
	})
	w.http.SetFault(gitserver.Redirect(thief.Root()))
	if got := w.fails(git.ErrFetchFailed, req); !strings.Contains(got, "redirects to another server") || !strings.Contains(got, thief.Root()) {
		t.Errorf("message is %q", got)
	}
	if len(seen) != 0 {
		t.Errorf("the other server was asked %d times, with %q", len(seen), seen)
	}

	w.http.SetFault(gitserver.Only(http.MethodPost, gitserver.Redirect(thief.Root())))
	w.fails(git.ErrFetchFailed, req)
	if len(seen) != 0 {
		t.Errorf("the other server was asked to fetch %d times", len(seen))
	}

	// On the same server a repository may have moved.
	w.http.SetFault(func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasPrefix(r.URL.Path, "/old/") {
			http.Redirect(rw, r, strings.TrimPrefix(r.URL.RequestURI(), "/old"), http.StatusMovedPermanently)
			return
		}
		next.ServeHTTP(rw, r)
	})
	req.URL = strings.Replace(req.URL, "/config.git", "/old/config.git", 1)
	w.follow(req)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]git.Limits{
		"list":     {References: 100},
		"pack":     {Pack: 2000},
		"objects":  {Objects: 10},
		"inflated": {Inflated: 5000},
		"object":   {Object: 1000},
		"files":    {Files: 30},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, gitserver.HTTPOptions{}, git.Options{Limits: limits})
			c := manyFiles(100)
			c.Write["large"] = strings.Repeat("large ", 1000)
			w.commit("main", c)
			w.fails(git.ErrTooLarge, w.request(git.Reference{}))
			w.reopen() // with the default limits
			w.branch("main", "")
			w.fsck()
		})
	}
}

func TestMovesBetweenReferencesAreNoForcedPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	w.commit("main", write("f", "1"))
	known := w.branch("main", "").Revision
	w.commit("unrelated", gitserver.Change{Onto: "none", Write: map[string]string{"f": "2"}})
	if got := w.branch("unrelated", known); got.ForcePushed {
		t.Error("another branch is taken for a forced push")
	}
}

// TestTreesThatNoCheckoutWouldMake: such a folder is refused by who reads it, and hurts nobody else.
func TestTreesThatNoCheckoutWouldMake(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	good := w.commit("main", write("f", "1"))
	blob := gitOut(t, w.repo.Dir(), "rev-parse", good+":f")
	raw := string(must(hex.DecodeString(strings.TrimSpace(blob)))(t))
	for name, entries := range map[string]string{
		"up":        "100644 ..\x00" + raw,
		"dot":       "100644 .\x00" + raw,
		"slash":     "100644 a/b\x00" + raw,
		"not UTF-8": "100644 caf\xe9.yaml\x00" + raw,
		"twice":     "100644 a\x00" + raw + "100644 a.b\x00" + raw + "100644 a\x00" + raw,
	} {
		odd := gitIn(t, w.repo.Dir(), entries, "hash-object", "-t", "tree", "-w", "--stdin", "--literally")
		root := "100644 f\x00" + raw + "40000 odd\x00" + string(must(hex.DecodeString(odd))(t))
		hash := gitIn(t, w.repo.Dir(), root, "hash-object", "-t", "tree", "-w", "--stdin", "--literally")
		commit := gitIn(t, w.repo.Dir(), "odd\n", "commit-tree", hash)
		if err := w.repo.Reset("odd", commit); err != nil {
			t.Fatal(err)
		}
		w.branch("odd", "")
		tr := w.tree(commit)
		if data, err := tr.ReadFile("f"); string(data) != "1" || tr.Err() != nil {
			t.Errorf("%s: a file beside it: %q, %v, %v", name, data, err, tr.Err())
		}
		_, err := tr.ReadDir("odd")
		w.isKind(git.ErrFetchFailed, err)
		if err := tr.Err(); !errors.Is(err, git.ErrFetchFailed) {
			t.Errorf("%s: the tree keeps %v", name, err)
		}
		if name == "twice" {
			_, err := tr.ReadFile("odd/a")
			w.isKind(git.ErrFetchFailed, err)
		}
	}
}

// gitIn runs git with a standard input and returns one line.
func gitIn(t *testing.T, dir, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, gitserver.Env(), strings.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

func TestMessageNamesAnObjectFormatThatIsNotSupported(t *testing.T) {
	t.Parallel()
	w := newSSHWorld(t)
	gitOut(t, "", "init", "--quiet", "--bare", "--object-format=sha256", filepath.Join(filepath.Dir(w.repo.Dir()), "new.git"))
	repo := must(w.host.Repo("new"))(t)
	must(repo.Commit("main", write("f", "1")))(t)
	for _, req := range []git.Request{w.world.request(git.Reference{Branch: "main"}), w.request(git.Reference{Branch: "main"})} {
		req.URL = strings.Replace(req.URL, "config.git", "new.git", 1)
		if got := w.fails(git.ErrObjectFormat, req); !strings.Contains(got, `"sha256"`) {
			t.Errorf("message is %q", got)
		}
	}
}

// TestServerThatWantsMultiACK follows a branch on a server that answers as Azure DevOps does, and on
// one that answers clones only.
func TestServerThatWantsMultiACK(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]gitserver.Fault{"multi_ack": gitserver.NeedsMultiACK, "only clones": gitserver.OnlyClones} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
			w.http.SetFault(fault)
			w.commit("main", manyFiles(100))
			known := w.branch("main", "").Revision
			for i := range 25 {
				hash := w.commit("main", write("f", fmt.Sprint(i)))
				got := w.branch("main", known)
				if got.Hash != hash || got.ForcePushed {
					t.Fatalf("got %+v, want %s", got, hash)
				}
				known = got.Revision
			}
			// A merge and a forced push negotiate more than one commit.
			side := w.commit("side", gitserver.Change{Onto: known[len("main@sha1:"):] + "~3", Write: map[string]string{"g": "1"}})
			w.commit("main", gitserver.Change{Merge: []string{side}, Write: map[string]string{"f": "merged"}})
			known = w.branch("main", known).Revision
			hash := w.commit("main", gitserver.Change{Onto: side, Write: map[string]string{"f": "forced"}})
			got := w.branch("main", known)
			if got.Hash != hash || !got.ForcePushed {
				t.Errorf("after a forced push: %+v", got)
			}
			if diff := cmp.Diff(w.files(hash), treeFiles(t, w.tree(hash))); diff != "" {
				t.Errorf("files (-server +tree):\n%s", diff)
			}
			w.fsck()
		})
	}
}

// TestPackThatKeepsArrivingOutlastsTheTimeout: the first fetch of a large repository needs no timeout of
// its own.
func TestPackThatKeepsArrivingOutlastsTheTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	content := make([]byte, 8<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content)
	w.commit("main", write("large", string(content)))
	// What the server answers, first at once and then in eight parts, a quarter of a timeout apart.
	const timeout = 2 * time.Second
	var answer *httptest.ResponseRecorder
	w.http.SetFault(gitserver.Only(http.MethodPost, func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		pause := timeout / 4
		if answer == nil {
			answer, pause = httptest.NewRecorder(), 0
			next.ServeHTTP(answer, r)
		}
		maps.Copy(rw.Header(), answer.Header())
		for part := range slices.Chunk(answer.Body.Bytes(), 1100<<10) {
			_, _ = rw.Write(part)
			_ = http.NewResponseController(rw).Flush()
			select {
			case <-time.After(pause):
			case <-r.Context().Done():
				return
			}
		}
	}))
	first := w.request(git.Reference{})
	first.Key = "default/other"
	w.follow(first)
	req := w.request(git.Reference{})
	req.Timeout = timeout
	c := w.follow(req)
	if got := must(w.tree(c.Hash).ReadFile("large"))(t); !bytes.Equal(got, content) {
		t.Errorf("got %d bytes", len(got))
	}
}
