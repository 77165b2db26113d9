package migrating

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// unpack puts one of the repositories that the core is tested with into a folder.
func unpack(t *testing.T, name string) string {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("..", "..", "migrate", "testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, f := range archive.Files {
		rel, ok := strings.CutPrefix(f.Name, "before/")
		if !ok {
			continue
		}
		to := filepath.Join(dir, filepath.FromSlash(rel))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, f.Data, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// contents are the files below a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		out[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func migrateRepository(t *testing.T, change func(*Options)) (stdout, stderr string, err error) {
	t.Helper()
	s, _, out, errs := iostreams.Test()
	o := &Options{Factory: &factory.Factory{IO: s}}
	change(o)
	err = runRepository(t.Context(), o)
	return out.String(), errs.String(), err
}

// TestARepositoryIsShownWrittenAndCopied, which come to the same.
func TestARepositoryIsShownWrittenAndCopied(t *testing.T) {
	for _, name := range []string{"single-cluster", "monorepo", "multi-tenant", "what-stays"} {
		dir := unpack(t, name)
		if err := os.MkdirAll(filepath.Join(dir, ".git"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ".git", "HEAD"), []byte("ref: refs/heads/main\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		before := contents(t, dir)
		shown, _, err := migrateRepository(t, func(o *Options) { o.Path = dir })
		if err != nil || !strings.Contains(shown, "+apiVersion: skerry.dev/v1alpha1") || cmp.Diff(before, contents(t, dir)) != "" {
			t.Errorf("%s, shown: %v\n%s", name, err, shown)
		}
		beside := filepath.Join(t.TempDir(), "new")
		if _, _, err := migrateRepository(t, func(o *Options) { o.Path, o.OutputDir = dir, beside }); err != nil {
			t.Errorf("%s, beside: %v", name, err)
		}
		if cmp.Diff(before, contents(t, dir)) != "" {
			t.Errorf("%s: a copy changes the original", name)
		}
		_, said, err := migrateRepository(t, func(o *Options) { o.Path, o.Write = dir, true })
		if err != nil || !strings.Contains(said, "do not push it") {
			t.Errorf("%s, written: %v\n%s", name, err, said)
		}
		written := contents(t, dir)
		delete(written, filepath.Join(".git", "HEAD"))
		if diff := cmp.Diff(written, contents(t, beside)); diff != "" {
			t.Errorf("%s: a copy is another one than what is written:\n%s", name, diff)
		}
	}
}

func TestAFolderForTheCopyMustBeEmptyAndElsewhere(t *testing.T) {
	dir := unpack(t, "monorepo")
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, _, err := migrateRepository(t, func(o *Options) { o.Path, o.OutputDir = link, filepath.Join(t.TempDir(), "a", "b") }); err != nil {
		t.Errorf("by a link: %v", err)
	}
	for to, want := range map[string]string{filepath.Join(link, "new", "er"): "lies in the repository", dir: "lies in the repository", filepath.Join(dir, "new"): "lies in the repository", full: "is not empty"} {
		if _, _, err := migrateRepository(t, func(o *Options) { o.Path, o.OutputDir = dir, to }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// TestALinkIsNotWrittenThrough: what a link leads to is read where it lies, and once.
func TestALinkIsNotWrittenThrough(t *testing.T) {
	dir, outside := unpack(t, "monorepo"), filepath.Join(t.TempDir(), "outside.yaml")
	if err := os.WriteFile(outside, []byte("apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: x}\nspec: {interval: 1m, url: https://example.com/x, ref: {branch: main}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "outside.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("clusters", "base", "apps.yaml"), filepath.Join(dir, "again.yaml")); err != nil {
		t.Fatal(err)
	}
	shown, _, err := migrateRepository(t, func(o *Options) { o.Path, o.Write = dir, true })
	if err != nil || strings.Contains(shown, "again.yaml") || strings.Contains(shown, "outside.yaml") {
		t.Errorf("%v\n%s", err, shown)
	}
	if data, err := os.ReadFile(outside); err != nil || strings.Contains(string(data), "skerry") {
		t.Errorf("%v\n%s", err, data)
	}
}
