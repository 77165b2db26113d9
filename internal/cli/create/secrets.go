package create

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"filippo.io/age"
	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// SecretOptions are those of all Secrets: a subcommand fills the data.
type SecretOptions struct {
	Common
	// data returns what the Secret holds, and its type.
	data func(context.Context) (map[string][]byte, corev1.SecretType, error)
	// generates returns the flag that gives the key which data would make; "" when data makes none. It may be nil.
	generates func() string
}

func newCmdSecret(f *factory.Factory, runF func(context.Context, *SecretOptions) error, use, short, example string) (*cobra.Command, *SecretOptions) {
	o := &SecretOptions{Common: Common{Factory: f}}
	if runF == nil {
		runF = runSecret
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return runF(cmd.Context(), o)
		},
	}
	addCommon(cmd, &o.Common)
	return cmd, o
}

func runSecret(ctx context.Context, o *SecretOptions) error {
	in, err := o.meta()
	if err != nil {
		return err
	}
	if err := o.keepsKey(ctx); err != nil {
		return err
	}
	data, kind, err := o.data(ctx)
	if err != nil {
		return err
	}
	return o.put(ctx, &corev1.Secret{ObjectMeta: in, Type: kind, Data: data}, "secret")
}

// unlessGiven is the generates of a command that makes a key unless a flag names a file with one.
func unlessGiven(file *string, flag string) func() string {
	return func() string {
		if *file != "" {
			return ""
		}
		return flag
	}
}

// keepsKey refuses to put a new key in the place of one that is there, which may be the only copy: what is
// encrypted for it could not be read any more, and servers that know it would refuse the new one.
func (o *SecretOptions) keepsKey(ctx context.Context) error {
	if o.generates == nil || o.generates() == "" || o.Export {
		return nil
	}
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	live := &metav1.PartialObjectMetadata{}
	live.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err = hub.Get(ctx, client.ObjectKey{Namespace: o.Flags.Namespace, Name: o.Name}, live)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("cannot find out whether there is a secret %s: %w", o.Name, err)
	}
	return factory.Next(fmt.Errorf("there is a secret %s in namespace %s, and a new key in its place would lose the one it has", o.Name, o.Flags.Namespace),
		"choose another name, or give a key of yours with --%s; to do without the old key, first 'kubectl -n %s delete secret %s'", o.generates(), o.Flags.Namespace, o.Name)
}

// file reads a file that a flag names.
func (c *Common) file(flag, name string) ([]byte, error) {
	data, err := c.ReadFile(name)
	if err != nil {
		return nil, factory.Usagef("cannot read --%s: %w", flag, err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, factory.Usagef("--%s: %s is empty", flag, name)
	}
	return data, nil
}

// authority reads a file with certificates.
func (c *Common) authority(flag, name string) ([]byte, error) {
	data, err := c.file(flag, name)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(data) {
		err = factory.Usagef("--%s: %s holds no certificate", flag, name)
	}
	return data, err
}

// NewCmdSecretTLS returns the command; runF replaces what it runs, for tests.
func NewCmdSecretTLS(f *factory.Factory, runF func(context.Context, *SecretOptions) error) *cobra.Command {
	cmd, o := newCmdSecret(f, runF, "tls NAME", "Create a Secret with certificates, of a client or an authority",
		"  skerry create secret tls fleet --tls-crt-file client.crt --tls-key-file client.key")
	var cert, key, ca string
	flags := cmd.Flags()
	flags.StringVar(&cert, "tls-crt-file", "", "file with the client's certificate")
	flags.StringVar(&key, "tls-key-file", "", "file with the key of the client's certificate")
	flags.StringVar(&ca, "ca-crt-file", "", "file with the certificate authority of the server")
	o.data = func(context.Context) (map[string][]byte, corev1.SecretType, error) {
		data := map[string][]byte{}
		var err error
		if (cert == "") != (key == "") {
			return nil, "", factory.Usagef("--tls-crt-file and --tls-key-file go together")
		}
		if cert != "" {
			if data[corev1.TLSCertKey], err = o.file("tls-crt-file", cert); err != nil {
				return nil, "", err
			}
			if data[corev1.TLSPrivateKeyKey], err = o.file("tls-key-file", key); err != nil {
				return nil, "", err
			}
			if _, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey]); err != nil {
				return nil, "", factory.Usagef("--tls-crt-file and --tls-key-file do not belong together: %w", err)
			}
		}
		if ca != "" {
			if data["ca.crt"], err = o.authority("ca-crt-file", ca); err != nil {
				return nil, "", err
			}
		}
		switch {
		case len(data) == 0:
			return nil, "", factory.Usagef("a certificate is missing: --tls-crt-file and --tls-key-file, or --ca-crt-file")
		case cert == "":
			return data, corev1.SecretTypeOpaque, nil
		}
		return data, corev1.SecretTypeTLS, nil
	}
	return cmd
}

