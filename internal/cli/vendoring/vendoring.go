// Package vendoring is the command that copies into a repository what its kustomizations name elsewhere: the
// hub renders what lies in the repository and nothing else.
//
// Reading references and rewriting them is apart from fetching, and from the disk.
package vendoring

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/kustomize/api/konfig"

	"github.com/skerry-dev/skerry/internal/cli/build"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/tree"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Path   string
	DryRun bool
	// SecretFiles and TokenEnvs are HOST=FILE and HOST=VARIABLE.
	SecretFiles, TokenEnvs []string
	KnownHostsFile         string
}

// NewCmdVendor returns the command; runF replaces what it runs, for tests.
func NewCmdVendor(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = run
	}
	cmd := &cobra.Command{
		Use:   "vendor",
		Short: "Copy remote bases and files of kustomizations into the repository",
		Long: `Copy what kustomizations name by URL into the repository, and name the copies: the hub renders
the files of the repository and fetches no others (RemoteReference).

Every kustomization file below --path is read. A file goes to vendored/<host>/<path> beside it, a
base to vendored/<host>/<repository>@<commit>, with all files that it is rendered from and those
that it names remotely itself; a comment says where each is from. Branches and tags are resolved
to a commit now: run the command again with another ref to move on. Nothing is committed; look at
the change with git diff.

Everything is read without credentials, but for hosts that --secret-file or --token-env gives some,
which are shown to that host alone. What is named by an ssh URL and is not public is read with the
keys of the SSH agent, and known_hosts.`,
		Example: `  # Show what would be copied, then copy it
  skerry vendor --path . --dry-run
  skerry vendor --path .

  # From private repositories
  skerry vendor --token-env github.com=GITHUB_TOKEN
  skerry create secret git fleet --url https://git.example.com/team/base.git --password-stdin --export > secret.yaml
  skerry vendor --secret-file git.example.com=secret.yaml`,
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.Path, "path", ".", "local checkout of the repository")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "fetch, and show what would be copied, and write nothing")
	cmd.Flags().StringArrayVar(&o.SecretFiles, "secret-file", nil, "HOST=FILE: the credentials for a host, as the Secret that 'skerry create secret git --export' prints; can be given again")
	cmd.Flags().StringArrayVar(&o.TokenEnvs, "token-env", nil, "HOST=VARIABLE: the environment variable with the token for a host; can be given again")
	cmd.Flags().StringVar(&o.KnownHostsFile, "known-hosts-file", "", "host keys of SSH servers that are asked with the SSH agent (default: ~/.ssh/known_hosts)")
	_ = cmd.MarkFlagDirname("path")
	_ = cmd.MarkFlagFilename("known-hosts-file")
	return cmd
}

func run(ctx context.Context, o *Options) error {
	access, err := readAccess(o)
	if err != nil {
		return err
	}
	ctx, cancel := o.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "skerry-vendor-")
	if err != nil {
		return fmt.Errorf("cannot make a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	fetch, err := remote(dir, access)
	if err != nil {
		return err
	}
	checkout, err := build.Checkout(o.Path)
	if err != nil {
		return err
	}
	files := map[string]tree.File{}
	var done []copied
	for _, name := range checkout.Files() {
		if !isKustomization(name) {
			continue
		}
		data, err := checkout.ReadFile(name)
		if err != nil {
			continue // a link that leads nowhere
		}
		files[name] = tree.File{Data: data}
		replaced, err := vendor(ctx, fetch, files, name)
		if err != nil {
			return err
		}
		done = append(done, replaced...)
		if len(replaced) == 0 {
			delete(files, name)
		}
	}
	for _, c := range done {
		fmt.Fprintf(o.IO.Out, "%s: %s → %s\n", c.Kustomization, c.From, c.To)
	}
	switch {
	case len(done) == 0:
		o.IO.Progressf("no kustomization below %s names anything remote", o.Path)
	case o.DryRun:
		o.IO.Progressf("%d files would be written", len(files))
	default:
		if err := write(o.Path, files); err != nil {
			return err
		}
		o.IO.Progressf("%d files are written; look at them with git diff, and commit them", len(files))
	}
	return nil
}

// isKustomization reports whether a file is a kustomization of the repository's own.
func isKustomization(name string) bool {
	return slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(name)) && !slices.Contains(strings.Split(name, "/"), Folder)
}

// write puts the files below a directory, which no link leads out of: copies first and kustomizations last, so
// that what is interrupted is still what it was.
func write(dir string, files map[string]tree.File) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	defer root.Close()
	for _, kustomizations := range []bool{false, true} {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if isKustomization(name) != kustomizations {
				continue
			}
			if there, err := root.ReadFile(name); err == nil && bytes.Equal(there, files[name].Data) {
				continue
			}
			if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
				return fmt.Errorf("cannot write: %w", err)
			}
			if err := root.WriteFile(name, files[name].Data, 0o644); err != nil {
				return fmt.Errorf("cannot write: %w", err)
			}
		}
	}
	return nil
}
