package trace

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/git"
)

// commitOf asks the Git server of a source for the commit of a revision, with the source's credentials. The hub
// keeps neither author nor subject in its API.
func (o *Options) commitOf(ctx context.Context, hub *factory.Hub, source *v1alpha1.GitRepository, revision string) (*Commit, error) {
	dir, err := os.MkdirTemp("", "skerry-trace-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a folder for the commit: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	store, err := git.OpenStore(dir, git.Options{Proxy: http.ProxyFromEnvironment, Now: o.Now})
	if err != nil {
		return nil, err
	}
	req := git.RequestFor(source)
	req.Reference = req.Reference.At(revision)
	req.Key, req.Timeout = source.Name, o.Timeout(20*time.Second)
	// Neither content nor signatures matter here: the hub has verified what it applied.
	req.Submodules, req.Verify = false, git.Verification{}
	req.Auth, err = git.AuthFor(source, func(name string) (map[string][]byte, error) {
		secret := &corev1.Secret{}
		if err := hub.Get(ctx, client.ObjectKey{Namespace: source.Namespace, Name: name}, secret); err != nil {
			return nil, fmt.Errorf("cannot read the Secret %s: %w", name, err)
		}
		return secret.Data, nil
	})
	if err != nil {
		return nil, err
	}
	commit, err := store.Follow(ctx, req)
	if err != nil {
		return nil, err
	}
	return &Commit{Hash: commit.Hash, Author: iostreams.Line(commit.Author), Subject: iostreams.Line(commit.Subject), Time: commit.Time}, nil
}
