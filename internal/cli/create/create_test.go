package create

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	gossh "golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// create runs `create ARGS` without a hub.
func create(t *testing.T, stdin string, args ...string) (out, errOut string, err error) {
	t.Helper()
	return createOn(t, func() (*factory.Hub, error) { return nil, errors.New("the hub was asked for") }, stdin, args...)
}

func createOn(t *testing.T, hub func() (*factory.Hub, error), stdin string, args ...string) (out, errOut string, err error) {
	t.Helper()
	streams, in, stdout, stderr := iostreams.Test()
	in.WriteString(stdin)
	f := &factory.Factory{IO: streams, Now: time.Now, ReadFile: os.ReadFile, Flags: &factory.Flags{Namespace: "apps"}, Hub: hub}
	cmd := NewCmdCreate(f)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), err
}

func TestExportPrintsWhatTheFlagsSay(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"git": {[]string{"source", "git", "fleet", "--url", "ssh://git@example.com/fleet.git", "--tag-semver", ">=1.0.0", "--secret-ref", "key", "--ignore-paths", "docs,*.md", "--label", "a=b"}, `---
apiVersion: skerry.dev/v1alpha1
kind: GitRepository
metadata:
  labels:
    a: b
  name: fleet
  namespace: apps
spec:
  ignore: |
    docs
    *.md
  interval: 1m0s
  ref:
    semver: '>=1.0.0'
  secretRef:
    name: key
  url: ssh://git@example.com/fleet.git
`},
		"kustomization": {[]string{"kustomization", "web", "--source", "GitRepository/fleet.infra", "--path", "./web", "--cluster-selector", "tier in (shop,depot)", "--cluster", "x", "--depends-on", "base,infra/dns", "--decryption-provider", "sops", "--decryption-secret", "keys", "--prune=false", "--all-at-once"}, `---
apiVersion: skerry.dev/v1alpha1
kind: Kustomization
metadata:
  name: web
  namespace: apps
spec:
  clusters:
    names:
    - x
    selector:
      matchExpressions:
      - key: tier
        operator: In
        values:
        - depot
        - shop
  decryption:
    provider: sops
    secretRef:
      name: keys
  dependsOn:
  - name: base
  - name: dns
    namespace: infra
  interval: 10m0s
  path: ./web
  prune: false
  rollout:
    strategy: AllAtOnce
  sourceRef:
    kind: GitRepository
    name: fleet
    namespace: infra
  wait: true
`},
		"receiver": {[]string{"receiver", "push", "--type", "github", "--event", "ping,push", "--secret-ref", "token", "--resource", "GitRepository/fleet.infra", "--resource", "gitrepository/apps"}, `---
apiVersion: skerry.dev/v1alpha1
kind: Receiver
metadata:
  name: push
  namespace: apps
spec:
  events:
  - ping
  - push
  resources:
  - kind: GitRepository
    name: fleet
    namespace: infra
  - kind: GitRepository
    name: apps
  secretRef:
    name: token
  type: github
`},
		"cluster": {[]string{"cluster", "shop-1", "--kubeconfig-secret-ref", "shop-1", "--var", "region=a=b", "--deletion-policy", "delete"}, `---
apiVersion: skerry.dev/v1alpha1
kind: Cluster
metadata:
  name: shop-1
  namespace: apps
spec:
  deletionPolicy: Delete
  kubeConfig:
    secretRef:
      name: shop-1
  vars:
    region: a=b
`},
		"secret git": {[]string{"secret", "git", "key", "--url", "https://example.com/fleet.git", "--username", "robot", "--password-stdin"}, `---
apiVersion: v1
data:
  password: aHVudGVyMg==
  username: cm9ib3Q=
kind: Secret
metadata:
  name: key
  namespace: apps
type: Opaque
`},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, err := create(t, "hunter2\n", append(tt.args, "--export")...)
			if diff := cmp.Diff(tt.want, out); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestWrongFlagsAreNamedBeforeAnythingIsAsked(t *testing.T) {
	dir := t.TempDir()
	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	const https = "--url=https://example.com/r.git"
	for want, args := range map[string][]string{
		`"A_b" cannot be a name`:                         {"source", "git", "A_b", https, "--branch", "main"},
		"--url is missing":                               {"source", "git", "a", "--branch", "main"},
		"--url must be":                                  {"source", "git", "a", "--url", "https://u:p@example.com/r.git", "--branch", "main"},
		"a reference is missing":                         {"source", "git", "a", https},
		"exclude each other, but":                        {"source", "git", "a", https, "--branch", "main", "--tag", "v1"},
		`--label "x": it must be key=value`:              {"source", "git", "a", https, "--branch", "main", "--label", "x"},
		"--type is missing":                              {"receiver", "a"},
		"--secret-ref is missing":                        {"receiver", "a", "--type", "github"},
		"--resource is missing":                          {"receiver", "a", "--type", "github", "--secret-ref", "b"},
		`--resource "fleet" must be`:                     {"receiver", "a", "--type", "github", "--secret-ref", "b", "--resource", "fleet"},
		"--source is missing":                            {"kustomization", "a"},
		`"Bucket" is no kind of source`:                  {"kustomization", "a", "--source", "Bucket/x"},
		"--cluster-selector":                             {"kustomization", "a", "--source", "x", "--cluster-selector", "a in"},
		"--decryption-provider must be sops":             {"kustomization", "a", "--source", "x", "--decryption-provider", "gpg"},
		"one of --kubeconfig-secret-ref and --agent":     {"cluster", "a"},
		`--var "cluster_name"`:                           {"cluster", "a", "--agent", "--var", "cluster_name=x"},
		"--deletion-policy must be":                      {"cluster", "a", "--agent", "--deletion-policy", "x"},
		"credentials are missing":                        {"secret", "git", "a", https},
		"choose one":                                     {"secret", "git", "a", https, "--password", "x", "--password-stdin"},
		"go with an ssh URL":                             {"secret", "git", "a", https, "--password", "x", "--private-key-file", "k"},
		"--ssh-key-algorithm must be":                    {"secret", "git", "a", "--url", "ssh://git@e/r", "--ssh-key-algorithm", "dsa"},
		"--ssh-rsa-bits must lie":                        {"secret", "git", "a", "--url", "ssh://git@e/r", "--ssh-key-algorithm", "rsa", "--ssh-rsa-bits", "1024"},
		"cannot be read as a private key":                {"secret", "git", "a", "--url", "ssh://git@e/r", "--private-key-file", junk},
		"holds no certificate":                           {"secret", "tls", "a", "--ca-crt-file", junk},
		"--tls-crt-file and --tls-key-file go together":  {"secret", "tls", "a", "--tls-crt-file", junk},
		"do not belong together":                         {"secret", "tls", "a", "--tls-crt-file", junk, "--tls-key-file", junk},
		"one of --app-installation-id and --app-install": {"secret", "githubapp", "a", "--app-id", "1", "--app-private-key", junk},
		"holds no RSA private key":                       {"secret", "githubapp", "a", "--app-id", "1", "--app-installation-id", "2", "--app-private-key", junk},
		"holds no age key":                               {"secret", "age", "a", "--age-key-file", junk},
	} {
		_, _, err := create(t, "", append(args, "--export")...)
		var usage *factory.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
}

func secretOf(t *testing.T, out string) map[string][]byte {
	t.Helper()
	s := corev1.Secret{}
	if err := yaml.Unmarshal([]byte(strings.TrimPrefix(out, "---\n")), &s); err != nil {
		t.Fatal(err)
	}
	return s.Data
}

// TestSSHSecretHasANewKeyAndTheServersHostKey against an SSH server that shows its key and nothing else.
func TestSSHSecretHasANewKeyAndTheServersHostKey(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	host, err := gossh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	config := &gossh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(host)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _, _, _ = gossh.NewServerConn(conn, config)
			_ = conn.Close()
		}
	}()
	for _, algorithm := range []string{"ed25519", "ecdsa", "rsa"} {
		out, errOut, err := create(t, "", "secret", "git", "key", "--url", "ssh://git@"+listener.Addr().String()+"/fleet.git", "--ssh-key-algorithm", algorithm, "--export")
		if err != nil {
			t.Fatal(err)
		}
		data := secretOf(t, out)
		signer, err := gossh.ParsePrivateKey(data["identity"])
		if err != nil || !strings.Contains(signer.PublicKey().Type(), algorithm) {
			t.Errorf("%s: %v", algorithm, err)
		}
		if _, _, key, _, _, err := gossh.ParseKnownHosts(data["known_hosts"]); err != nil || string(key.Marshal()) != string(host.PublicKey().Marshal()) {
			t.Errorf("known_hosts: %s, %v", data["known_hosts"], err)
		}
		if !strings.Contains(errOut, gossh.FingerprintSHA256(host.PublicKey())) || !strings.Contains(errOut, strings.TrimSpace(string(data["identity.pub"]))) || strings.Contains(errOut, "PRIVATE") {
			t.Errorf("standard error: %s", errOut)
		}
	}
	_ = listener.Close()
	if _, _, err := create(t, "", "secret", "git", "key", "--url", "ssh://git@"+listener.Addr().String()+"/fleet.git", "--export"); err == nil || !strings.Contains(err.Error(), "for its host key") {
		t.Errorf("without a server: %v", err)
	}
}

