package vendoring

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/tree"
)

// TestReferencesAreReadAsKustomizeReadsThem, with references of real repositories.
func TestReferencesAreReadAsKustomizeReadsThem(t *testing.T) {
	for ref, want := range map[string]reference{
		"https://raw.githubusercontent.com/org/repo/v1/deploy/x.yaml":                        {File: "https://raw.githubusercontent.com/org/repo/v1/deploy/x.yaml"},
		"https://github.com/cert-manager/cert-manager/releases/download/v1/crds.yaml":        {File: "https://github.com/cert-manager/cert-manager/releases/download/v1/crds.yaml"},
		"https://github.com/kubernetes-csi/external-snapshotter/client/config/crd/":          {Repository: "https://github.com/kubernetes-csi/external-snapshotter", Path: "client/config/crd"},
		"https://github.com/kubernetes-csi/external-snapshotter//client/config/crd?ref=v8.0": {Repository: "https://github.com/kubernetes-csi/external-snapshotter", Path: "client/config/crd", Ref: "v8.0"},
		"github.com/org/repo/deploy?ref=v1":                                                  {Repository: "https://github.com/org/repo", Path: "deploy", Ref: "v1"},
		"github.com/org/repo":                                                                {Repository: "https://github.com/org/repo"},
		"github.com:org/repo.git//a/b":                                                       {Repository: "https://github.com/org/repo.git", Path: "a/b"},
		"git@github.com:org/repo.git/deploy?ref=main":                                        {Repository: "https://github.com/org/repo.git", Path: "deploy", Ref: "main", SSH: "ssh://git@github.com/org/repo.git"},
		"ssh://git@example.com/org/repo.git//deploy?version=v2":                              {Repository: "https://example.com/org/repo.git", Path: "deploy", Ref: "v2", SSH: "ssh://git@example.com/org/repo.git"},
		"ssh://git@example.com:2222/org/repo.git":                                            {Repository: "https://example.com/org/repo.git", SSH: "ssh://git@example.com:2222/org/repo.git"},
		"git::https://example.com/org/repo.git?ref=v1":                                       {Repository: "https://example.com/org/repo.git", Ref: "v1"},
		"https://dev.azure.com/org/project/_git/repo/deploy?ref=v1":                          {Repository: "https://dev.azure.com/org/project/_git/repo", Path: "deploy", Ref: "v1"},
		"https://example.com/manifests":                                                      {File: "https://example.com/manifests"},
		"HTTPS://example.com/x.yaml":                                                         {File: "https://example.com/x.yaml"},
		"https://github.com/org/repo/a/../../../etc?ref=x":                                   {Repository: "https://github.com/org/repo", Path: "etc", Ref: "x"},
	} {
		got, err := parse(ref, false)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", ref, err, diff)
		}
	}
	for _, ref := range []string{"oci://example.com/x", "file:///etc", "https://token@github.com/org/repo", "https://u:p@example.com/x.yaml", "https://example.com", "ssh:"} {
		if got, err := parse(ref, false); err == nil || strings.Contains(err.Error(), "token") {
			t.Errorf("%s: %+v, %v", ref, got, err)
		}
	}
	if got, _ := parse("https://github.com/org/repo/raw/main/dashboard", true); got.File == "" {
		t.Errorf("a generator's file is taken for %+v", got)
	}
}

