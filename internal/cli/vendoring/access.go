package vendoring

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/git"
)

// access is what is shown to which host, and to no other: what a kustomization names is chosen by its author.
type access struct {
	// secrets have the keys of a GitRepository's Secret, by host name in lower case.
	secrets map[string]map[string][]byte
	// agent returns the keys of the person's SSH agent and their known_hosts; nil keys where there is none.
	agent func(ctx context.Context) (keys []ssh.Signer, knownHosts []byte, err error)
}

// transport is one way to reach a repository. An error explains why it cannot be used.
type transport struct {
	url  string
	auth git.Auth
	err  error
}

// readAccess reads what the flags name.
func readAccess(o *Options) (*access, error) {
	a := &access{secrets: map[string]map[string][]byte{}, agent: func(ctx context.Context) ([]ssh.Signer, []byte, error) { return agentOf(ctx, o) }}
	add := func(flag, text string, read func(from string) (map[string][]byte, error)) error {
		host, from, ok := strings.Cut(text, "=")
		host = strings.ToLower(host)
		switch {
		case !ok || host == "" || from == "" || strings.ContainsAny(host, "/:@"):
			return factory.Usagef("--%s %q must be HOST=…, with the name of the host alone", flag, text)
		case a.secrets[host] != nil:
			return factory.Usagef("--%s: there are credentials for %s twice", flag, host)
		}
		secret, err := read(from)
		if err != nil {
			return factory.Usagef("--%s %s: %w", flag, text, err)
		}
		a.secrets[host] = secret
		return nil
	}
	for _, text := range o.SecretFiles {
		if err := add("secret-file", text, func(name string) (map[string][]byte, error) { return readSecret(o, name) }); err != nil {
			return nil, err
		}
	}
	for _, text := range o.TokenEnvs {
		err := add("token-env", text, func(name string) (map[string][]byte, error) {
			token := strings.TrimSpace(o.Getenv(name))
			if token == "" {
				return nil, fmt.Errorf("the environment variable %s holds no token", name)
			}
			return map[string][]byte{"username": []byte("git"), "password": []byte(token)}, nil
		})
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

// readSecret reads the manifest of a Secret.
func readSecret(o *Options, name string) (map[string][]byte, error) {
	data, err := o.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read it: %w", err)
	}
	secret := &corev1.Secret{}
	var sops struct{ Sops any }
	switch err := errors.Join(yaml.Unmarshal(data, secret), yaml.Unmarshal(data, &sops)); {
	case sops.Sops != nil:
		return nil, errors.New("it is encrypted: give the output of 'sops decrypt'")
	case err != nil, secret.Kind != "Secret":
		return nil, errors.New("it is not the manifest of one Secret, as 'skerry create secret git --export' prints it")
	}
	out := secret.Data
	if out == nil {
		out = map[string][]byte{}
	}
	for key, value := range secret.StringData {
		out[key] = []byte(value)
	}
	return out, nil
}

// agentOf asks the person's SSH agent for keys that it signs with, and reads their known_hosts.
func agentOf(ctx context.Context, o *Options) ([]ssh.Signer, []byte, error) {
	socket := o.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, nil, nil
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket) // ends with the command: its keys sign through it
	if err != nil {
		return nil, nil, fmt.Errorf("cannot ask the SSH agent (SSH_AUTH_SOCK): %w", err)
	}
	keys, err := agent.NewClient(conn).Signers()
	if err != nil {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("cannot ask the SSH agent (SSH_AUTH_SOCK): %w", err)
	}
	name := o.KnownHostsFile
	if name == "" {
		name = filepath.Join(o.Getenv("HOME"), ".ssh", "known_hosts")
	}
	hosts, err := o.ReadFile(name)
	if err != nil && (o.KnownHostsFile != "" || !errors.Is(err, os.ErrNotExist)) {
		return nil, nil, fmt.Errorf("cannot read known_hosts: %w", err)
	}
	return keys, hosts, nil
}

