package kubeconfig

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

// MaxKubeconfigSize bounds a kubeconfig, in bytes. Those that clusters hand out have some 10 KiB.
const MaxKubeconfigSize = 256 << 10

const notAllowed = "is not allowed"

// Parse reads the cluster and user that current-context leads to. Everything must be
// inline: data, not paths. The fingerprint is a hex digest that changes with the address or the
// credentials; it does not reveal them. Every error is a *FieldError.
func Parse(data []byte) (*rest.Config, string, error) {
	file, err := decode(data)
	if err != nil {
		return nil, "", err
	}
	if err := checkNames(file); err != nil {
		return nil, "", err
	}
	current, err := currentContext(file)
	if err != nil {
		return nil, "", err
	}
	cfg := &rest.Config{}
	if err := readCluster(cfg, current); err != nil {
		return nil, "", err
	}
	if err := readUser(cfg, current); err != nil {
		return nil, "", err
	}
	return cfg, fingerprint(cfg), nil
}

func decode(data []byte) (*clientcmdv1.Config, error) {
	switch {
	case len(strings.TrimSpace(string(data))) == 0:
		return nil, refuse("is empty", "")
	case len(data) > MaxKubeconfigSize:
		return nil, refuse("is larger than 256 KiB", "")
	}
	// The errors of the decoder may quote what they could not read, so they stay here.
	plain, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, refuse("is not valid YAML, or has a key twice", "")
	}
	file := &clientcmdv1.Config{}
	if err := json.Unmarshal(plain, file); err != nil {
		return nil, refuse("is not a kubeconfig", "")
	}
	if file.Kind != "" && file.Kind != "Config" || file.APIVersion != "" && file.APIVersion != "v1" {
		return nil, refuse("is not of apiVersion v1 and kind Config", "")
	}
	return file, nil
}

// checkNames refuses names that occur twice: readers differ on which of the two counts.
func checkNames(file *clientcmdv1.Config) error {
	lists := []struct {
		field string
		names []string
	}{
		{"contexts", names(file.Contexts, func(c clientcmdv1.NamedContext) string { return c.Name })},
		{"clusters", names(file.Clusters, func(c clientcmdv1.NamedCluster) string { return c.Name })},
		{"users", names(file.AuthInfos, func(c clientcmdv1.NamedAuthInfo) string { return c.Name })},
	}
	for _, list := range lists {
		for i, name := range list.names {
			if slices.Contains(list.names[:i], name) {
				return refuse("is there twice", "%s[%d].name", list.field, i)
			}
		}
	}
	return nil
}

func names[T any](list []T, name func(T) string) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = name(list[i])
	}
	return out
}

// selected is the cluster and the user that count, with their places in the file.
type selected struct {
	cluster      clientcmdv1.Cluster
	clusterIndex int
	user         clientcmdv1.AuthInfo
	userIndex    int
}

func currentContext(file *clientcmdv1.Config) (*selected, error) {
	if file.CurrentContext == "" {
		return nil, refuse("is missing", "current-context")
	}
	at := slices.IndexFunc(file.Contexts, func(c clientcmdv1.NamedContext) bool { return c.Name == file.CurrentContext })
	if at < 0 {
		return nil, refuse("names no context", "current-context")
	}
	context := file.Contexts[at].Context
	s := &selected{
		clusterIndex: slices.IndexFunc(file.Clusters, func(c clientcmdv1.NamedCluster) bool { return c.Name == context.Cluster }),
		userIndex:    slices.IndexFunc(file.AuthInfos, func(c clientcmdv1.NamedAuthInfo) bool { return c.Name == context.AuthInfo }),
	}
	switch {
	case s.clusterIndex < 0:
		return nil, refuse("names no cluster", "contexts[%d].context.cluster", at)
	case s.userIndex < 0:
		return nil, refuse("names no user", "contexts[%d].context.user", at)
	}
	s.cluster = file.Clusters[s.clusterIndex].Cluster
	s.user = file.AuthInfos[s.userIndex].AuthInfo
	return s, nil
}

