package git

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"golang.org/x/crypto/ssh"
)

// Providers of credentials, as spec.provider of a GitRepository names them.
const (
	ProviderGeneric = "generic"
	ProviderGitHub  = "github"
)

// Auth is what a server is shown and what it is held to, from Secrets, and the way to it. The zero value
// has no credentials, the system's certificate authorities, and the proxy of the process. It prints as
// nothing.
type Auth struct {
	username, password, bearer string
	ca                         []byte
	certificate                *tls.Certificate
	app                        *githubApp
	signers                    []ssh.Signer
	knownHosts                 []byte
	proxy                      *url.URL
	// ignored are the keys of the Secrets that nothing reads.
	ignored []string
	// sum distinguishes two without keeping their contents where they could be printed.
	sum [sha256.Size]byte
}

// String hides the contents, also from %v.
func (Auth) String() string { return "(credentials)" }

// GoString hides the contents from %#v.
func (Auth) GoString() string { return "git.Auth{}" }

// ParseAuth reads the keys that Flux's Secrets have. For http and https: username and password, or
// bearerToken; tls.crt and tls.key (or certFile and keyFile) for the client's own certificate; and ca.crt
// (or caFile) for certificates of an authority of one's own beside the system's. For ssh: identity and
// known_hosts, both mandatory, and password if the identity is encrypted. No secret at all is fine for
// http and https. Errors are ErrInvalidSecret and name the key, never its content, or ErrInvalidURL.
func ParseAuth(url string, secret map[string][]byte) (Auth, error) {
	return ParseProviderAuth(ProviderGeneric, url, secret)
}

// ParseProviderAuth is ParseAuth for a provider of credentials; "" is the generic one. The Secret of a
// GitHub App has the keys that begin with githubApp in place of username, password and bearerToken.
// Further errors are ErrProviderConfiguration and ErrUnsupportedProvider.
func ParseProviderAuth(provider, url string, secret map[string][]byte) (Auth, error) {
	e, err := parseURL(url)
	if err != nil {
		return Auth{}, err
	}
	var a Auth
	var read []string
	switch _, isApp := secret[keyAppID]; {
	case provider == ProviderGitHub:
		read = append(slices.Clone(tlsKeys), appKeys...)
		a, err = parseApp(e, secret)
	case provider != "" && provider != ProviderGeneric:
		return Auth{}, fail(ErrUnsupportedProvider, "provider %q: use secretRef with the provider generic or github", provider)
	case isApp:
		return Auth{}, fail(ErrProviderConfiguration, "the Secret is that of a GitHub App (%s), and spec.provider is not github", keyAppID)
	case e.scheme == "ssh":
		read = []string{"identity", "identity.pub", "known_hosts", "password"}
		a, err = parseSSH(secret)
	default:
		read = append(slices.Clone(tlsKeys), "username", "password", "bearerToken")
		a, err = parseHTTP(secret)
	}
	a.ignored = ignoredKeys(secret, read)
	if err != nil {
		return Auth{}, withIgnored(err, a.ignored)
	}
	a.sum = sumOf(a.sum, provider, secret)
	return a, a.check(e)
}

// tlsKeys are the keys about certificates, each followed by the name that it had in earlier versions of
// Flux.
var tlsKeys = []string{"tls.crt", "certFile", "tls.key", "keyFile", "ca.crt", "caFile"}

// sumOf adds a Secret to a sum.
func sumOf(before [sha256.Size]byte, kind string, secret map[string][]byte) (after [sha256.Size]byte) {
	sum := sha256.New()
	sum.Write(before[:])
	sum.Write([]byte(kind + "\x00"))
	for _, key := range slices.Sorted(maps.Keys(secret)) {
		part := sha256.Sum256(secret[key])
		sum.Write([]byte(key + "\x00"))
		sum.Write(part[:])
	}
	sum.Sum(after[:0])
	return after
}

