package render

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// fileSystem shows kustomize the closure and nothing else: what has not been checked is not there.
// Reading is all it can do. Paths are absolute from the root of the tree.
type fileSystem struct {
	files map[string][]byte
	dirs  map[string]string
}

var _ filesys.FileSystem = fileSystem{}

func (f fileSystem) ReadFile(p string) ([]byte, error) {
	data, ok := f.files[path.Clean(p)]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: p, Err: fs.ErrNotExist}
	}
	return data, nil
}

func (f fileSystem) CleanedAbs(p string) (filesys.ConfirmedDir, string, error) {
	p = path.Clean(p)
	if dir, ok := f.dirs[p]; ok {
		return filesys.ConfirmedDir(dir), "", nil
	}
	if _, ok := f.files[p]; ok {
		return filesys.ConfirmedDir(path.Dir(p)), path.Base(p), nil
	}
	return "", "", &fs.PathError{Op: "stat", Path: p, Err: fs.ErrNotExist}
}

func (f fileSystem) IsDir(p string) bool {
	_, ok := f.dirs[path.Clean(p)]
	return ok
}

func (f fileSystem) Exists(p string) bool {
	_, _, err := f.CleanedAbs(p)
	return err == nil
}

func (f fileSystem) Create(p string) (filesys.File, error)    { return nil, readOnly("create", p) }
func (f fileSystem) Open(p string) (filesys.File, error)      { return nil, readOnly("open", p) }
func (f fileSystem) Mkdir(p string) error                     { return readOnly("mkdir", p) }
func (f fileSystem) MkdirAll(p string) error                  { return readOnly("mkdir", p) }
func (f fileSystem) RemoveAll(p string) error                 { return readOnly("remove", p) }
func (f fileSystem) WriteFile(p string, _ []byte) error       { return readOnly("write", p) }
func (f fileSystem) ReadDir(p string) ([]string, error)       { return nil, readOnly("list", p) }
func (f fileSystem) Glob(p string) ([]string, error)          { return nil, readOnly("list", p) }
func (f fileSystem) Walk(p string, _ filepath.WalkFunc) error { return readOnly("walk", p) }
func readOnly(op, p string) error                             { return fmt.Errorf("%s %s: files are only read", op, p) }
