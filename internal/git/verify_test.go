package git_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/signature"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// author signs commits and tags as git does with gpg.format=ssh.
type author struct{ ssh.Signer }

func newAuthor(t testing.TB, name string) author {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	return author{must(ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed[:])))(t)}
}

func (a author) sign(t testing.TB, payload string) string {
	t.Helper()
	sig := must(sshsig.Sign(strings.NewReader(payload), a, sshsig.HashSHA512, "git"))(t)
	return strings.TrimSpace(string(sshsig.Armor(sig)))
}

// commit signs the tip of a branch, which becomes another commit, and returns it.
func (a author) commit(w *world, branch string) string {
	w.Helper()
	raw := gitOut(w, w.repo.Dir(), "cat-file", "commit", branch)
	head, message, _ := strings.Cut(raw, "\n\n")
	signed := head + "\ngpgsig " + strings.ReplaceAll(a.sign(w, raw), "\n", "\n ") + "\n\n" + message
	hash := w.object("commit", signed)
	gitOut(w, w.repo.Dir(), "update-ref", "refs/heads/"+branch, hash)
	return hash
}

// tag makes a signed tag of that name, kept under a reference of its own, and returns it.
func (a author) tag(w *world, ref, name, kind, target string) string {
	w.Helper()
	payload := fmt.Sprintf("object %s\ntype %s\ntag %s\ntagger A <a@example.com> 1700000000 +0000\n\nmessage\n", target, kind, name)
	hash := w.object("tag", payload+a.sign(w, payload)+"\n")
	gitOut(w, w.repo.Dir(), "update-ref", "refs/tags/"+ref, hash)
	return hash
}

// object writes an object into the served repository.
func (w *world) object(kind, raw string) string {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), "git", "hash-object", "-t", kind, "-w", "--stdin")
	cmd.Dir, cmd.Env, cmd.Stdin = w.repo.Dir(), gitserver.Env(), strings.NewReader(raw)
	return strings.TrimSpace(string(must(cmd.Output())(w)))
}

func trust(t testing.TB, authors ...author) signature.Keys {
	t.Helper()
	data := map[string][]byte{}
	for i, a := range authors {
		data[fmt.Sprintf("%d.sshpub", i)] = ssh.MarshalAuthorizedKey(a.PublicKey())
	}
	return must(signature.ParseKeys(data))(t)
}

func (w *world) signed(ref git.Reference, head, tag bool, keys signature.Keys) git.Request {
	req := w.request(ref)
	req.Verify = git.Verification{Head: head, Tag: tag, Keys: keys, Now: time.Now}
	return req
}

func TestACommitIsFollowedOnlyIfATrustedKeySignedIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	ann, bob := newAuthor(t, "ann"), newAuthor(t, "bob")
	w.commit("main", write("a", "1"))
	good := ann.commit(w, "main")
	req := w.signed(git.Reference{Branch: "main"}, true, false, trust(t, ann))
	got := w.follow(req)
	if got.Hash != good || got.Verified != "Verified signature of commit "+good+" with key "+ssh.FingerprintSHA256(ann.PublicKey()) {
		t.Errorf("got %+v", got)
	}
	if again := w.follow(req); again.Verified != got.Verified || again.Fetched {
		t.Errorf("the second check gave %+v", again)
	}

	unsigned := w.commit("main", write("a", "2"))
	if msg := w.fails(git.ErrCommitSignature, req); !strings.Contains(msg, "commit "+unsigned+" is not signed") {
		t.Error(msg)
	}
	bob.commit(w, "main")
	if msg := w.fails(git.ErrCommitSignature, req); !strings.Contains(msg, ssh.FingerprintSHA256(bob.PublicKey())+", which is not among the trusted ones") {
		t.Error(msg)
	}
	if _, err := w.store.Tree(t.Context(), "default/config", good); err != nil {
		t.Errorf("what was followed before cannot be read: %v", err)
	}

	// The keys rotate, and the same commit is verified anew: first it passes, then no more.
	if got := w.follow(w.signed(git.Reference{Branch: "main"}, true, false, trust(t, ann, bob))); got.Verified == "" {
		t.Error("the new key is not taken")
	}
	w.fails(git.ErrCommitSignature, req)
}

