// Package gitpush puts a few files into a branch of a repository, on the server, without a work tree
// and without the git program.
//
// It promises that it never forces, that what it adds to a branch is one commit on top of what it
// has seen there, that credentials go to no other host than the one in the URL and into no message,
// and that every conversation ends with its context. What is wrong with a repository is said with
// the errors of internal/git, so that the command line and the hub speak of it in one way.
package gitpush

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/git"
)

// ErrMoved means that the branch is no longer where it was seen: look again.
var ErrMoved = errors.New("the branch has moved")

// ErrPushRefused means that the server did not take the commit.
var ErrPushRefused = errors.New("push refused")

// BranchError means that the repository has branches, but not this one.
type BranchError struct {
	Branch string
	Known  []string
}

func (e *BranchError) Error() string { return fmt.Sprintf("branch %q does not exist", e.Branch) }

// Is makes it git.ErrReferenceNotFound.
func (e *BranchError) Is(target error) bool { return target == git.ErrReferenceNotFound }

// Remote is a repository on a server.
type Remote struct{ server *git.Remote }

// Open returns the repository at an http, https or ssh URL. The secret has the keys of a
// GitRepository's Secret. Nothing is asked of the server yet.
func Open(raw string, secret map[string][]byte, proxy func(*http.Request) (*url.URL, error)) (*Remote, error) {
	auth, err := git.ParseAuth(raw, secret)
	if err != nil {
		return nil, err
	}
	server, err := git.NewRemote(raw, auth, git.Options{Proxy: proxy})
	if err != nil {
		return nil, err
	}
	return &Remote{server}, nil
}

// MayPush finds out, as far as a server answers that before a push, whether these credentials may push.
func (r *Remote) MayPush(ctx context.Context) error {
	c, err := r.server.Receive(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.References(ctx)
	return withWords(err, c)
}

// Head returns the commit that the branch points to, "" when the repository is empty. That there are
// other branches only is a *BranchError.
func (r *Remote) Head(ctx context.Context, branch string) (string, error) {
	c, err := r.server.Upload(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	refs, err := c.References(ctx)
	if errors.Is(err, git.ErrEmptyRepository) {
		return "", nil
	}
	if err != nil {
		return "", withWords(err, c)
	}
	hash, err := head(refs, branch)
	return hash.String(), err
}

func head(refs *packp.AdvRefs, branch string) (plumbing.Hash, error) {
	if hash, ok := refs.References[plumbing.NewBranchReferenceName(branch).String()]; ok {
		return hash, nil
	}
	e := &BranchError{Branch: branch}
	for name := range refs.References {
		if short, ok := strings.CutPrefix(name, "refs/heads/"); ok {
			e.Known = append(e.Known, short)
		}
	}
	slices.Sort(e.Known)
	return plumbing.ZeroHash, e
}

// withWords adds what the server wrote for people, without what would steer a terminal, to an error for
// which only the server knows the cause.
func withWords(err error, c *git.Conversation) error {
	words := iostreams.Line(c.Words())
	if words == "" || !errors.Is(err, git.ErrRepositoryNotFound) && !errors.Is(err, git.ErrFetchFailed) {
		return err
	}
	return fmt.Errorf("%w: the server says: %s", err, words)
}
