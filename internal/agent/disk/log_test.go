package disk

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func pieces(s *Store, name string) (out []string) {
	for _, p := range s.Log(name) {
		out = append(out, string(p))
	}
	return out
}

// TestALogEndsWhereItWasCut, and what is appended after that is read.
func TestALogEndsWhereItWasCut(t *testing.T) {
	dir := t.TempDir()
	s := Open(dir, testKey(t, 1), Options{})
	var want []string
	for i := range 3 {
		want = append(want, fmt.Sprintf("canary-%d", i))
		s.Append("journal", []byte(want[i]))
	}
	file := filepath.Join(dir, "journal"+logSuffix)
	whole, err := os.ReadFile(file)
	if err != nil || bytes.Contains(whole, []byte("canary")) {
		t.Fatalf("the log is in the clear, or none: %v", err)
	}
	for cut := range len(whole) + 1 {
		if err := os.WriteFile(file, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		n := cut / (len(whole) / 3)
		again := Open(dir, testKey(t, 1), Options{})
		if diff := cmp.Diff(want[:n], pieces(again, "journal")); diff != "" && n > 0 {
			t.Fatalf("of %d bytes (-want +got):\n%s", cut, diff)
		}
		again.Append("journal", []byte("later"))
		if got := pieces(Open(dir, testKey(t, 1), Options{}), "journal"); len(got) != n+1 || got[n] != "later" {
			t.Fatalf("after %d bytes and one more piece: %q", cut, got)
		}
	}
	if got := pieces(Open(dir, testKey(t, 2), Options{}), "journal"); len(got) != 0 {
		t.Errorf("with another key: %q", got)
	}
}

// TestALogIsBoundedAndDropped.
func TestALogIsBoundedAndDropped(t *testing.T) {
	dir := t.TempDir()
	s := Open(dir, testKey(t, 1), Options{})
	piece := bytes.Repeat([]byte("x"), 10<<10)
	for range 2 * maxLog / len(piece) {
		s.Append("journal", piece)
	}
	if info, err := os.Stat(filepath.Join(dir, "journal"+logSuffix)); err != nil || info.Size() > maxLog {
		t.Errorf("the log: %v, %v", info, err)
	}
	s.DropLog("journal")
	if got := s.Log("journal"); len(got) != 0 || s.Problem() != nil {
		t.Errorf("dropped: %d pieces, %v", len(got), s.Problem())
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.Append("journal", []byte("1"))
	if got := pieces(s, "journal"); len(got) != 1 || s.Problem() != nil {
		t.Errorf("after the folder was removed: %q, %v", got, s.Problem())
	}
}
