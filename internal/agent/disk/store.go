// Package disk keeps the records that an agent works from while its hub is out of reach: the Assignment, the
// bundles, and the agent's own state.
//
// It promises that Read returns what Write was given last, or nothing: a file that is cut off, changed,
// or another record's is removed, and counts as missing. A process that is killed at any point leaves the
// record as it was before or as it was to be. Each record is compressed and sealed.
//
// The disk may be full, read-only or gone. Records that it refuses are kept in memory, within a bound, and
// written when it takes them again; Problem returns the reason meanwhile. So the agent goes on, and what a
// restart then costs is a download.
package disk

import (
	"compress/flate"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/deflate"
	"github.com/skerry-dev/skerry/internal/ownfiles"
)

const (
	tempPrefix = "tmp-"
	suffix     = ".rec"

	defaultUnsaved = 16 << 20
	// maxRecord bounds one record after decompression: far above the largest bundle that a hub renders.
	maxRecord = 256 << 20
)

// Problem is why the disk cannot be used as it should be.
type Problem struct {
	// Reason is one of the reasons in api/v1alpha1.
	Reason  string
	Message string
}

// Options of a Store.
type Options struct {
	// MaxUnsaved bounds the sealed bytes of records that the disk refused; 16 MiB when zero.
	MaxUnsaved int
	// OnChange is called when Problem or Damaged may return something new. It must return at once, and not call the store.
	OnChange func()
	// before is called before each step of a write; an error ends the write there. For tests.
	before func(step string) error
}

// Store is a folder of records. It is safe for concurrent use.
type Store struct {
	dir string
	key *Key
	o   Options

	mu      sync.Mutex // guards what follows, and the folder
	unsaved map[string][]byte
	// removed are names whose file could not be removed: they count as missing.
	removed map[string]bool
	size    int // of unsaved
	problem *Problem
	damaged []string
}

// Open returns the store in a folder, which it makes, and removes what was never written to its end. It does
// not fail: a folder that cannot be used is a Problem.
func Open(dir string, key *Key, o Options) *Store {
	if o.MaxUnsaved == 0 {
		o.MaxUnsaved = defaultUnsaved
	}
	s := &Store{dir: dir, key: key, o: o, unsaved: map[string][]byte{}, removed: map[string]bool{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(s.prepare())
	return s
}

// prepare makes the folder, and removes temporary files.
func (s *Store) prepare() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := ownfiles.Restrict(s.dir); err != nil && !errors.Is(err, syscall.EROFS) {
		return err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.Remove(filepath.Join(s.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Write keeps a record, in place of an earlier one of that name. When it returns nil, the record has reached
// the disk. Otherwise it is kept in memory, where there is room, and the error names the disk's reason.
func (s *Store) Write(name string, plain []byte) error {
	if !valid(name) {
		return fmt.Errorf("%q is no name of a record", name)
	}
	packed, err := compressor.Compress(plain)
	if err != nil {
		return err
	}
	data, err := s.key.sealed(name, packed)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.save(name, data)
	s.forget(name)
	delete(s.removed, name)
	if err == nil {
		s.note(s.flush())
		return nil
	}
	if s.size+len(data) <= s.o.MaxUnsaved {
		s.unsaved[name], s.size = data, s.size+len(data)
	} else {
		s.removed[name] = true // an older record on the disk must not be read in its place
	}
	s.note(err)
	return fmt.Errorf("cannot keep %s on the disk: %w", name, nameless(err))
}

// Read returns a record. The error wraps fs.ErrNotExist when there is none, or none that is whole.
func (s *Store) Read(name string) ([]byte, error) {
	if !valid(name) {
		return nil, fmt.Errorf("%.80q is no name of a record: %w", name, fs.ErrNotExist)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed[name] {
		return nil, fmt.Errorf("cannot read %s: %w", name, fs.ErrNotExist)
	}
	data, kept := s.unsaved[name]
	if !kept {
		var err error
		if data, err = os.ReadFile(s.file(name)); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				s.note(err)
			}
			return nil, fmt.Errorf("cannot read %s: %w", name, missing(err))
		}
	}
	packed, err := s.key.opened(name, data)
	if err == nil {
		packed, err = deflate.Decompress(packed, maxRecord)
	}
	if err != nil {
		s.damaged = append(s.damaged, name)
		s.changed()
		if err := s.remove(name); err != nil {
			s.removed[name] = true
			s.note(err)
		}
		return nil, fmt.Errorf("cannot read %s, which was damaged and is removed: %w", name, fs.ErrNotExist)
	}
	return packed, nil
}

// missing is the error of a record that cannot be read, be it there or not: the caller goes on without it.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fs.ErrNotExist
	}
	return errors.Join(nameless(err), fs.ErrNotExist)
}

// Remove removes a record, if it is there.
func (s *Store) Remove(name string) {
	if !valid(name) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(name)
	if err := s.remove(name); err != nil {
		s.removed[name] = true
		s.note(err)
	}
}

// List returns the names of all records that begin with a prefix, sorted.
func (s *Store) List(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.unsaved {
		names = append(names, name)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.note(err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if ok && valid(name) && e.Type().IsRegular() && !s.removed[name] {
			names = append(names, name)
		}
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, prefix) })
	slices.Sort(names)
	return slices.Compact(names)
}

// Retry tries to write what the disk refused before, and probes the disk.
func (s *Store) Retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.problem == nil && len(s.unsaved) == 0 {
		return
	}
	err := s.prepare()
	if err == nil {
		err = s.flush()
	}
	if err == nil {
		err = s.probe()
	}
	s.note(err)
}

