package tree

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// ErrOccupied means that there is something in the place where a part is to be shown.
var ErrOccupied = errors.New("there is something in its place already")

// Layout describes how a tree is put together of others.
type Layout struct {
	// Only are the paths of the base that are shown, in the form of Clean; all of it when empty.
	Only []string
	// Parts are shown in the base, in this order: a part may lie in one before it.
	Parts []Part
}

// Part is a file or directory of another tree that is shown in a tree.
type Part struct {
	// At is the path at which it is shown, in the form of Clean; never ".".
	At   string
	Tree *Tree
	// From is the path of what is shown; "." for the whole tree.
	From string
	// Submodule means that it takes the place of a submodule, which must be there. Anything else must find
	// its place free.
	Submodule bool
}

// Hasher is a Source whose IDs name contents wherever they are: what has the same hash is the same.
type Hasher interface {
	// Hash returns the hash of what an ID names.
	Hash(id string) string
}

// Clean returns the path relative to the root ("./apps/", "/apps" and "apps" are one), and false for a path
// that leaves the root.
func Clean(name string) (string, bool) {
	name = path.Clean(strings.TrimLeft(name, "/"))
	return name, fs.ValidPath(name)
}

// Lookup returns the entry at a path without following links; of no kind if there is none.
func (t *Tree) Lookup(name string) (Entry, error) {
	at := Entry{Name: ".", Kind: Directory, ID: t.root}
	if name == "." {
		return at, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if at.Kind != Directory {
			return Entry{}, nil
		}
		var err error
		if at, err = t.source.Lookup(at.ID, part); err != nil {
			return Entry{}, t.fail(err)
		}
	}
	return at, nil
}

// Compose returns the tree of a base and parts. What is shown is read when it is asked for: composing reads
// the directories on the way to each part, and no file. The digest names the content: a commit that changes
// nothing of what is shown has the digest of the one before. Its errors are of the sources, or name a path
// and wrap fs.ErrNotExist for what is not there, or ErrOccupied.
func Compose(base *Tree, l Layout) (*Tree, error) {
	c := &composition{layers: []Source{base.source}}
	digest := sha256.New()
	root := &node{layer: 0, id: base.root}
	if len(l.Only) > 0 {
		root = &node{layer: -1}
	} else {
		field(digest, "base", base.digest)
	}
	for _, name := range l.Only {
		e, err := base.Lookup(name)
		if err != nil {
			return nil, err
		}
		if e.Kind == 0 {
			return nil, fmt.Errorf("%q: %w", name, fs.ErrNotExist)
		}
		field(digest, "only", name, base.hashOf(e))
		c.show(root, name, e)
	}
	for _, p := range l.Parts {
		from, err := p.Tree.Resolve(p.From)
		if err != nil {
			return nil, err
		}
		e, err := p.Tree.Lookup(from)
		if err != nil {
			return nil, err
		}
		if e.Kind == 0 || e.Kind == Submodule {
			return nil, fmt.Errorf("%q, which is to be at %q: %w", p.From, p.At, fs.ErrNotExist)
		}
		field(digest, "part", p.At, p.Tree.hashOf(e))
		if err := c.place(root, p, Entry{Name: path.Base(p.At), Kind: e.Kind, ID: c.layered(len(c.layers), e.ID)}); err != nil {
			return nil, err
		}
		c.layers = append(c.layers, p.Tree.source)
	}
	c.nodes = append(c.nodes, root)
	return Open("sha256:"+hex.EncodeToString(digest.Sum(nil)), nodeID(len(c.nodes)-1), c), nil
}

// field writes fields that no other fields read like.
func field(h hash.Hash, kind string, values ...string) {
	fmt.Fprintf(h, "%s\n", kind)
	for _, v := range values {
		fmt.Fprintf(h, "%d %s\n", len(v), v)
	}
}

// hashOf names the content of an entry of the tree.
func (t *Tree) hashOf(e Entry) string {
	kind := strconv.Itoa(int(e.Kind)) + " "
	if h, ok := t.source.(Hasher); ok {
		return kind + h.Hash(e.ID)
	}
	return kind + t.digest + " " + e.ID
}

// composition is the Source of a composed tree. The ID of a directory that a part lies below is the index of
// its node; that of anything else names a layer and the ID in there.
type composition struct {
	layers []Source
	nodes  []*node
}

// node is a directory that is not shown as its layer has it.
type node struct {
	layer int // of what lies beneath; -1 for nothing
	id    string
	over  map[string]Entry // hides what has the same name beneath
	inner map[string]*node // of the entries of over that are nodes
	index int
}

func nodeID(index int) string { return "n" + strconv.Itoa(index) }

func (c *composition) layered(layer int, id string) string {
	return strconv.Itoa(layer) + " " + id
}

