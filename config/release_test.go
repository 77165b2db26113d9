package config_test

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// TestReleaseIsReproducible: the same source gives the same binaries wherever it lies, so that a user can check what a
// release was built from. Without the commit that make release sets as the version they are what it builds. The
// second build takes the packages that the first has compiled from Go's cache, so it proves that the folder is no input of
// a build, and that linking is reproducible; what a compiled package holds of the machine, TestBinariesNameNoFolder looks for.
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

// TestBinariesNameNoFolder looks into what "make build" made of every program, with the flags of a release.
func TestBinariesNameNoFolder(t *testing.T) {
	folders := map[string]string{}
	for name, args := range map[string][]string{"the source": {"list", "-m", "-f", "{{.Dir}}"}, "the modules": {"env", "GOMODCACHE"}, "the cache": {"env", "GOCACHE"}} {
		out, err := exec.CommandContext(t.Context(), "go", args...).Output()
		if err != nil {
			t.Fatalf("go %v: %v", args, err)
		}
		folders[name] = strings.TrimSpace(string(out))
	}
	programs, err := filepath.Glob("../cmd/*")
	if err != nil || len(programs) == 0 {
		t.Fatal(programs, err)
	}
	for _, program := range programs {
		name := filepath.Base(program)
		binary := filepath.Join("..", "bin", name)
		data, err := os.ReadFile(binary)
		if errors.Is(err, fs.ErrNotExist) {
			t.Skipf("%s is not built: make build", name)
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := buildinfo.Read(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []debug.BuildSetting{{Key: "-trimpath", Value: "true"}, {Key: "CGO_ENABLED", Value: "0"}} {
			if !slices.Contains(info.Settings, want) {
				t.Errorf("%s is not built with %s=%s", name, want.Key, want.Value)
			}
		}
		for what, folder := range folders {
			if bytes.Contains(data, []byte(folder)) {
				t.Errorf("%s holds the folder of %s, %s", name, what, folder)
			}
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
