package git

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/skerry-dev/skerry/internal/tree"
)

// ErrLayout means that a path that is to be shown, or to be included, is not there, or its place is taken.
var ErrLayout = errors.New("cannot put the tree together")

const (
	composedPrefix = "sha256:" // of the digest of a composed tree
	layoutsFolder  = "layouts" // in the folder of a repository
	// maxLayouts is how many layouts of a repository are kept: of the artifact, and of some before it, which
	// a reconcile that is under way may still read.
	maxLayouts = 4
	// maxLayoutDepth bounds how deep trees may be composed of composed ones.
	maxLayoutDepth = 16
)

// layout describes how a composed tree is put together. It is kept beside the repository by the digest of the
// tree, and names everything that the tree depends on.
type layout struct {
	Key    string       `json:"key"`
	Commit string       `json:"commit"`
	Only   []string     `json:"only,omitempty"`
	Parts  []layoutPart `json:"parts,omitempty"`
}

type layoutPart struct {
	At        string `json:"at"`
	From      string `json:"from"`
	Submodule bool   `json:"submodule,omitempty"`
	Ignore    string `json:"ignore,omitempty"`
	Of        layout `json:"of"`
}

func (l layout) isPlain() bool { return len(l.Only)+len(l.Parts) == 0 }

// Part is a file or directory of what another key follows, included in a tree.
type Part struct {
	// At is the path at which it is shown.
	At string
	// Key, Commit and Digest name the tree that it is of, as Follow and Include returned them.
	Key, Commit, Digest string
	// From is the path in there.
	From string
	// Ignore holds patterns, beside those of its .sourceignore files, of files in there that are not shown.
	Ignore string
}

// clean returns a path relative to the root.
func clean(name string) (string, error) {
	cleaned, ok := tree.Clean(name)
	if !ok {
		return "", fail(ErrLayout, "%q leaves the repository", oneLine(name))
	}
	return cleaned, nil
}

func cleanAll(names []string) ([]string, error) {
	var all []string
	for _, name := range names {
		cleaned, err := clean(name)
		if err != nil {
			return nil, err
		}
		all = append(all, cleaned)
	}
	return all, nil
}

// explainLayout gives an error of tree.Compose its kind. An error of a source has one.
func explainLayout(err error) error {
	switch {
	case err == nil, isTyped(err):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, tree.ErrOccupied), errors.Is(err, tree.ErrOutside), errors.Is(err, tree.ErrLinkLoop):
		return fail(ErrLayout, "%s", oneLine(err.Error()))
	}
	return err
}

// compose puts a tree together. ErrNotStored means that a commit of it is not, or no more, in the store.
func (s *Store) compose(ctx context.Context, l layout, depth int) (*tree.Tree, error) {
	if depth > maxLayoutDepth {
		return nil, fail(ErrLayout, "repositories are included more than %d deep", maxLayoutDepth)
	}
	base, err := s.plainTree(ctx, l.Key, l.Commit)
	if errors.Is(err, ErrNotStored) {
		s.reportDamage(l.Key)
	}
	if err != nil {
		return nil, err
	}
	if l.isPlain() {
		return base, nil
	}
	parts := make([]tree.Part, 0, len(l.Parts))
	for _, p := range l.Parts {
		of, err := s.compose(ctx, p.Of, depth+1)
		if err != nil {
			return nil, err
		}
		if !p.Submodule {
			if of, err = tree.Without(of, p.Ignore, p.From); err != nil {
				return nil, explainLayout(err)
			}
		}
		parts = append(parts, tree.Part{At: p.At, Tree: of, From: p.From, Submodule: p.Submodule})
	}
	made, err := tree.Compose(base, tree.Layout{Only: l.Only, Parts: parts})
	return made, explainLayout(err)
}

// keepLayout composes the tree of a layout that is not plain, keeps the layout, and returns the digest of the
// tree, and whether the layout was not there before.
func (s *Store) keepLayout(ctx context.Context, l layout) (digest string, fresh bool, err error) {
	made, err := s.compose(ctx, l, 0)
	if err != nil {
		return "", false, err
	}
	dir := filepath.Join(s.folder(l.Key), layoutsFolder)
	name := filepath.Join(dir, strings.TrimPrefix(made.Digest(), composedPrefix))
	raw, err := json.Marshal(l)
	if err != nil {
		return "", false, fmt.Errorf("cannot keep a layout: %w", err)
	}
	if there, err := os.ReadFile(name); err == nil && string(there) == string(raw) {
		return made.Digest(), false, nil
	}
	const doing = "keep the layout of a tree"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", false, disk(doing, err)
	}
	f, err := os.CreateTemp(dir, "tmp_")
	if err != nil {
		return "", false, disk(doing, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", false, disk(doing, err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return "", false, disk(doing, err)
	}
	return made.Digest(), true, disk(doing, forgetLayouts(dir, name))
}

