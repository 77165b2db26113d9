package git

import (
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

// Reference describes what to follow: a commit wins over a name, a name over a range of versions, that over a
// tag, and a tag over a branch. A commit beside a branch or name is looked for in its history. The zero
// value follows the branch that the server's HEAD names.
type Reference struct {
	Branch, Tag string
	// SemVer is a range of versions, of which the tag of the highest is followed; see versions.
	SemVer string
	// SemVerFilter is a regular expression that a tag must match to be looked at for SemVer.
	SemVerFilter string
	// Name is the full name of a reference, "refs/pull/420/head", or "HEAD".
	Name string
	// Commit is 40 hexadecimal digits.
	Commit string
}

// At is the reference that leads to the commit of a revision, which was found through this one.
func (r Reference) At(revision string) Reference {
	name, commit := parseRevision(revision)
	at := Reference{Commit: commit.String()}
	switch {
	case r.Name != "":
		at.Name = r.Name
	case r.SemVer == "" && r.Tag == "" && name != "HEAD":
		at.Branch = name
	}
	return at
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
	if name := plumbing.ReferenceName(r.Name); r.Name != "" && name != plumbing.HEAD && (!strings.HasPrefix(r.Name, "refs/") || !valid(plumbing.ReferenceName(strings.TrimSuffix(r.Name, peeling)))) {
		return fail(ErrInvalidReference, "%q cannot be the name of a reference: it is written in full, as refs/heads/main or refs/pull/420/head", r.Name)
	}
	if _, err := newVersions(r.SemVer, r.SemVerFilter); err != nil {
		return err
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
	// advertised means that a reference of the server names want, so that every server gives it.
	advertised bool
	// tag means that name is that of a tag.
	tag bool
	// within is the reference in whose history the commit is looked for where the server does not give it
	// by its hash; empty for all branches and tags.
	within plumbing.ReferenceName
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
	commit, _, _ = strings.Cut(commit, "+") // what is included in it
	return strings.TrimSuffix(name, "@"), plumbing.NewHash(commit)
}

// resolve looks the reference up in what the server lists.
func (r Reference) resolve(refs *packp.AdvRefs) (target, error) {
	switch {
	case r.Commit != "":
		return r.resolveCommit(refs)
	case r.Name != "":
		return resolveName(refs, plumbing.ReferenceName(r.Name))
	case r.SemVer != "":
		return r.resolveVersion(refs)
	case r.Tag != "":
		return resolveTag(refs, r.Tag)
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

func resolveTag(refs *packp.AdvRefs, tag string) (target, error) {
	t, ok := lookUp(refs, plumbing.NewTagReferenceName(tag))
	if !ok {
		return target{}, fail(ErrReferenceNotFound, "tag %q does not exist", tag)
	}
	t.name, t.tag = tag, true
	return t, nil
}

// lookUp finds a reference by its full name, and the commit behind an annotated tag.
func lookUp(refs *packp.AdvRefs, name plumbing.ReferenceName) (target, bool) {
	want, ok := refs.References[name.String()]
	t := target{name: name.String(), hash: want, want: want, advertised: true, tag: name.IsTag()}
	if peeled, annotated := refs.Peeled[name.String()]; annotated {
		t.hash = peeled
	}
	return t, ok
}

// peeling is what Git writes behind a tag to mean the commit that it points to, which is meant anyhow.
const peeling = "^{}"

// resolveName finds what a full name stands for. Its revision has the full name, as Flux's.
func resolveName(refs *packp.AdvRefs, name plumbing.ReferenceName) (target, error) {
	if name == plumbing.HEAD {
		return resolveHead(refs)
	}
	name = plumbing.ReferenceName(strings.TrimSuffix(name.String(), peeling))
	t, ok := lookUp(refs, name)
	if !ok {
		return target{}, fail(ErrReferenceNotFound, "reference %q does not exist, or the server does not list it", name)
	}
	return t, nil
}

func (r Reference) resolveVersion(refs *packp.AdvRefs) (target, error) {
	v, err := newVersions(r.SemVer, r.SemVerFilter)
	if err != nil {
		return target{}, err
	}
	for name := range refs.References {
		if short, ok := strings.CutPrefix(name, "refs/tags/"); ok {
			v.consider(short)
		}
	}
	tag := v.highest()
	if tag == "" {
		return target{}, fail(ErrReferenceNotFound, "no tag is a version in the range %q%s", r.SemVer, v.remark())
	}
	return resolveTag(refs, tag)
}

func (r Reference) resolveCommit(refs *packp.AdvRefs) (target, error) {
	hash := plumbing.NewHash(r.Commit)
	t := target{hash: hash, want: hash}
	switch {
	case r.Name != "":
		if _, err := resolveName(refs, plumbing.ReferenceName(r.Name)); err != nil {
			return target{}, err
		}
		t.name = strings.TrimSuffix(r.Name, peeling)
		t.within = plumbing.ReferenceName(t.name)
	case r.Branch != "":
		if _, err := resolveBranch(refs, r.Branch); err != nil {
			return target{}, err
		}
		t.name, t.within = r.Branch, plumbing.NewBranchReferenceName(r.Branch)
	}
	for _, tip := range refs.References {
		t.advertised = t.advertised || tip == hash
	}
	return t, nil
}

// resolveHead follows HEAD. A server that does not name the branch gets the benefit of a
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
