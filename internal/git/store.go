// Package git follows Git repositories: it sees that a reference has moved, fetches only what is
// new into a bare repository that it keeps, and reads commits out of that into memory.
//
// It promises that nothing is ever checked out, that no conversation with a server outlasts its
// timeout but for a pack that keeps arriving, that credentials go to no other host than the one in the URL and into no message, and
// that one repository, whatever its server does, costs another nothing but its share of the limits.
package git

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"github.com/skerry-dev/skerry/internal/ownfiles"
	"github.com/skerry-dev/skerry/internal/tree"
)

// DefaultTimeout is how long Follow may take without progress where a Request sets none.
const DefaultTimeout = 60 * time.Second

// Store keeps bare repositories below one folder, which is its own. It is safe for concurrent use by
// one process.
type Store struct {
	dir     string
	options Options

	mu      sync.Mutex
	repos   map[string]*repo // guarded by mu
	flights flights
	objects *objects
	open    []*repo // whose packs are open for reading, the one used last in front; guarded by mu
}

// maxOpen bounds the repositories whose pack indexes are in memory for reading.
const maxOpen = 4

// Request describes what to follow and how.
type Request struct {
	// Key names the kept repository, one for each GitRepository ("namespace/name"): repositories of
	// two keys share nothing, even if their URLs are the same.
	Key string
	// URL is http, https, ssh or git@host:path.
	URL       string
	Reference Reference
	Auth      Auth
	// Timeout is for everything together, and begins anew, up to nine times, while a pack arrives or is
	// indexed; zero means DefaultTimeout. See progressDeadline.
	Timeout time.Duration
	// Known is the revision that was followed before, or empty; see Commit.ForcePushed.
	Known string
	// Sparse are the directories of the repository that the tree shows; all when empty.
	Sparse []string
	// Submodules means that the tree has those of the same host, at the commits that the repository pins.
	Submodules bool
	// Forward describes how the reference may move from Known.
	Forward Forward
	// Verify describes what must be signed. Where it is not, Follow fails, and the commit is not to be used.
	Verify Verification
}

// Commit is what a reference points to.
type Commit struct {
	// Revision is "main@sha1:<commit>" for a branch, "v1.0@sha1:<commit>" for a tag and
	// "sha1:<commit>" for a commit that was asked for without a branch.
	Revision string
	// Hash is the commit, 40 hexadecimal digits.
	Hash string
	// Digest names the content, "sha1:<git tree>", or "sha256:…" for a tree that is put together: two commits
	// with the same files have the same.
	Digest string
	// Size is how many bytes the store keeps of the repository, compressed.
	Size int64
	// Fetched means that the commit, or a part of its tree, had to be brought from the server or put together.
	Fetched bool
	// ForcePushed means that Known is of the same branch or tag and proved not to be an ancestor. It is
	// not reported where the history at hand does not show it, as after more than 20 commits in one push.
	ForcePushed bool
	// Author and Subject are the author's name and the first line of the message, on one line and
	// without control characters.
	Author, Subject string
	// Time is when the commit was made, in UTC.
	Time time.Time
	// Submodules are the paths of submodules that are not fetched, sorted.
	Submodules []string
	// Verified describes what was verified to be signed; "" if nothing was asked for.
	Verified string
}

// OpenStore opens the store in dir, which it makes if it is not there, with what an earlier process
// left in it.
func OpenStore(dir string, options Options) (*Store, error) {
	options.Limits = options.Limits.withDefaults()
	options.tokens = newTokens()
	options.scratch = filepath.Join(dir, "scratch")
	s := &Store{dir: dir, options: options, repos: map[string]*repo{}, objects: newObjects(options.Limits.Cache)}
	if err := os.RemoveAll(s.scratch()); err != nil {
		return nil, fmt.Errorf("cannot open the store: %w", err)
	}
	if err := os.MkdirAll(s.scratch(), 0o700); err != nil {
		return nil, fmt.Errorf("cannot open the store: %w", err)
	}
	if err := ownfiles.Restrict(dir); err != nil {
		return nil, fmt.Errorf("cannot open the store: %w", err)
	}
	// A process that died left the packs it was receiving.
	names, err := filepath.Glob(filepath.Join(dir, "*", "objects", "pack", "tmp_*"))
	if err != nil {
		return nil, fmt.Errorf("cannot open the store: %w", err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			return nil, fmt.Errorf("cannot open the store: %w", err)
		}
	}
	return s, nil
}

