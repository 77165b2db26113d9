package kubeconfig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
)

const secret = "s3cr3t-value"

func config(cluster, user string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: edge
contexts:
- name: edge
  context: {cluster: c, user: u}
clusters:
- name: c
  cluster: %s
users:
- name: u
  user: %s
`, cluster, user)
}

const goodCluster = `{server: "https://edge.example:6443"}`
const goodUser = `{token: ` + secret + `}`

func TestParseKubeconfig(t *testing.T) {
	cert, key := pair(t)
	_, otherKey := pair(t)
	good := config(goodCluster, goodUser)
	tests := map[string]struct {
		in   string
		want string // the error
	}{
		"token":              {in: good},
		"client certificate": {in: config(goodCluster, fmt.Sprintf("{client-certificate-data: %s, client-key-data: %s}", cert, key))},
		"basic auth":         {in: config(goodCluster, "{username: a, password: b}")},
		"with a CA":          {in: config(fmt.Sprintf(`{server: "https://e:1", certificate-authority-data: %s, tls-server-name: x}`, cert), goodUser)},
		"other entries with exec are of no concern": {in: good + "- name: other\n  user: {exec: {command: " + secret + "}}\n"},

		"empty":             {in: " \n", want: "kubeconfig is empty"},
		"garbage":           {in: secret + ": [", want: "kubeconfig is not valid YAML, or has a key twice"},
		"a list":            {in: "[" + secret + "]", want: "kubeconfig is not a kubeconfig"},
		"a Secret":          {in: "apiVersion: v1\nkind: Secret\n", want: "kubeconfig is not of apiVersion v1 and kind Config"},
		"cyclic anchor":     {in: "a: &a [*a]", want: "kubeconfig is not valid YAML, or has a key twice"},
		"billion laughs":    {in: laughs(), want: "kubeconfig is not valid YAML, or has a key twice"},
		"too large":         {in: good + strings.Repeat("#\n", MaxKubeconfigSize/2), want: "kubeconfig is larger than 256 KiB"},
		"key twice":         {in: good + "current-context: edge\n", want: "kubeconfig is not valid YAML, or has a key twice"},
		"base64 is garbage": {in: config(`{server: "https://e", certificate-authority-data: "%%%"}`, goodUser), want: "kubeconfig is not a kubeconfig"},

		"no current-context": {in: strings.Replace(good, "current-context: edge", "current-context: ''", 1), want: "kubeconfig: current-context is missing"},
		"unknown context":    {in: strings.Replace(good, "current-context: edge", "current-context: x", 1), want: "kubeconfig: current-context names no context"},
		"unknown cluster":    {in: strings.Replace(good, "cluster: c,", "cluster: x,", 1), want: "kubeconfig: contexts[0].context.cluster names no cluster"},
		"unknown user":       {in: strings.Replace(good, "user: u}", "user: x}", 1), want: "kubeconfig: contexts[0].context.user names no user"},
		"context twice":      {in: strings.Replace(good, "contexts:\n", "contexts:\n- {name: edge, context: {cluster: d, user: u}}\n", 1), want: "kubeconfig: contexts[1].name is there twice"},
		"cluster twice":      {in: strings.Replace(good, "clusters:\n", "clusters:\n- {name: c, cluster: {server: 'https://x'}}\n", 1), want: "kubeconfig: clusters[1].name is there twice"},
		"user twice":         {in: good + "- {name: u, user: {token: x}}\n", want: "kubeconfig: users[1].name is there twice"},

		"insecure":        {in: config(`{server: "https://e", insecure-skip-tls-verify: true}`, goodUser), want: "kubeconfig: clusters[0].cluster.insecure-skip-tls-verify is not allowed"},
		"CA file":         {in: config(`{server: "https://e", certificate-authority: /etc/ca}`, goodUser), want: "kubeconfig: clusters[0].cluster.certificate-authority is not allowed: use certificate-authority-data"},
		"CA garbage":      {in: config(`{server: "https://e", certificate-authority-data: aGFsbG8=}`, goodUser), want: "kubeconfig: clusters[0].cluster.certificate-authority-data holds no certificate"},
		"proxy":           {in: config(`{server: "https://e", proxy-url: "http://`+secret+`"}`, goodUser), want: "kubeconfig: clusters[0].cluster.proxy-url is not allowed"},
		"no server":       {in: config(`{}`, goodUser), want: "kubeconfig: clusters[0].cluster.server is missing"},
		"http":            {in: config(`{server: "http://e"}`, goodUser), want: "kubeconfig: clusters[0].cluster.server is not an https URL"},
		"host only":       {in: config(`{server: "edge.example"}`, goodUser), want: "kubeconfig: clusters[0].cluster.server is not a URL"},
		"user in the URL": {in: config(`{server: "https://a:`+secret+`@e"}`, goodUser), want: "kubeconfig: clusters[0].cluster.server has more than a scheme, a host and a path"},

		"exec":                 {in: config(goodCluster, "{exec: {apiVersion: v1, command: "+secret+"}}"), want: "kubeconfig: users[0].user.exec is not allowed"},
		"auth-provider":        {in: config(goodCluster, "{auth-provider: {name: "+secret+"}}"), want: "kubeconfig: users[0].user.auth-provider is not allowed"},
		"tokenFile":            {in: config(goodCluster, "{tokenFile: /var/run/"+secret+"}"), want: "kubeconfig: users[0].user.tokenFile is not allowed: use token"},
		"token and tokenFile":  {in: config(goodCluster, "{token: a, tokenFile: /var/run/"+secret+"}"), want: "kubeconfig: users[0].user.tokenFile is not allowed: use token"},
		"certificate file":     {in: config(goodCluster, "{client-certificate: /x}"), want: "kubeconfig: users[0].user.client-certificate is not allowed: use client-certificate-data"},
		"key file":             {in: config(goodCluster, "{client-key: /x}"), want: "kubeconfig: users[0].user.client-key is not allowed: use client-key-data"},
		"as":                   {in: config(goodCluster, "{token: a, as: "+secret+"}"), want: "kubeconfig: users[0].user.as is not allowed"},
		"as-uid":               {in: config(goodCluster, "{token: a, as-uid: "+secret+"}"), want: "kubeconfig: users[0].user.as-uid is not allowed"},
		"as-groups":            {in: config(goodCluster, "{token: a, as-groups: ["+secret+"]}"), want: "kubeconfig: users[0].user.as-groups is not allowed"},
		"as-user-extra":        {in: config(goodCluster, "{token: a, as-user-extra: {a: ["+secret+"]}}"), want: "kubeconfig: users[0].user.as-user-extra is not allowed"},
		"any case of a key":    {in: config(goodCluster, "{token: a, TokenFile: "+secret+"}"), want: "kubeconfig: users[0].user.tokenFile is not allowed: use token"},
		"nobody":               {in: config(goodCluster, "{}"), want: "kubeconfig: users[0].user has neither a token nor a client certificate"},
		"token with a newline": {in: config(goodCluster, `{token: "`+secret+`\n"}`), want: "kubeconfig: users[0].user.token holds characters that no token has"},
		"token and basic":      {in: config(goodCluster, "{token: a, username: b}"), want: "kubeconfig: users[0].user.username and token are both given"},
		"garbage certificate":  {in: config(goodCluster, "{client-certificate-data: aGFsbG8=, client-key-data: aGFsbG8=}"), want: "kubeconfig: users[0].user.client-certificate-data holds no certificate"},
		"certificate, no key":  {in: config(goodCluster, "{client-certificate-data: "+cert+"}"), want: "kubeconfig: users[0].user.client-key-data holds no key"},
		"key of another":       {in: config(goodCluster, "{client-certificate-data: "+cert+", client-key-data: "+otherKey+"}"), want: "kubeconfig: users[0].user.client-key-data does not belong to client-certificate-data"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg, print, err := Parse([]byte(tt.in))
			got := ""
			if err != nil {
				got = err.Error()
				if field := new(FieldError); !errors.As(err, &field) {
					t.Errorf("error is a %T", err)
				}
				if strings.Contains(got, secret) {
					t.Errorf("error holds a value: %s", got)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("error (-want +got):\n%s", diff)
			}
			if err == nil && (len(print) != 64 || strings.Contains(print, secret)) {
				t.Errorf("fingerprint %q", print)
			}
			if err == nil {
				if _, err := rest.HTTPClientFor(cfg); err != nil {
					t.Errorf("config is not usable: %v", err)
				}
			}
		})
	}
}

func TestParseKubeconfigKeepsWhatCounts(t *testing.T) {
	cert, key := pair(t)
	cfg, _, err := Parse([]byte(config(
		fmt.Sprintf(`{server: "https://e:1/path", certificate-authority-data: %s, tls-server-name: x, disable-compression: true}`, cert),
		fmt.Sprintf(`{client-certificate-data: %s, client-key-data: %s, token: t}`, cert, key))))
	if err != nil {
		t.Fatal(err)
	}
	rawCert, _ := base64.StdEncoding.DecodeString(cert)
	rawKey, _ := base64.StdEncoding.DecodeString(key)
	want := &rest.Config{
		Host: "https://e:1/path", BearerToken: "t", DisableCompression: true,
		TLSClientConfig: rest.TLSClientConfig{ServerName: "x", CAData: rawCert, CertData: rawCert, KeyData: rawKey},
	}
	if diff := cmp.Diff(fmt.Sprintf("%#v", want), fmt.Sprintf("%#v", cfg)); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestFingerprint(t *testing.T) {
	parse := func(cluster, user string) string {
		t.Helper()
		_, print, err := Parse([]byte(config(cluster, user)))
		if err != nil {
			t.Fatal(err)
		}
		return print
	}
	base := parse(goodCluster, goodUser)
	if again := parse(goodCluster, goodUser+" # a comment"); again != base {
		t.Error("a comment changes the fingerprint")
	}
	for name, other := range map[string]string{
		"server":     parse(`{server: "https://other"}`, goodUser),
		"token":      parse(goodCluster, "{token: other}"),
		"basic":      parse(goodCluster, "{username: "+secret+"}"),
		"servername": parse(`{server: "https://edge.example:6443", tls-server-name: x}`, goodUser),
	} {
		if other == base {
			t.Errorf("another %s leaves the fingerprint", name)
		}
	}
}

func FuzzParseKubeconfig(f *testing.F) {
	f.Add([]byte(config(goodCluster, goodUser)))
	f.Add([]byte(laughs()))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, _, err := Parse(data)
		if err != nil {
			return
		}
		if !strings.HasPrefix(strings.ToLower(cfg.Host), "https://") || cfg.Insecure || cfg.Proxy != nil ||
			cfg.ExecProvider != nil || cfg.AuthProvider != nil || cfg.BearerTokenFile != "" ||
			cfg.CAFile != "" || cfg.CertFile != "" || cfg.KeyFile != "" || cfg.Impersonate.UserName != "" {
			t.Errorf("accepted: %#v", cfg)
		}
	})
}

func laughs() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := range 12 {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 9), ","))
	}
	return b.String()
}

// pair returns a self-signed certificate and its key, as PEM in base64.
func pair(t *testing.T) (string, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "edge"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return encode("CERTIFICATE", der), encode("EC PRIVATE KEY", keyDER)
}
