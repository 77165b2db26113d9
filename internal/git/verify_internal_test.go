package git

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/memory"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/skerry-dev/skerry/internal/signature"
)

// TestAServerCannotShowASignedTagBesideAnotherCommit: which commit a tag leads to is in the tag, and not in
// what the server lists.
func TestAServerCannotShowASignedTagBesideAnotherCommit(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signature.ParseKeys(map[string][]byte{"a.sshpub": ssh.MarshalAuthorizedKey(signer.PublicKey())})
	if err != nil {
		t.Fatal(err)
	}
	sto := memory.NewStorage()
	commit := func(n string) plumbing.Hash {
		return keep(t, sto, plumbing.CommitObject, []byte("tree "+plumbing.ZeroHash.String()+"\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n"+n+"\n"))
	}
	tag := func(kind string, target plumbing.Hash) plumbing.Hash {
		payload := fmt.Sprintf("object %s\ntype %s\ntag v1\n\nmessage\n", target, kind)
		sig, err := sshsig.Sign(strings.NewReader(payload), signer, sshsig.HashSHA512, "git")
		if err != nil {
			t.Fatal(err)
		}
		return keep(t, sto, plumbing.TagObject, append([]byte(payload), sshsig.Armor(sig)...))
	}
	good, evil := commit("good"), commit("evil")
	v := Verification{Tag: true, Keys: keys, Now: time.Now}
	for name, c := range map[string]struct {
		want, hash plumbing.Hash
		ok         bool
	}{
		"its own commit":          {tag("commit", good), good, true},
		"another commit":          {tag("commit", good), evil, false},
		"through a tag":           {tag("tag", tag("commit", good)), good, true},
		"through a tag, another":  {tag("tag", tag("commit", good)), evil, false},
		"a tree":                  {tag("tree", good), good, false},
		"a tag that is not there": {tag("tag", evil), good, false},
	} {
		_, err := v.signatures(sto, target{name: "v1", want: c.want, hash: c.hash, tag: true})
		if c.ok != (err == nil) || !c.ok && !errors.Is(err, ErrTagSignature) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
