// Package migrating is the command that brings a repository, and a cluster, over from Flux.
//
// What moves and what does not is decided in internal/migrate; here files are read and written, and objects of a
// cluster, in an order in which nothing is deleted that stands there. It promises that it can be killed at any
// point and run again: each step looks at what is there.
package migrating

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/internal/cli/build"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/migrate"
	"github.com/skerry-dev/skerry/internal/text"
)

// Options of `migrate`.
type Options struct {
	*factory.Factory
	Path      string
	OutputDir string
	Write     bool
	DryRun    bool
	Format    string
}

// NewCmdMigrate returns the command; runF replaces what it runs, for tests.
func NewCmdMigrate(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runRepository
	}
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring a repository and a cluster over from Flux",
		Long: `Read the files of a Flux repository, and say line by line what becomes of its objects: what moves,
what means something else in Skerry, and what stays because Skerry has no counterpart, with the
reason and what to do. Without --write and --output-dir it shows the change and writes nothing.

Files are edited in place: comments, blank lines and the order of fields stay. An object moves as a
whole or stays as it is. Names, namespaces and references stay; the folder of Flux itself goes when
nothing of Flux is left, and 'skerry bootstrap' brings the hub's.

Do not push the change to the branch that Flux follows while Flux works on it: it would delete the
Kustomizations that left Git, and everything that they applied. 'skerry migrate cluster' suspends
them first.`,
		Example: `  # What would become of the repository
  skerry migrate --path .

  # Write it into the working tree, or beside it
  skerry migrate --path . --write
  skerry migrate --path . --output-dir ../fleet-skerry

  # Then the cluster: the plan, and the way over
  skerry migrate cluster --dry-run
  skerry migrate cluster`,
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Path, "path", ".", "local checkout of the repository")
	flags.BoolVar(&o.Write, "write", false, "write the change into the checkout")
	flags.StringVar(&o.OutputDir, "output-dir", "", "write the whole repository, changed, into this folder, which must be empty or not there")
	flags.BoolVar(&o.DryRun, "dry-run", false, "show the change and write nothing, as without --write and --output-dir")
	factory.AddOutputFlag(cmd, &o.Format)
	_ = cmd.MarkFlagDirname("path")
	_ = cmd.MarkFlagDirname("output-dir")
	cmd.MarkFlagsMutuallyExclusive("write", "output-dir", "dry-run")
	cmd.AddCommand(NewCmdCluster(f, nil))
	return cmd
}

func runRepository(_ context.Context, o *Options) error {
	if o.OutputDir != "" {
		if err := o.checkOutput(); err != nil {
			return err
		}
	}
	files, err := read(o.Path)
	if err != nil {
		return err
	}
	result := migrate.Repository(files)
	if err := o.show(&result, files); err != nil {
		return err
	}
	switch {
	case len(result.Files) == 0:
		o.IO.Progressf("nothing below %s is a kind of Flux that moves", o.Path)
		return nil
	case o.Write:
		if err := write(o.Path, result.Files); err != nil {
			return err
		}
		o.IO.Progressf("%s written; look at them with git diff", text.Count(len(result.Files), "file"))
	case o.OutputDir != "":
		if err := o.writeBeside(result.Files); err != nil {
			return err
		}
		o.IO.Progressf("the repository is in %s, with %s changed", o.OutputDir, text.Count(len(result.Files), "file"))
	default:
		o.IO.Progressf("%s would change; nothing is written without --write or --output-dir", text.Count(len(result.Files), "file"))
		return nil
	}
	o.IO.Progressf("%s do not push it to the branch that Flux follows before 'skerry migrate cluster' has suspended Flux there: it would delete what left Git", o.IO.Yellow("warning:"))
	return nil
}

// show prints what becomes of the repository: the notes, what holds in general, and without a place to write it to
// the change itself.
func (o *Options) show(r *migrate.Result, files map[string][]byte) error {
	if o.Format != "" {
		return factory.Print(o.IO.Out, o.Format, map[string]any{
			"notes": r.Notes, "general": r.General, "files": slices.Sorted(maps.Keys(r.Files)),
		})
	}
	for _, n := range r.Notes {
		fmt.Fprintln(o.IO.Out, paint(o.IO, n))
	}
	for _, general := range r.General {
		fmt.Fprintf(o.IO.Out, "in general: %s\n", general)
	}
	if !o.Write && o.OutputDir == "" {
		for _, name := range slices.Sorted(maps.Keys(r.Files)) {
			to := name
			if r.Files[name] == nil {
				to = "/dev/null"
			}
			fmt.Fprintf(o.IO.Out, "%s", iostreams.Clean(string(diff.Diff(name, files[name], to, r.Files[name]))))
		}
	}
	o.IO.Progressf("%s moved, %s, %s cannot move", text.Count(r.Count(migrate.Moved), "object"),
		text.Count(r.Count(migrate.Changed), "change")+" of meaning or reference", text.Count(r.Count(migrate.Stays), "object"))
	return nil
}

