package gitpush

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/tree"
)

// Snapshot is what a branch held when it was looked at, in memory.
type Snapshot struct {
	branch string
	// commit and root are zero for an empty repository.
	commit, root plumbing.Hash
	store        *memory.Storage
	// fresh are the objects of this snapshot that the server does not have; made, which snapshots of
	// one branch share, are all that were ever made here.
	fresh []plumbing.Hash
	made  map[plumbing.Hash]bool
	// base is the commit that the server has on the branch.
	base plumbing.Hash
}

// Fetch looks at a branch. A repository without any branch gives an empty snapshot; that there are
// others only is a *BranchError.
func (r *Remote) Fetch(ctx context.Context, branch string) (*Snapshot, error) {
	snapshot := &Snapshot{branch: branch, store: memory.NewStorage(), made: map[plumbing.Hash]bool{}}
	c, err := r.server.Upload(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	refs, err := c.References(ctx)
	if errors.Is(err, git.ErrEmptyRepository) {
		return snapshot, nil
	}
	if err != nil {
		return nil, withWords(err, c)
	}
	if snapshot.commit, err = head(refs, branch); err != nil {
		return nil, err
	}
	snapshot.base = snapshot.commit
	if err := snapshot.receive(ctx, c, refs); err != nil {
		return nil, withWords(err, c)
	}
	commit, err := object.GetCommit(snapshot.store, snapshot.commit)
	if err != nil {
		return nil, fmt.Errorf("cannot read commit %s: %w", snapshot.commit, err)
	}
	snapshot.root = commit.TreeHash
	return snapshot, nil
}

// receive asks for the one commit.
func (s *Snapshot) receive(ctx context.Context, from *git.Conversation, refs *packp.AdvRefs) error {
	pack, err := from.Pack(ctx, refs, s.commit)
	if err != nil {
		return err
	}
	defer pack.Close()
	return packfile.UpdateObjectStorage(s.store, pack)
}

// Revision is the commit as the hub writes it: "main@sha1:<commit>".
func (s *Snapshot) Revision() string { return s.branch + "@sha1:" + s.commit.String() }

// Changed reports whether the snapshot holds a commit that the server does not have.
func (s *Snapshot) Changed() bool { return len(s.fresh) > 0 }

// Tree returns the files, as the hub will see them.
func (s *Snapshot) Tree() (*tree.Tree, error) {
	if s.root.IsZero() {
		return tree.New("sha1:"+plumbing.ZeroHash.String(), nil)
	}
	return git.Tree(s.store, s.root), nil
}
