package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

const (
	// history is how many commits, counted back from the one followed, a fetch asks for: enough to
	// distinguish a forced push from an ordinary one, few enough to cost little more than one.
	history = 20
	// deltaCache bounds the memory for bases of deltas while one repository is read, in bytes.
	deltaCache = 8 << 20
	// maxFile is the largest file that is read for a render, in bytes.
	maxFile = 32 << 20
	// followed is the reference under which the commit fetched last is kept.
	followed = plumbing.ReferenceName("refs/heads/followed")
)

// repo is one kept bare repository on the disk.
type repo struct {
	dir    string
	limits Limits
	packs  packs

	// turn is held by the caller that fetches: it has room for one.
	turn chan struct{}
	// checked is the commit that is known to be there completely, or nil.
	checked atomic.Pointer[head]
	// verified is what proved signed last.
	verified verified
	// moves is the answer to whether the last move was one forward.
	moves moves
	// damaged means that something that should be there was missing or broken when it was read.
	damaged atomic.Bool
	// forget drops what is kept of the repository in memory.
	forget func()

	// reading is held while objects are read, and while packs are removed.
	reading sync.Mutex
	sto     *filesystem.Storage // open for reading, or nil; guarded by reading
	used    bool                // since the last closeIfIdle; guarded by reading
}

// head is a commit that is completely there.
type head struct {
	commit Commit
	tree   plumbing.Hash
}

func newRepo(dir string, limits Limits, forget func()) *repo {
	return &repo{
		dir: dir, limits: limits, forget: forget, turn: make(chan struct{}, 1),
		packs: packs{dir: filepath.Join(dir, "objects", "pack"), limits: limits},
	}
}

