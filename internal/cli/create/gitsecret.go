package create

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	fluxssh "github.com/fluxcd/pkg/ssh"
	"github.com/spf13/cobra"
	gossh "golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/git"
)

// maxPassword bounds what is read from standard input, in bytes.
const maxPassword = 64 << 10

// gitSecret are the flags of `create secret git`.
type gitSecret struct {
	*SecretOptions
	url, username, password, passwordFile string
	passwordStdin                         bool
	bearerTokenFile, caFile               string
	privateKeyFile, knownHostsFile        string
	key                                   KeyOptions
}

// KeyOptions are the kind of key that is made.
type KeyOptions struct {
	// Algorithm is ed25519, ecdsa or rsa; Curve is p256, p384 or p521, of an ecdsa key.
	Algorithm, Curve string
	RSABits          int
}

// AddKeyFlags adds the flags of KeyOptions; of names the key in their help.
func AddKeyFlags(cmd *cobra.Command, o *KeyOptions, of string) {
	flags := cmd.Flags()
	flags.StringVar(&o.Algorithm, "ssh-key-algorithm", "ed25519", "of "+of+": ed25519, ecdsa or rsa")
	flags.StringVar(&o.Curve, "ssh-ecdsa-curve", "p384", "of "+of+" if it is an ecdsa one: p256, p384 or p521")
	flags.IntVar(&o.RSABits, "ssh-rsa-bits", 3072, "of "+of+" if it is an rsa one; at least 2048")
}

// CheckKey refuses a kind of key that there is not.
func CheckKey(o KeyOptions) error {
	_, err := o.generator()
	return err
}

func (o KeyOptions) generator() (fluxssh.KeyPairGenerator, error) {
	switch strings.ToLower(o.Algorithm) {
	case "ed25519":
		return fluxssh.NewEd25519Generator(), nil
	case "rsa":
		if o.RSABits < 2048 || o.RSABits > 16384 || o.RSABits%8 != 0 {
			return nil, factory.Usagef("--ssh-rsa-bits must lie between 2048 and 16384 and be a multiple of 8")
		}
		return fluxssh.NewRSAGenerator(o.RSABits), nil
	case "ecdsa":
		curve := map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()}[strings.ToLower(o.Curve)]
		if curve == nil {
			return nil, factory.Usagef("--ssh-ecdsa-curve must be p256, p384 or p521")
		}
		return fluxssh.NewECDSAGenerator(curve), nil
	}
	return nil, factory.Usagef("--ssh-key-algorithm must be ed25519, ecdsa or rsa")
}

// NewCmdSecretGit returns the command; runF replaces what it runs, for tests.
func NewCmdSecretGit(f *factory.Factory, runF func(context.Context, *SecretOptions) error) *cobra.Command {
	cmd, o := newCmdSecret(f, runF, "git NAME", "Create the credentials of a GitRepository", `  # A new deploy key, and the host key that the server shows now
  skerry create secret git fleet --url ssh://git@git.example.com/team/fleet.git

  # A token
  pass git-token | skerry create secret git fleet \
    --url https://git.example.com/team/fleet.git --username git --password-stdin`)
	cmd.Long = `Create the credentials of a GitRepository. For an ssh URL a key is made, unless --private-key-file
has one, and the server is asked for its host key, unless --known-hosts-file has it; both are shown
on standard error: give the public key to the server, and compare the host key with what its owner
says. For an https URL a user name and password, or a bearer token, are stored.`
	g := &gitSecret{SecretOptions: o}
	o.data, o.generates = g.read, g.generates
	flags := cmd.Flags()
	flags.StringVar(&g.url, "url", "", "URL of the repository")
	flags.StringVarP(&g.username, "username", "u", "git", "user name that goes with the password")
	flags.StringVarP(&g.password, "password", "p", "", "password or token; every process on this machine can see it: better --password-file or --password-stdin")
	flags.StringVar(&g.passwordFile, "password-file", "", "file with the password or token, or with the passphrase of the private key")
	flags.BoolVar(&g.passwordStdin, "password-stdin", false, "read the password or token from standard input")
	flags.StringVar(&g.bearerTokenFile, "bearer-token-file", "", "file with a bearer token")
	flags.StringVar(&g.caFile, "ca-crt-file", "", "file with the certificate authority of the HTTPS server")
	flags.StringVar(&g.privateKeyFile, "private-key-file", "", "file with the private SSH key (default: a new one)")
	flags.StringVar(&g.knownHostsFile, "known-hosts-file", "", "file with the SSH server's host key (default: the server is asked)")
	AddKeyFlags(cmd, &g.key, "a new key")
	return cmd
}