// scratch is the folder for files that live for a moment.
func (s *Store) scratch() string { return s.options.scratch }

// folder is where the repository of a key lies. Keys are hashed because they come from people, and
// folders have rules of their own.
func (s *Store) folder(key string) string {
	parent, module, isModule := strings.Cut(key, moduleSeparator)
	name := hashed(parent)
	if isModule {
		name += "-" + hashed(module) // beside its repository, with which it goes
	}
	return filepath.Join(s.dir, name)
}

func hashed(name string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(name)))[:40] }

// repo returns the kept repository of a key, whether there is anything on the disk or not.
func (s *Store) repo(key string) *repo {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.repos[key]
	if !ok {
		r = newRepo(s.folder(key), s.options.Limits, func() { s.objects.forget(key) })
		s.repos[key] = r
	}
	return r
}

// Follow asks the server what the reference points to, and fetches the commit if the store has it
// not. Concurrent calls with the same request get the same answer. The commit is in the store
// and complete when it returns. Errors have one of the kinds of this package, or are that of ctx.
func (s *Store) Follow(ctx context.Context, req Request) (Commit, error) {
	e, err := parseURL(req.URL)
	if err != nil {
		return Commit{}, err
	}
	if err := req.Reference.check(); err != nil {
		return Commit{}, err
	}
	if err := req.Auth.check(e); err != nil {
		return Commit{}, err
	}
	if req.Timeout <= 0 {
		req.Timeout = DefaultTimeout
	}
	key := flightKey{req.Key, e.String(), req.Reference, req.Auth.sum, req.Timeout, req.Known, req.Verify.key(), req.Submodules, strings.Join(req.Sparse, "\x00"), req.Forward}
	return s.flights.do(ctx, key, func(ctx context.Context) (Commit, error) {
		ctx, deadline := withProgressDeadline(ctx, req.Timeout)
		defer deadline.cancel()
		commit, err := s.followArranged(ctx, e, req)
		if (errors.Is(err, errDamaged) || errors.Is(err, ErrNotStored)) && ctx.Err() == nil {
			// Only once: if it is not the store, it is the server.
			if errors.Is(err, errDamaged) {
				if err := s.discard(ctx, req.Key); err != nil {
					return Commit{}, explain(ctx, e, deadline.waited(), err)
				}
			}
			commit, err = s.followArranged(ctx, e, req)
		}
		if err != nil {
			err = explain(ctx, e, deadline.waited(), err)
			if errors.Is(err, ErrAuthenticationFailed) {
				s.options.tokens.drop(req.Auth) // it may have been revoked before it expired
			}
			return Commit{}, err
		}
		return commit, nil
	})
}

// followArranged follows, and puts the tree together that is asked for.
func (s *Store) followArranged(ctx context.Context, e endpoint, req Request) (Commit, error) {
	commit, err := s.follow(ctx, e, req)
	if err != nil {
		return Commit{}, err
	}
	err = s.arrange(ctx, e, req, &commit)
	return commit, err
}

// follow checks the reference, a second time with its whole history if less does not prove that it has
// moved as it may.
func (s *Store) follow(ctx context.Context, e endpoint, req Request) (Commit, error) {
	commit, err := s.followOnce(ctx, e, req, false)
	if errors.Is(err, errShortHistory) {
		return s.followOnce(ctx, e, req, true)
	}
	return commit, err
}

