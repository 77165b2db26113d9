package gitpush

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
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
	s, err := r.server.upload(ctx)
	if err != nil {
		return nil, explain(ctx, "read", err)
	}
	defer s.Close()
	refs, err := s.AdvertisedReferencesContext(ctx)
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return snapshot, nil
	}
	if err != nil {
		return nil, explain(ctx, "read", err)
	}
	if snapshot.commit, err = head(refs, branch); err != nil {
		return nil, err
	}
	snapshot.base = snapshot.commit
	if err := snapshot.receive(ctx, s, refs); err != nil {
		return nil, explain(ctx, "read", err)
	}
	commit, err := object.GetCommit(snapshot.store, snapshot.commit)
	if err != nil {
		return nil, fmt.Errorf("cannot read commit %s: %w", snapshot.commit, err)
	}
	snapshot.root = commit.TreeHash
	return snapshot, nil
}

// receive asks for the one commit, without its history where the server can leave that out.
func (s *Snapshot) receive(ctx context.Context, from uploader, refs *packp.AdvRefs) error {
	req := packp.NewUploadPackRequestFromCapabilities(refs.Capabilities)
	req.Wants = []plumbing.Hash{s.commit}
	if refs.Capabilities.Supports(capability.Shallow) {
		if err := req.Capabilities.Set(capability.Shallow); err != nil {
			return err
		}
		req.Depth = packp.DepthCommits(1)
	}
	res, err := from.UploadPack(ctx, req)
	if err != nil {
		return err
	}
	defer res.Close()
	var pack io.Reader = res
	switch {
	case req.Capabilities.Supports(capability.Sideband64k):
		pack = sideband.NewDemuxer(sideband.Sideband64k, res)
	case req.Capabilities.Supports(capability.Sideband):
		pack = sideband.NewDemuxer(sideband.Sideband, res)
	}
	return packfile.UpdateObjectStorage(s.store, pack)
}

// Commit is the snapshot's commit, 40 hexadecimal digits.
func (s *Snapshot) Commit() string { return s.commit.String() }

// Revision is the commit as the hub writes it: "main@sha1:<commit>".
func (s *Snapshot) Revision() string { return s.branch + "@sha1:" + s.commit.String() }

// Changed says that the snapshot holds a commit that the server does not have.
func (s *Snapshot) Changed() bool { return len(s.fresh) > 0 }

// Tree returns the files, as the hub will see them.
func (s *Snapshot) Tree() (*tree.Tree, error) {
	if s.root.IsZero() {
		return tree.New("sha1:"+plumbing.ZeroHash.String(), nil)
	}
	return git.Tree(s.store, s.root), nil
}