// TestRemoteReferencesBecomeCopies, in every field that may name one, and nothing else of the file changes.
func TestRemoteReferencesBecomeCopies(t *testing.T) {
	commit := strings.Repeat("a", 40)
	base, err := tree.New("base", map[string]tree.File{
		"deploy/kustomization.yaml": {Data: []byte("resources: [a.yaml, ../common]\n")},
		"deploy/a.yaml":             {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")},
		"common/kustomization.yaml": {Data: []byte("resources:\n- https://example.com/nested.yaml\n")},
		"README":                    {Data: []byte("not needed")},
	})
	if err != nil {
		t.Fatal(err)
	}
	fetch := Fetch{
		File: func(_ context.Context, url string) ([]byte, error) {
			if strings.Contains(url, "missing") {
				return nil, errors.New("the server answers 404 Not Found")
			}
			return []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + strings.TrimSuffix(url[strings.LastIndex(url, "/")+1:], ".yaml") + "}\n"), nil
		},
		Repository: func(context.Context, reference) (*tree.Tree, string, error) { return base, commit, nil },
	}
	const before = `# keep me
resources:
- local.yaml
- https://example.com/x.yaml   # pinned
- "github.com/org/repo//deploy?ref=v1"
patches:
  - path: https://example.com/p.yaml
    target: {kind: Deployment}
configMapGenerator:
- name: dashboards
  files:
  - board.json=https://example.com/board
`
	const after = `# keep me
resources:
- local.yaml
- vendored/example.com/x.yaml   # pinned
- "vendored/github.com/org/repo@aaaaaaaaaaaa/deploy" # https://github.com/org/repo v1 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
patches:
  - path: vendored/example.com/p.yaml # https://example.com/p.yaml
    target: {kind: Deployment}
configMapGenerator:
- name: dashboards
  files:
  - board.json=vendored/example.com/board # https://example.com/board
`
	files := map[string]tree.File{"apps/kustomization.yaml": {Data: []byte(before)}}
	done, err := vendor(t.Context(), fetch, files, "apps/kustomization.yaml")
	if err != nil || len(done) != 4 {
		t.Fatalf("%v, %v", done, err)
	}
	if diff := cmp.Diff(after, string(files["apps/kustomization.yaml"].Data)); diff != "" {
		t.Error(diff)
	}
	// All that is needed is there, and nothing more: with the local file, it renders.
	if _, more := files["apps/vendored/github.com/org/repo@aaaaaaaaaaaa/README"]; more {
		t.Error("files that nothing names are copied")
	}
	files["apps/local.yaml"] = tree.File{Data: []byte("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: local}\n")}
	files["apps/vendored/example.com/p.yaml"] = tree.File{Data: []byte("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: any}\nspec: {replicas: 2}\n")}
	whole, err := tree.New("whole", files)
	if err != nil {
		t.Fatal(err)
	}
	made, err := render.NewCache(1<<20).Build(t.Context(), whole, render.Options{Path: "apps"})
	if err != nil || len(made.Bundle.Objects) != 5 {
		t.Errorf("renders to %+v, %v", made, err)
	}
	if again, err := vendor(t.Context(), fetch, files, "apps/kustomization.yaml"); err != nil || len(again) > 0 {
		t.Errorf("a second time: %v, %v", again, err)
	}

	// What cannot be had is named, and the file stays as it is.
	const missing = "resources:\n- https://example.com/missing.yaml?token=hunter2\n"
	files = map[string]tree.File{"kustomization.yaml": {Data: []byte(missing)}}
	_, err = vendor(t.Context(), fetch, files, "kustomization.yaml")
	if err == nil || !strings.Contains(err.Error(), `kustomization.yaml: line 2: "https://example.com/missing.yaml": the server answers 404`) || string(files["kustomization.yaml"].Data) != missing {
		t.Errorf("got %v\n%s", err, files["kustomization.yaml"].Data)
	}
}

// TestBasesThatNameEachOtherAreRefused, in a circle and without one.
func TestBasesThatNameEachOtherAreRefused(t *testing.T) {
	asked := 1
	for want, next := range map[string]func(r reference) string{
		"it names itself, by the bases that it names": func(r reference) string {
			return map[string]string{"https://example.com/org/a": "b", "https://example.com/org/b": "a"}[r.Repository] + "?ref=v1"
		},
		"without end": func(reference) string { asked++; return fmt.Sprintf("a?ref=v%d", asked) },
	} {
		fetch := Fetch{Repository: func(_ context.Context, r reference) (*tree.Tree, string, error) {
			files, err := tree.New(fmt.Sprint(r), map[string]tree.File{"kustomization.yaml": {Data: []byte("resources:\n- https://example.com/org/" + next(r) + "\n")}})
			return files, strings.Repeat("a", 40), err
		}}
		files := map[string]tree.File{"kustomization.yaml": {Data: []byte("resources:\n- https://example.com/org/a?ref=v1\n")}}
		if _, err := vendor(t.Context(), fetch, files, "kustomization.yaml"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said: %v", want, err)
		}
	}
}