// TestUnsignedCommitsDoNotPileUp: a fetch is kept in order whether what it brought is signed or not.
func TestUnsignedCommitsDoNotPileUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	req := w.signed(git.Reference{Branch: "main"}, true, false, trust(t, newAuthor(t, "ann")))
	for i := range 25 {
		w.commit("main", write("a", fmt.Sprint(i)))
		if _, err := w.store.Follow(t.Context(), req); err == nil {
			t.Fatal("an unsigned commit is followed")
		}
	}
	if n := len(must(filepath.Glob(filepath.Join(w.dir, "*", "objects", "pack", "*.pack")))(t)); n > 17 {
		t.Errorf("%d packs lie side by side", n)
	}
}

func TestATagIsFollowedOnlyIfItsOwnSignatureHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	ann, bob := newAuthor(t, "ann"), newAuthor(t, "bob")
	plain := w.commit("main", write("a", "1"))
	other := w.commit("main", write("a", "2"))
	both := ann.commit(w, "main")
	tagged := ann.tag(w, "inner", "inner", "commit", plain)
	ann.tag(w, "good", "good", "commit", plain)
	ann.tag(w, "both", "both", "commit", both)
	ann.tag(w, "of-a-tag", "of-a-tag", "tag", tagged)
	bob.tag(w, "of-bob", "of-bob", "commit", plain)
	ann.tag(w, "new", "old", "commit", other)
	gitOut(t, w.repo.Dir(), "tag", "light", plain)
	gitOut(t, w.repo.Dir(), "tag", "-a", "-m", "x", "annotated", plain)

	keys := trust(t, ann)
	for _, c := range []struct {
		tag  string
		head bool
		kind error
		want string
	}{
		{"good", false, nil, "Verified signature of tag good with key SHA256:"},
		{"both", true, nil, " and commit " + both + " with key SHA256:"},
		{"good", true, git.ErrCommitSignature, "commit " + plain + " is not signed"},
		{"of-a-tag", false, nil, "Verified signature of tag of-a-tag with key SHA256:"},
		{"of-bob", false, git.ErrTagSignature, "is not among the trusted ones"},
		{"new", false, git.ErrTagSignature, `tag "new" is the signed tag "old" under another name`},
		{"light", false, git.ErrTagSignature, `tag "light" is not annotated, so it cannot be signed`},
		{"annotated", false, git.ErrTagSignature, `tag "annotated" is not signed`},
	} {
		t.Run(c.tag+fmt.Sprint(c.head), func(t *testing.T) {
			w := &world{T: t, host: w.host, repo: w.repo, http: w.http, dir: w.dir, store: w.store}
			req := w.signed(git.Reference{Tag: c.tag}, c.head, true, keys)
			msg := ""
			if c.kind == nil {
				msg = w.follow(req).Verified
			} else {
				msg = w.fails(c.kind, req)
			}
			if !strings.Contains(msg, c.want) {
				t.Errorf("got %q, want %q", msg, c.want)
			}
		})
	}
	w.fails(git.ErrNotATag, w.signed(git.Reference{Branch: "main"}, false, true, keys))
}

// TestATagIsFetchedThoughItsCommitIsThere: the tag is new, what it points to is not.
func TestATagIsFetchedThoughItsCommitIsThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gitserver.HTTPOptions{}, git.Options{})
	ann := newAuthor(t, "ann")
	commit := w.commit("main", write("a", "1"))
	w.branch("main", "")
	ann.tag(w, "v1", "v1", "commit", commit)
	if got := w.follow(w.signed(git.Reference{Tag: "v1"}, false, true, trust(t, ann))); got.Hash != commit || got.Verified == "" {
		t.Errorf("got %+v", got)
	}
}
