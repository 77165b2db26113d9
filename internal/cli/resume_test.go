package cli

import (
	"context"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// TestBootstrapGoesOnAfterEachWrite ends each run at its first write to the cluster, and starts the
// next, which goes on from there, until one is not ended.
func TestBootstrapGoesOnAfterEachWrite(t *testing.T) {
	c := controlplane.New(t, "resume", controlplane.Options{})
	h := gitserver.New(t)
	repo, err := h.Repo("fleet")
	if err != nil {
		t.Fatal(err)
	}
	web, err := h.ServeHTTP(gitserver.HTTPOptions{Username: "git", Password: "t0ken"})
	if err != nil {
		t.Fatal(err)
	}
	ended := 0
	for {
		r, wrote := untilFirstWrite(t, c, "bootstrap", "git", "--url", web.URL(repo), "--token-stdin", "--timeout", "8s")
		if !wrote {
			// No hub is there to wait for; all that comes before is done.
			r.want(t, factory.ExitFailed, componentsStand, "secret skerry-system/skerry-system unchanged",
				"nothing to change in 2 objects", "no hub has looked at the GitRepository yet")
			break
		}
		r.want(t, factory.ExitInterrupted, "running the same command again goes on from here")
		if ended++; ended > 40 {
			t.Fatal("the runs do not come forward")
		}
	}
	// The components, the Secret and the two that let a hub read from Git.
	if ended != components+3 {
		t.Errorf("%d writes", ended)
	}
	if got := strings.Count(gitShow(t, repo, "log", "--format=%h", "main"), "\n") + 1; got != 1 {
		t.Errorf("%d commits", got)
	}
	root := &v1alpha1.Kustomization{}
	if err := clientOf(t, c).Get(t.Context(), client.ObjectKey{Namespace: "skerry-system", Name: "skerry-system"}, root); err != nil {
		t.Error(err)
	}
}

// untilFirstWrite runs one command line that is interrupted once it has written to the cluster. The
// request for a reconciliation is no write: it asks for something and changes nothing.
func untilFirstWrite(t *testing.T, c *controlplane.Cluster, args ...string) (ran, bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wrote := false
	f := factory.New("v0.0.0-test", func(string) string { return "" })
	streams, in, out, errOut := iostreams.Test()
	in.WriteString("t0ken")
	f.IO = streams
	connect := f.Hub
	f.Hub = func() (*factory.Hub, error) {
		hub, err := connect()
		if err != nil {
			return nil, err
		}
		under := hub.WithWatch
		return &factory.Hub{Config: hub.Config, WithWatch: interceptor.NewClient(under, interceptor.Funcs{
			Patch: func(ctx context.Context, _ client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
				err := under.Patch(ctx, o, p, options...)
				given := (&client.PatchOptions{}).ApplyOptions(options)
				if err == nil && p.Type() == types.ApplyPatchType && len(given.DryRun) == 0 {
					wrote = true
					cancel()
				}
				return err
			},
		})}, nil
	}
	code := Run(ctx, f, append([]string{"--kubeconfig", c.Kubeconfig()}, args...))
	return ran{code, out.String(), errOut.String()}, wrote
}
