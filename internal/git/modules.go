package git

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"

	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/tree"
)

// ErrSubmodule means that a submodule cannot be fetched, or may not.
var ErrSubmodule = errors.New("submodule cannot be fetched")

const (
	// maxModules and maxModuleDepth bound the submodules of one repository, those of submodules included.
	maxModules     = 64
	maxModuleDepth = 5
	// maxModulesFile is the largest .gitmodules that is read, in bytes.
	maxModulesFile = 1 << 20
	modulesFile    = ".gitmodules"
	// moduleSeparator parts the key of a repository from the path of a submodule of it.
	moduleSeparator = "\x00"
)

// modules fetches the submodules of one check.
type modules struct {
	store *Store
	req   Request
	count int
	// fetched means that one had to be brought from the server.
	fetched bool
}

// of fetches the submodules at the paths in a commit, with theirs, and returns them as parts, and the paths of
// those that the repository has no URL for: Git leaves such out as well. The parts are relative to the commit's
// root; at is where that is in the outermost repository.
func (m *modules) of(ctx context.Context, e endpoint, commit layout, at string, paths []string, depth int) (parts []layoutPart, out []string, err error) {
	base, err := m.store.plainTree(ctx, commit.Key, commit.Commit)
	if err != nil {
		return nil, nil, err
	}
	urls, err := moduleURLs(base)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range paths {
		raw, ok := urls[name]
		if !shows(commit.Only, name) {
			continue
		}
		if !ok {
			out = append(out, path.Join(at, name))
			continue
		}
		if m.count++; m.count > maxModules {
			return nil, nil, fail(ErrSubmodule, "there are more than %d", maxModules)
		}
		if depth >= maxModuleDepth {
			return nil, nil, fail(ErrSubmodule, "%q is nested more than %d deep", oneLine(path.Join(at, name)), maxModuleDepth)
		}
		entry, err := base.Lookup(name)
		if err != nil {
			return nil, nil, err
		}
		part, left, err := m.one(ctx, e, raw, path.Join(at, name), hashOf(entry.ID), depth)
		if err != nil {
			return nil, nil, m.explain(ctx, path.Join(at, name), err)
		}
		parts = append(parts, layoutPart{At: name, From: ".", Submodule: true, Of: part})
		out = append(out, left...)
	}
	return parts, out, nil
}

// one fetches the commit of one submodule, and its own submodules.
func (m *modules) one(ctx context.Context, e endpoint, raw, at string, commit plumbing.Hash, depth int) (layout, []string, error) {
	own, err := e.module(raw)
	if err != nil {
		return layout{}, nil, err
	}
	req := Request{Key: m.req.Key + moduleSeparator + at, Auth: m.req.Auth, Timeout: m.req.Timeout, Reference: Reference{Commit: commit.String()}}
	found, err := m.store.pinned(ctx, own, req)
	if err != nil {
		return layout{}, nil, explain(ctx, own, req.Timeout, err)
	}
	m.fetched = m.fetched || found.Fetched
	l := layout{Key: req.Key, Commit: found.Hash}
	left := found.Submodules
	if len(found.Submodules) > 0 {
		if l.Parts, left, err = m.of(ctx, own, l, at, found.Submodules, depth+1); err != nil {
			return layout{}, nil, err
		}
	}
	return l, left, nil
}

// explain names the submodule that an error is about. The hub's own errors stay what they are.
func (m *modules) explain(ctx context.Context, at string, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) || errors.Is(err, ErrStoreFailed) || errors.Is(err, ErrSubmodule) || errors.Is(err, errDamaged) {
		return err
	}
	return fail(ErrSubmodule, "%q: %s", oneLine(at), err)
}

// moduleURLs reads the URLs of a .gitmodules file, by path.
func moduleURLs(t *tree.Tree) (urls map[string]string, err error) {
	e, err := t.Lookup(modulesFile)
	if err != nil || e.Kind != tree.Regular {
		return nil, err // as Git: a link is not followed
	}
	data, err := t.ReadFile(modulesFile)
	if err != nil {
		return nil, err
	}
	if len(data) > maxModulesFile {
		return nil, fail(ErrSubmodule, "%s exceeds the limit of %s", modulesFile, size(maxModulesFile))
	}
	defer func() {
		// The parser reads what a stranger wrote.
		if recover() != nil {
			recovery.CountInput()
			urls, err = nil, fail(ErrSubmodule, "%s cannot be read", modulesFile)
		}
	}()
	m := config.NewModules()
	if err := m.Unmarshal(data); err != nil {
		return nil, fail(ErrSubmodule, "%s cannot be read", modulesFile)
	}
	urls = map[string]string{}
	for _, s := range m.Submodules {
		if name, ok := tree.Clean(s.Path); ok && s.URL != "" {
			urls[name] = s.URL
		}
	}
	return urls, nil
}

// module returns where a submodule of the repository lies: on the same host, which gets the repository's own
// credentials, and never on another. A URL that is relative is so to the repository's, as in Git. One of
// another scheme (git@host:path beside https://host/path) names the same repository on the hosts that people
// use, and is fetched the way that the repository itself is, for which there are credentials.
func (e endpoint) module(raw string) (endpoint, error) {
	if strings.HasPrefix(raw, "./") || strings.HasPrefix(raw, "../") {
		return e.relative(raw)
	}
	own, err := parseURL(raw)
	if err != nil {
		return endpoint{}, err
	}
	if !strings.EqualFold(own.host, e.host) || own.scheme == e.scheme && own.port != e.port {
		return endpoint{}, fmt.Errorf("it lies on another host, %s: submodules are fetched from %s only; follow that repository with a GitRepository of its own, and include it", own.hostPort(), e.hostPort())
	}
	plain, err := own.plainPath()
	if err != nil {
		return endpoint{}, err
	}
	return e.withPath(plain)
}

func (e endpoint) relative(raw string) (endpoint, error) {
	plain, err := e.plainPath()
	if err != nil {
		return endpoint{}, err
	}
	joined := path.Join(strings.TrimSuffix(plain, "/"), raw)
	up := strings.Count(path.Clean(raw)+"/", "../")
	if joined == "." || strings.HasPrefix(joined, "..") || up > len(slices.DeleteFunc(strings.Split(plain, "/"), func(p string) bool { return p == "" })) {
		return endpoint{}, fail(ErrInvalidURL, "the relative URL of the submodule leads out of the host's root")
	}
	return e.withPath(joined)
}

// plainPath is the path without the escapes of a URL.
func (e endpoint) plainPath() (string, error) {
	if e.scheme == "ssh" {
		return e.path, nil
	}
	plain, err := url.PathUnescape(e.path)
	if err != nil {
		return "", fail(ErrInvalidURL, "its path cannot be read")
	}
	return plain, nil
}

func (e endpoint) withPath(plain string) (endpoint, error) {
	switch {
	case e.scheme != "ssh":
		plain = (&url.URL{Path: "/" + strings.TrimLeft(plain, "/")}).EscapedPath()
	case !strings.HasPrefix(e.path, "/"): // user@host:path, relative to the user's folder
		plain = strings.TrimLeft(plain, "/")
	default:
		plain = "/" + strings.TrimLeft(plain, "/")
	}
	e.path = plain
	return e.checked()
}