// probe writes and removes a small file.
func (s *Store) probe() error {
	const name = tempPrefix + "probe"
	err := s.writeSynced(name, []byte(sealMark))
	return errors.Join(err, ignoreMissing(os.Remove(filepath.Join(s.dir, name))))
}

// Problem returns why the disk cannot be used; nil when it can.
func (s *Store) Problem() *Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem
}

// Damaged returns the names of records that were found damaged since the last call.
func (s *Store) Damaged() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := s.damaged
	s.damaged = nil
	return names
}

// NeedsMaintenance reports whether there is something for Retry to try, or for Damaged to return.
func (s *Store) NeedsMaintenance() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem != nil || len(s.damaged) > 0
}

func (s *Store) changed() {
	if s.o.OnChange != nil {
		s.o.OnChange()
	}
}

// flush writes what the disk refused before.
func (s *Store) flush() error {
	for _, name := range slices.Sorted(maps.Keys(s.unsaved)) {
		if err := s.save(name, s.unsaved[name]); err != nil {
			return err
		}
		s.forget(name)
	}
	for name := range s.removed {
		if err := s.remove(name); err != nil {
			return err
		}
		delete(s.removed, name)
	}
	return nil
}

func (s *Store) forget(name string) {
	s.size -= len(s.unsaved[name])
	delete(s.unsaved, name)
}

func (s *Store) file(name string) string { return filepath.Join(s.dir, name+suffix) }

// save makes a whole file appear at once, and its name survive a power cut.
func (s *Store) save(name string, data []byte) error {
	temp := tempPrefix + name
	err := s.writeSynced(temp, data)
	if errors.Is(err, fs.ErrNotExist) { // the folder was removed
		if err = s.prepare(); err == nil {
			err = s.writeSynced(temp, data)
		}
	}
	if err == nil {
		err = s.step("rename")
	}
	if err == nil {
		err = os.Rename(filepath.Join(s.dir, temp), s.file(name))
	}
	if err == nil {
		err = s.syncFolder()
	}
	if err != nil && !errors.Is(err, errKilled) {
		return errors.Join(err, ignoreMissing(os.Remove(filepath.Join(s.dir, temp))))
	}
	return err
}

func (s *Store) writeSynced(name string, data []byte) error {
	if err := s.step("create"); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	half := len(data) / 2
	_, err = f.Write(data[:half])
	if err == nil {
		err = s.step("write")
	}
	if err == nil {
		_, err = f.Write(data[half:])
	}
	if err == nil {
		err = s.step("sync")
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (s *Store) syncFolder() error {
	if err := s.step("sync folder"); err != nil {
		return err
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) { // some file systems cannot
		err = nil
	}
	return errors.Join(err, d.Close())
}

func (s *Store) remove(name string) error {
	if err := s.step("remove"); err != nil {
		return err
	}
	return ignoreMissing(os.Remove(s.file(name)))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// errKilled is the end of the process, in tests.
var errKilled = errors.New("killed")

func (s *Store) step(name string) error {
	if s.o.before == nil {
		return nil
	}
	return s.o.before(name)
}

// note remembers how the last use of the disk ended.
func (s *Store) note(err error) {
	if err == nil && s.problem == nil {
		return
	}
	defer s.changed()
	if err == nil {
		s.problem = nil
		return
	}
	p := &Problem{Reason: v1alpha1.AgentDiskFailedReason, Message: fmt.Sprintf("the agent's disk cannot be used (%v): check that %s is a folder in which the agent can make files", nameless(err), s.dir)}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		p = &Problem{Reason: v1alpha1.AgentDiskFullReason, Message: "the agent's disk is full: free space there, or give it a larger volume"}
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		p = &Problem{Reason: v1alpha1.AgentDiskReadOnlyReason, Message: fmt.Sprintf("the agent's disk is read-only: make %s writable for the agent", s.dir)}
	}
	p.Message += "; until then a restart without the hub leaves the cluster as it is"
	s.problem = p
}

// nameless leaves out the name of the file, so that the same failure has the same message.
func nameless(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}

func valid(name string) bool {
	return name != "" && len(name) <= 128 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// compressor is a fast one: a record of an Assignment is written with each commit.
var compressor = deflate.New(flate.BestSpeed)
