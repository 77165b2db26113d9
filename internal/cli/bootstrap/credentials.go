package bootstrap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/create"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/gitpush"
	"github.com/skerry-dev/skerry/internal/git"
)

// maxToken bounds a token from standard input, in bytes.
const maxToken = 64 << 10

// readCredentials fills the secret from the command line, else from an earlier run, and says where
// it comes from.
func (r *run) readCredentials(ctx context.Context) (string, error) {
	if r.preset != nil {
		r.secret = r.preset
		return "with the token", nil
	}
	given, err := r.given()
	if err != nil {
		return "", err
	}
	stored, err := r.stored(ctx)
	if err != nil {
		return "", err
	}
	if len(given) == 0 && len(stored) > 0 {
		r.secret = stored
		return "with the credentials of an earlier run", nil
	}
	ssh := r.ssh()
	if len(given) == 0 && ssh {
		return r.newKey(ctx)
	}
	if given["password"] == nil && !ssh && r.IO.CanPrompt() {
		token, err := r.IO.Password("Token for " + r.URL + " (empty for none)")
		if err != nil {
			return "", err
		}
		r.addToken(given, token)
	}
	r.secret = given
	if len(given) == 0 {
		return "without credentials", nil
	}
	return "with the credentials given", nil
}

// newKey makes a key and asks the server for its host key, and goes on when the person has given the one to the server
// and compared the other.
func (r *run) newKey(ctx context.Context) (string, error) {
	if !r.IO.CanPrompt() {
		return "", factory.Usagef("an ssh URL needs --private-key-file and --known-hosts-file; at a terminal, a key is made without them")
	}
	secret, err := create.DeployKey(ctx, r.Factory, r.URL, r.Key)
	if err != nil {
		return "", err
	}
	remote, err := gitpush.Open(r.URL, secret, http.ProxyFromEnvironment)
	if err != nil {
		return "", gitError(r.URL, err)
	}
	for {
		yes, err := r.IO.Confirm(ctx, "Is the host key right, and has the server got the public key, as one that may push?")
		if err != nil {
			return "", err
		}
		if !yes {
			return "", errors.New("nothing was changed")
		}
		if err := remote.MayPush(ctx); !errors.Is(err, git.ErrAuthenticationFailed) {
			break // any other error is reported by what comes next
		}
		r.IO.Progressf("the server does not accept the key yet")
	}
	r.secret = secret
	return "with the key made now", nil
}

// given reads what the command line names.
func (r *run) given() (map[string][]byte, error) {
	secret := map[string][]byte{}
	for _, file := range []struct{ name, key string }{
		{r.PrivateKeyFile, "identity"}, {r.KnownHostsFile, "known_hosts"}, {r.CAFile, "ca.crt"}, {r.PassphraseFile, "password"},
	} {
		if file.name == "" {
			continue
		}
		data, err := r.ReadFile(file.name)
		if err != nil {
			return nil, factory.Usagef("cannot read the %s: %w", file.key, err)
		}
		secret[file.key] = data
	}
	if err := r.askPassphrase(secret); err != nil {
		return nil, err
	}
	token, err := r.token()
	if err != nil {
		return nil, err
	}
	r.addToken(secret, token)
	return secret, nil
}

func (r *run) addToken(secret map[string][]byte, token []byte) {
	if token = bytes.TrimSpace(token); len(token) > 0 {
		secret["username"], secret["password"] = []byte(r.Username), token
	}
}

// token returns nil when the command line names none, and an error when what it names is empty.
func (r *run) token() (token []byte, err error) {
	from := ""
	switch {
	case r.TokenFile != "":
		from = "the file " + r.TokenFile
		if token, err = r.ReadFile(r.TokenFile); err != nil {
			return nil, factory.Usagef("cannot read the token: %w", err)
		}
	case r.TokenEnv != "":
		from = "the environment variable " + r.TokenEnv
		token = []byte(r.Getenv(r.TokenEnv))
	case r.TokenStdin:
		from = "standard input"
		if token, err = io.ReadAll(io.LimitReader(r.IO.In, maxToken)); err != nil {
			return nil, fmt.Errorf("cannot read the token from standard input: %w", err)
		}
	default:
		return nil, nil
	}
	if len(bytes.TrimSpace(token)) == 0 {
		return nil, factory.Usagef("%s holds no token", from)
	}
	return token, nil
}

// askPassphrase asks for the passphrase of a key that has one, if a person is there to be asked.
func (r *run) askPassphrase(secret map[string][]byte) error {
	if secret["identity"] == nil || secret["password"] != nil {
		return nil
	}
	_, err := ssh.ParsePrivateKey(secret["identity"])
	missing := new(ssh.PassphraseMissingError)
	if !errors.As(err, &missing) {
		return nil // whatever else is wrong with it is reported later
	}
	if !r.IO.CanPrompt() {
		return factory.Usagef("the key in %s has a passphrase: give --passphrase-file", r.PrivateKeyFile)
	}
	secret["password"], err = r.IO.Password("Passphrase of " + r.PrivateKeyFile)
	return err
}

// stored returns the credentials of an earlier run, nil when there are none.
func (r *run) stored(ctx context.Context) (map[string][]byte, error) {
	secret := &corev1.Secret{}
	err := r.hub.Get(ctx, client.ObjectKey{Namespace: name, Name: name}, secret)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the Secret %s/%s: %w", name, name, err)
	}
	return secret.Data, nil
}

// storeCredentials writes the Secret: the one thing that does not come from Git.
func (r *run) storeCredentials(ctx context.Context, s *factory.Step) error {
	if len(r.secret) == 0 {
		s.Donef("none are needed")
		return nil
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: name},
		Type:       corev1.SecretTypeOpaque,
		Data:       r.secret,
	}
	m, err := apply.FromTyped(r.hub.Scheme(), secret)
	if err != nil {
		return err
	}
	result, err := apply.Object(ctx, r.hub, m)
	s.Donef("secret %s/%s %s", name, name, result)
	return err
}
