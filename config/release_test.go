package config_test

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestReleaseIsReproducible: the same source gives the same binary wherever it lies, so that anyone can
// check what a release was built from.
func TestReleaseIsReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("links the command line twice")
	}
	here, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	for _, dir := range []string{"api", "cmd", "config", "controllers", "internal"} {
		if err := os.CopyFS(filepath.Join(elsewhere, dir), os.DirFS(filepath.Join(here, dir))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(here, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(elsewhere, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if first, second := buildCLI(t, here), buildCLI(t, elsewhere); first != second {
		t.Errorf("the binary depends on the folder that it is built in: %x and %x", first, second)
	}
}

func buildCLI(t *testing.T, dir string) [sha256.Size]byte {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "skerry")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", binary, "./cmd/skerry")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	data, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}
