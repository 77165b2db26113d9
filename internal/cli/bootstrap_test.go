package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func gitShow(t *testing.T, repo *gitserver.Repo, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", repo.Dir()}, args...)...)
	cmd.Env = gitserver.Env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestBootstrap goes as far as a run goes when no hub is at work: everything is in place, and the
// wait says what to look at.
func TestBootstrap(t *testing.T) {
	c := controlplane.New(t, "boot", controlplane.Options{})
	h := gitserver.New(t)
	repo, err := h.Repo("team/fleet")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Commit("main", gitserver.Change{Write: map[string]string{"README.md": "the fleet", "clusters/hub/app.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app, namespace: default}\n"}}); err != nil {
		t.Fatal(err)
	}
	web, err := h.ServeHTTP(gitserver.HTTPOptions{Username: "git", Password: "t0ken", TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	ca := writeFile(t, "ca.crt", web.CA())
	bootstrap := func(stdin string, args ...string) ran {
		t.Helper()
		return run(t, c.Kubeconfig(), stdin, append([]string{"bootstrap", "git", "--url", web.URL(repo), "--timeout", "20s"}, args...)...)
	}

	t.Run("what is wrong is told before anything is written", func(t *testing.T) {
		bootstrap("").want(t, factory.ExitFailed, "certificate signed by an unknown authority")
		bootstrap("", "--ca-file", ca).want(t, factory.ExitFailed, "authentication failed", "next: give a token")
		bootstrap("wrong\n", "--ca-file", ca, "--token-stdin").want(t, factory.ExitFailed, "authentication failed")
		bootstrap("t0ken\n", "--ca-file", ca, "--token-stdin", "--branch", "mian").want(t, factory.ExitFailed, `branch "mian" does not exist`, "--branch main")
		if got := gitShow(t, repo, "log", "--format=%s", "main"); strings.Contains(got, "hub") {
			t.Errorf("something was pushed: %s", got)
		}
		namespaces := &corev1.NamespaceList{}
		if err := clientOf(t, c).List(t.Context(), namespaces); err != nil {
			t.Fatal(err)
		}
		for _, ns := range namespaces.Items {
			if ns.Name == "skerry-system" {
				t.Error("something was applied")
			}
		}
	})

	token := writeFile(t, "token", []byte("t0ken\n"))
	first := bootstrap("", "--ca-file", ca, "--token-file", token, "--timeout", "10s")
	first.want(t, factory.ExitFailed,
		"✔ cluster: Kubernetes v", "can be read and pushed to, with the credentials given",
		"✔ commit: clusters/hub/skerry-system/ pushed as main@sha1:", "created deployment skerry-system/skerry-hub",
		"✔ credentials: secret skerry-system/skerry-system created", "created gitrepository skerry-system/skerry-system",
		"✗ reconcile", "no hub has looked at the GitRepository yet", "it has no Pods", "then run this again")
	for _, r := range []string{first.out, first.errOut} {
		if strings.Contains(r, "t0ken") {
			t.Error("the token was shown")
		}
	}
	commit := gitShow(t, repo, "rev-parse", "main")
	if got := gitShow(t, repo, "ls-tree", "-r", "--name-only", "main"); got != "README.md\nclusters/hub/app.yaml\nclusters/hub/skerry-system/components.yaml\nclusters/hub/skerry-system/kustomization.yaml\nclusters/hub/skerry-system/sync.yaml" {
		t.Errorf("files:\n%s", got)
	}
	if strings.Contains(gitShow(t, repo, "log", "--all", "-p"), "t0ken") {
		t.Error("the token is in Git")
	}

	hub := clientOf(t, c)
	key := client.ObjectKey{Namespace: "skerry-system", Name: "skerry-system"}
	source, root, secret := &v1alpha1.GitRepository{}, &v1alpha1.Kustomization{}, &corev1.Secret{}
	for _, o := range []client.Object{source, root, secret} {
		if err := hub.Get(t.Context(), key, o); err != nil {
			t.Fatal(err)
		}
	}
	if source.Spec.URL != web.URL(repo) || source.Spec.Reference.Branch != "main" || source.Spec.SecretRef.Name != "skerry-system" {
		t.Errorf("source is %+v", source.Spec)
	}
	if root.Spec.Path != "./clusters/hub" || root.Spec.Clusters != nil || *root.Spec.Wait || root.Spec.DeletionPolicy != v1alpha1.DeletionOrphan {
		t.Errorf("root is %+v", root.Spec)
	}
	if string(secret.Data["username"]) != "git" || string(secret.Data["password"]) != "t0ken" || len(secret.Data["ca.crt"]) == 0 {
		t.Errorf("secret has the wrong keys: %d", len(secret.Data))
	}

	t.Run("again, with the stored credentials, changes nothing", func(t *testing.T) {
		bootstrap("", "--timeout", "10s").want(t, factory.ExitFailed, "with the credentials of an earlier run",
			"is as it should be at main@sha1:"+commit, componentsStand, "secret skerry-system/skerry-system unchanged", "nothing to change in 2 objects")
		if got := gitShow(t, repo, "rev-parse", "main"); got != commit {
			t.Error("something was pushed")
		}
	})
	t.Run("patches in Git are kept and applied", func(t *testing.T) {
		own := "resources: [components.yaml, sync.yaml]\npatches:\n- target: {kind: Deployment}\n  patch: |\n    - {op: add, path: /metadata/annotations, value: {mine: kept}}\n"
		if _, err := repo.Commit("main", gitserver.Change{Write: map[string]string{"clusters/hub/skerry-system/kustomization.yaml": own}}); err != nil {
			t.Fatal(err)
		}
		bootstrap("", "--image", "example/hub:9", "--timeout", "10s").want(t, factory.ExitFailed, "pushed as", "changed deployment skerry-system/skerry-hub", componentsChanged)
		d := &unstructured.Unstructured{}
		d.SetAPIVersion("apps/v1")
		d.SetKind("Deployment")
		if err := hub.Get(t.Context(), client.ObjectKey{Namespace: "skerry-system", Name: "skerry-hub"}, d); err != nil {
			t.Fatal(err)
		}
		if d.GetAnnotations()["mine"] != "kept" {
			t.Errorf("annotations are %v", d.GetAnnotations())
		}
	})
	t.Run("Flux in the repository is told, and in the folder refused", func(t *testing.T) {
		const elsewhere, here = "clusters/prod/flux-system/gotk-components.yaml", "clusters/hub/flux-system/gotk-sync.yaml"
		if _, err := repo.Commit("main", gitserver.Change{Write: map[string]string{elsewhere: "{}\n"}}); err != nil {
			t.Fatal(err)
		}
		bootstrap("", "--image", "example/hub:9", "--timeout", "10s").want(t, factory.ExitFailed, "Flux is in this repository too, in clusters/prod/flux-system: 'skerry migrate' brings it over", "is as it should be")
		before, err := repo.Commit("main", gitserver.Change{Write: map[string]string{here: "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: flux-system, namespace: flux-system}\n"}})
		if err != nil {
			t.Fatal(err)
		}
		bootstrap("", "--image", "example/hub:10").want(t, factory.ExitFailed, "the repository has Flux, which keeps a cluster from clusters/hub, by clusters/hub/flux-system/gotk-sync.yaml", "next: 'skerry migrate' brings")
		if now := gitShow(t, repo, "rev-parse", "main"); now != before {
			t.Error("something was pushed")
		}
		if _, err := repo.Commit("main", gitserver.Change{Delete: []string{elsewhere, here}}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("the identity stays", func(t *testing.T) {
		bootstrap("", "--hub-id", "other").want(t, factory.ExitFailed, `the hub's identity is "hub-`, "next: leave --hub-id away")
	})
	t.Run("the hub is not moved by mistake", func(t *testing.T) {
		bootstrap("", "--path", "clusters/other").want(t, factory.ExitFailed, "the hub of this cluster reads from "+web.URL(repo)+", branch main, path clusters/hub", "to move the hub")
	})
	t.Run("install does not fight with Git", func(t *testing.T) {
		run(t, c.Kubeconfig(), "", "install").want(t, factory.ExitFailed, "this hub keeps itself from Git, path ./clusters/hub", "skerry bootstrap git")
	})
	t.Run("a path that does not render is not pushed", func(t *testing.T) {
		before, err := repo.Commit("main", gitserver.Change{Write: map[string]string{"clusters/hub/bad.yaml": "a: [\n"}})
		if err != nil {
			t.Fatal(err)
		}
		bootstrap("", "--image", "example/hub:10").want(t, factory.ExitFailed, "clusters/hub does not render: clusters/hub/bad.yaml", "nothing was pushed")
		after, err := repo.Commit("main", gitserver.Change{Delete: []string{"clusters/hub/bad.yaml"}, Write: map[string]string{"clusters/hub/kustomization.yaml": "resources: [app.yaml]\n"}})
		if err != nil {
			t.Fatal(err)
		}
		bootstrap("", "--image", "example/hub:10").want(t, factory.ExitFailed, "clusters/hub renders without", "add skerry-system to the resources of clusters/hub/kustomization.yaml")
		if now := gitShow(t, repo, "rev-parse", "main"); now != after || now == before {
			t.Error("something was pushed")
		}
	})
}

func TestBootstrapOverSSHIntoAnEmptyRepository(t *testing.T) {
	c := controlplane.New(t, "boot-ssh", controlplane.Options{})
	h := gitserver.New(t)
	repo, err := h.Repo("fleet")
	if err != nil {
		t.Fatal(err)
	}
	server, err := h.ServeSSH()
	if err != nil {
		t.Fatal(err)
	}
	identity, err := server.Identity("open sesame")
	if err != nil {
		t.Fatal(err)
	}
	key, known := writeFile(t, "id", identity), writeFile(t, "known_hosts", server.KnownHosts())
	args := []string{"bootstrap", "git", "--url", server.URL(repo), "--path", "./", "--private-key-file", key, "--known-hosts-file", known, "--crds-only", "--timeout", "8s"}
	run(t, c.Kubeconfig(), "", args...).want(t, factory.ExitUsage, "has a passphrase: give --passphrase-file")
	args = append(args, "--passphrase-file", writeFile(t, "pass", []byte("open sesame\n")))
	run(t, c.Kubeconfig(), "", args...).want(t, factory.ExitFailed, "✔ commit: skerry-system/ pushed as main@sha1:", fmt.Sprintf("%[1]d objects: %[1]d created", crds),
		"next: start skerry-hub with a kubeconfig of this cluster and --hub-id hub-")
	run(t, c.Kubeconfig(), "", args...).want(t, factory.ExitFailed, "skerry-system/ is as it should be", fmt.Sprintf("nothing to change in %d objects", crds))
	secret := &corev1.Secret{}
	if err := clientOf(t, c).Get(t.Context(), client.ObjectKey{Namespace: "skerry-system", Name: "skerry-system"}, secret); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"identity", "known_hosts", "password"} {
		if len(secret.Data[key]) == 0 {
			t.Errorf("the Secret lacks %s", key)
		}
	}
}

func TestBootstrapCommandLine(t *testing.T) {
	tests := map[string]struct {
		args string
		want []string
	}{
		"no url":                {"", []string{"--url is missing"}},
		"token, scp-like url":   {"--url git@git.example.com:team/fleet.git --token-stdin", []string{"does not go with an ssh URL"}},
		"credentials in url":    {"--url https://ann:s3cret@git.example.com/x", []string{"--url holds credentials"}},
		"no url at all":         {"--url fleet", []string{"--url must be an http, https or ssh URL"}},
		"two tokens":            {"--url https://e/x --token-stdin --token-env A", []string{"choose one"}},
		"empty token":           {"--url https://e/x --token-env NOTHING", []string{"the environment variable NOTHING holds no token"}},
		"path outside":          {"--url https://e/x --path ../x", []string{"stay inside"}},
		"interval":              {"--url https://e/x --interval 1ms", []string{"--interval must lie between 1s and 24h"}},
		"key without its hosts": {"--url ssh://e/x --private-key-file k", []string{"go together", "ssh-keyscan"}},
		"token for ssh":         {"--url ssh://e/x --token-stdin", []string{"does not go with an ssh URL"}},
		"key for https":         {"--url https://e/x --private-key-file k --known-hosts-file h", []string{"go with an ssh URL"}},
		"token on the command":  {"--url https://e/x --token abc", []string{"unknown flag: --token", "did you mean --token-"}},
	}
	c := controlplane.Shared(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := run(t, c.Kubeconfig(), "", append([]string{"bootstrap", "git"}, strings.Fields(tt.args)...)...)
			r.want(t, factory.ExitUsage, tt.want...)
			if strings.Contains(r.errOut, "s3cret") {
				t.Error("the password was shown")
			}
		})
	}
}

// TestHandOver: what two managers have stays when one lets go; after the hand-over it goes.
func TestHandOver(t *testing.T) {
	c := clientOf(t, controlplane.Shared(t))
	object := func(data map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "handed", "namespace": "default"}, "data": data,
		}}
	}
	both := map[string]any{"stays": "1", "goes": "1"}
	if result, err := apply.Object(t.Context(), c, object(both)); err != nil || result != apply.Created {
		t.Fatal(result, err)
	}
	if kept, err := apply.HandOver(t.Context(), c, object(both), "skerry.x"); err != nil || kept {
		t.Fatalf("before the hub has it: %t, %v", kept, err)
	}
	asHub := func(data map[string]any) *unstructured.Unstructured {
		o := object(data)
		if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("skerry.x")); err != nil {
			t.Fatal(err)
		}
		return o
	}
	asHub(both)
	if kept, err := apply.HandOver(t.Context(), c, object(both), "skerry.x"); err != nil || !kept {
		t.Fatalf("hand over: %t, %v", kept, err)
	}
	live := &corev1.ConfigMap{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "handed"}, live); err != nil {
		t.Fatal(err)
	}
	if len(live.Data) != 2 || len(live.ManagedFields) != 1 || live.ManagedFields[0].Manager != "skerry.x" || live.ManagedFields[0].Operation != metav1.ManagedFieldsOperationApply {
		t.Errorf("after the hand-over: %v %+v", live.Data, live.ManagedFields)
	}
	version := live.ResourceVersion
	if result, err := apply.Object(t.Context(), c, object(both)); err != nil || result != apply.Unchanged {
		t.Errorf("apply again: %s, %v", result, err)
	}
	if kept, err := apply.HandOver(t.Context(), c, object(both), "skerry.x"); err != nil || !kept {
		t.Errorf("hand over again: %t, %v", kept, err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(live), live); err != nil || live.ResourceVersion != version {
		t.Errorf("it was written again: %v", err)
	}
	if data := asHub(map[string]any{"stays": "1"}).Object["data"]; len(data.(map[string]any)) != 1 {
		t.Errorf("what the hub let go is still there: %v", data)
	}
}
