package cli

import (
	"context"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/hostapi"
)

// newHostAPI is the API of a server that names a real Git server.
func newHostAPI(t *testing.T, kind, https, ssh string) *hostapi.Server {
	t.Helper()
	a, err := hostapi.New(hostapi.Options{Kind: kind, Token: "t0ken", HTTPS: https, SSH: ssh, TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// TestBootstrapMakesTheRepository by the API of its server, pushes with the token, and lets the hub read with a
// deploy key, the same one at the next run, or with the token.
func TestBootstrapMakesTheRepository(t *testing.T) {
	c := controlplane.New(t, "provider", controlplane.Options{})
	h := gitserver.New(t)
	repo, err := h.Repo("team/fleet")
	if err != nil {
		t.Fatal(err)
	}
	web, err := h.ServeHTTP(gitserver.HTTPOptions{Username: "git", Password: "t0ken", TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	ssh, err := h.ServeSSH()
	if err != nil {
		t.Fatal(err)
	}
	api := newHostAPI(t, "gitea", web.URL(repo), ssh.URL(repo))
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	ca := writeFile(t, "ca.crt", append(cert, web.CA()...))
	bootstrap := func(token string, args ...string) ran {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		return runWith(ctx, c.Kubeconfig(), "", map[string]string{"GITEA_TOKEN": token}, append([]string{
			"bootstrap", "gitea", "--owner", "team", "--repository", "fleet", "--hostname", api.URL, "--ca-file", ca, "--timeout", "10s",
		}, args...)...)
	}
	bootstrap("").want(t, factory.ExitUsage, "a token is missing: GITEA_TOKEN")
	bootstrap("t0ken", "--personal", "--team", "ops").want(t, factory.ExitUsage, "--team goes with an organization")
	for flags, want := range map[string]string{
		"--interval 1ms": "--interval must lie", "--ssh-key-algorithm dsa": "--ssh-key-algorithm must be", "--components x": `there is no component "x", but gateway`,
		"--gpg-key-ring a --ssh-signing-key-file b": "exclude each other", "--gpg-key-id 0123456789": "go with --gpg-key-ring", "--ssh-signing-key-file /nowhere": "cannot read --ssh-signing-key-file",
	} {
		bootstrap("t0ken", strings.Fields(flags)...).want(t, factory.ExitUsage, want)
	}
	if n := api.Asked(); n > 0 {
		t.Errorf("the server was asked %d times by command lines that are wrong", n)
	}
	bootstrap("wrong").want(t, factory.ExitFailed, "✗ Gitea")

	const noHub = "no hub has looked at the GitRepository yet"
	signing, allowed := signingKey(t)
	r := bootstrap("t0ken", "--commit-message-appendix", "[ci skip]", "--author-name", "Ann", "--author-email", "ann@example.com", "--ssh-signing-key-file", signing)
	r.want(t, factory.ExitFailed, "repository team/fleet made", "✔ deploy key: added", "clusters/hub/skerry-system/ pushed", noHub)
	if strings.Contains(r.out+r.errOut, "t0ken") || strings.Contains(r.out+r.errOut, "PRIVATE KEY") {
		t.Error("a credential was shown")
	}
	if got := gitShow(t, repo, "log", "-1", "--format=%B", "main"); !strings.HasSuffix(got, "[ci skip]") {
		t.Errorf("commit message: %s", got)
	}
	if got := gitShow(t, repo, "log", "-1", "--format=%an <%ae>", "main"); got != "Ann <ann@example.com>" {
		t.Errorf("author: %s", got)
	}
	if got := gitShow(t, repo, "-c", "gpg.ssh.allowedSignersFile="+allowed, "verify-commit", "main"); !strings.Contains(got, `Good "git" signature for ann@example.com`) {
		t.Errorf("signature: %s", got)
	}
	hub, key := clientOf(t, c), client.ObjectKey{Namespace: "skerry-system", Name: "skerry-system"}
	stored := func() (*corev1.Secret, *v1alpha1.GitRepository) {
		secret, source := &corev1.Secret{}, &v1alpha1.GitRepository{}
		for _, o := range []client.Object{secret, source} {
			if err := hub.Get(t.Context(), key, o); err != nil {
				t.Fatal(err)
			}
		}
		return secret, source
	}
	first, source := stored()
	if source.Spec.URL != ssh.URL(repo) || first.Data["password"] != nil || len(api.Keys()) != 1 || !api.Keys()[0].ReadOnly {
		t.Fatalf("URL %s, keys %v", source.Spec.URL, api.Keys())
	}
	if string(first.Data["known_hosts"]) == "" || !strings.HasPrefix(string(first.Data["identity.pub"]), api.Keys()[0].Text) {
		t.Errorf("the Secret has not the key that the server has")
	}

	// Again: the same key, and no commit.
	commit := gitShow(t, repo, "rev-parse", "main")
	bootstrap("t0ken").want(t, factory.ExitFailed, "repository team/fleet is there", "✔ deploy key: is there", "is as it should be", noHub)
	if again, _ := stored(); string(again.Data["identity"]) != string(first.Data["identity"]) || len(api.Keys()) != 1 || gitShow(t, repo, "rev-parse", "main") != commit {
		t.Error("another run made another key or commit")
	}

	// With the token, for the hub too: a new way to read is a new commit.
	bootstrap("t0ken", "--token-auth").want(t, factory.ExitFailed, "pushed as main@sha1:", noHub)
	if secret, source := stored(); source.Spec.URL != web.URL(repo) || string(secret.Data["password"]) != "t0ken" {
		t.Errorf("URL %s", source.Spec.URL)
	}

	// A server that names a URL elsewhere does not get the token there.
	api.SetHTTPS(strings.Replace(web.URL(repo), "127.0.0.1", "localhost", 1))
	asked := web.Requests("")
	bootstrap("t0ken", "--token-auth").want(t, factory.ExitFailed, "✗ Gitea", "if that is right, give --hostname localhost")
	if now := web.Requests(""); now != asked {
		t.Errorf("the Git server was asked %d times", now-asked)
	}

	// Bitbucket Data Center takes the token as a bearer's, of no name.
	bearer, err := h.ServeHTTP(gitserver.HTTPOptions{Token: "t0ken", TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	bitbucket := newHostAPI(t, "bitbucket-server", bearer.URL(repo), ssh.URL(repo))
	ca = writeFile(t, "ca.crt", append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: bitbucket.Certificate().Raw}), bearer.CA()...))
	args := []string{"bootstrap", "bitbucket-server", "--owner", "TEAM", "--repository", "fleet", "--ca-file", ca, "--timeout", "10s", "--token-auth"}
	env := map[string]string{"BITBUCKET_TOKEN": "t0ken"}
	runWith(t.Context(), c.Kubeconfig(), "", env, args...).want(t, factory.ExitUsage, "--hostname is needed")
	runWith(t.Context(), c.Kubeconfig(), "", env, append(args, "--hostname", bitbucket.URL)...).want(t, factory.ExitFailed, "repository TEAM/fleet made", "pushed as main@sha1:", noHub)
	if secret, source := stored(); source.Spec.URL != bearer.URL(repo) || string(secret.Data["bearerToken"]) != "t0ken" || len(secret.Data["password"]) > 0 {
		t.Errorf("URL %s, %d keys", source.Spec.URL, len(secret.Data))
	}
}

// signingKey returns the file of a key that real ssh-keygen has made, and that of the signers that Git trusts.
func signingKey(t *testing.T) (key, allowed string) {
	t.Helper()
	key = filepath.Join(t.TempDir(), "id")
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return key, writeFile(t, "allowed_signers", append([]byte("ann@example.com "), public...))
}