// forgetLayouts removes all but the newest layouts; the one that was just written stays, whatever the clock
// of the file system is.
func forgetLayouts(dir, written string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	type file struct {
		name string
		time int64
	}
	var files []file
	for _, e := range entries {
		info, err := e.Info()
		if name := filepath.Join(dir, e.Name()); err == nil && name != written {
			files = append(files, file{name, info.ModTime().UnixNano()})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return int(max(-1, min(1, b.time-a.time))) })
	for i, f := range files {
		if i >= maxLayouts-1 {
			if err := os.Remove(f.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// layoutOf returns the layout of a tree that a key follows, by its digest and commit.
func (s *Store) layoutOf(key, commit, digest string) (layout, error) {
	name, composed := strings.CutPrefix(digest, composedPrefix)
	if !composed {
		return layout{Key: key, Commit: commit}, nil
	}
	if len(name) != 64 || strings.Trim(name, "0123456789abcdef") != "" {
		return layout{}, fail(ErrNotStored, "%s is no digest", oneLine(digest))
	}
	var l layout
	raw, err := os.ReadFile(filepath.Join(s.folder(key), layoutsFolder, name))
	if err == nil {
		err = json.Unmarshal(raw, &l)
	}
	if err != nil || l.Key != key {
		return layout{}, fail(ErrNotStored, "the layout of the tree is missing")
	}
	return l, nil
}

// composedTree returns the tree of a digest that Follow or Include returned for a key. Where a part of it is
// gone, the key is reported as damaged, so that the tree is put together anew.
func (s *Store) composedTree(ctx context.Context, key, digest string) (*tree.Tree, error) {
	l, err := s.layoutOf(key, "", digest)
	var made *tree.Tree
	if err == nil {
		made, err = s.compose(ctx, l, 0)
	}
	if err == nil && made.Digest() != digest {
		err = fail(ErrNotStored, "the layout of the tree is not the one that its digest names")
	}
	if err != nil {
		if errors.Is(err, ErrNotStored) {
			s.repo(key).checked.Store(nil)
			s.reportDamage(key)
		}
		return nil, err
	}
	return made, nil
}

// Include puts a tree together of what Follow returned for a key and of parts, and returns its digest, under
// which Tree finds it. Its errors are ErrLayout, ErrNotStored for a part that has to be fetched again first,
// or what a tree's errors are.
func (s *Store) Include(ctx context.Context, key string, base Commit, parts []Part) (digest string, fresh bool, err error) {
	l, err := s.layoutOf(key, base.Hash, base.Digest)
	if err != nil {
		return "", false, err
	}
	for _, p := range parts {
		of, err := s.layoutOf(p.Key, p.Commit, p.Digest)
		if err != nil {
			s.reportDamage(p.Key)
			return "", false, err
		}
		at, err := clean(p.At)
		if err != nil {
			return "", false, err
		}
		from, err := clean(p.From)
		if err != nil {
			return "", false, err
		}
		if at == "." {
			return "", false, fail(ErrLayout, "%q is the root of the repository, which nothing can be included at", oneLine(p.At))
		}
		l.Parts = append(l.Parts, layoutPart{At: at, From: from, Ignore: p.Ignore, Of: of})
	}
	return s.keepLayout(ctx, l)
}

// arrange lays out what a request asks for of a commit, its sparse directories and its submodules, and makes
// it the content of the commit.
func (s *Store) arrange(ctx context.Context, e endpoint, req Request, commit *Commit) (err error) {
	l := layout{Key: req.Key, Commit: commit.Hash}
	if l.Only, err = cleanAll(req.Sparse); err != nil {
		return err
	}
	if req.Submodules && len(commit.Submodules) > 0 {
		m := &modules{store: s, req: req}
		if l.Parts, commit.Submodules, err = m.of(ctx, e, l, ".", commit.Submodules, 0); err != nil {
			return err
		}
		commit.Fetched = commit.Fetched || m.fetched
	}
	if l.isPlain() {
		return nil
	}
	digest, fresh, err := s.keepLayout(ctx, l)
	commit.Digest, commit.Fetched = digest, commit.Fetched || fresh
	return err
}

// shows means that a path is, or lies in, one of the directories that are shown; all are if none is named.
func shows(only []string, name string) bool {
	return len(only) == 0 || slices.ContainsFunc(only, func(dir string) bool {
		return dir == "." || dir == name || strings.HasPrefix(name, dir+"/")
	})
}

// reportDamage asks for a check of the repository of a key, or of what it is a submodule of.
func (s *Store) reportDamage(key string) {
	if s.options.Damaged != nil {
		parent, _, _ := strings.Cut(key, moduleSeparator)
		s.options.Damaged(parent)
	}
}

// pinned brings one commit of a repository, which is not asked for where it is there already.
func (s *Store) pinned(ctx context.Context, e endpoint, req Request) (Commit, error) {
	r := s.repo(req.Key)
	if err := r.lock(ctx); err != nil {
		return Commit{}, err
	}
	found, err := func() (*head, error) {
		defer r.unlock()
		if raw, err := os.ReadFile(filepath.Join(r.dir, urlFile)); err != nil || string(raw) != e.String() || r.damaged.Load() {
			return nil, nil // then it is fetched
		}
		h := plumbing.NewHash(req.Reference.Commit)
		if c := r.checked.Load(); c != nil && c.commit.Hash == h.String() {
			return c, nil
		}
		sto := r.open()
		defer func() { _ = sto.Close() }()
		if sto.HasEncodedObject(h) != nil {
			return nil, nil //nolint:nilnil // then it is fetched
		}
		found, err := r.verify(ctx, sto, h)
		if err == nil {
			r.checked.Store(found)
		}
		return found, err
	}()
	if found != nil && err == nil {
		return found.commit.at(target{hash: plumbing.NewHash(found.commit.Hash)}, ""), nil
	}
	commit, err := s.follow(ctx, e, req)
	if errors.Is(err, errDamaged) && ctx.Err() == nil {
		if err := s.discard(ctx, req.Key); err != nil {
			return Commit{}, err
		}
		commit, err = s.follow(ctx, e, req)
	}
	return commit, err
}
