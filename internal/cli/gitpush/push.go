package gitpush

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// maxWords bounds what is repeated of a server's words, in bytes.
const maxWords = 2 << 10

// Push sends the snapshot's new commit. Nothing is ever overwritten: when the branch is not where the
// snapshot was taken from, it is ErrMoved, and ErrPushRefused when the server does not want it.
func (r *Remote) Push(ctx context.Context, s *Snapshot) error {
	if !s.Changed() {
		return nil
	}
	err := r.push(ctx, s)
	if err == nil || errors.Is(err, ErrMoved) {
		return err
	}
	// An answer can get lost, and servers word a lost race in many ways: where the branch is now
	// reports the result of the push.
	now, lookErr := r.Head(ctx, s.branch)
	var missing *BranchError
	switch {
	case errors.As(lookErr, &missing) && s.base.IsZero(), lookErr == nil && now == s.base.String(), lookErr == nil && now == "" && s.base.IsZero():
		return err
	case lookErr != nil:
		return err
	case now == s.commit.String():
		return nil
	}
	return ErrMoved
}

func (r *Remote) push(ctx context.Context, s *Snapshot) error {
	to, err := r.server.Receive(ctx)
	if err != nil {
		return err
	}
	defer to.Close()
	refs, err := to.References(ctx)
	if err != nil {
		return withWords(err, to)
	}
	name := plumbing.NewBranchReferenceName(s.branch)
	if refs.References[name.String()] != s.base {
		return ErrMoved
	}
	var pack bytes.Buffer
	if _, err := packfile.NewEncoder(&pack, s.store, false).Encode(s.fresh, 0); err != nil {
		return fmt.Errorf("cannot write a pack: %w", err)
	}
	req := packp.NewReferenceUpdateRequestFromCapabilities(refs.Capabilities)
	req.Commands = []*packp.Command{{Name: name, Old: s.base, New: s.commit}}
	req.Packfile = io.NopCloser(&pack)
	words := &limited{max: maxWords}
	if refs.Capabilities.Supports(capability.Sideband64k) {
		if err := req.Capabilities.Set(capability.Sideband64k); err != nil {
			return err
		}
		req.Progress = words
	}
	report, err := to.Push(ctx, req)
	if report != nil && err != nil {
		return fmt.Errorf("%w: %s", ErrPushRefused, iostreams.Line(err.Error()+" "+words.String()))
	}
	return withWords(err, to)
}

// limited keeps the beginning of what is written to it.
type limited struct {
	bytes.Buffer
	max int
}

func (l *limited) Write(p []byte) (int, error) {
	l.Buffer.Write(p[:min(len(p), max(0, l.max-l.Len()))])
	return len(p), nil
}