// TestCheckoutIsVendored with a real Git server and a real working tree.
func TestCheckoutIsVendored(t *testing.T) {
	h := gitserver.New(t)
	repo, err := h.Repo("base")
	if err != nil {
		t.Fatal(err)
	}
	commit, err := repo.Commit("main", gitserver.Change{Write: map[string]string{
		"deploy/kustomization.yaml": "resources: [a.yaml]\n",
		"deploy/a.yaml":             "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.Tag("v1", commit, ""); err != nil {
		t.Fatal(err)
	}
	server, err := h.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"))
	}))
	t.Cleanup(web.Close)
	// at is the folder of a server: its name and port.
	at := func(root string) string { return strings.Replace(root[strings.Index(root, "//")+2:], ":", "_", 1) }
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "apps"), 0o755); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "apps", "kustomization.yaml")
	original := "resources:\n- " + server.URL(repo) + "/deploy?ref=v1\n- " + web.URL + "/b.yaml\n"
	if err := os.WriteFile(name, []byte(original), 0o644); err != nil {
		t.Fatal(err)
	}
	o := &Options{Factory: factory.New("", func(string) string { return "" }), Path: dir, DryRun: true}
	streams, _, out, _ := iostreams.Test()
	o.IO = streams
	if err := run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(name); err != nil || string(now) != original || !strings.Contains(out.String(), "apps/kustomization.yaml: "+server.URL(repo)+" v1 "+commit+" → vendored/"+at(server.Root())+"/base@"+commit[:12]+"/deploy") {
		t.Errorf("after a dry run: %v\n%s\n%s", err, now, out)
	}
	o.DryRun = false
	if err := run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"apps/vendored/" + at(server.Root()) + "/base@" + commit[:12] + "/deploy/a.yaml": "name: a",
		"apps/vendored/" + at(web.URL) + "/b.yaml":                                       "name: b",
		"apps/kustomization.yaml":                                                        "vendored/" + at(web.URL) + "/b.yaml",
	} {
		if data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))); err != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s: %v\n%s", name, err, data)
		}
	}
}

// TestFilesOfTwoVersionsLieApart: they differ in the query alone, of which a credential is not told.
func TestFilesOfTwoVersionsLieApart(t *testing.T) {
	fetch := Fetch{File: func(_ context.Context, url string) ([]byte, error) { return []byte("# " + url + "\n"), nil }}
	files := map[string]tree.File{"kustomization.yaml": {Data: []byte(`patches:
- path: https://example.com/p/x.yaml?ref=v1&token=hunter2
- path: https://example.com/p/x.yaml?ref=v2
- path: https://example.com/p/x.yaml
- path: https://example.com:8443/p/x.yaml
`)}}
	done, err := vendor(t.Context(), fetch, files, "kustomization.yaml")
	if err != nil || len(done) != 4 {
		t.Fatalf("%v, %v", done, err)
	}
	seen := map[string]bool{}
	for i, want := range []string{"?ref=v1&token=hunter2", "?ref=v2", "", ":8443/p/x.yaml"} {
		to := done[i].To
		if seen[to] || !strings.HasSuffix(strings.TrimSpace(string(files[to].Data)), want) || !strings.HasSuffix(to, "/x.yaml") {
			t.Errorf("%s holds %q", to, files[to].Data)
		}
		seen[to] = true
	}
	made := string(files["kustomization.yaml"].Data)
	if strings.Contains(made, "hunter2") || !strings.Contains(made, "x.yaml?ref=v1") || !strings.Contains(made, "x.yaml?ref=v2") {
		t.Errorf("says\n%s", made)
	}
}