func (g *gitSecret) generates() string {
	if scheme, err := git.Scheme(g.url); err != nil || scheme != "ssh" || g.privateKeyFile != "" {
		return ""
	}
	return "private-key-file"
}

func (g *gitSecret) read(ctx context.Context) (map[string][]byte, corev1.SecretType, error) {
	scheme, err := git.Scheme(g.url)
	switch {
	case g.url == "":
		return nil, "", factory.Usagef("--url is missing: the URL of the repository")
	case err != nil:
		return nil, "", factory.Usagef("--url must be an http, https or ssh URL with a host and a path and without credentials, or user@host:path: %w", err)
	case scheme == "ssh":
		data, err := g.ssh(ctx)
		return data, corev1.SecretTypeOpaque, err
	}
	data, err := g.http()
	return data, corev1.SecretTypeOpaque, err
}

func (g *gitSecret) http() (map[string][]byte, error) {
	if g.privateKeyFile != "" || g.knownHostsFile != "" {
		return nil, factory.Usagef("--private-key-file and --known-hosts-file go with an ssh URL")
	}
	password, err := g.passwordOf()
	if err != nil {
		return nil, err
	}
	data := map[string][]byte{}
	switch {
	case len(password) > 0 && g.bearerTokenFile != "":
		return nil, factory.Usagef("a password and --bearer-token-file exclude each other")
	case len(password) > 0:
		data["username"], data["password"] = []byte(g.username), password
	case g.bearerTokenFile != "":
		token, err := g.file("bearer-token-file", g.bearerTokenFile)
		if err != nil {
			return nil, err
		}
		data["bearerToken"] = bytes.TrimSpace(token)
	}
	if g.caFile != "" {
		if data["ca.crt"], err = g.authority("ca-crt-file", g.caFile); err != nil {
			return nil, err
		}
	}
	if len(data) == 0 {
		return nil, factory.Usagef("credentials are missing: --password-file, --password-stdin, --bearer-token-file or --ca-crt-file")
	}
	return data, nil
}

func (g *gitSecret) passwordOf() ([]byte, error) {
	ways := 0
	for _, given := range []bool{g.password != "", g.passwordFile != "", g.passwordStdin} {
		if given {
			ways++
		}
	}
	switch {
	case ways > 1:
		return nil, factory.Usagef("--password, --password-file and --password-stdin are three ways to give one password: choose one")
	case g.password != "":
		return []byte(g.password), nil
	case g.passwordFile != "":
		data, err := g.file("password-file", g.passwordFile)
		return bytes.TrimRight(data, "\r\n"), err
	case g.passwordStdin:
		data, err := io.ReadAll(io.LimitReader(g.IO.In, maxPassword))
		if err != nil {
			return nil, fmt.Errorf("cannot read the password from standard input: %w", err)
		}
		if data = bytes.TrimRight(data, "\r\n"); len(data) == 0 {
			return nil, factory.Usagef("standard input holds no password")
		}
		return data, nil
	case g.IO.CanPrompt() && g.bearerTokenFile == "" && g.caFile == "":
		return g.IO.Password("Password or token for " + g.url)
	}
	return nil, nil
}