// ignoredKeys are the keys of a Secret that nothing reads, sorted.
func ignoredKeys(secret map[string][]byte, read []string) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for key := range secret {
			if !slices.Contains(read, key) && !yield(key) {
				return
			}
		}
	})
}

// maxIgnored bounds how many ignored keys an error names.
const maxIgnored = 5

// withIgnored names the keys that nothing reads in an error of a Secret, since one of them may be a key
// that is missing under another name.
func withIgnored(err error, keys []string) error {
	if len(keys) == 0 || !errors.Is(err, ErrInvalidSecret) && !errors.Is(err, ErrProviderConfiguration) {
		return err
	}
	more := ""
	if len(keys) > maxIgnored {
		keys, more = keys[:maxIgnored], " and others"
	}
	return fmt.Errorf("%w (nothing reads %s%s)", err, oneLine(strings.Join(keys, ", ")), more)
}

// Ignored are the keys of the Secrets that nothing reads, sorted.
func (a Auth) Ignored() []string { return a.ignored }

// check refuses credentials that do not go with the URL.
func (a Auth) check(e endpoint) error {
	secret := a.username != "" || a.password != "" || a.bearer != "" || a.app != nil
	switch {
	case e.scheme == "ssh" && len(a.signers) == 0:
		return fail(ErrInvalidSecret, "ssh needs the keys identity and known_hosts")
	case e.scheme != "ssh" && len(a.signers) > 0:
		return fail(ErrInvalidSecret, "the key identity is for ssh, the URL is not")
	case e.scheme == "ssh" && a.proxy != nil && a.proxy.Scheme != "socks5":
		return fail(ErrInvalidSecret, "the proxy of an ssh URL is a socks5 one, as socks5://proxy.example:1080")
	case e.scheme == "http" && a.certificate != nil:
		return fail(ErrInvalidURL, "tls.crt and tls.key are shown over https only")
	case e.scheme == "http" && secret && !e.loopback():
		return fail(ErrInvalidURL, "credentials over http can be read on the way: use https")
	}
	return nil
}

// parseTLS reads the client's certificate and the authorities.
func parseTLS(secret map[string][]byte) (Auth, error) {
	var a Auth
	cert, certKey := either(secret, "tls.crt", "certFile")
	private, privateKey := either(secret, "tls.key", "keyFile")
	ca, caKey := either(secret, "ca.crt", "caFile")
	switch {
	case len(ca) > 0 && !x509.NewCertPool().AppendCertsFromPEM(ca):
		return Auth{}, fail(ErrInvalidSecret, "key %s holds no PEM certificate", caKey)
	case len(cert) == 0 && len(private) == 0:
		a.ca = ca
		return a, nil
	case len(cert) == 0:
		return Auth{}, fail(ErrInvalidSecret, "key tls.crt is missing: it goes with %s", privateKey)
	case len(private) == 0:
		return Auth{}, fail(ErrInvalidSecret, "key tls.key is missing: it goes with %s", certKey)
	}
	pair, err := tls.X509KeyPair(cert, private)
	if err != nil {
		return Auth{}, fail(ErrInvalidSecret, "keys %s and %s are no certificate and its private key, in PEM", certKey, privateKey)
	}
	a.ca, a.certificate = ca, &pair
	return a, nil
}

// either returns the value of the first of two keys that has one, and its name.
func either(secret map[string][]byte, key, old string) ([]byte, string) {
	if len(secret[key]) == 0 && len(secret[old]) > 0 {
		return secret[old], old
	}
	return secret[key], key
}

