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
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/git"
)

// ErrMoved says that the branch is no longer where it was seen: look again.
var ErrMoved = errors.New("the branch has moved")

// ErrPushRefused says that the server did not take the commit.
var ErrPushRefused = errors.New("push refused")

// BranchError says that the repository has branches, but not this one.
type BranchError struct {
	Branch string
	Known  []string
}

func (e *BranchError) Error() string { return fmt.Sprintf("branch %q does not exist", e.Branch) }

// Is makes it git.ErrReferenceNotFound.
func (e *BranchError) Is(target error) bool { return target == git.ErrReferenceNotFound }

// Remote is a repository on a server.
type Remote struct{ server server }

// server opens conversations.
type server interface {
	upload(ctx context.Context) (uploader, error)
	receive(ctx context.Context) (receiver, error)
}

// uploader and receiver are the parts of go-git's sessions that are used.
type uploader interface {
	AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error)
	UploadPack(ctx context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error)
	io.Closer
}

type receiver interface {
	AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error)
	ReceivePack(ctx context.Context, req *packp.ReferenceUpdateRequest) (*packp.ReportStatus, error)
	io.Closer
}

// Open returns the repository at an http, https or ssh URL. The secret has the keys of a
// GitRepository's Secret. Nothing is asked of the server yet.
func Open(raw string, secret map[string][]byte, proxy func(*http.Request) (*url.URL, error)) (*Remote, error) {
	if _, err := git.ParseAuth(raw, secret); err != nil {
		return nil, err
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be parsed", git.ErrInvalidURL)
	}
	if u.Scheme == "ssh" {
		s, err := newSSH(u, secret)
		return &Remote{s}, err
	}
	return &Remote{newHTTP(u, secret, proxy)}, nil
}

// MayPush finds out, as far as a server tells before a push, whether these credentials may push.
func (r *Remote) MayPush(ctx context.Context) error {
	s, err := r.server.receive(ctx)
	if err != nil {
		return explain(ctx, "push", err)
	}
	defer s.Close()
	_, err = s.AdvertisedReferencesContext(ctx)
	return explain(ctx, "push", err)
}

// Head returns the commit that the branch points to, "" when the repository is empty. That there are
// other branches only is a *BranchError.
func (r *Remote) Head(ctx context.Context, branch string) (string, error) {
	s, err := r.server.upload(ctx)
	if err != nil {
		return "", explain(ctx, "read", err)
	}
	defer s.Close()
	refs, err := s.AdvertisedReferencesContext(ctx)
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return "", nil
	}
	if err != nil {
		return "", explain(ctx, "read", err)
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

// explain gives an error of a conversation its kind.
func explain(ctx context.Context, doing string, err error) error {
	var branch *BranchError
	var said *refusal
	switch {
	case err == nil, errors.As(err, &branch), errors.Is(err, ErrMoved), errors.Is(err, ErrPushRefused):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("cannot %s the repository: %w", doing, ctx.Err())
	case errors.Is(err, transport.ErrAuthenticationRequired):
		return fmt.Errorf("%w: the server does not accept the credentials, or wants some, to %s", git.ErrAuthenticationFailed, doing)
	case errors.Is(err, transport.ErrAuthorizationFailed):
		return fmt.Errorf("%w: these credentials may not %s", git.ErrAuthenticationFailed, doing)
	case errors.As(err, &said) && said.words != "":
		return fmt.Errorf("%w: the server says: %s", git.ErrRepositoryNotFound, said.words)
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return fmt.Errorf("%w: it does not exist, or these credentials may not %s it", git.ErrRepositoryNotFound, doing)
	}
	return fmt.Errorf("cannot %s the repository: %w", doing, clean(err))
}

// clean keeps the words of a server from steering a terminal, and the error for errors.Is.
func clean(err error) error { return &cleaned{err} }

type cleaned struct{ err error }

func (c *cleaned) Error() string { return iostreams.Line(c.err.Error()) }
func (c *cleaned) Unwrap() error { return c.err }