func TestHostOfAnSSHURL(t *testing.T) {
	for in, want := range map[string]string{
		"ssh://git@example.com/a": "example.com:22", "ssh://git@example.com:2222/a": "example.com:2222", "git@example.com:team/a": "example.com:22",
		"ssh://git@[::1]/a": "[::1]:22", "ssh://git@[::1]:22/a": "[::1]:22", "ssh://u@v@example.com/a": "example.com:22",
	} {
		if got, err := hostOf(in); err != nil || got != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
}

func TestAgeSecretHasAKeyThatOpens(t *testing.T) {
	out, errOut, err := create(t, "", "secret", "age", "keys", "--export")
	if err != nil {
		t.Fatal(err)
	}
	identities, err := age.ParseIdentities(strings.NewReader(string(secretOf(t, out)["age.agekey"])))
	if err != nil || len(identities) != 1 {
		t.Fatalf("%v", err)
	}
	if own, ok := identities[0].(*age.X25519Identity); !ok || !strings.Contains(errOut, own.Recipient().String()) || strings.Contains(errOut, "AGE-SECRET") {
		t.Errorf("standard error: %s", errOut)
	}
}

func TestScanEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := scan(ctx, "192.0.2.1:22", time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestReceiverSecretHasATokenThatCannotBeGuessed(t *testing.T) {
	token := func(args ...string) string {
		out, errOut, err := create(t, "", append([]string{"secret", "receiver", "a", "--export"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		made := string(secretOf(t, out)["token"])
		if strings.Contains(errOut, made) {
			t.Error("the token is shown")
		}
		return made
	}
	if a, b := token(), token(); len(a) != 64 || a == b {
		t.Errorf("%d digits", len(a))
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("given\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := token("--token-file", file); got != "given" {
		t.Errorf("%q", got)
	}
}

// TestNewKeyReplacesNone: the key that is there may be the only one that opens what is encrypted for it.
func TestNewKeyReplacesNone(t *testing.T) {
	dir := t.TempDir()
	given := filepath.Join(dir, "key.txt")
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(given, []byte(identity.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"secret", "age", "there"}, {"secret", "receiver", "there"}, {"secret", "git", "there", "--url", "ssh://git@127.0.0.1:1/x"},
	} {
		old := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "there"}, Data: map[string][]byte{"old": []byte("key")}}
		made := fake.NewClientBuilder().WithObjects(old).Build()
		hub := func() (*factory.Hub, error) { return &factory.Hub{WithWatch: made}, nil }
		_, errOut, err := createOn(t, hub, "", args...)
		var next *factory.NextError
		if !errors.As(err, &next) || !strings.Contains(err.Error(), "there is a secret there in namespace apps") || !strings.Contains(next.Next, "kubectl -n apps delete secret there") {
			t.Errorf("%v: %v", args, err)
		}
		if errOut != "" {
			t.Errorf("%v: a key was made: %s", args, errOut)
		}
		live := &corev1.Secret{}
		if err := made.Get(t.Context(), client.ObjectKeyFromObject(old), live); err != nil || string(live.Data["old"]) != "key" {
			t.Errorf("%v: %v, %v", args, live.Data, err)
		}
		args[2] = "other"
		if _, _, err := createOn(t, hub, "", args...); err != nil && strings.Contains(err.Error(), "there is a secret") {
			t.Errorf("%v: %v", args, err)
		}
	}
	// A key that a person gives may replace another, and what is printed replaces nothing.
	made := fake.NewClientBuilder().WithObjects(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "there"}}).Build()
	hub := func() (*factory.Hub, error) { return &factory.Hub{WithWatch: made}, nil }
	for _, flag := range []string{"--age-key-file=" + given, "--export"} {
		if _, _, err := createOn(t, hub, "", "secret", "age", "there", flag); err != nil && strings.Contains(err.Error(), "there is a secret") {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
