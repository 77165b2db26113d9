package config_test

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestReleaseIsReproducible: the same source gives the same binaries wherever it lies, so that a user can check what a
// release was built from. Without the commit that make release sets as the version they are what it builds.
func TestReleaseIsReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("links every program twice")
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
	for _, program := range []string{"skerry", "skerry-agent", "skerry-hub", "skerry-sops"} {
		if first, second := buildProgram(t, here, program), buildProgram(t, elsewhere, program); first != second {
			t.Errorf("%s depends on the folder that it is built in: %x and %x", program, first, second)
		}
	}
}

func buildProgram(t *testing.T, dir, program string) [sha256.Size]byte {
	t.Helper()
	binary := filepath.Join(t.TempDir(), program)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", binary, "./cmd/"+program)
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