// lock waits for the turn to fetch.
func (r *repo) lock(ctx context.Context) error {
	select {
	case r.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *repo) unlock() { <-r.turn }

// urlFile records, in the repository's folder, the URL that it was fetched from.
const urlFile = "skerry-url"

// prepare makes the repository on the disk one of that URL: an empty one, unless it is that already.
func (r *repo) prepare(url string) error {
	if raw, err := os.ReadFile(filepath.Join(r.dir, urlFile)); err == nil && string(raw) == url {
		if _, err := os.Stat(r.packs.dir); err == nil {
			return nil
		}
	}
	if err := r.remove(); err != nil {
		return err
	}
	const doing = "make a repository"
	if err := os.MkdirAll(r.packs.dir, 0o700); err != nil {
		return disk(doing, err)
	}
	sto := r.open()
	defer sto.Close()
	if err := sto.Init(); err != nil {
		return disk(doing, err)
	}
	if err := sto.SetReference(plumbing.NewSymbolicReference(plumbing.HEAD, followed)); err != nil {
		return disk(doing, err)
	}
	return disk(doing, os.WriteFile(filepath.Join(r.dir, urlFile), []byte(url), 0o600))
}

// remove removes the repository from the disk.
func (r *repo) remove() error {
	r.reading.Lock()
	defer r.reading.Unlock()
	r.closeLocked()
	r.checked.Store(nil)
	r.damaged.Store(false)
	r.forget()
	return disk("remove a repository", os.RemoveAll(r.dir))
}

// open opens the object database as it is now; packs that come later are not seen through it.
func (r *repo) open() *filesystem.Storage {
	return filesystem.NewStorageWithOptions(
		indexBuffer{private{osfs.New(r.dir, osfs.WithBoundOS())}}, cache.NewObjectLRU(deltaCache),
		// Not ExclusiveAccess: with it, HasEncodedObject of go-git 5.19 finds nothing that is packed.
		filesystem.Options{KeepDescriptors: true},
	)
}

// private gives no other user of the machine any right to what go-git writes, whatever the umask is.
type private struct{ billy.Filesystem }

func (fs private) Create(name string) (billy.File, error) {
	return fs.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
}

func (fs private) OpenFile(name string, flag int, perm os.FileMode) (billy.File, error) {
	if flag&os.O_CREATE != 0 {
		// Or the file system makes the folder, readable for all users.
		if err := fs.MkdirAll(path.Dir(filepath.ToSlash(name)), 0o700); err != nil {
			return nil, err
		}
	}
	return fs.Filesystem.OpenFile(name, flag, perm&0o600)
}

func (fs private) MkdirAll(name string, _ os.FileMode) error {
	return fs.Filesystem.MkdirAll(name, 0o700)
}

// indexBuffer buffers the reading of pack indexes, which go-git reads four bytes at a time.
type indexBuffer struct{ billy.Filesystem }

func (fs indexBuffer) Open(name string) (billy.File, error) {
	f, err := fs.Filesystem.Open(name)
	if err != nil || path.Ext(name) != ".idx" {
		return f, err
	}
	return bufferedFile{f, bufio.NewReaderSize(f, 16<<10)}, nil
}

type bufferedFile struct {
	billy.File
	r *bufio.Reader
}

func (f bufferedFile) Read(p []byte) (int, error) { return f.r.Read(p) }

// read returns what decode does. The object database stays open, for as long as it is used.
func (r *repo) read(t plumbing.ObjectType, h plumbing.Hash) (any, error) {
	r.reading.Lock()
	defer r.reading.Unlock()
	fresh := r.sto == nil
	read, err := r.readLocked(t, h)
	if errors.Is(err, errDamaged) && !fresh {
		r.closeLocked() // a pack may have come since
		return r.readLocked(t, h)
	}
	return read, err
}

func (r *repo) readLocked(t plumbing.ObjectType, h plumbing.Hash) (any, error) {
	if r.sto == nil {
		r.sto = r.open()
	}
	r.used = true
	if t == plumbing.BlobObject {
		if n, err := r.sto.EncodedObjectSize(h); err == nil && n > maxFile {
			return nil, fail(ErrTooLarge, "a file that is to be rendered exceeds the limit of %s", size(maxFile))
		}
	}
	return decode(r.sto, t, h)
}

// close closes the object database until it is read again.
func (r *repo) close() {
	r.reading.Lock()
	defer r.reading.Unlock()
	r.closeLocked()
}

func (r *repo) closeLocked() {
	if r.sto != nil {
		_ = r.sto.Close()
	}
	r.sto = nil
}

// closeIfIdle closes the object database if nothing was read since the last call.
func (r *repo) closeIfIdle() {
	r.reading.Lock()
	defer r.reading.Unlock()
	if !r.used {
		r.closeLocked()
	}
	r.used = false
}

// treeOf returns the tree of a commit.
func (r *repo) treeOf(commit plumbing.Hash) (plumbing.Hash, error) {
	if c := r.checked.Load(); c != nil && c.commit.Hash == commit.String() {
		return c.tree, nil
	}
	r.reading.Lock()
	defer r.reading.Unlock()
	sto := r.open()
	defer sto.Close()
	c, err := object.GetCommit(sto, commit)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return c.TreeHash, nil
}

// verify proves that a commit is completely in the database, by what it changes against the one that was
// verified last, and describes it.
func (r *repo) verify(ctx context.Context, sto *filesystem.Storage, hash plumbing.Hash) (*head, error) {
	defer working(ctx)()
	encoded, err := sto.EncodedObject(plumbing.AnyObject, hash)
	if err != nil {
		return nil, fmt.Errorf("%w: cannot read object %s", errDamaged, hash)
	}
	if encoded.Type() != plumbing.CommitObject {
		return nil, fail(ErrReferenceNotFound, "%s is a %s, not a commit", hash, encoded.Type())
	}
	commit, err := object.DecodeCommit(sto, encoded)
	if err != nil {
		return nil, fmt.Errorf("%w: cannot decode commit %s", errDamaged, hash)
	}
	v := &verifier{ctx: ctx, sto: sto, limits: r.limits, submodules: map[string]bool{}, done: map[plumbing.Hash]bool{}}
	before := plumbing.ZeroHash
	if last := r.checked.Load(); last != nil {
		before = last.tree
		for _, name := range last.commit.Submodules {
			v.submodules[name] = true
		}
	}
	if err := v.folder("", commit.TreeHash, before, 0); err != nil {
		return nil, err
	}
	packs, err := r.packs.list()
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(strings.TrimSpace(commit.Message), "\n")
	h := &head{tree: commit.TreeHash, commit: Commit{
		Hash: hash.String(), Digest: digestOf(commit.TreeHash), Author: oneLine(commit.Author.Name),
		Subject: oneLine(first), Time: commit.Committer.When.UTC(), Submodules: slices.Sorted(maps.Keys(v.submodules)),
	}}
	for _, p := range packs {
		h.commit.Size += p.size
	}
	return h, nil
}

// fetch brings what the target has and the store has not, or its whole history if that is asked for. Where the target is an old commit that no
// reference names, and the server gives none such, it brings the whole history of what it may lie in.
// It returns the packs that nothing needs any more.
func (r *repo) fetch(ctx context.Context, sto *filesystem.Storage, s session, refs *packp.AdvRefs, t target, whole bool) ([]pack, error) {
	before, err := r.packs.list()
	if err != nil {
		return nil, err
	}
	req := uploadRequest(refs, s.offers())
	req.Wants = []plumbing.Hash{t.want}
	anew := overgrown(before)
	switch {
	case !t.advertised && !allowsAnyWant(refs):
		req.Wants, anew = wantedHashes(refs, t), true
	case whole:
		anew = true
	case refs.Capabilities.Supports(capability.Shallow):
		_ = req.Capabilities.Set(capability.Shallow)
		req.Depth = packp.DepthCommits(history)
	}
	if !anew {
		if err := have(sto, req); err != nil {
			return nil, err
		}
	}
	err = r.receive(ctx, s, req, sto, anew)
	if err != nil && !anew && len(req.Haves) > 0 && s.repeatable() && refused(ctx, s.cause(err)) {
		// Some servers answer nothing but a clone. What is there stays until that has come.
		req.Haves, req.Shallows, anew = nil, nil, true
		err = r.receive(ctx, s, req, sto, anew)
	}
	if err != nil {
		if !t.advertised && !isTyped(err) && errors.Is(s.cause(err), err) && ctx.Err() == nil {
			// Neither the connection nor the pack: the server has no such commit.
			return nil, fail(ErrReferenceNotFound, "the server does not give commit %s", t.hash)
		}
		return nil, err
	}
	if err := sto.SetReference(plumbing.NewHashReference(followed, t.hash)); err != nil {
		return nil, disk("keep a reference", err)
	}
	after, err := r.packs.list()
	if err != nil || !anew || len(after) == len(before) {
		return nil, err
	}
	return before, nil
}

// refused means that the server did not take a request, or that its answer to it cannot be read: neither
// the connection, nor the credentials, nor the load of the server is to blame.
func refused(ctx context.Context, err error) bool {
	if ctx.Err() != nil || isTyped(err) || networkReason(err) != "" || isTimeout(err) {
		return false
	}
	if answer := new(githttp.Err); errors.As(unexpected(err), &answer) {
		code := answer.StatusCode()
		return code == http.StatusBadRequest || code == http.StatusUnprocessableEntity || code == http.StatusInternalServerError
	}
	return !errors.Is(err, transport.ErrAuthenticationRequired) && !errors.Is(err, transport.ErrAuthorizationFailed) &&
		!errors.Is(err, transport.ErrRepositoryNotFound) && !errors.Is(err, errDamaged)
}

// allowsAnyWant means that the server gives commits that no reference names.
func allowsAnyWant(refs *packp.AdvRefs) bool {
	return refs.Capabilities.Supports(capability.AllowReachableSHA1InWant)
}

// wantedHashes are the tips whose history may have the target: its branch, or all of them.
func wantedHashes(refs *packp.AdvRefs, t target) []plumbing.Hash {
	if tip, ok := refs.References[t.within.String()]; ok {
		return []plumbing.Hash{tip}
	}
	var tips []plumbing.Hash
	for name, tip := range refs.References {
		if strings.HasPrefix(name, "refs/heads/") || strings.HasPrefix(name, "refs/tags/") {
			tips = append(tips, tip)
		}
	}
	plumbing.HashesSort(tips)
	return slices.Compact(tips)
}

// have announces to the server what need not be sent: the commits that the store has, and which of them
// have parents that it has not.
func have(sto *filesystem.Storage, req *packp.UploadPackRequest) error {
	ref, err := sto.Reference(followed)
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: cannot read a reference", errDamaged)
	}
	shallow, err := sto.Shallow()
	if err != nil {
		return fmt.Errorf("%w: cannot read the shallow commits", errDamaged)
	}
	if len(shallow) > 0 && req.Depth.IsZero() {
		return nil // missing parents cannot be announced to the server, so it had better send everything
	}
	req.Shallows = slices.DeleteFunc(shallow, func(h plumbing.Hash) bool { return sto.HasEncodedObject(h) != nil })
	req.Haves = sparse(ancestors(sto, ref.Hash(), req.Shallows, 2*history))
	return nil
}