// ways are those to a repository, in the order in which they are tried. Credentials that are given for its host are
// the only one. Without them it is read without a login, and what is named by an ssh URL with the SSH agent then.
func (a *access) transports(ctx context.Context, r reference) ([]transport, error) {
	secret, given := a.secrets[hostOf(r.Repository)]
	if _, isKey := secret["identity"]; isKey {
		if r.SSH == "" {
			return nil, fmt.Errorf("the credentials for %s are an SSH key: name it as ssh://git@%s/…", hostOf(r.Repository), hostOf(r.Repository))
		}
		auth, err := git.ParseAuth(r.SSH, secret)
		return []transport{{url: r.SSH, auth: auth}}, err
	}
	auth, err := git.ParseAuth(r.Repository, secret)
	if err != nil {
		return nil, err
	}
	all := []transport{{url: r.Repository, auth: auth}}
	if given || r.SSH == "" {
		return all, nil
	}
	keys, hosts, err := a.agent(ctx)
	if err == nil && len(keys) == 0 {
		return all, nil
	}
	switch {
	case err != nil:
	case len(bytes.TrimSpace(hosts)) == 0:
		err = fmt.Errorf("%w: there is no known_hosts", git.ErrHostKeyRefused)
	default:
		auth, err = git.AgentAuth(r.SSH, keys, hosts)
	}
	return append(all, transport{r.SSH, auth, err}), nil //nolint:nilerr // it is reported when the other transports fail
}

// client returns the client for a file, and adds the credentials of its host to the request. They go to that host
// alone, whatever redirects there are.
func (a *access) client(req *http.Request) (*http.Client, error) {
	host := strings.ToLower(req.URL.Hostname())
	secret, given := a.secrets[host]
	client := &http.Client{Timeout: fetchTimeout, CheckRedirect: func(to *http.Request, via []*http.Request) error {
		switch {
		case len(via) >= maxRedirects:
			return errors.New("it is redirected without end")
		case via[0].URL.Scheme == "https" && to.URL.Scheme != "https":
			return errors.New("it is redirected to http")
		case !strings.EqualFold(to.URL.Hostname(), host):
			to.Header.Del("Authorization")
		}
		return nil
	}}
	if _, isKey := secret["identity"]; !given || isKey {
		return client, nil
	}
	plain := url.URL{Scheme: req.URL.Scheme, Host: req.URL.Host, Path: "/file"}
	if _, err := git.ParseAuth(plain.String(), secret); err != nil {
		return nil, err
	}
	line := func(key string) string { return strings.TrimRight(string(secret[key]), "\r\n") }
	if token := strings.TrimSpace(string(secret["bearerToken"])); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	} else if line("username") != "" {
		req.SetBasicAuth(line("username"), line("password"))
	}
	if ca := secret["ca.crt"]; len(ca) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pool.AppendCertsFromPEM(ca)
		client.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	}
	return client, nil
}

// maxRedirects bounds how many redirects a file is fetched through.
const maxRedirects = 10

// advise adds what to do about a repository that cannot be read.
func (a *access) advise(r reference, err error) error {
	switch {
	case errors.Is(err, git.ErrHostKeyRefused):
		return factory.Next(factory.OtherServer(err), "compare what 'ssh-keyscan %s' shows with what the server's owner says, and put it into known_hosts", hostOf(r.Repository))
	case errors.Is(err, git.ErrAuthenticationFailed), errors.Is(err, git.ErrRepositoryNotFound):
		return a.adviseHost(hostOf(r.Repository), err)
	}
	return factory.OtherServer(err)
}

// adviseHost adds how credentials are given for a host.
func (a *access) adviseHost(host string, err error) error {
	if a.secrets[strings.ToLower(host)] != nil {
		return factory.Next(factory.OtherServer(err), "the credentials for %s may not read it: give others", host)
	}
	return factory.Next(factory.OtherServer(err), "if it is private, give credentials: --secret-file %s=FILE, --token-env %s=VARIABLE, or an SSH agent for an ssh URL", host, host)
}

// hostOf is the host name of a URL, in lower case.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}