// NewCmdSecretGitHubApp returns the command; runF replaces what it runs, for tests.
func NewCmdSecretGitHubApp(f *factory.Factory, runF func(context.Context, *SecretOptions) error) *cobra.Command {
	cmd, o := newCmdSecret(f, runF, "githubapp NAME", "Create the credentials of a GitHub App, for a GitRepository with provider github",
		"  skerry create secret githubapp fleet --app-id 1 --app-installation-id 2 --app-private-key app.pem")
	var id, installation, owner, key, base string
	flags := cmd.Flags()
	flags.StringVar(&id, "app-id", "", "id of the App")
	flags.StringVar(&installation, "app-installation-id", "", "id of the installation")
	flags.StringVar(&owner, "app-installation-owner", "", "organization or user that has installed it, in place of the installation's id")
	flags.StringVar(&key, "app-private-key", "", "file with the private key of the App")
	flags.StringVar(&base, "app-base-url", "", "base URL of a GitHub Enterprise Server")
	o.data = func(context.Context) (map[string][]byte, corev1.SecretType, error) {
		switch {
		case id == "" || key == "":
			return nil, "", factory.Usagef("--app-id and --app-private-key are needed")
		case (installation == "") == (owner == ""):
			return nil, "", factory.Usagef("one of --app-installation-id and --app-installation-owner is needed")
		}
		pem, err := o.file("app-private-key", key)
		if err != nil {
			return nil, "", err
		}
		if _, err := jwt.ParseRSAPrivateKeyFromPEM(pem); err != nil {
			return nil, "", factory.Usagef("--app-private-key: %s holds no RSA private key in PEM", key)
		}
		data := map[string][]byte{"githubAppID": []byte(id), "githubAppPrivateKey": pem}
		for name, value := range map[string]string{"githubAppInstallationID": installation, "githubAppInstallationOwner": owner, "githubAppBaseURL": base} {
			if value != "" {
				data[name] = []byte(value)
			}
		}
		return data, corev1.SecretTypeOpaque, nil
	}
	return cmd
}

// NewCmdSecretAge returns the command; runF replaces what it runs, for tests.
func NewCmdSecretAge(f *factory.Factory, runF func(context.Context, *SecretOptions) error) *cobra.Command {
	cmd, o := newCmdSecret(f, runF, "age NAME", "Create an age key that opens files that SOPS has encrypted",
		"  skerry create secret age sops-keys\n  skerry create secret age sops-keys --age-key-file key.txt")
	cmd.Aliases = []string{"sops-age"}
	var file string
	cmd.Flags().StringVar(&file, "age-key-file", "", "file with the key (default: a new one)")
	_ = cmd.MarkFlagFilename("age-key-file")
	o.generates = unlessGiven(&file, "age-key-file")
	o.data = func(context.Context) (map[string][]byte, corev1.SecretType, error) {
		if file != "" {
			data, err := o.file("age-key-file", file)
			if err != nil {
				return nil, "", err
			}
			if _, err := age.ParseIdentities(bytes.NewReader(data)); err != nil {
				return nil, "", factory.Usagef("--age-key-file: %s holds no age key", file)
			}
			return map[string][]byte{"age.agekey": data}, corev1.SecretTypeOpaque, nil
		}
		identity, err := age.GenerateX25519Identity()
		if err != nil {
			return nil, "", fmt.Errorf("cannot make a key: %w", err)
		}
		recipient := identity.Recipient().String()
		o.IO.Progressf("public key: %s\nencrypt for it with 'sops encrypt --age %s FILE'", recipient, recipient)
		return map[string][]byte{"age.agekey": fmt.Appendf(nil, "# public key: %s\n%s\n", recipient, identity)}, corev1.SecretTypeOpaque, nil
	}
	return cmd
}