func (s *Store) followOnce(ctx context.Context, e endpoint, req Request, whole bool) (Commit, error) {
	r := s.repo(req.Key)
	if err := r.lock(ctx); err != nil {
		return Commit{}, err
	}
	defer r.unlock()
	r.closeIfIdle()
	conversation, err := openSession(ctx, e, req.Auth, s.options, uploadPack)
	if err != nil {
		return Commit{}, err
	}
	defer conversation.Close()
	refs, err := conversation.AdvertisedReferencesContext(ctx)
	if failed := conversation.offers().checkFormat(); failed != nil {
		return Commit{}, failed
	}
	if err != nil {
		return Commit{}, conversation.cause(err)
	}
	t, err := req.Reference.resolve(refs)
	if err != nil {
		return Commit{}, err
	}
	// Only now: a URL with a typo must not cost what an earlier one brought.
	if r.damaged.Load() {
		if err := r.remove(); err != nil {
			return Commit{}, err
		}
	}
	if err := r.prepare(e.String()); err != nil {
		return Commit{}, err
	}
	commit, err := s.fetchInto(ctx, req, r, conversation, refs, t, whole)
	if err != nil {
		return Commit{}, conversation.cause(err)
	}
	return commit, nil
}

// fetchInto makes sure that the target is in the store with all its files, by fetching it if need be.
func (s *Store) fetchInto(ctx context.Context, req Request, r *repo, from session, refs *packp.AdvRefs, t target, whole bool) (Commit, error) {
	name, known := parseRevision(req.Known)
	moved := name != "" && name == t.name && known != t.hash
	signed, isVerified := r.verified.get(t, req.Verify)
	if c := r.checked.Load(); c != nil && c.commit.Hash == t.hash.String() && !moved && isVerified {
		return c.commit.at(t, signed), nil
	}
	sto := r.open()
	defer func() { _ = sto.Close() }()
	fetched := whole || sto.HasEncodedObject(t.hash) != nil || req.Verify.Tag && sto.HasEncodedObject(t.want) != nil
	var replaced []pack
	if fetched {
		var err error
		if replaced, err = r.fetch(ctx, sto, from, refs, t, whole); err != nil {
			return Commit{}, err
		}
		_ = sto.Close()
		sto = r.open()
		if !t.advertised && sto.HasEncodedObject(t.hash) != nil {
			return Commit{}, fail(ErrReferenceNotFound, "commit %s is not in the history of %s", t.hash, cmp.Or(t.name, "any branch or tag"))
		}
	}
	h, err := r.verify(ctx, sto, t.hash)
	if err != nil {
		return Commit{}, err
	}
	r.checked.Store(h)
	var refused error
	if !isVerified {
		if signed, refused = req.Verify.signatures(sto, t); refused == nil {
			r.verified.put(t, req.Verify, signed)
		}
	}
	if moved && refused == nil {
		refused = req.Forward.check(ctx, sto, r, t, known, whole)
	}
	commit := h.commit.at(t, signed)
	commit.Fetched = fetched
	commit.ForcePushed = moved && rewritten(sto, t.hash, known)
	if refused != nil {
		replaced = nil // the commit before stays in use, and may be read from there
	}
	if fetched { // whether it is refused or not: what a fetch brings is kept in order
		err = r.tidy(ctx, sto, t.hash, replaced)
		r.close() // what is open has not what came
	}
	if refused != nil {
		return Commit{}, refused
	}
	return commit, err
}

// TreeName is the name under which Tree finds the files of the commit.
func (c Commit) TreeName() string {
	if strings.HasPrefix(c.Digest, composedPrefix) {
		return c.Digest
	}
	return c.Hash
}

// at is the commit as what a reference points to.
func (c Commit) at(t target, signed string) Commit {
	c.Revision, c.Verified = t.revision(), signed
	return c
}

// discard removes a repository that proved damaged.
func (s *Store) discard(ctx context.Context, key string) error {
	r := s.repo(key)
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	return r.remove()
}

