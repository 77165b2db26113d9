package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/kubeconfig"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		name, server string
		labels, vars []string
		want         string
	}{
		"fine":                {name: "shop-1", labels: []string{"a=b", "example.com/c=", "gone-"}, vars: []string{"REGION=a=b", "x-"}},
		"the hub's name":      {name: "hub", want: `the name "hub" stands for the hub's own cluster`},
		"upper case":          {name: "Shop", want: `"Shop" cannot be the name of a cluster`},
		"too long":            {name: strings.Repeat("a", 64), want: "at most 63 characters, this one has 64"},
		"no value":            {name: "a", labels: []string{"tier"}, want: `--label "tier" must be key=value`},
		"bad label value":     {name: "a", labels: []string{"tier=a b"}, want: `--label "tier": `},
		"bad label key":       {name: "a", labels: []string{"a b=c"}, want: `--label "a b": `},
		"label twice":         {name: "a", labels: []string{"a=b", "a=c"}, want: `--label "a" is given twice`},
		"bad variable":        {name: "a", vars: []string{"a-b=c"}, want: `--var "a-b": a variable name has letters`},
		"the hub's variable":  {name: "a", vars: []string{"cluster_name=c"}, want: "cluster_name is set by the hub"},
		"huge value":          {name: "a", vars: []string{"a=" + strings.Repeat("x", 4097)}, want: "at most 4096 bytes"},
		"server without TLS":  {name: "a", server: "http://edge", want: "--server must be an https URL"},
		"server with a user":  {name: "a", server: "https://u:p@edge", want: "--server must be an https URL"},
		"server is no URL":    {name: "a", server: "edge:6443", want: "--server must be an https URL"},
		"server as it should": {name: "a", server: "https://edge:6443"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parse(&Options{Name: tt.name, FromKubeconfig: "f", Server: tt.server, Labels: tt.labels, Vars: tt.vars})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
			var usage *factory.UsageError
			if err != nil && !errors.As(err, &usage) {
				t.Errorf("error is a %T", err)
			}
		})
	}
	if _, err := parse(&Options{Name: "a"}); err == nil || !strings.Contains(err.Error(), "--from-kubeconfig is missing") {
		t.Errorf("without a kubeconfig: %v", err)
	}
}

func TestChanges(t *testing.T) {
	o := &Options{Name: "a"}
	live := &v1alpha1.Cluster{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"keep": "1", "change": "1", "gone": "1"}},
		Spec: v1alpha1.ClusterSpec{
			KubeConfig: &v1alpha1.KubeConfig{SecretRef: meta.SecretKeyReference{Name: "a-kubeconfig"}},
			Vars:       map[string]v1alpha1.VarValue{"v": "1"},
		},
	}
	tests := map[string]struct {
		labels, vars change
		want         string
	}{
		"nothing":    {},
		"as it is":   {labels: change{set: map[string]string{"keep": "1"}}, vars: change{set: map[string]string{"v": "1"}, remove: []string{"w"}}},
		"labels":     {labels: change{set: map[string]string{"change": "2", "new": "1"}, remove: []string{"gone"}}, want: `{"metadata":{"labels":{"change":"2","gone":null,"new":"1"}}}`},
		"vars":       {vars: change{set: map[string]string{"w": "2"}, remove: []string{"v"}}, want: `{"spec":{"vars":{"v":null,"w":"2"}}}`},
		"set, unset": {vars: change{set: map[string]string{"v": "2"}, remove: []string{"v"}}, want: `{"spec":{"vars":{"v":null}}}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := changes(live, o, wanted{tt.labels, tt.vars})
			if diff := cmp.Diff(tt.want, string(got)); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
	live.Spec.KubeConfig.SecretRef = meta.SecretKeyReference{Name: "other", Key: "k"}
	got, err := changes(live, o, wanted{})
	if want := `{"spec":{"kubeConfig":{"secretRef":{"key":null,"name":"a-kubeconfig"}}}}`; err != nil || string(got) != want {
		t.Errorf("another Secret: %s, %v", got, err)
	}
}

// authority returns a certificate in PEM.
func authority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func load(t *testing.T, cluster, user string) (*edge, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"ca.crt": authority(t), "token": "file-token\n",
		"config": fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: edge
contexts: [{name: edge, context: {cluster: c, user: u}}, {name: broken, context: {cluster: x, user: u}}]
clusters: [{name: c, cluster: %s}]
users: [{name: u, user: %s}]
`, cluster, user),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	streams, _, _, _ := iostreams.Test()
	return loadEdge(&Options{Factory: &factory.Factory{IO: streams}, FromKubeconfig: filepath.Join(dir, "config")})
}

func TestTokenKubeconfigIsTheLeast(t *testing.T) {
	// The person's own way in is a command and a file; neither reaches the hub.
	e, err := load(t, `{server: "https://edge.example:6443", certificate-authority: ca.crt, tls-server-name: inside}`,
		`{exec: {apiVersion: client.authentication.k8s.io/v1, command: corporate-login, interactiveMode: Never}}`)
	if err != nil {
		t.Fatal(err)
	}
	data, err := e.tokenKubeconfig(t.Context(), []byte("t0ken"), nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg, _, err := kubeconfig.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(cfg.CAData), "-----BEGIN CERTIFICATE-----") {
		t.Error("the authority was not read from its file, beside the kubeconfig")
	}
	if cfg.Host != "https://edge.example:6443" || cfg.BearerToken != "t0ken" || cfg.ServerName != "inside" {
		t.Errorf("config leads to %s, %s", cfg.Host, cfg.ServerName)
	}
	if strings.Contains(string(data), "corporate-login") || strings.Contains(string(data), "ca.crt") {
		t.Errorf("kubeconfig holds more than it should:\n%s", data)
	}
	e.server = "https://outside.example"
	if data, err = e.tokenKubeconfig(t.Context(), []byte("t0ken"), nil); err != nil || !strings.Contains(string(data), "server: https://outside.example\n") {
		t.Errorf("--server: %v\n%s", err, data)
	}
}

func TestOwnCredentials(t *testing.T) {
	const cluster = `{server: "https://edge.example"}`
	tests := map[string]struct {
		cluster, user, want, says string
	}{
		"token":         {cluster: cluster, user: "{token: t0ken}", want: "token: t0ken"},
		"token file":    {cluster: cluster, user: "{tokenFile: token}", want: "token: file-token"},
		"password":      {cluster: cluster, user: "{username: ann, password: pw}", want: "password: pw"},
		"command":       {cluster: cluster, user: "{exec: {apiVersion: client.authentication.k8s.io/v1, command: login, interactiveMode: Never}}", says: "come from the command login"},
		"impersonation": {cluster: cluster, user: "{token: t, as: boss}", says: "impersonate somebody"},
		"insecure":      {cluster: `{server: "https://e", insecure-skip-tls-verify: true}`, user: "{token: t}", says: "turns the check of the edge's certificate off"},
		"proxy":         {cluster: `{server: "https://e", proxy-url: "http://p"}`, user: "{token: t}", says: "proxy-url, which the hub does not follow"},
		"not https":     {cluster: `{server: "http://e"}`, user: "{token: t}", says: "the hub would not accept this cluster"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e, err := load(t, tt.cluster, tt.user)
			if err != nil {
				t.Fatal(err)
			}
			data, err := e.ownCredentials()
			if tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) || tt.says == "" && err != nil {
				t.Errorf("error is %v, want %q", err, tt.says)
			}
			if !strings.Contains(string(data), tt.want) {
				t.Errorf("kubeconfig lacks %q:\n%s", tt.want, data)
			}
		})
	}
}
