package gitserver

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Repo is a bare repository of a Host. Commits are written straight into it, without a work tree.
type Repo struct {
	name, dir string

	mu sync.Mutex
	// clock is the time of the last commit in Unix seconds: it only moves by commits, so that the
	// same commits have the same hashes in every run.
	clock int64
}

// Repo returns the repository of that name ("config" or "team/config"), which it creates if it is
// not there, with "main" as its default branch and pushing allowed. Its path below every server's
// URL is NAME.git.
func (h *Host) Repo(name string) (*Repo, error) {
	r := &Repo{name: name, dir: filepath.Join(h.dir, filepath.FromSlash(name)+".git"), clock: 1_700_000_000}
	if _, err := os.Stat(filepath.Join(r.dir, "HEAD")); err == nil {
		return r, nil
	}
	ctx := context.Background()
	if _, err := run(ctx, "", nil, "init", "--quiet", "--bare", "--template=", "--initial-branch=main", r.dir); err != nil {
		return nil, err
	}
	if err := appendTo(filepath.Join(r.dir, "config"), settings); err != nil {
		return nil, err
	}
	return r, nil
}

// settings of every repository. Nothing of a repository has to survive the power of a test machine: waiting for its
// disk took most of the time of a commit.
const settings = "[http]\n\treceivepack = true\n[gc]\n\tauto = 0\n[core]\n\tfsync = none\n"

func appendTo(name, text string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot configure a repository: %w", err)
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// Dir is the folder of the bare repository.
func (r *Repo) Dir() string { return r.dir }

// Name is the name the repository was asked for by.
func (r *Repo) Name() string { return r.name }

// Change is one commit to be. Paths are slash-separated and relative to the root.
type Change struct {
	// Message defaults to "change".
	Message string
	// Write maps paths to the new contents of regular files.
	Write map[string]string
	// Delete lists the paths of files and folders to remove.
	Delete []string
	// Links maps paths of symbolic links to their targets.
	Links map[string]string
	// Submodules maps paths to the 40 hex digits of another repository's commit.
	Submodules map[string]string
	// Onto is the commit to start from: empty for the tip of the branch, "none" for no parent and
	// an empty tree, or any commit, by which the branch is rewritten as by a forced push.
	Onto string
	// Merge lists further parents, as a merge has; their files are not taken.
	Merge []string
}

// Commit applies the change to the branch and returns the hash of the new commit.
func (r *Repo) Commit(branch string, c Change) (string, error) {
	return r.Commits(branch, c)
}

// Commits applies changes to the branch, each on top of the one before unless its Onto names another commit, and
// returns the hash of the last. All of them take one process. Only the first may have no parent.
func (r *Repo) Commits(branch string, changes ...Change) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ref := "refs/heads/" + branch
	var b bytes.Buffer
	for i, c := range changes {
		from := c.Onto
		if from == "" && i == 0 {
			from = "none"
			if _, err := r.resolve(ref); err == nil {
				from = ref + "^0"
			}
		}
		if c.Onto == "none" {
			if i > 0 {
				return "", errors.New("only the first of several commits may have no parent")
			}
			// fast-import gives a branch that exists its tip as the parent of a commit without "from".
			if err := r.deleteRef(ref); err != nil {
				return "", err
			}
		}
		r.clock++
		r.write(&b, ref, from, c)
	}
	if _, err := run(context.Background(), r.dir, b.Bytes(), "fast-import", "--quiet", "--force"); err != nil {
		return "", err
	}
	return r.resolve(ref)
}

// write writes a commit as fast-import reads it. Without from it follows the one that was written before.
func (r *Repo) write(b *bytes.Buffer, ref, from string, c Change) {
	fmt.Fprintf(b, "commit %s\ncommitter Skerry <skerry@example.com> %d +0000\n", ref, r.clock)
	data(b, cmp.Or(c.Message, "change"))
	if from != "none" && from != "" {
		fmt.Fprintf(b, "from %s\n", from)
	}
	for _, parent := range c.Merge {
		fmt.Fprintf(b, "merge %s\n", parent)
	}
	if from == "none" {
		b.WriteString("deleteall\n")
	}
	for _, name := range c.Delete {
		fmt.Fprintf(b, "D %s\n", quote(name))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Write)) {
		fmt.Fprintf(b, "M 100644 inline %s\n", quote(name))
		data(b, c.Write[name])
	}
	for _, name := range slices.Sorted(maps.Keys(c.Links)) {
		fmt.Fprintf(b, "M 120000 inline %s\n", quote(name))
		data(b, c.Links[name])
	}
	for _, name := range slices.Sorted(maps.Keys(c.Submodules)) {
		fmt.Fprintf(b, "M 160000 %s %s\n", c.Submodules[name], quote(name))
	}
}

// Resolve returns the hash that a branch, a tag (of the tag object, if it is annotated) or any
// other revision stands for.
func (r *Repo) Resolve(revision string) (string, error) {
	out, err := run(context.Background(), r.dir, nil, "rev-parse", "--verify", "--quiet", revision)
	return strings.TrimSpace(out), err
}

// resolve reads a reference without a process where each lies in a file of its own.
func (r *Repo) resolve(ref string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(r.dir, filepath.FromSlash(ref)))
	if err == nil {
		return strings.TrimSpace(string(raw)), nil
	}
	if _, packed := os.Stat(filepath.Join(r.dir, "packed-refs")); packed != nil {
		return "", fmt.Errorf("there is no %s: %w", ref, err)
	}
	return r.Resolve(ref)
}

// Reset points the branch at any commit, as a forced push does.
func (r *Repo) Reset(branch, commit string) error {
	_, err := run(context.Background(), r.dir, nil, "update-ref", "refs/heads/"+branch, commit)
	return err
}

// Tag points a tag at a commit and moves it if it is there: an annotated one with a message, a
// light one without.
func (r *Repo) Tag(name, commit, message string) error {
	args := []string{"tag", "--force", name, commit}
	if message != "" {
		args = []string{"tag", "--force", "--annotate", "--message", message, name, commit}
	}
	_, err := run(context.Background(), r.dir, nil, args...)
	return err
}

// DeleteBranch removes a branch; that it is not there is no error.
func (r *Repo) DeleteBranch(branch string) error { return r.deleteRef("refs/heads/" + branch) }

func (r *Repo) deleteRef(ref string) error {
	_, err := run(context.Background(), r.dir, nil, "update-ref", "-d", ref)
	return err
}

// SetHead makes a branch the default one, whether it exists or not.
func (r *Repo) SetHead(branch string) error {
	_, err := run(context.Background(), r.dir, nil, "symbolic-ref", "HEAD", "refs/heads/"+branch)
	return err
}

// Config sets a value in the repository's configuration ("uploadpack.allowAnySHA1InWant", "true").
func (r *Repo) Config(key, value string) error {
	_, err := run(context.Background(), r.dir, nil, "config", key, value)
	return err
}

func data(b *bytes.Buffer, content string) {
	fmt.Fprintf(b, "data %d\n%s\n", len(content), content)
}

// quote writes a path as fast-import reads it.
func quote(name string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(name) + `"`
}
