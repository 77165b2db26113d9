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

// remote fetches without credentials. Repositories are kept in a folder until the command ends, and each is
// fetched once.
func remote(dir string) (Fetch, error) {
	store, err := git.OpenStore(dir, git.Options{Proxy: http.ProxyFromEnvironment})
	if err != nil {
		return Fetch{}, err
	}
	client := &http.Client{Timeout: fetchTimeout}
	type key struct{ url, ref string }
	known := map[key]git.Commit{}
	return Fetch{
		File: func(ctx context.Context, url string) ([]byte, error) { return download(ctx, client, url) },
		Repository: func(ctx context.Context, url, ref string) (*tree.Tree, string, error) {
			c, ok := known[key{url, ref}]
			if !ok {
				var err error
				if c, err = follow(ctx, store, url, ref); err != nil {
					return nil, "", err
				}
				known[key{url, ref}] = c
			}
			files, err := store.Tree(ctx, url, c.TreeName())
			return files, c.Hash, err
		},
	}, nil
}

var commitHash = regexp.MustCompile(`^[0-9a-f]{40}$`)

// follow brings what a ref leads to: a commit, a tag or a branch, in this order, or HEAD.
func follow(ctx context.Context, store *git.Store, url, ref string) (git.Commit, error) {
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
		if c, err = store.Follow(ctx, git.Request{Key: url, URL: url, Reference: r}); err == nil {
			return c, nil
		}
		if !errors.Is(err, git.ErrReferenceNotFound) {
			break
		}
	}
	return git.Commit{}, err
}

func download(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, errors.New("its address cannot be read")
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("cannot be fetched: %w", errors.Unwrap(err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
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