func readCluster(cfg *rest.Config, s *selected) error {
	c, field := s.cluster, func(name, problem string) error {
		return refuse(problem, "clusters[%d].cluster.%s", s.clusterIndex, name)
	}
	switch {
	case c.InsecureSkipTLSVerify:
		return field("insecure-skip-tls-verify", notAllowed)
	case c.CertificateAuthority != "":
		return field("certificate-authority", notAllowed+": use certificate-authority-data")
	case c.ProxyURL != "":
		return field("proxy-url", notAllowed)
	case c.Server == "":
		return field("server", "is missing")
	}
	u, err := url.Parse(c.Server)
	switch {
	case err != nil || u.Host == "":
		return field("server", "is not a URL")
	case u.Scheme != "https":
		return field("server", "is not an https URL")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return field("server", "has more than a scheme, a host and a path")
	}
	if len(c.CertificateAuthorityData) > 0 && !x509.NewCertPool().AppendCertsFromPEM(c.CertificateAuthorityData) {
		return field("certificate-authority-data", "holds no certificate")
	}
	cfg.Host = c.Server
	cfg.ServerName = c.TLSServerName
	cfg.CAData = c.CertificateAuthorityData
	cfg.DisableCompression = c.DisableCompression
	return nil
}

func readUser(cfg *rest.Config, s *selected) error {
	u, field := s.user, func(name, problem string) error {
		return refuse(problem, "users[%d].user.%s", s.userIndex, name)
	}
	switch {
	case u.Exec != nil:
		return field("exec", notAllowed)
	case u.AuthProvider != nil:
		return field("auth-provider", notAllowed)
	case u.TokenFile != "":
		return field("tokenFile", notAllowed+": use token")
	case u.ClientCertificate != "":
		return field("client-certificate", notAllowed+": use client-certificate-data")
	case u.ClientKey != "":
		return field("client-key", notAllowed+": use client-key-data")
	case u.Impersonate != "":
		return field("as", notAllowed)
	case u.ImpersonateUID != "":
		return field("as-uid", notAllowed)
	case len(u.ImpersonateGroups) > 0:
		return field("as-groups", notAllowed)
	case len(u.ImpersonateUserExtra) > 0:
		return field("as-user-extra", notAllowed)
	}
	if strings.ContainsFunc(u.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return field("token", "holds characters that no token has")
	}
	if u.Token != "" && u.Username != "" {
		return field("username", "and token are both given")
	}
	if err := checkCertificate(u, field); err != nil {
		return err
	}
	if u.Token == "" && u.Username == "" && len(u.ClientCertificateData) == 0 {
		return refuse("has neither a token nor a client certificate", "users[%d].user", s.userIndex)
	}
	cfg.BearerToken = u.Token
	cfg.Username, cfg.Password = u.Username, u.Password
	cfg.CertData, cfg.KeyData = u.ClientCertificateData, u.ClientKeyData
	return nil
}

func checkCertificate(u clientcmdv1.AuthInfo, field func(name, problem string) error) error {
	cert, key := u.ClientCertificateData, u.ClientKeyData
	if len(cert) == 0 && len(key) == 0 {
		return nil
	}
	if block, _ := pem.Decode(cert); block == nil {
		return field("client-certificate-data", "holds no certificate")
	}
	if block, _ := pem.Decode(key); block == nil {
		return field("client-key-data", "holds no key")
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return field("client-key-data", "does not belong to client-certificate-data")
	}
	return nil
}

// fingerprint digests everything that decides where a connection leads and as whom.
func fingerprint(cfg *rest.Config) string {
	sum := sha256.New()
	for _, part := range [][]byte{
		[]byte(cfg.Host), []byte(cfg.ServerName), cfg.CAData, cfg.CertData, cfg.KeyData,
		[]byte(cfg.BearerToken), []byte(cfg.Username), []byte(cfg.Password),
	} {
		one := sha256.Sum256(part) // so that no two lists of parts run together
		sum.Write(one[:])
	}
	return hex.EncodeToString(sum.Sum(nil))
}
