package ownfiles_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/ownfiles"
)

func TestRestrictTakesRightsOfOthers(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	dir := filepath.Join(t.TempDir(), "store")
	for _, err := range []error{
		os.WriteFile(outside, nil, 0o644),
		os.MkdirAll(filepath.Join(dir, "repo", "refs"), 0o755),
		os.WriteFile(filepath.Join(dir, "repo", "HEAD"), nil, 0o644),
		os.WriteFile(filepath.Join(dir, "repo", "pack"), nil, 0o444),
		os.WriteFile(filepath.Join(dir, "kept"), nil, 0o600),
		os.Symlink(outside, filepath.Join(dir, "link")),
		ownfiles.Restrict(dir),
		ownfiles.Restrict(filepath.Join(dir, "none")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]fs.FileMode{}
	for _, name := range []string{".", "repo", "repo/refs", "repo/HEAD", "repo/pack", "kept", "outside"} {
		p := filepath.Join(dir, name)
		if filepath.Base(name) == "outside" {
			p = outside
		}
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		got[filepath.Base(name)] = info.Mode().Perm()
	}
	want := map[string]fs.FileMode{".": 0o700, "repo": 0o700, "refs": 0o700, "HEAD": 0o600, "pack": 0o600, "kept": 0o600, "outside": 0o644}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
}