func parseHTTP(secret map[string][]byte) (Auth, error) {
	a, err := parseTLS(secret)
	if err != nil {
		return Auth{}, err
	}
	a.username, a.password = line(secret["username"]), line(secret["password"])
	a.bearer = strings.TrimSpace(string(secret["bearerToken"]))
	switch {
	case a.bearer != "" && (a.username != "" || a.password != ""):
		return Auth{}, fail(ErrInvalidSecret, "it has both bearerToken and username or password")
	case a.password != "" && a.username == "":
		return Auth{}, fail(ErrInvalidSecret, "key username is missing")
	case len(secret) > 0 && a.username == "" && a.bearer == "" && len(a.ca) == 0 && a.certificate == nil:
		return Auth{}, fail(ErrInvalidSecret, "keys username and password, bearerToken, tls.crt and ca.crt are all missing")
	case strings.ContainsFunc(a.bearer, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return Auth{}, fail(ErrInvalidSecret, "key bearerToken holds characters that a header cannot")
	case strings.Contains(a.username, ":"):
		return Auth{}, fail(ErrInvalidSecret, "key username holds a colon, behind which a server would read the password")
	}
	return a, nil
}

func parseSSH(secret map[string][]byte) (Auth, error) {
	a := Auth{knownHosts: secret["known_hosts"]}
	for _, key := range []string{"identity", "known_hosts"} {
		if len(bytes.TrimSpace(secret[key])) == 0 {
			return Auth{}, fail(ErrInvalidSecret, "key %s is missing", key)
		}
	}
	signer, err := parseIdentity(secret["identity"], line(secret["password"]))
	if err != nil {
		return Auth{}, err
	}
	a.signers = []ssh.Signer{signer}
	_, _, err = readableLines(a.knownHosts)
	return a, err
}

// AgentAuth is for an ssh URL that is read by a person: with the keys of their SSH agent, each of which the server is
// asked about, and the lines of their known_hosts. Errors are those of ParseAuth.
func AgentAuth(url string, signers []ssh.Signer, knownHosts []byte) (Auth, error) {
	e, err := parseURL(url)
	if err != nil {
		return Auth{}, err
	}
	if _, _, err := readableLines(knownHosts); err != nil {
		return Auth{}, err
	}
	a := Auth{signers: signers, knownHosts: knownHosts}
	keys := map[string][]byte{"known_hosts": knownHosts}
	for i, signer := range signers {
		keys[strconv.Itoa(i)] = signer.PublicKey().Marshal()
	}
	a.sum = sumOf(a.sum, "agent", keys)
	return a, a.check(e)
}

func parseIdentity(pem []byte, passphrase string) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(pem)
	missing := new(ssh.PassphraseMissingError)
	if errors.As(err, &missing) {
		if passphrase == "" {
			return nil, fail(ErrInvalidSecret, "key password is missing: identity is encrypted")
		}
		if signer, err = ssh.ParsePrivateKeyWithPassphrase(pem, []byte(passphrase)); err != nil {
			return nil, fail(ErrInvalidSecret, "key password does not open identity")
		}
	}
	switch {
	case err == nil:
	case bytes.HasPrefix(bytes.TrimSpace(pem), []byte("PuTTY-User-Key-File")):
		return nil, fail(ErrInvalidSecret, "key identity is one of PuTTY, which 'puttygen KEY -O private-openssh' converts")
	default:
		return nil, fail(ErrInvalidSecret, "key identity is not a private key in PEM")
	}
	return signer, nil
}

// line drops the newline that echo and editors leave at the end of a value.
func line(value []byte) string { return strings.TrimRight(string(value), "\r\n") }

// method is the form in which go-git's HTTP transport takes credentials, nil for none.
func (a Auth) method() transport.AuthMethod {
	switch {
	case a.bearer != "":
		return &githttp.TokenAuth{Token: a.bearer}
	case a.username != "":
		return &githttp.BasicAuth{Username: a.username, Password: a.password}
	}
	return nil
}

// tls is what a TLS server is shown and held to.
func (a Auth) tls() *tls.Config {
	c := &tls.Config{RootCAs: a.roots(), MinVersion: tls.VersionTLS12}
	if a.certificate != nil {
		c.Certificates = []tls.Certificate{*a.certificate}
	}
	return c
}

// roots are the authorities a TLS server's certificate may come from, nil for the system's.
func (a Auth) roots() *x509.CertPool {
	if len(a.ca) == 0 {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(a.ca)
	return pool
}
