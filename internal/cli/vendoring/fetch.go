package vendoring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/tree"
)

const (
	// maxFile bounds a file that is fetched, in bytes, as a render does.
	maxFile = 16 << 20
	// fetchTimeout bounds one file.
	fetchTimeout = time.Minute
)

// remote fetches with the credentials that each host is given. Repositories are kept in a folder until the command
// ends, and each is fetched once.
func remote(dir string, access *access) (Fetch, error) {
	store, err := git.OpenStore(dir, git.Options{Proxy: http.ProxyFromEnvironment})
	if err != nil {
		return Fetch{}, err
	}
	type key struct{ url, ref string }
	type fetched struct {
		commit git.Commit
		url    string
	}
	known := map[key]fetched{}
	return Fetch{
		File: func(ctx context.Context, url string) ([]byte, error) { return download(ctx, access, url) },
		Repository: func(ctx context.Context, r reference) (*tree.Tree, string, error) {
			k := key{r.Repository, r.Ref}
			at, ok := known[k]
			if !ok {
				transports, err := access.transports(ctx, r)
				if err != nil {
					return nil, "", err
				}
				if at.commit, at.url, err = tryEach(ctx, store, transports, r.Ref); err != nil {
					return nil, "", access.advise(r, err)
				}
				known[k] = at
			}
			files, err := store.Tree(ctx, at.url, at.commit.TreeName())
			return files, at.commit.Hash, err
		},
	}, nil
}

// tryEach goes one way after another, until one leads there.
func tryEach(ctx context.Context, store *git.Store, transports []transport, ref string) (git.Commit, string, error) {
	var failed error
	for _, w := range transports {
		c, err := git.Commit{}, w.err
		if err == nil {
			c, err = follow(ctx, store, w, ref)
		}
		switch {
		case err == nil:
			return c, w.url, nil
		case failed == nil:
			failed = err
		default:
			failed = fmt.Errorf("%w; with the SSH agent: %w", failed, err)
		}
	}
	return git.Commit{}, "", failed
}

var commitHash = regexp.MustCompile(`^[0-9a-f]{40}$`)

// follow brings what a ref leads to: a commit, a tag or a branch, in this order, or HEAD.
func follow(ctx context.Context, store *git.Store, w transport, ref string) (git.Commit, error) {
	refs := []git.Reference{{Tag: ref}, {Branch: ref}}
	switch {
	case ref == "":
		refs = []git.Reference{{Name: "HEAD"}}
	case commitHash.MatchString(ref):
		refs = []git.Reference{{Commit: ref}}
	}
	var err error
	for _, r := range refs {
		var c git.Commit
		if c, err = store.Follow(ctx, git.Request{Key: w.url, URL: w.url, Auth: w.auth, Reference: r}); err == nil {
			return c, nil
		}
		if !errors.Is(err, git.ErrReferenceNotFound) {
			break
		}
	}
	return git.Commit{}, err
}

func download(ctx context.Context, access *access, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, errors.New("its address cannot be read")
	}
	client, err := access.client(req)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("cannot be fetched: %w", errors.Unwrap(err))
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound: // as servers answer who may not read it
		return nil, access.adviseHost(req.URL.Hostname(), fmt.Errorf("the server answers %s", res.Status))
	default:
		return nil, fmt.Errorf("the server answers %s", res.Status)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot be fetched: %w", err)
	case len(data) > maxFile:
		return nil, fmt.Errorf("it has more than %d MiB", maxFile>>20)
	}
	return data, nil
}
