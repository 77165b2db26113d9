// Package ownfiles keeps what the hub stores on a disk from other users of the machine.
package ownfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Restrict takes every right of others from what lies in dir, and from dir itself: folders get mode 0700
// and files 0600. It is for what an earlier version, or a process with another umask, has left there.
// Symbolic links are left as they are and not followed. What belongs to another user is left as it is,
// since only that user can change it; what goes away meanwhile is no error.
func Restrict(dir string) error {
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o600)
		if d.IsDir() {
			mode = 0o700
		}
		if info.Mode().Perm()&0o077 == 0 && info.Mode().Perm()&mode == mode {
			return nil
		}
		if err := os.Chmod(name, mode); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot restrict the rights to %s: %w", dir, err)
	}
	return nil
}
