package git

import (
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

// Reference says what to follow: a commit wins over a tag, a tag over a branch. A commit beside a
// branch is looked for in that branch. The zero value follows the branch that the server's HEAD
// names.
type Reference struct {
	Branch, Tag string
	// Commit is 40 hexadecimal digits.
	Commit string
}

// maxReference is the longest name of a branch or tag, in bytes, as the API's schema has it.
const maxReference = 255

// check refuses names that no Git server can have, so that none reaches a server, a file or a message.
func (r Reference) check() error {
	if name := plumbing.NewBranchReferenceName(r.Branch); r.Branch != "" && !valid(name) {
		return fail(ErrReferenceNotFound, "%q cannot be the name of a branch", r.Branch)
	}
	if name := plumbing.NewTagReferenceName(r.Tag); r.Tag != "" && !valid(name) {
		return fail(ErrReferenceNotFound, "%q cannot be the name of a tag", r.Tag)
	}
	if _, err := hex.DecodeString(r.Commit); r.Commit != "" && (err != nil || len(r.Commit) != 40) {
		return fail(ErrReferenceNotFound, "%q is not a commit of 40 hexadecimal digits", r.Commit)
	}
	return nil
}

func valid(name plumbing.ReferenceName) bool {
	return len(name) <= maxReference && utf8.ValidString(string(name)) && name.Validate() == nil
}

// target is what a Reference stands for at this moment.
type target struct {
	// name is the short name of a branch or tag, "HEAD", or empty for a commit alone.
	name string
	// hash is the commit.
	hash plumbing.Hash
	// want is what to ask the server for: hash, or the tag object that points to it.
	want plumbing.Hash
	// advertised says that a reference of the server names want, so that every server gives it.
	advertised bool
	// tag says that name is that of a tag.
	tag bool
}

// revision is the target as the API shows it.
func (t target) revision() string {
	if t.name == "" {
		return "sha1:" + t.hash.String()
	}
	return t.name + "@sha1:" + t.hash.String()
}

// parseRevision is the reverse of target.revision; a revision of another form has the zero hash.
func parseRevision(revision string) (name string, hash plumbing.Hash) {
	name, commit, found := strings.CutLast(revision, "sha1:")
	if !found {
		return "", plumbing.ZeroHash
	}
	return strings.TrimSuffix(name, "@"), plumbing.NewHash(commit)
}

// resolve looks the reference up in what the server lists.
func (r Reference) resolve(refs *packp.AdvRefs) (target, error) {
	switch {
	case r.Commit != "":
		return r.resolveCommit(refs)
	case r.Tag != "":
		return r.resolveTag(refs)
	case r.Branch != "":
		return resolveBranch(refs, r.Branch)
	}
	return resolveHead(refs)
}

func resolveBranch(refs *packp.AdvRefs, branch string) (target, error) {
	hash, ok := refs.References[plumbing.NewBranchReferenceName(branch).String()]
	if !ok {
		return target{}, fail(ErrReferenceNotFound, "branch %q does not exist", branch)
	}
	return target{name: branch, hash: hash, want: hash, advertised: true}, nil
}

func (r Reference) resolveTag(refs *packp.AdvRefs) (target, error) {
	name := plumbing.NewTagReferenceName(r.Tag).String()
	want, ok := refs.References[name]
	if !ok {
		return target{}, fail(ErrReferenceNotFound, "tag %q does not exist", r.Tag)
	}
	t := target{name: r.Tag, hash: want, want: want, advertised: true, tag: true}
	if peeled, annotated := refs.Peeled[name]; annotated {
		t.hash = peeled
	}
	return t, nil
}

func (r Reference) resolveCommit(refs *packp.AdvRefs) (target, error) {
	hash := plumbing.NewHash(r.Commit)
	if r.Branch != "" {
		if _, err := resolveBranch(refs, r.Branch); err != nil {
			return target{}, err
		}
	}
	t := target{name: r.Branch, hash: hash, want: hash}
	for _, tip := range refs.References {
		t.advertised = t.advertised || tip == hash
	}
	return t, nil
}

// resolveHead follows HEAD. A server that does not say which branch it is gets the benefit of a
// branch of the same commit, "master" first, as Git did before servers said so.
func resolveHead(refs *packp.AdvRefs) (target, error) {
	for _, symref := range refs.Capabilities.Get(capability.SymRef) {
		if branch, ok := strings.CutPrefix(symref, "HEAD:refs/heads/"); ok {
			return resolveBranch(refs, branch)
		}
	}
	for _, branch := range []string{"master", "main"} {
		t, err := resolveBranch(refs, branch)
		if err == nil && (refs.Head == nil || *refs.Head == t.hash) {
			return t, nil
		}
	}
	if refs.Head == nil {
		return target{}, fail(ErrReferenceNotFound, "the repository's HEAD names no branch: set ref")
	}
	return target{name: "HEAD", hash: *refs.Head, want: *refs.Head, advertised: true}, nil
}
