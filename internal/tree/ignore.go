package tree

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/fluxcd/pkg/sourceignore"
	"github.com/fluxcd/pkg/sourceignore/gitignore"
)

// IgnoreRules are the patterns of the .sourceignore files of a tree, and patterns that come after them: those
// of spec.ignore of the GitRepository. They are not safe for concurrent use.
type IgnoreRules struct {
	tree  *Tree
	last  []gitignore.Pattern
	known map[string][]gitignore.Pattern // of the .sourceignore of a directory
}

// NewIgnoreRules returns the rules of a tree. What cannot be read counts as absent, and is an error of the
// tree.
func NewIgnoreRules(t *Tree, ignore string) *IgnoreRules {
	return &IgnoreRules{tree: t, last: sourceignore.ReadPatterns(strings.NewReader(ignore), nil), known: map[string][]gitignore.Pattern{}}
}

// Match reports whether a file is left out, by its path in the form of Clean. The last pattern that matches
// decides; those of before come first.
func (r *IgnoreRules) Match(name string, before []gitignore.Pattern) bool {
	all := slices.Clip(before)
	dir := "."
	for part := range strings.SplitSeq(name, "/") {
		all = append(all, r.of(dir)...)
		dir = path.Join(dir, part)
	}
	all = append(all, r.last...)
	return len(all) > 0 && gitignore.NewMatcher(all).Match(strings.Split(name, "/"), false)
}

func (r *IgnoreRules) of(dir string) []gitignore.Pattern {
	if known, ok := r.known[dir]; ok {
		return known
	}
	var domain []string
	if dir != "." {
		domain = strings.Split(dir, "/")
	}
	var found []gitignore.Pattern
	if data, err := r.tree.ReadFile(path.Join(dir, sourceignore.IgnoreFile)); err == nil {
		found = sourceignore.ReadPatterns(bytes.NewReader(data), domain)
	}
	r.known[dir] = found
	return found
}

// Without returns the tree without the files that its .sourceignore files and the patterns leave out. It is
// the tree itself where there is nothing of the kind at, above or below from, but for .sourceignore files at
// or below from: those are seen wherever from is shown.
func Without(t *Tree, ignore, from string) (*Tree, error) {
	from, err := t.Resolve(from)
	if err != nil {
		return nil, err
	}
	above := sha256.New()
	field(above, "ignore", ignore)
	found := len(sourceignore.ReadPatterns(strings.NewReader(ignore), nil)) > 0
	for dir := path.Dir(from); from != "."; dir = path.Dir(dir) {
		if data, err := t.ReadFile(path.Join(dir, sourceignore.IgnoreFile)); err == nil {
			found = true
			field(above, dir, string(data))
		}
		if dir == "." {
			break
		}
	}
	if err := t.Err(); err != nil {
		return nil, err
	}
	if !found {
		return t, nil
	}
	name := hex.EncodeToString(above.Sum(nil))
	t = t.Reopen()
	return Open(t.digest+" "+name, ".", &without{tree: t, name: name, rules: NewIgnoreRules(t, ignore)}), nil
}

// without is the Source of a tree without some of its files. IDs are paths.
type without struct {
	tree *Tree
	name string

	mu    sync.Mutex
	rules *IgnoreRules // guarded by mu
}

// shows reports whether an entry is shown; the error is that of a .sourceignore that cannot be read.
func (w *without) shows(p string, e Entry) (bool, error) {
	if e.Kind == Directory || e.Kind == Submodule {
		return true, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	ignored := w.rules.Match(p, nil)
	return !ignored, w.tree.Err()
}

func (w *without) Lookup(dir, name string) (Entry, error) {
	p := path.Join(dir, name)
	e, err := w.tree.Lookup(p)
	if err != nil || e.Kind == 0 {
		return Entry{}, err
	}
	if shown, err := w.shows(p, e); err != nil || !shown {
		return Entry{}, err
	}
	return Entry{Name: name, Kind: e.Kind, ID: p}, nil
}

func (w *without) List(dir string) ([]Entry, error) {
	at, err := w.tree.Lookup(dir)
	if err != nil {
		return nil, err
	}
	all, err := w.tree.source.List(at.ID)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, e := range all {
		p := path.Join(dir, e.Name)
		shown, err := w.shows(p, e)
		if err != nil {
			return nil, err
		}
		if shown {
			entries = append(entries, Entry{Name: e.Name, Kind: e.Kind, ID: p})
		}
	}
	return entries, nil
}

func (w *without) Read(file string) ([]byte, error) {
	e, err := w.tree.Lookup(file)
	if err != nil {
		return nil, err
	}
	return w.tree.source.Read(e.ID)
}

// Hash names what is beneath, and all that decides what of it is shown.
func (w *without) Hash(id string) string {
	e, err := w.tree.Lookup(id)
	if err != nil {
		return w.tree.digest + " " + id + " " + w.name
	}
	return w.tree.hashOf(e) + " " + w.name
}
