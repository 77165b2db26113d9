package vendoring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/tree"
)

// Folder is the name of the folders that copies lie in.
const Folder = "vendored"

// Fetch brings what references name.
type Fetch struct {
	File       func(ctx context.Context, url string) ([]byte, error)
	Repository func(ctx context.Context, r reference) (files *tree.Tree, commit string, err error)
	// within are the bases that are being copied, each of which names the next one.
	within []reference
}

// copied is one reference that was replaced.
type copied struct{ Kustomization, From, To string }

// maxDepth bounds how many bases may name each other, one in another.
const maxDepth = 16

// maxRounds bounds how many kustomizations of one remote base may name remote bases themselves.
const maxRounds = 32

// vendor replaces the remote references of one kustomization file by references to copies, which it adds to
// the files.
func vendor(ctx context.Context, f Fetch, files map[string]tree.File, name string) ([]copied, error) {
	refs, err := remoteReferences(files[name].Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var done []copied
	lines := bytes.Split(slices.Clone(files[name].Data), []byte("\n"))
	for _, r := range refs {
		to, from, err := fetchReference(ctx, f, files, path.Dir(name), r)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %q: %w", name, r.line, render.WithoutCredentials(r.text), err)
		}
		line := lines[r.line-1]
		at := bytes.Index(line, []byte(r.text))
		if at < 0 {
			return nil, fmt.Errorf("%s: line %d: %q cannot be replaced as it is written there: write it plainly, in one line", name, r.line, render.WithoutCredentials(r.text))
		}
		made := slices.Concat(line[:at], []byte(to), line[at+len(r.text):])
		if !bytes.ContainsAny(made, "#{}[]") {
			made = append(bytes.TrimRight(made, " \r"), " # "+from...)
		}
		lines[r.line-1] = made
		done = append(done, copied{name, from, to})
	}
	if len(done) > 0 {
		files[name] = tree.File{Data: bytes.Join(lines, []byte("\n"))}
	}
	return done, nil
}

// fetchReference adds the copy of what a reference names, and returns the path that replaces it and where it is from.
func fetchReference(ctx context.Context, f Fetch, files map[string]tree.File, dir string, r found) (to, from string, err error) {
	parsed, err := parse(r.text, r.file)
	if err != nil {
		return "", "", err
	}
	if parsed.File != "" {
		data, err := f.File(ctx, parsed.File)
		if err != nil {
			return "", "", err
		}
		to, err := parsed.folder("")
		if err != nil {
			return "", "", err
		}
		files[path.Join(dir, to)] = tree.File{Data: data}
		return to, shown(parsed.File), nil
	}
	switch {
	case slices.Contains(f.within, parsed):
		return "", "", errors.New("it names itself, by the bases that it names")
	case len(f.within) == maxDepth:
		return "", "", errors.New("it is named by bases that name each other without end")
	}
	f.within = append(slices.Clip(f.within), parsed)
	base, commit, err := f.Repository(ctx, parsed)
	if err != nil {
		return "", "", err
	}
	to, err = parsed.folder(commit)
	if err != nil {
		return "", "", err
	}
	needed, err := closure(ctx, f, base, parsed.Path)
	if err != nil {
		return "", "", err
	}
	for name, file := range needed {
		files[path.Join(dir, to, name)] = file
	}
	from = parsed.Repository
	if parsed.Ref != "" && parsed.Ref != commit {
		from += " " + parsed.Ref
	}
	return path.Join(to, parsed.Path), from + " " + commit, nil
}

// closure returns the files that a directory is rendered from, with those that it names remotely itself.
func closure(ctx context.Context, f Fetch, base *tree.Tree, dir string) (map[string]tree.File, error) {
	changed := map[string]tree.File{}
	for range maxRounds {
		names, err := render.Files(base, dir)
		if failed, ok := errors.AsType[*render.Error](err); ok && failed.Reason == render.RemoteReference {
			data, err := base.ReadFile(failed.Path)
			if err != nil {
				return nil, err
			}
			added := map[string]tree.File{failed.Path: {Data: data}}
			if _, err := vendor(ctx, f, added, failed.Path); err != nil {
				return nil, err
			}
			maps.Copy(changed, added)
			if base, err = overlaid(base, added); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		out := map[string]tree.File{}
		for _, name := range names {
			data, err := base.ReadFile(name)
			if err != nil {
				return nil, err
			}
			out[name] = tree.File{Data: data}
		}
		return out, nil
	}
	return nil, errors.New("it names remote bases that name remote bases without end")
}

// overlaid is a tree with some files in place of its own.
func overlaid(base *tree.Tree, changed map[string]tree.File) (*tree.Tree, error) {
	files := map[string]tree.File{}
	for _, name := range base.Files() {
		if data, err := base.ReadFile(name); err == nil {
			files[name] = tree.File{Data: data}
		}
	}
	if err := base.Err(); err != nil {
		return nil, err
	}
	maps.Copy(files, changed)
	return tree.New(base.Digest(), files)
}

// found is a remote reference in a kustomization file.
type found struct {
	text string
	line int // from 1
	file bool
}

// remoteReferences returns those of a kustomization file, in its order.
func remoteReferences(data []byte) ([]found, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, errors.New("is no YAML")
	}
	var refs []found
	take := func(n *yaml.Node, file, keyed bool) {
		if n == nil || n.Kind != yaml.ScalarNode {
			return
		}
		text := n.Value
		if before, after, ok := strings.Cut(text, "="); keyed && ok && !strings.Contains(before, "/") {
			text = after
		}
		if render.LooksRemote(text) {
			refs = append(refs, found{text, n.Line, file})
		}
	}
	each := func(n *yaml.Node, do func(*yaml.Node)) {
		if n != nil && n.Kind == yaml.SequenceNode {
			for _, item := range n.Content {
				do(item)
			}
		}
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	top := doc.Content[0]
	for _, field := range []string{"resources", "bases", "components"} {
		each(value(top, field), func(n *yaml.Node) { take(n, false, false) })
	}
	for _, field := range []string{"crds", "configurations", "generators", "transformers", "validators", "patchesStrategicMerge"} {
		each(value(top, field), func(n *yaml.Node) { take(n, true, false) })
	}
	for _, field := range []string{"patches", "patchesJson6902", "replacements"} {
		each(value(top, field), func(n *yaml.Node) { take(value(n, "path"), true, false) })
	}
	for _, field := range []string{"configMapGenerator", "secretGenerator"} {
		each(value(top, field), func(n *yaml.Node) {
			each(value(n, "files"), func(n *yaml.Node) { take(n, true, true) })
			each(value(n, "envs"), func(n *yaml.Node) { take(n, true, false) })
			take(value(n, "env"), true, false)
		})
	}
	slices.SortFunc(refs, func(a, b found) int { return a.line - b.line })
	return refs, nil
}

// value returns the value of a key of a mapping, nil if there is none.
func value(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
