// Package ownfiles keeps what the hub stores on a disk from other users of the machine.
package ownfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Restrict takes every right of others from what lies in dir, and from dir itself: folders get mode 0700
// and files 0600. It is for what an earlier version, or a process with another umask, has left there.
// Symbolic links are left as they are and not followed. What belongs to another user is left as it is,
// since only that user can change it; what goes away meanwhile is no error.
func Restrict(dir string) error {
	root, err := os.OpenRoot(dir) // nothing below it leads out of it, also when it changes meanwhile
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err == nil {
		err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error { return restrict(root, name, d, err) })
		err = errors.Join(err, root.Close())
	}
	if err != nil {
		return fmt.Errorf("cannot restrict the rights to %s: %w", dir, err)
	}
	return nil
}

func restrict(root *os.Root, name string, d fs.DirEntry, err error) error {
	if err == nil && d.Type()&fs.ModeSymlink == 0 {
		err = restrictOne(root, name, d)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

func restrictOne(root *os.Root, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o600)
	if d.IsDir() {
		mode = 0o700
	}
	if perm := info.Mode().Perm(); perm&0o077 == 0 && perm&mode == mode {
		return nil
	}
	return root.Chmod(name, mode)
}
