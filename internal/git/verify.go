package git

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"

	"github.com/skerry-dev/skerry/internal/signature"
)

// What can be wrong with a signature, for errors.Is. Each means that nothing of the commit may be used.
var (
	// ErrCommitSignature: the commit is not signed, or not by a trusted key.
	ErrCommitSignature = errors.New("commit signature not verified")
	// ErrTagSignature: the tag is not signed, or not by a trusted key, or is the signed tag of another name
	// or commit.
	ErrTagSignature = errors.New("tag signature not verified")
	// ErrNotATag: a tag is to be verified, and the reference is none.
	ErrNotATag = errors.New("reference is no tag")
)

// Verification describes what of a reference must be signed by which keys. The zero value verifies nothing.
type Verification struct {
	// Head is for the commit, Tag for the tag that the reference names.
	Head, Tag bool
	Keys      signature.Keys
	// Now is the clock by which keys expire.
	Now func() time.Time
}

// verificationKey is a Verification in a form that can be compared.
type verificationKey struct {
	head, tag bool
	keys      [sha256.Size]byte
}

func (v Verification) key() verificationKey { return verificationKey{v.Head, v.Tag, v.Keys.Sum} }

func (v Verification) isOff() bool { return !v.Head && !v.Tag }

// verified remembers the last target that proved signed, so that an unchanged reference costs nothing.
type verified struct {
	mu      sync.Mutex
	last    target          // guarded by mu
	by      verificationKey // guarded by mu
	message string          // guarded by mu
}

func (d *verified) get(t target, v Verification) (message string, ok bool) {
	if v.isOff() {
		return "", true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.message, d.message != "" && d.last == t && d.by == v.key()
}

func (d *verified) put(t target, v Verification, message string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last, d.by, d.message = t, v.key(), message
}

// signatures verifies what of a target must be signed, and describes what was. Everything is read from the
// objects themselves, against their hashes: what the server lists is not believed.
func (v Verification) signatures(sto storer.EncodedObjectStorer, t target) (string, error) {
	var what []string
	if v.Tag {
		name, by, err := v.tag(sto, t)
		if err != nil {
			return "", err
		}
		what = append(what, fmt.Sprintf("tag %s with key %s", name, by))
	}
	if v.Head {
		by, err := v.commit(sto, t.hash)
		if err != nil {
			return "", err
		}
		what = append(what, fmt.Sprintf("commit %s with key %s", t.hash, by))
	}
	return "Verified signature of " + strings.Join(what, " and "), nil
}

func (v Verification) commit(sto storer.EncodedObjectStorer, h plumbing.Hash) (string, error) {
	raw, err := rawObject(sto, plumbing.CommitObject, h)
	if err != nil {
		return "", err
	}
	o, err := signature.Commit(raw)
	if err != nil {
		return "", fail(ErrCommitSignature, "commit %s: %s", h, err)
	}
	by, err := v.Keys.Verify(o, v.Now())
	if err != nil {
		return "", fail(ErrCommitSignature, "commit %s %s", h, err)
	}
	return by, nil
}

// maxTags bounds how many tags one may lead through.
const maxTags = 8

// tag verifies the tag object that the reference names. A tag of a tag vouches for what it leads to by hash,
// so the first signature is enough; that it does lead to the commit is proved, since a server could list a
// signed tag beside another commit, and that it has the name by which it was asked for, since a server could
// show an old signed tag under a new name.
func (v Verification) tag(sto storer.EncodedObjectStorer, t target) (name, by string, err error) {
	first, err := rawObject(sto, plumbing.TagObject, t.want)
	if errors.Is(err, errOtherType) {
		if t.isTag() {
			return "", "", fail(ErrTagSignature, "tag %q is not annotated, so it cannot be signed", t.name)
		}
		return "", "", fail(ErrNotATag, "a tag is to be verified, and ref names none")
	}
	if err != nil {
		return "", "", err
	}
	o, err := signature.Tag(first)
	if err != nil {
		return "", "", fail(ErrTagSignature, "tag %q: %s", t.name, err)
	}
	if by, err = v.Keys.Verify(o, v.Now()); err != nil {
		return "", "", fail(ErrTagSignature, "tag %q %s", t.name, err)
	}
	if o.Name != strings.TrimPrefix(t.name, "refs/tags/") {
		return "", "", fail(ErrTagSignature, "tag %q is the signed tag %q under another name", t.name, oneLine(o.Name))
	}
	name = o.Name
	for range maxTags {
		target := plumbing.NewHash(o.Target)
		if o.TargetType == "commit" && target == t.hash {
			return name, by, nil
		}
		if o.TargetType != "tag" {
			break
		}
		raw, err := rawObject(sto, plumbing.TagObject, target)
		if err != nil {
			return "", "", fail(ErrTagSignature, "tag %q leads through a tag that the server does not give", t.name)
		}
		if o, err = signature.Tag(raw); err != nil {
			return "", "", fail(ErrTagSignature, "tag %q: %s", t.name, err)
		}
	}
	return "", "", fail(ErrTagSignature, "tag %q is signed for another commit than %s", t.name, t.hash)
}

var errOtherType = errors.New("object is of another type")

// rawObject reads an object as it is, against its hash. Its error is errDamaged, or errOtherType.
func rawObject(sto storer.EncodedObjectStorer, kind plumbing.ObjectType, h plumbing.Hash) ([]byte, error) {
	damaged := fmt.Errorf("%w: cannot read object %s", errDamaged, h)
	o, err := sto.EncodedObject(plumbing.AnyObject, h)
	if err != nil {
		return nil, damaged
	}
	if o.Type() != kind {
		return nil, errOtherType
	}
	if o.Size() > maxFile {
		return nil, fail(ErrTooLarge, "a %s that is to be verified exceeds the limit of %s", kind, size(maxFile))
	}
	r, err := o.Reader()
	if err != nil {
		return nil, damaged
	}
	raw, err := io.ReadAll(r)
	if errors.Join(err, r.Close()) != nil || plumbing.ComputeHash(kind, raw) != h {
		return nil, damaged
	}
	return raw, nil
}

// isTag means that the target was found by the name of a tag.
func (t target) isTag() bool { return t.tag || strings.HasPrefix(t.name, "refs/tags/") }
