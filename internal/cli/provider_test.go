package cli

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// hostAPI speaks as much of the API of a server as a bootstrap asks for, and names a real Git server.
type hostAPI struct {
	*httptest.Server
	https, ssh string
	asked      int
	made       bool
	keys       []map[string]any
}

func newHostAPI(t *testing.T, https, ssh string, answer func(*hostAPI, *http.Request) (int, any)) *hostAPI {
	t.Helper()
	a := &hostAPI{https: https, ssh: ssh}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "t0ken") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		a.asked++
		code, answer := answer(a, r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(a.Close)
	return a
}

func giteaAnswer(a *hostAPI, r *http.Request) (int, any) {
	repo := map[string]any{"id": 1, "clone_url": a.https, "ssh_url": a.ssh}
	switch r.Method + " " + strings.TrimPrefix(r.URL.Path, "/api/v1") {
	case "GET /version":
		return http.StatusOK, map[string]any{"version": "1.24.0"}
	case "GET /repos/team/fleet":
		if a.made {
			return http.StatusOK, repo
		}
	case "POST /org/team/repos", "POST /orgs/team/repos":
		a.made = true
		return http.StatusCreated, repo
	case "GET /repos/team/fleet/keys":
		if r.URL.Query().Get("page") != "1" {
			return http.StatusOK, []any{}
		}
		return http.StatusOK, slices.Clone(a.keys)
	case "POST /repos/team/fleet/keys":
		var key map[string]any
		_ = json.NewDecoder(r.Body).Decode(&key)
		a.keys = append(a.keys, key)
		return http.StatusCreated, key
	}
	return http.StatusNotFound, map[string]any{"message": "not found"}
}

// bitbucketAnswer is what Bitbucket Data Center answers of the repository fleet in the project TEAM.
func bitbucketAnswer(a *hostAPI, r *http.Request) (int, any) {
	repo := map[string]any{"slug": "fleet", "links": map[string]any{"clone": []any{
		map[string]any{"href": a.https, "name": "http"}, map[string]any{"href": a.ssh, "name": "ssh"},
	}}}
	const at = "/rest/api/1.0/projects/TEAM"
	switch r.Method + " " + r.URL.Path {
	case "GET " + at:
		return http.StatusOK, map[string]any{"key": "TEAM"}
	case "GET " + at + "/repos/fleet":
		if a.made {
			return http.StatusOK, repo
		}
	case "POST " + at + "/repos":
		a.made = true
		return http.StatusCreated, repo
	}
	return http.StatusNotFound, map[string]any{"errors": []any{map[string]any{"message": "there is none"}}}
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
	api := newHostAPI(t, web.URL(repo), ssh.URL(repo), giteaAnswer)
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
	if api.asked > 0 {
		t.Errorf("the server was asked %d times by command lines that are wrong", api.asked)
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
	if source.Spec.URL != ssh.URL(repo) || first.Data["password"] != nil || len(api.keys) != 1 || api.keys[0]["read_only"] != true {
		t.Errorf("URL %s, keys %v", source.Spec.URL, api.keys)
	}
	if string(first.Data["known_hosts"]) == "" || !strings.HasPrefix(string(first.Data["identity.pub"]), api.keys[0]["key"].(string)) {
		t.Errorf("the Secret has not the key that the server has")
	}

	// Again: the same key, and no commit.
	commit := gitShow(t, repo, "rev-parse", "main")
	bootstrap("t0ken").want(t, factory.ExitFailed, "repository team/fleet is there", "✔ deploy key: is there", "is as it should be", noHub)
	if again, _ := stored(); string(again.Data["identity"]) != string(first.Data["identity"]) || len(api.keys) != 1 || gitShow(t, repo, "rev-parse", "main") != commit {
		t.Error("another run made another key or commit")
	}

	// With the token, for the hub too: a new way to read is a new commit.
	bootstrap("t0ken", "--token-auth").want(t, factory.ExitFailed, "pushed as main@sha1:", noHub)
	if secret, source := stored(); source.Spec.URL != web.URL(repo) || string(secret.Data["password"]) != "t0ken" {
		t.Errorf("URL %s", source.Spec.URL)
	}

	// A server that names a URL elsewhere does not get the token there.
	api.https = strings.Replace(web.URL(repo), "127.0.0.1", "localhost", 1)
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
	bitbucket := newHostAPI(t, bearer.URL(repo), ssh.URL(repo), bitbucketAnswer)
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
