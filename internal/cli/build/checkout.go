package build

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/tree"
)

// maxCheckout bounds what is read of a working tree, in bytes.
const maxCheckout = 256 << 20

// Checkout reads a working tree as it is, but for what belongs to Git itself. Symbolic links are read
// as such and followed within the tree alone, as in a commit.
func Checkout(dir string) (*tree.Tree, error) {
	files := map[string]tree.File{}
	size := 0
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read --path: %w", err)
	}
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == ".git" && d.IsDir():
			return filepath.SkipDir
		case d.Name() == ".git" || d.IsDir():
			return nil
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		f, ok, err := read(name, d)
		if err != nil || !ok {
			return err
		}
		if size += len(f.Data); size > maxCheckout {
			return fmt.Errorf("more than %d MiB: is this a repository?", maxCheckout>>20)
		}
		files[filepath.ToSlash(rel)] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read --path %s: %w", dir, err)
	}
	if len(files) == 0 {
		return nil, factory.Next(fmt.Errorf("cannot read --path %s: there are no files", dir), "--path names the root of a checkout of the repository")
	}
	return tree.New("checkout", files)
}

// read returns false for what Git does not keep: sockets, devices.
func read(name string, d fs.DirEntry) (tree.File, bool, error) {
	switch {
	case d.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(name)
		return tree.File{Data: []byte(filepath.ToSlash(target)), Link: true}, true, err
	case !d.Type().IsRegular():
		return tree.File{}, false, nil
	}
	data, err := os.ReadFile(name)
	return tree.File{Data: data}, true, err
}