// vendored runs the command over a kustomization that names one resource, and returns what it says.
func vendored(t *testing.T, env map[string]string, resource string, o Options) (string, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte("resources:\n- "+resource+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o.Factory = factory.New("", func(name string) string { return env[name] })
	streams, _, out, errOut := iostreams.Test()
	o.IO, o.Path = streams, dir
	err := run(t.Context(), &o)
	return out.String() + errOut.String(), err
}

func secretFile(t *testing.T, data map[string][]byte) string {
	t.Helper()
	doc, err := yaml.Marshal(corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "secret.yaml")
	if err := os.WriteFile(name, doc, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestPrivateRepositoriesAreVendored from real servers: by a token, by a Secret, and by the keys of an SSH agent.
func TestPrivateRepositoriesAreVendored(t *testing.T) {
	h := gitserver.New(t)
	repo, err := h.Repo("base")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Commit("main", gitserver.Change{Write: map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"}}); err != nil {
		t.Fatal(err)
	}
	private, err := h.ServeHTTP(gitserver.HTTPOptions{Username: "git", Password: "hunter2", TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := h.ServeHTTP(gitserver.HTTPOptions{Username: "git", Password: "hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	server, err := h.ServeSSH()
	if err != nil {
		t.Fatal(err)
	}
	identity, err := server.Identity("")
	if err != nil {
		t.Fatal(err)
	}
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, server.KnownHosts(), 0o600); err != nil {
		t.Fatal(err)
	}
	agent := map[string]string{"SSH_AUTH_SOCK": sshAgent(t, identity), "TOKEN": "hunter2"}
	https := secretFile(t, map[string][]byte{"username": []byte("git"), "password": []byte("hunter2"), "ca.crt": private.CA()})
	for name, tt := range map[string]struct {
		resource string
		options  Options
		want     string
	}{
		"without any":           {plain.URL(repo), Options{}, "authentication failed"},
		"a token":               {plain.URL(repo), Options{TokenEnvs: []string{"127.0.0.1=TOKEN"}}, ""},
		"a token for elsewhere": {plain.URL(repo), Options{TokenEnvs: []string{"example.com=TOKEN"}}, "authentication failed"},
		"a Secret":              {private.URL(repo), Options{SecretFiles: []string{"127.0.0.1=" + https}}, ""},
		"a key":                 {server.URL(repo), Options{SecretFiles: []string{"127.0.0.1=" + secretFile(t, map[string][]byte{"identity": identity, "known_hosts": server.KnownHosts()})}}, ""},
		"a key for https":       {private.URL(repo), Options{SecretFiles: []string{"127.0.0.1=" + secretFile(t, map[string][]byte{"identity": identity, "known_hosts": server.KnownHosts()})}}, "are an SSH key: name it as ssh://git@127.0.0.1"},
		"a wrong password":      {plain.URL(repo), Options{SecretFiles: []string{"127.0.0.1=" + secretFile(t, map[string][]byte{"username": []byte("git"), "password": []byte("x")})}}, "authentication failed"},
		"no Secret":             {plain.URL(repo), Options{SecretFiles: []string{"127.0.0.1=" + known}}, "is not the manifest of one Secret"},
		"no host":               {plain.URL(repo), Options{TokenEnvs: []string{"TOKEN"}}, "must be HOST=…"},
		"a host with a path":    {plain.URL(repo), Options{TokenEnvs: []string{"https://x=TOKEN"}}, "with the name of the host alone"},
		"an empty variable":     {plain.URL(repo), Options{TokenEnvs: []string{"127.0.0.1=NOTHING"}}, "the environment variable NOTHING holds no token"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := vendored(t, agent, tt.resource, tt.options)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if strings.Contains(out+fmt.Sprint(err), "hunter2") {
				t.Errorf("the token is shown: %s, %v", out, err)
			}
		})
	}
}

// sshAgent answers at a socket with one key, as ssh-agent does.
func sshAgent(t *testing.T, identity []byte) string {
	t.Helper()
	key, err := ssh.ParseRawPrivateKey(identity)
	if err != nil {
		t.Fatal(err)
	}
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "agent") //nolint:usetesting // a socket in t.TempDir() would have too long a name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "sock")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() { // ends with the listener
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(keys, conn) }() // ends with its connection
		}
	}()
	return socket
}

// TestRepositoryBySSHIsReadWithTheAgent where it is not public, and without it where it is.
func TestRepositoryBySSHIsReadWithTheAgent(t *testing.T) {
	h := gitserver.New(t)
	repo, err := h.Repo("base")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Commit("main", gitserver.Change{Write: map[string]string{"kustomization.yaml": "{}\n"}}); err != nil {
		t.Fatal(err)
	}
	web, err := h.ServeHTTP(gitserver.HTTPOptions{Username: "git", Password: "hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	server, err := h.ServeSSH()
	if err != nil {
		t.Fatal(err)
	}
	identity, err := server.Identity("")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	store, err := git.OpenStore(dir, git.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// The same repository at the two URLs that a reference leads to.
	r := reference{Repository: web.URL(repo), SSH: server.URL(repo)}
	signer, err := ssh.ParsePrivateKey(identity)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		agent func(context.Context) ([]ssh.Signer, []byte, error)
		want  string
	}{
		"no agent": {func(context.Context) ([]ssh.Signer, []byte, error) { return nil, nil, nil }, "authentication failed"},
		"the agent": {func(context.Context) ([]ssh.Signer, []byte, error) {
			return []ssh.Signer{signer}, server.KnownHosts(), nil
		}, ""},
		"no known_hosts": {func(context.Context) ([]ssh.Signer, []byte, error) { return []ssh.Signer{signer}, nil, nil }, "host key refused"},
		"a broken agent": {func(context.Context) ([]ssh.Signer, []byte, error) {
			return nil, nil, errors.New("cannot ask the SSH agent")
		}, "with the SSH agent: cannot ask the SSH agent"},
	} {
		a := &access{agent: tt.agent}
		transports, err := a.transports(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		c, url, err := tryEach(t.Context(), store, transports, "")
		switch {
		case tt.want == "" && (err != nil || c.Hash == "" || url != server.URL(repo)):
			t.Errorf("%s: %s, %v", name, url, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestCredentialsOfAFileGoToItsHostAlone, also where it redirects elsewhere.
func TestCredentialsOfAFileGoToItsHostAlone(t *testing.T) {
	var asked []string
	note := func(w http.ResponseWriter, r *http.Request) bool {
		_, password, _ := r.BasicAuth()
		asked = append(asked, r.URL.Path+" "+password)
		if r.URL.Path == "/here" {
			http.Redirect(w, r, "http://localhost:"+r.Host[strings.LastIndex(r.Host, ":")+1:]+"/there", http.StatusFound)
			return false
		}
		return true
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if note(w, r) {
			_, _ = w.Write([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"))
		}
	}))
	t.Cleanup(web.Close)
	env := map[string]string{"TOKEN": "hunter2"}
	if out, err := vendored(t, env, web.URL+"/here", Options{TokenEnvs: []string{"127.0.0.1=TOKEN"}}); err != nil {
		t.Fatal(out, err)
	}
	if diff := cmp.Diff([]string{"/here hunter2", "/there "}, asked); diff != "" {
		t.Error(diff)
	}
	// Go's own client takes them on to a host below.
	a := &access{secrets: map[string]map[string][]byte{"example.com": {"username": []byte("git"), "password": []byte("hunter2")}}}
	first, below := httptest.NewRequest(http.MethodGet, "https://example.com/x", nil), httptest.NewRequest(http.MethodGet, "https://raw.example.com/x", nil)
	client, err := a.client(first)
	if err != nil || first.Header.Get("Authorization") == "" {
		t.Fatal(err)
	}
	below.Header = first.Header.Clone()
	if err := client.CheckRedirect(below, []*http.Request{first}); err != nil || below.Header.Get("Authorization") != "" {
		t.Errorf("to a host below: %v, %v", below.Header, err)
	}
	if _, err := vendored(t, env, "http://git.example.com/x.yaml", Options{TokenEnvs: []string{"git.example.com=TOKEN"}}); !errors.Is(err, git.ErrInvalidURL) {
		t.Errorf("a token over http: %v", err)
	}
}
