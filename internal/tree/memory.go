package tree

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// File is one entry of a Tree in memory.
type File struct {
	// Data is the content of a regular file, or the target of a symbolic link.
	Data []byte
	// Link means that the entry is a symbolic link.
	Link bool
}

// New returns the tree of the files, which it keeps and which must not be changed afterwards. The
// digest names the content ("sha1:<git tree>"). Directories exist where a file lies below them. An
// unclean, absolute or escaping path is an error.
func New(digest string, files map[string]File) (*Tree, error) {
	m := memory{files: files, dirs: map[string][]Entry{".": nil}}
	for name, f := range files {
		if !fs.ValidPath(name) || name == "." {
			return nil, fmt.Errorf("cannot hold %q: %w", name, ErrOutside)
		}
		kind := Regular
		if f.Link {
			kind = Link
		}
		m.add(name, kind)
	}
	for dir := range m.dirs {
		slices.SortFunc(m.dirs[dir], func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	}
	return Open(digest, ".", m), nil
}

// memory is a Source whose IDs are paths.
type memory struct {
	files map[string]File
	dirs  map[string][]Entry
}

func (m memory) add(name string, kind Kind) {
	for {
		dir := path.Dir(name)
		_, known := m.dirs[dir]
		m.dirs[dir] = append(m.dirs[dir], Entry{Name: path.Base(name), Kind: kind, ID: name})
		if known || dir == "." {
			return
		}
		name, kind = dir, Directory
	}
}

func (m memory) Lookup(dir, name string) (Entry, error) {
	p := path.Join(dir, name)
	if f, ok := m.files[p]; ok && f.Link {
		return Entry{Name: name, Kind: Link, ID: p}, nil
	} else if ok {
		return Entry{Name: name, Kind: Regular, ID: p}, nil
	}
	if _, ok := m.dirs[p]; ok {
		return Entry{Name: name, Kind: Directory, ID: p}, nil
	}
	return Entry{}, nil
}

func (m memory) List(dir string) ([]Entry, error) { return m.dirs[dir], nil }

func (m memory) Read(file string) ([]byte, error) { return m.files[file].Data, nil }