// sparse keeps of the commits, the nearest first, ever fewer the farther back they are (0, 1, 2, 3, 5, 8,
// 13, 21, 34): a server that knows one knows all behind it, and acknowledges each one that is announced.
func sparse(commits []plumbing.Hash) []plumbing.Hash {
	var kept []plumbing.Hash
	for i, next := 0, 1; i < len(commits); i, next = next, max(i+next, next+1) {
		kept = append(kept, commits[i])
	}
	return kept
}

// receive asks, and keeps the answer: first what it reports of missing parents, then the pack, so that a
// crash between the two leaves a store that asks for too much and never for too little.
func (r *repo) receive(ctx context.Context, s session, req *packp.UploadPackRequest, sto *filesystem.Storage, anew bool) error {
	res, err := s.UploadPack(ctx, req)
	if err != nil {
		return err
	}
	defer res.Close()
	shallow := slices.Clone(res.Shallows)
	if !anew {
		shallow = append(shallow, req.Shallows...)
	}
	shallow = slices.DeleteFunc(shallow, func(h plumbing.Hash) bool { return slices.Contains(res.Unshallows, h) })
	plumbing.HashesSort(shallow)
	if err := sto.SetShallow(slices.Compact(shallow)); err != nil {
		return disk("keep the shallow commits", err)
	}
	return r.packs.add(ctx, receiving(ctx, packOf(req, res)))
}