// paint is a note for a terminal.
func paint(s *iostreams.IOStreams, n migrate.Note) string {
	line := iostreams.Line(n.String())
	word := string(n.Outcome) + ":"
	if strings.HasSuffix(line, ": "+string(n.Outcome)+": "+n.Object) {
		word = string(n.Outcome)
	}
	colour := map[migrate.Outcome]func(string) string{migrate.Moved: s.Green, migrate.Changed: s.Yellow, migrate.Stays: s.Red, migrate.Removed: s.Bold}[n.Outcome]
	return strings.Replace(line, word, colour(word), 1)
}

// read reads what a migration looks at of a checkout: YAML, JSON and kustomizations. What is a link is read where
// it leads to, and once.
func read(dir string) (map[string][]byte, error) {
	checkout, err := build.Checkout(dir)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, name := range checkout.Files() {
		if ext := path.Ext(name); ext != ".yaml" && ext != ".yml" && ext != ".json" && path.Base(name) != "Kustomization" {
			continue
		}
		if real, err := checkout.Resolve(name); err != nil || real != name {
			continue
		}
		if files[name], err = checkout.ReadFile(name); err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", name, err)
		}
	}
	return files, nil
}

// write puts files below a directory, which no link leads out of, and takes away those without data: these come
// last, when nothing names them any more.
func write(dir string, files map[string][]byte) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	defer root.Close()
	var gone []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if files[name] == nil {
			gone = append(gone, name)
			continue
		}
		if err := root.WriteFile(name, files[name], 0o644); err != nil {
			return fmt.Errorf("cannot write: %w", err)
		}
	}
	for _, name := range gone {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove: %w", err)
		}
	}
	return nil
}

// checkOutput refuses a folder that has something in it, and one that Flux or a second run would read as part of
// the repository.
func (o *Options) checkOutput() error {
	from, err := resolved(o.Path)
	if err != nil {
		return fmt.Errorf("cannot read --path: %w", err)
	}
	o.Path = from // which a walk does not follow as a link
	to, err := resolved(o.OutputDir)
	if err != nil {
		return fmt.Errorf("cannot read --output-dir: %w", err)
	}
	if rel, err := filepath.Rel(from, to); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return factory.Usagef("--output-dir %s lies in the repository: name a folder beside it, or write into it with --write", o.OutputDir)
	}
	entries, err := os.ReadDir(to)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot read --output-dir: %w", err)
	}
	if len(entries) > 0 {
		return factory.Usagef("--output-dir %s is not empty", o.OutputDir)
	}
	return nil
}

// resolved returns where a path leads to, by the links of as much of it as is there.
func resolved(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(name)
	if dir := filepath.Dir(name); errors.Is(err, fs.ErrNotExist) && dir != name {
		if dir, err = resolved(dir); err == nil {
			real = filepath.Join(dir, filepath.Base(name))
		}
	}
	return real, err
}

// writeBeside copies the checkout, without what belongs to Git, and makes the changes in the copy.
func (o *Options) writeBeside(changed map[string][]byte) error {
	if err := os.MkdirAll(o.OutputDir, 0o755); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	root, err := os.OpenRoot(o.OutputDir) // no link in the copy leads out of it
	if err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	defer root.Close()
	err = filepath.WalkDir(o.Path, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(o.Path, name)
		if err != nil {
			return err
		}
		switch {
		case d.Name() == ".git" && d.IsDir():
			return filepath.SkipDir
		case d.Name() == ".git":
			return nil
		case d.IsDir():
			return root.MkdirAll(rel, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			return root.Symlink(target, rel)
		case !d.Type().IsRegular():
			return nil
		}
		return copyFile(name, root, rel)
	})
	if err != nil {
		return fmt.Errorf("cannot copy the repository: %w", err)
	}
	return write(o.OutputDir, changed)
}

func copyFile(from string, root *os.Root, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return root.WriteFile(to, data, info.Mode().Perm())
}
