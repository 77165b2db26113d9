package bundlestore

import (
	"errors"
	"os"
	"strconv"
)

// write makes a whole file appear at once: a name shows only when its content is on disk.
func (s *Store) write(root *os.Root, name string, data []byte) error {
	s.mu.Lock()
	s.temps++
	temp := tempPrefix + strconv.Itoa(s.temps)
	s.mu.Unlock()
	err := writeSynced(root, temp, data)
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(root.Remove(temp)))
	}
	return syncFolder(root)
}

func writeSynced(root *os.Root, name string, data []byte) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncFolder makes the new name itself survive a power cut.
func syncFolder(root *os.Root) error {
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
