package bootstrap

import (
	"bytes"
	"errors"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/gitpush"
)

// addSigningFlags adds those of the key by which the commit is signed.
func addSigningFlags(cmd *cobra.Command, o *Options) {
	flags := cmd.Flags()
	flags.StringVar(&o.GPGKeyRing, "gpg-key-ring", "", "file with the GPG key that signs the commit, as 'gpg --export-secret-keys' writes it")
	flags.StringVar(&o.GPGKeyID, "gpg-key-id", "", "id of the key in --gpg-key-ring (default: the first that can sign)")
	flags.StringVar(&o.GPGPassphrase, "gpg-passphrase", "", "passphrase of the GPG key; every process on this machine can see it: better --signing-passphrase-file")
	flags.StringVar(&o.SSHSigningKeyFile, "ssh-signing-key-file", "", "file with the private SSH key that signs the commit")
	flags.StringVar(&o.SigningPassphraseFile, "signing-passphrase-file", "", "file with the passphrase of the key that signs the commit")
	for _, file := range []string{"gpg-key-ring", "ssh-signing-key-file", "signing-passphrase-file"} {
		_ = cmd.MarkFlagFilename(file)
	}
}

// checkSigning refuses flags that do not go together.
func (o *Options) checkSigning() error {
	switch {
	case o.GPGKeyRing != "" && o.SSHSigningKeyFile != "":
		return factory.Usagef("--gpg-key-ring and --ssh-signing-key-file exclude each other: a commit has one signature")
	case o.GPGKeyRing == "" && (o.GPGKeyID != "" || o.GPGPassphrase != ""):
		return factory.Usagef("--gpg-key-id and --gpg-passphrase go with --gpg-key-ring")
	case o.SigningPassphraseFile != "" && o.GPGPassphrase != "":
		return factory.Usagef("--gpg-passphrase and --signing-passphrase-file are two ways to give one passphrase: choose one")
	case o.SigningPassphraseFile != "" && o.GPGKeyRing == "" && o.SSHSigningKeyFile == "":
		return factory.Usagef("--signing-passphrase-file goes with --gpg-key-ring or --ssh-signing-key-file")
	}
	return nil
}

// signer returns what signs the commit, nil where it is not to be signed. It asks for a passphrase that is missing.
func (o *Options) signer() (gitpush.Signer, error) {
	file, flag := o.SSHSigningKeyFile, "--ssh-signing-key-file"
	open := gitpush.SSHSigner
	if o.GPGKeyRing != "" {
		file, flag = o.GPGKeyRing, "--gpg-key-ring"
		open = func(ring, passphrase []byte) (gitpush.Signer, error) {
			return gitpush.PGPSigner(ring, o.GPGKeyID, passphrase, o.Now)
		}
	}
	if file == "" {
		return nil, nil
	}
	key, err := o.ReadFile(file)
	if err != nil {
		return nil, factory.Usagef("cannot read %s: %w", flag, err)
	}
	passphrase := []byte(o.GPGPassphrase)
	if o.SigningPassphraseFile != "" {
		if passphrase, err = o.ReadFile(o.SigningPassphraseFile); err != nil {
			return nil, factory.Usagef("cannot read --signing-passphrase-file: %w", err)
		}
		passphrase = bytes.TrimRight(passphrase, "\r\n")
	}
	sign, err := open(key, passphrase)
	if errors.Is(err, gitpush.ErrPassphraseMissing) && o.IO.CanPrompt() {
		if passphrase, err = o.IO.Password("Passphrase of " + file); err != nil {
			return nil, err
		}
		sign, err = open(key, passphrase)
	}
	switch {
	case errors.Is(err, gitpush.ErrPassphraseMissing):
		return nil, factory.Usagef("%s: %w: give --signing-passphrase-file", flag, err)
	case err != nil:
		return nil, factory.Usagef("%s: %w", flag, err)
	}
	return sign, nil
}