// Tree returns the files of what was followed under key, each of which is read when it is asked for. The name
// is the commit, or the digest of a tree that was put together. ErrNotStored, here and from the tree, means
// that it is not, or not completely, in the store: Follow brings it. Another error of the tree is
// ErrFetchFailed or ErrTooLarge, for what no checkout would make.
func (s *Store) Tree(ctx context.Context, key, name string) (*tree.Tree, error) {
	if strings.HasPrefix(name, composedPrefix) {
		return s.composedTree(ctx, key, name)
	}
	return s.plainTree(ctx, key, name)
}

// plainTree returns the tree of a commit as it is.
func (s *Store) plainTree(ctx context.Context, key, commit string) (*tree.Tree, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := s.repo(key)
	root, err := r.treeOf(plumbing.NewHash(commit))
	if err != nil {
		r.checked.Store(nil) // so that the next Follow looks for itself
		return nil, fail(ErrNotStored, "%s", commit)
	}
	return tree.Open(digestOf(root), idOf(root), source{func(t plumbing.ObjectType, h plumbing.Hash) (any, error) {
		return s.object(r, key, t, h)
	}}), nil
}

// object returns a *folder or the []byte of a file, from memory if it was read before.
func (s *Store) object(r *repo, key string, t plumbing.ObjectType, h plumbing.Hash) (any, error) {
	name := objectKey{key, h}
	if known, ok := s.objects.get(name); ok {
		// A tree that names a folder as a file, or the other way round, is of a hostile server.
		if _, isFolder := known.(*folder); isFolder == (t == plumbing.TreeObject) {
			return known, nil
		}
	}
	read, err := r.read(t, h)
	s.opened(r)
	if errors.Is(err, errDamaged) {
		r.damaged.Store(true) // so that the next Follow fetches anew
		r.checked.Store(nil)
		s.reportDamage(key)
		return nil, fail(ErrNotStored, "a part of it is damaged or missing, and is fetched anew")
	}
	if err != nil {
		return nil, err
	}
	s.objects.put(name, read)
	return read, nil
}

// opened counts a repository among those whose packs are open, and closes the one unused for longest if
// there are too many.
func (s *Store) opened(r *repo) {
	s.mu.Lock()
	s.open = slices.Insert(slices.DeleteFunc(s.open, func(o *repo) bool { return o == r }), 0, r)
	var closing []*repo
	if len(s.open) > maxOpen {
		closing = slices.Clone(s.open[maxOpen:])
		s.open = s.open[:maxOpen]
	}
	s.mu.Unlock()
	for _, o := range closing {
		o.close()
	}
}

// Forget removes what the store has under key, submodules included.
func (s *Store) Forget(key string) error {
	s.mu.Lock()
	replaced := []*repo{}
	for name, r := range s.repos {
		if name == key || strings.HasPrefix(name, key+moduleSeparator) {
			replaced = append(replaced, r)
			delete(s.repos, name)
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, r := range replaced {
		errs = append(errs, r.remove())
	}
	// What an earlier process fetched as well.
	dirs, err := filepath.Glob(s.folder(key) + "-*")
	for _, dir := range append(dirs, s.folder(key)) {
		errs = append(errs, disk("remove a repository", os.RemoveAll(dir)))
	}
	return errors.Join(append(errs, err)...)
}

// Retain removes everything but what the store has under these keys: what went while no process was
// there to Forget it.
func (s *Store) Retain(keys []string) error {
	wanted := map[string]bool{s.scratch(): true}
	for _, key := range keys {
		wanted[s.folder(key)] = true
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return disk("list the store", err)
	}
	for _, entry := range entries {
		repository, _, _ := strings.Cut(entry.Name(), "-") // which a submodule belongs to
		if dir := filepath.Join(s.dir, entry.Name()); !wanted[filepath.Join(s.dir, repository)] {
			if err := os.RemoveAll(dir); err != nil {
				return disk("remove a repository", err)
			}
		}
	}
	return nil
}
