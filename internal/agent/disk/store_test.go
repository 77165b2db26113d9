package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func testKey(t *testing.T, b byte) *Key {
	t.Helper()
	k, err := NewKey(bytes.Repeat([]byte{b}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func content(t *testing.T, s *Store) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range s.List("") {
		if data, err := s.Read(name); err == nil {
			out[name] = string(data)
		}
	}
	return out
}

func TestRecordsSurviveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agent")
	s := Open(dir, testKey(t, 1), Options{})
	for name, text := range map[string]string{"assignment": "one", "bundle-a": strings.Repeat("x", 10000), "bundle-b": ""} {
		if err := s.Write(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	s.Remove("bundle-b")
	want := map[string]string{"assignment": "one", "bundle-a": strings.Repeat("x", 10000)}
	again := Open(dir, testKey(t, 1), Options{})
	if diff := cmp.Diff(want, content(t, again)); diff != "" || again.Problem() != nil {
		t.Errorf("after a restart (-want +got), with the problem %v:\n%s", again.Problem(), diff)
	}
	if got := again.List("bundle-"); !slices.Equal(got, []string{"bundle-a"}) {
		t.Errorf("records that begin with bundle-: %v", got)
	}
}

// TestADiskTellsNothingWithoutTheKey: neither content nor a name passes for another.
func TestADiskTellsNothingWithoutTheKey(t *testing.T) {
	dir := t.TempDir()
	s := Open(dir, testKey(t, 1), Options{})
	const secret = "password: hunter2 hunter2 hunter2"
	if err := s.Write("bundle-a", []byte(secret)); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(s.file("bundle-a"))
	if err != nil || bytes.Contains(raw, []byte("hunter2")) {
		t.Errorf("the file shows what it holds: %v", err)
	}
	if err := os.WriteFile(s.file("bundle-b"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read("bundle-b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a record under another name was read: %v", err)
	}
	if _, err := Open(dir, testKey(t, 2), Options{}).Read("bundle-a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a record was read with another key: %v", err)
	}
}

// TestDamageIsNoticed cuts a file off at each length, and flips each of its bits.
func TestDamageIsNoticed(t *testing.T) {
	s := Open(t.TempDir(), testKey(t, 1), Options{})
	damage := func(what string, change func([]byte) []byte) {
		if err := s.Write("state", []byte("sequence 7")); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(s.file("state"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.file("state"), change(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		if data, err := s.Read("state"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s: read %q, %v", what, data, err)
		}
		if _, err := os.Stat(s.file("state")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s: the file is still there: %v", what, err)
		}
	}
	if err := s.Write("state", []byte("sequence 7")); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(s.file("state"))
	for n := range raw {
		damage(fmt.Sprintf("cut off after %d bytes", n), func(b []byte) []byte { return b[:min(n, len(b)-1)] })
		damage(fmt.Sprintf("bit %d of byte %d", n%8, n), func(b []byte) []byte { b[n%len(b)] ^= 1 << (n % 8); return b })
	}
	if got := s.Damaged(); len(got) != 2*len(raw) || got[0] != "state" || len(s.Damaged()) != 0 {
		t.Errorf("%d damages are named, want %d, once", len(got), 2*len(raw))
	}
}

// TestKilledAtAnyStep kills the process at each step of each write and removal of a random history: what the
// next process reads is each record as it was before or after, never anything else.
func TestKilledAtAnyStep(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			for at := 0; ; at++ {
				r := rand.New(rand.NewPCG(seed, 1))
				dir, step, killed := t.TempDir(), 0, false
				s := Open(dir, testKey(t, 1), Options{before: func(string) error {
					if step++; step > at {
						killed = true
						return errKilled
					}
					return nil
				}})
				before, after := map[string]string{}, map[string]string{}
				for range 6 {
					name, text := fmt.Sprintf("r-%d", r.IntN(3)), fmt.Sprint(r.Uint64())
					before = maps.Clone(after)
					if r.IntN(4) == 0 {
						delete(after, name)
						s.Remove(name)
					} else {
						after[name] = text
						_ = s.Write(name, []byte(text))
					}
					if killed {
						break
					}
				}
				next := Open(dir, testKey(t, 1), Options{})
				got := content(t, next)
				if !maps.Equal(got, before) && !maps.Equal(got, after) {
					t.Fatalf("killed at step %d: %v, want %v or %v", at, got, before, after)
				}
				if left, _ := filepath.Glob(filepath.Join(dir, tempPrefix+"*")); len(left) > 0 || next.Problem() != nil {
					t.Fatalf("killed at step %d: left behind %v, problem %v", at, left, next.Problem())
				}
				if !killed {
					return
				}
			}
		})
	}
}

// TestGoesOnWithoutADisk: what the disk refuses is kept in memory, named, and written when it can be.
func TestGoesOnWithoutADisk(t *testing.T) {
	for reason, refusal := range map[string]error{
		v1alpha1.AgentDiskFullReason:     &fs.PathError{Op: "write", Path: "tmp-1", Err: syscall.ENOSPC},
		v1alpha1.AgentDiskReadOnlyReason: &fs.PathError{Op: "open", Path: "tmp-1", Err: syscall.EROFS},
		v1alpha1.AgentDiskFailedReason:   &fs.PathError{Op: "write", Path: "tmp-1", Err: syscall.EIO},
	} {
		t.Run(reason, func(t *testing.T) {
			dir, refuses := t.TempDir(), error(nil)
			s := Open(dir, testKey(t, 1), Options{MaxUnsaved: 400, before: func(string) error { return refuses }})
			if err := s.Write("assignment", []byte("old")); err != nil {
				t.Fatal(err)
			}
			if err := s.Write("large", []byte("old")); err != nil {
				t.Fatal(err)
			}
			refuses = refusal
			large := make([]byte, 1000)
			for i := range large {
				large[i] = byte(rand.IntN(256))
			}
			if err := s.Write("assignment", []byte("new")); err == nil {
				t.Error("a refused write went well")
			}
			if err := s.Write("large", large); err == nil {
				t.Error("a refused write went well")
			}
			if diff := cmp.Diff(map[string]string{"assignment": "new"}, content(t, s)); diff != "" {
				t.Errorf("while the disk refuses (-want +got):\n%s", diff)
			}
			first := s.Problem()
			s.Retry()
			if p := s.Problem(); p == nil || p.Reason != reason || p.Message != first.Message || strings.Contains(p.Message, "tmp-") {
				t.Errorf("the problem is %+v, then %+v", first, p)
			}
			refuses = nil
			s.Retry()
			if p := s.Problem(); p != nil {
				t.Errorf("the problem is still %+v", p)
			}
			if diff := cmp.Diff(map[string]string{"assignment": "new"}, content(t, Open(dir, testKey(t, 1), Options{}))); diff != "" {
				t.Errorf("after a restart (-want +got):\n%s", diff)
			}
		})
	}
}

// TestALostDiskIsNamedAndTakenAgain: a folder that is removed is made anew, and one that cannot be is a
// problem and no end.
func TestALostDiskIsNamedAndTakenAgain(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "agent")
	s := Open(dir, testKey(t, 1), Options{})
	if err := s.Write("a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read of a lost disk: %v", err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file in the folder's place
		t.Fatal(err)
	}
	if err := s.Write("a", []byte("2")); err == nil || s.Problem() == nil {
		t.Errorf("written into a file: %v, %v", err, s.Problem())
	}
	if got, err := s.Read("a"); err != nil || string(got) != "2" {
		t.Errorf("read %q, %v; want what was written last", got, err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	s.Retry()
	if diff := cmp.Diff(map[string]string{"a": "2"}, content(t, Open(dir, testKey(t, 1), Options{}))); diff != "" || s.Problem() != nil {
		t.Errorf("after the disk is back, with %v (-want +got):\n%s", s.Problem(), diff)
	}
}

func TestNamesStayInTheFolder(t *testing.T) {
	s := Open(t.TempDir(), testKey(t, 1), Options{})
	for _, name := range []string{"", "..", "a/b", "../a", "A", "a.b", strings.Repeat("a", 129)} {
		if err := s.Write(name, nil); err == nil {
			t.Errorf("%q is taken for a name", name)
		}
		if _, err := s.Read(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read of %q: %v", name, err)
		}
	}
}