// parse is the reverse of layered; a node has the layer -1.
func (c *composition) parse(id string) (layer int, rest string, n *node) {
	if index, ok := strings.CutPrefix(id, "n"); ok {
		if i, err := strconv.Atoi(index); err == nil && i < len(c.nodes) {
			return -1, "", c.nodes[i]
		}
	}
	number, rest, _ := strings.Cut(id, " ")
	layer, err := strconv.Atoi(number)
	if err != nil || layer < 0 || layer >= len(c.layers) {
		return 0, rest, nil
	}
	return layer, rest, nil
}

// beneath returns the entry that the layer of a node has under a name.
func (c *composition) beneath(n *node, name string) (Entry, error) {
	if n.layer < 0 {
		return Entry{}, nil
	}
	e, err := c.layers[n.layer].Lookup(n.id, name)
	return c.wrap(n.layer, e), err
}

func (c *composition) wrap(layer int, e Entry) Entry {
	if e.Kind != 0 {
		e.ID = c.layered(layer, e.ID)
	}
	return e
}

func (c *composition) child(n *node, name string) (Entry, error) {
	if e, ok := n.over[name]; ok {
		return e, nil
	}
	return c.beneath(n, name)
}

// set makes an entry hide what is beneath.
func (n *node) set(e Entry, inner *node) {
	if n.over == nil {
		n.over, n.inner = map[string]Entry{}, map[string]*node{}
	}
	n.over[e.Name] = e
	delete(n.inner, e.Name)
	if inner != nil {
		n.inner[e.Name] = inner
	}
}

// open makes the directory of a name a node: one of its own, over what is there.
func (c *composition) open(n *node, name string, e Entry) *node {
	if inner, ok := n.inner[name]; ok {
		return inner
	}
	inner := &node{layer: -1}
	if e.Kind == Directory {
		inner.layer, inner.id, _ = c.parse(e.ID)
	}
	inner.index = len(c.nodes)
	c.nodes = append(c.nodes, inner)
	n.set(Entry{Name: name, Kind: Directory, ID: nodeID(inner.index)}, inner)
	return inner
}

// show shows an entry of the base at its own path, in a tree that shows nothing else of it. What is shown by
// a path above stays.
func (c *composition) show(root *node, name string, e Entry) {
	if name == "." {
		root.layer, root.id, root.over, root.inner = 0, e.ID, nil, nil
		return
	}
	n := root
	parts := strings.Split(name, "/")
	for i, part := range parts {
		if n.layer >= 0 {
			return // all of this directory is shown
		}
		if i == len(parts)-1 {
			e.Name = part
			n.set(c.wrap(0, e), nil)
			return
		}
		if _, shown := n.over[part]; shown && n.inner[part] == nil {
			return // a path above shows all of it
		}
		n = c.open(n, part, Entry{})
	}
}

// place shows a part at its path, in directories that are made where there are none.
func (c *composition) place(root *node, p Part, e Entry) error {
	n := root
	parts := strings.Split(p.At, "/")
	for i, part := range parts {
		there, err := c.child(n, part)
		if err != nil {
			return err
		}
		if i == len(parts)-1 {
			switch {
			case p.Submodule && there.Kind != Submodule:
				return fmt.Errorf("%q: %w", p.At, fs.ErrNotExist)
			case !p.Submodule && there.Kind != 0:
				return fmt.Errorf("%q: %w", p.At, ErrOccupied)
			}
			n.set(e, nil)
			return nil
		}
		if there.Kind != 0 && there.Kind != Directory {
			return fmt.Errorf("%q: %w", path.Join(parts[:i+1]...), ErrOccupied)
		}
		n = c.open(n, part, there)
	}
	return nil
}

func (c *composition) Lookup(dir, name string) (Entry, error) {
	layer, id, n := c.parse(dir)
	if n != nil {
		return c.child(n, name)
	}
	e, err := c.layers[layer].Lookup(id, name)
	return c.wrap(layer, e), err
}

func (c *composition) List(dir string) ([]Entry, error) {
	layer, id, n := c.parse(dir)
	if n == nil {
		entries, err := c.layers[layer].List(id)
		wrapped := make([]Entry, len(entries)) // the source keeps its own
		for i, e := range entries {
			wrapped[i] = c.wrap(layer, e)
		}
		return wrapped, err
	}
	var entries []Entry
	var err error
	if n.layer >= 0 {
		var beneath []Entry
		beneath, err = c.layers[n.layer].List(n.id)
		for _, e := range beneath {
			if _, hidden := n.over[e.Name]; !hidden {
				entries = append(entries, c.wrap(n.layer, e))
			}
		}
	}
	for _, e := range n.over {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return entries, err
}

func (c *composition) Read(file string) ([]byte, error) {
	layer, id, n := c.parse(file)
	if n != nil {
		return nil, &fs.PathError{Op: "read", Path: file, Err: fs.ErrNotExist}
	}
	return c.layers[layer].Read(id)
}
