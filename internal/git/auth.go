package git

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"golang.org/x/crypto/ssh"
)

// Auth is what a server is shown and what it is held to, from a Secret. The zero value is nobody,
// with the system's certificate authorities. It prints as nothing.
type Auth struct {
	username, password, bearer string
	ca                         []byte
	signer                     ssh.Signer
	knownHosts                 []byte
	// sum tells two apart without keeping their contents where they could be printed.
	sum [sha256.Size]byte
}

// String hides the contents, also from %v.
func (Auth) String() string { return "(credentials)" }

// GoString hides the contents from %#v.
func (Auth) GoString() string { return "git.Auth{}" }

// ParseAuth reads the keys that Flux's Secrets have. For http and https: username and password, or
// bearerToken, and ca.crt (or caFile) for certificates of an authority of one's own beside the
// system's. For ssh: identity and known_hosts, both mandatory, and password if the identity is
// encrypted. No secret at all is fine for http and https. Errors are ErrInvalidSecret and name the
// key, never its content, or ErrInvalidURL.
func ParseAuth(url string, secret map[string][]byte) (Auth, error) {
	e, err := parseURL(url)
	if err != nil {
		return Auth{}, err
	}
	var a Auth
	if e.scheme == "ssh" {
		a, err = parseSSH(secret)
	} else {
		a, err = parseHTTP(secret)
	}
	if err != nil {
		return Auth{}, err
	}
	sum := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(secret)) {
		part := sha256.Sum256(secret[key])
		sum.Write([]byte(key + "\x00"))
		sum.Write(part[:])
	}
	sum.Sum(a.sum[:0])
	return a, a.check(e)
}

// check refuses credentials that do not go with the URL.
func (a Auth) check(e endpoint) error {
	secret := a.username != "" || a.password != "" || a.bearer != ""
	switch {
	case e.scheme == "ssh" && a.signer == nil:
		return fail(ErrInvalidSecret, "ssh needs the keys identity and known_hosts")
	case e.scheme != "ssh" && a.signer != nil:
		return fail(ErrInvalidSecret, "the key identity is for ssh, the URL is not")
	case e.scheme == "http" && secret && !e.loopback():
		return fail(ErrInvalidURL, "credentials over http can be read on the way: use https")
	}
	return nil
}

func parseHTTP(secret map[string][]byte) (Auth, error) {
	a := Auth{
		username: line(secret["username"]),
		password: line(secret["password"]),
		bearer:   strings.TrimSpace(string(secret["bearerToken"])),
		ca:       secret["ca.crt"],
	}
	caKey := "ca.crt"
	if len(a.ca) == 0 {
		caKey, a.ca = "caFile", secret["caFile"]
	}
	switch {
	case a.bearer != "" && (a.username != "" || a.password != ""):
		return Auth{}, fail(ErrInvalidSecret, "it has both bearerToken and username or password")
	case a.password != "" && a.username == "":
		return Auth{}, fail(ErrInvalidSecret, "key username is missing")
	case len(a.ca) > 0 && !x509.NewCertPool().AppendCertsFromPEM(a.ca):
		return Auth{}, fail(ErrInvalidSecret, "key %s holds no PEM certificate", caKey)
	case len(secret) > 0 && a.username == "" && a.bearer == "" && len(a.ca) == 0:
		return Auth{}, fail(ErrInvalidSecret, "keys username and password, bearerToken and ca.crt are all missing")
	case strings.ContainsFunc(a.bearer, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return Auth{}, fail(ErrInvalidSecret, "key bearerToken holds characters that a header cannot")
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
	var err error
	if a.signer, err = parseIdentity(secret["identity"], line(secret["password"])); err != nil {
		return Auth{}, err
	}
	_, _, err = readableLines(a.knownHosts)
	return a, err
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
	if err != nil {
		return nil, fail(ErrInvalidSecret, "key identity is not a private key in PEM")
	}
	return signer, nil
}

// line drops the newline that echo and editors leave at the end of a value.
func line(value []byte) string { return strings.TrimRight(string(value), "\r\n") }

// method is the form in which go-git's HTTP transport takes credentials, nil for nobody.
func (a Auth) method() transport.AuthMethod {
	switch {
	case a.bearer != "":
		return &githttp.TokenAuth{Token: a.bearer}
	case a.username != "":
		return &githttp.BasicAuth{Username: a.username, Password: a.password}
	}
	return nil
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