func (g *gitSecret) ssh(ctx context.Context) (map[string][]byte, error) {
	if g.passwordStdin || g.caFile != "" || g.bearerTokenFile != "" {
		return nil, factory.Usagef("--password-stdin, --bearer-token-file and --ca-crt-file do not go with an ssh URL")
	}
	data := map[string][]byte{}
	var err error
	if g.privateKeyFile != "" {
		err = g.givenKey(data)
	} else {
		err = g.newKey(data)
	}
	if err != nil {
		return nil, err
	}
	if g.knownHostsFile != "" {
		data["known_hosts"], err = g.file("known-hosts-file", g.knownHostsFile)
		return data, err
	}
	host, err := hostOf(g.url)
	if err != nil {
		return nil, err
	}
	if data["known_hosts"], err = scan(ctx, host, g.Timeout(30*time.Second)); err != nil {
		return nil, factory.Next(factory.OtherServer(fmt.Errorf("cannot ask %s for its host key: %w", host, err)), "give it with --known-hosts-file")
	}
	_, _, key, _, _, err := gossh.ParseKnownHosts(data["known_hosts"])
	if err != nil {
		return nil, fmt.Errorf("cannot read the host key of %s: %w", host, err)
	}
	g.IO.Progressf("host key of %s: %s %s; compare it with what the server's owner says", host, key.Type(), gossh.FingerprintSHA256(key))
	return data, nil
}

// hostOf returns the host and port of an ssh URL or user@host:path.
func hostOf(url string) (string, error) {
	rest, isURL := strings.CutPrefix(url, "ssh://")
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		rest = rest[at+1:]
	}
	if !isURL {
		host, _, _ := strings.Cut(rest, ":")
		return net.JoinHostPort(host, "22"), nil
	}
	host, _, _ := strings.Cut(rest, "/")
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return net.JoinHostPort(strings.Trim(host, "[]"), "22"), nil //nolint:nilerr // it has no port
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", factory.Usagef("--url has no valid port")
	}
	return net.JoinHostPort(name, port), nil
}

// scan asks for a host key, and leaves a server that does not answer when ctx ends.
func scan(ctx context.Context, host string, timeout time.Duration) ([]byte, error) {
	type answer struct {
		keys []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // ends with its timeout, or when the server has answered
		keys, err := fluxssh.ScanHostKey(host, timeout, nil, false)
		answers <- answer{keys, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case a := <-answers:
		return a.keys, a.err
	case <-time.After(timeout):
		return nil, context.DeadlineExceeded
	}
}

func (g *gitSecret) givenKey(data map[string][]byte) error {
	key, err := g.file("private-key-file", g.privateKeyFile)
	if err != nil {
		return err
	}
	password, err := g.passwordOf()
	if err != nil {
		return err
	}
	var signer gossh.Signer
	if len(password) > 0 {
		signer, err = gossh.ParsePrivateKeyWithPassphrase(key, password)
		data["password"] = password
	} else {
		signer, err = gossh.ParsePrivateKey(key)
	}
	if err != nil {
		return factory.Usagef("--private-key-file: %s cannot be read as a private key: %w", g.privateKeyFile, err)
	}
	data["identity"], data["identity.pub"] = key, gossh.MarshalAuthorizedKey(signer.PublicKey())
	return nil
}

func (g *gitSecret) newKey(data map[string][]byte) error {
	generator, err := g.key.generator()
	if err != nil {
		return err
	}
	pair, err := generator.Generate()
	if err != nil {
		return fmt.Errorf("cannot make a key: %w", err)
	}
	data["identity"], data["identity.pub"] = pair.PrivateKey, pair.PublicKey
	g.IO.Progressf("public key, to be given to the server as a deploy key:\n%s", strings.TrimSpace(string(pair.PublicKey)))
	return nil
}

// DeployKey makes a key and asks the SSH server of a URL for its host key, as `create secret git` does; it shows
// the public parts of both.
func DeployKey(ctx context.Context, f *factory.Factory, url string, key KeyOptions) (map[string][]byte, error) {
	g := &gitSecret{SecretOptions: &SecretOptions{Common: Common{Factory: f}}, url: url, key: key}
	return g.ssh(ctx)
}
