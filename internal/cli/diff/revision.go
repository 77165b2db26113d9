package diff

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	gitobject "github.com/go-git/go-git/v5/plumbing/object"

	"github.com/skerry-dev/skerry/internal/cli/build"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/tree"
)

// maxRevision bounds what is read of a revision, in bytes.
const maxRevision = 256 << 20

// revisionTree reads the files below dir as a revision of the Git repository has them that dir is in.
func revisionTree(dir, revision string) (*tree.Tree, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read --path: %w", err)
	}
	repository, err := git.PlainOpenWithOptions(dir, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if err != nil {
		return nil, factory.Next(fmt.Errorf("cannot open the Git repository at %s: %w", dir, err), "name a checkout with --path")
	}
	hash, err := repository.ResolveRevision(plumbing.Revision(revision))
	if err != nil {
		return nil, factory.Next(fmt.Errorf("there is no revision %q in the repository at %s: %w", revision, dir, err), "fetch it first, or name another")
	}
	commit, err := repository.CommitObject(*hash)
	if err != nil {
		return nil, fmt.Errorf("cannot read revision %q: %w", revision, err)
	}
	root, err := commit.Tree()
	if err != nil {
		return nil, fmt.Errorf("cannot read the files of revision %q: %w", revision, err)
	}
	if root, err = below(repository, root, dir); err != nil {
		return nil, err
	}
	files, err := filesOf(root)
	if err != nil {
		return nil, fmt.Errorf("cannot read the files of revision %q: %w", revision, err)
	}
	return tree.New(revision, files)
}

// below returns the part of the root of a repository that a directory of its work tree shows.
func below(repository *git.Repository, root *gitobject.Tree, dir string) (*gitobject.Tree, error) {
	work, err := repository.Worktree()
	if err != nil {
		return root, nil //nolint:nilerr // without a work tree, all of it is meant
	}
	top, err := filepath.EvalSymlinks(work.Filesystem.Root())
	if err != nil {
		return nil, fmt.Errorf("cannot find the work tree: %w", err)
	}
	rel, err := filepath.Rel(top, dir)
	if err != nil || rel == "." {
		return root, nil //nolint:nilerr // it is the work tree itself
	}
	part, err := root.Tree(filepath.ToSlash(rel))
	if err != nil {
		return nil, fmt.Errorf("the revision has no folder %s: %w", rel, err)
	}
	return part, nil
}

func filesOf(root *gitobject.Tree) (map[string]tree.File, error) {
	files, size := map[string]tree.File{}, int64(0)
	err := root.Files().ForEach(func(f *gitobject.File) error {
		if size += f.Size; size > maxRevision {
			return fmt.Errorf("they have more than %d MiB", maxRevision>>20)
		}
		data, err := f.Contents()
		if err != nil {
			return err
		}
		files[f.Name] = tree.File{Data: []byte(data), Link: f.Mode == filemode.Symlink}
		return nil
	})
	return files, err
}

// Rendered compares what is rendered of two revisions for the same clusters.
func Rendered(was, is *build.Made) []Result {
	before, after := byCluster(was), byCluster(is)
	secrets := slices.Concat(was.Secrets(), is.Secrets())
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	if secrets == nil {
		secrets = []string{}
	}
	all := maps.Clone(before)
	maps.Copy(all, after)
	var out []Result
	same := map[[2]*build.Rendered]Result{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		pair := [2]*build.Rendered{before[name], after[name]}
		r, known := same[pair]
		if !known {
			r = compareRendered(pair[0], pair[1], secrets)
			same[pair] = r
		}
		r.Cluster = name
		out = append(out, r)
	}
	return out
}

func byCluster(m *build.Made) map[string]*build.Rendered {
	out := map[string]*build.Rendered{}
	for i := range m.For {
		for _, name := range m.For[i].Clusters {
			out[name] = &m.For[i]
		}
	}
	return out
}

func compareRendered(was, is *build.Rendered, secrets []string) Result {
	var r Result
	for _, side := range []struct {
		*build.Rendered
		note string
	}{{was, "before: "}, {is, ""}} {
		if side.Rendered != nil && side.Err != nil {
			r.Refused = append(r.Refused, Problem{Reason: build.Reason(side.Err), Message: side.note + side.Err.Error()})
		}
	}
	if len(r.Refused) > 0 {
		return r
	}
	old, now := index(was), index(is)
	ids := maps.Clone(old)
	maps.Copy(ids, now)
	for _, id := range slices.SortedFunc(maps.Keys(ids), object.Order) {
		x, had := old[id]
		y, has := now[id]
		if c, ok := compareObjects(x, y, had, has, secrets); ok {
			r.Changes = append(r.Changes, c)
		}
	}
	return r
}

func index(r *build.Rendered) map[object.ID]object.Object {
	out := map[object.ID]object.Object{}
	if r != nil {
		for _, o := range r.Objects {
			out[o.ID] = o
		}
	}
	return out
}

func compareObjects(x, y object.Object, had, has bool, secrets []string) (Change, bool) {
	before, err := decodeIf(x, had)
	if err != nil {
		return Change{}, false
	}
	after, err := decodeIf(y, has)
	switch {
	case err != nil:
		return Change{}, false
	case !had:
		return Change{Action: Create, Object: Ref{}.of(y), Fields: Whole(after, secrets)}, true
	case !has:
		return Change{Action: Delete, Object: Ref{}.of(x)}, true
	}
	fields := Compare(before, after, secrets)
	return Change{Action: Update, Object: Ref{}.of(y), Fields: fields}, len(fields) > 0
}

func decodeIf(o object.Object, there bool) (map[string]any, error) {
	if !there {
		return nil, nil //nolint:nilnil // there is none
	}
	return decode(o)
}
