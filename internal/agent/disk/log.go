package disk

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	logSuffix = ".log"
	// maxLog bounds a log, in bytes. Pieces beyond it are not kept.
	maxLog = 256 << 10
)

// Append adds a piece to the log of a name. It does not wait for the disk: the piece survives the end of the process,
// and reaches the disk when the kernel writes it there, unless DropLog came first. So the pieces of a quiet minute cost
// an SD card nothing. What the machine loses when its power goes is for Write to keep.
func (s *Store) Append(name string, piece []byte) {
	if !valid(name) {
		return
	}
	sealed, err := s.key.sealed(name+logSuffix, piece)
	if err != nil {
		return // no randomness: Write fails as well, and returns the error
	}
	frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(sealed))), sealed...)
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.appendFrame(name, frame)
	if errors.Is(err, fs.ErrNotExist) { // the folder was removed
		if err = s.prepare(); err == nil {
			err = s.appendFrame(name, frame)
		}
	}
	if err != nil {
		s.note(err)
	}
}

// appendFrame writes a frame at the end of a log, whole or not at all: what is read ends at a frame that is not whole.
func (s *Store) appendFrame(name string, frame []byte) error {
	f, err := os.OpenFile(s.log(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size()+int64(len(frame)) <= maxLog {
		if _, err = f.Write(frame); err != nil {
			err = errors.Join(err, f.Truncate(info.Size()))
		}
	}
	return errors.Join(err, f.Close())
}

// Log returns the pieces of a log in their order, up to the first that is damaged, and cuts off the rest: what is
// appended after it could not be read.
func (s *Store) Log(name string) [][]byte {
	if !valid(name) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data, err := os.ReadFile(s.log(name))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.note(err)
		}
		return nil
	}
	var pieces [][]byte
	whole := 0
	for rest := data; len(rest) >= 4; rest = data[whole:] {
		end := 4 + int64(binary.BigEndian.Uint32(rest))
		if end > int64(len(rest)) {
			break
		}
		piece, err := s.key.opened(name+logSuffix, rest[4:end])
		if err != nil {
			break
		}
		pieces, whole = append(pieces, piece), whole+int(end)
	}
	if whole < len(data) {
		if err := os.Truncate(s.log(name), int64(whole)); err != nil {
			s.note(err)
		}
	}
	return pieces
}

// DropLog removes a log, if it is there.
func (s *Store) DropLog(name string) {
	if !valid(name) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ignoreMissing(os.Remove(s.log(name))); err != nil {
		s.note(err)
	}
}

func (s *Store) log(name string) string { return filepath.Join(s.dir, name+logSuffix) }