// tidy drops what a fetch made superfluous: shallow commits behind the new ones, and the packs that
// fetch returned, or else small packs if there are too many of them, which it makes one.
func (r *repo) tidy(ctx context.Context, sto *filesystem.Storage, tip plumbing.Hash, replaced []pack) error {
	if err := forgetShallow(sto, tip); err != nil {
		return err
	}
	found, err := r.packs.list()
	if err != nil {
		return err
	}
	if len(replaced) == 0 && len(found) > maxPacks {
		if replaced, err = r.packs.merge(ctx, sto, small(found)); err != nil {
			return err
		}
	}
	if len(replaced) == 0 {
		return nil
	}
	r.reading.Lock()
	defer r.reading.Unlock()
	r.closeLocked()
	return r.packs.remove(replaced)
}

// forgetShallow keeps only the shallow commits where a walk from tip ends: there is one more with
// each fetch, and each is announced to the server at the next.
func forgetShallow(sto *filesystem.Storage, tip plumbing.Hash) error {
	shallow, err := sto.Shallow()
	if err != nil {
		return fmt.Errorf("%w: cannot read the shallow commits", errDamaged)
	}
	reached := ancestors(sto, tip, shallow, math.MaxInt)
	needed := slices.DeleteFunc(slices.Clone(shallow), func(h plumbing.Hash) bool { return !slices.Contains(reached, h) })
	if len(needed) == len(shallow) {
		return nil
	}
	return disk("keep the shallow commits", sto.SetShallow(needed))
}
