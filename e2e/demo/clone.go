package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// clone is a work tree of the config repository, as the person in the story has it.
type clone struct {
	dir    string
	screen *screen
}

// git runs a git command in the work tree and shows it as typed.
func (c *clone) git(ctx context.Context, args ...string) error {
	shown := make([]string, len(args))
	for i, a := range args {
		shown[i] = a
		if strings.Contains(a, " ") {
			shown[i] = fmt.Sprintf("%q", a)
		}
	}
	c.screen.command("git %s", strings.Join(shown, " "))
	return c.quietly(ctx, args...)
}

func (c *clone) quietly(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = c.dir, gitserver.Env()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// fill writes the files of a file system below the root of the work tree.
func (c *clone) fill(from fs.FS) error {
	return fs.WalkDir(from, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(c.dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, raw, 0o644)
	})
}

// edit replaces a text that must be in the file, and shows it as a diff does.
func (c *clone) edit(path, old, with string) error {
	file := filepath.Join(c.dir, filepath.FromSlash(path))
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if strings.Count(string(raw), old) != 1 {
		return fmt.Errorf("cannot edit %s: it holds %q %d times", path, old, strings.Count(string(raw), old))
	}
	c.screen.command("edit %s", path)
	c.screen.quote(prefixed("- ", old) + prefixed("+ ", with))
	return os.WriteFile(file, []byte(strings.Replace(string(raw), old, with, 1)), 0o644)
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(prefix + strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}
