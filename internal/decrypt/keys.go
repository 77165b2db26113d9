// Package decrypt opens files that are encrypted with SOPS.
//
// It promises that a file is opened only by the keys that it was given, never by what the process's own
// environment or files hold, unless a request asks for those, as the command line's may; that what it returns is what was encrypted, to the last byte, or an error; that
// no error, log or file holds anything of the content, the keys or the credentials; and that a hostile file
// ends neither the process nor its own deadline. The part of a file that is named sops is as untrusted as
// the rest: it names the services that are asked.
//
// It links the clients of the key services of the clouds, which the command line and the agent never do.
package decrypt

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/aws/aws-sdk-go-v2/aws"
)

// The keys of a Secret, as Flux names them; that of the addresses is ours.
const (
	ageExtension   = ".agekey"
	pgpExtension   = ".asc"
	awsFile        = "sops.aws-kms"
	gcpFile        = "sops.gcp-kms"
	azureFile      = "sops.azure-kv"
	vaultTokenFile = "sops.vault-token" //nolint:gosec // the name of a key in the Secret, not its value
	// vaultAddressFile lists the addresses that the token may be sent to, one a line. The address stands in
	// the file that is decrypted: without the list, who can push to the repository gets the token.
	vaultAddressFile = "sops.vault-address"
)

// Keys are what files are opened with. They are safe for concurrent use, and not changed.
type Keys struct {
	secret  string // the name of the Secret, for messages
	ignored []string
	// own means that sops looks for keys in the environment, and there are no others.
	own bool

	age            []age.Identity
	pgp            openpgp.EntityList
	aws            aws.CredentialsProvider
	gcp            []byte
	azure          azcore.TokenCredential
	vaultToken     string
	vaultAddresses []string
}

// Parse reads the data of a Secret of that name. The error names the key of the Secret at fault.
func Parse(secret string, data map[string][]byte) (*Keys, error) {
	k := &Keys{secret: secret}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if err := k.add(name, data[name]); err != nil {
			return nil, fmt.Errorf("key %s of the Secret %s %w", name, secret, err)
		}
	}
	return k, nil
}

// Local drops the keys of services, and leaves those that open files by themselves: a hub's keys are for
// every namespace, and a file names the service that its credentials would be sent to.
func (k *Keys) Local() *Keys { return &Keys{secret: k.secret, age: k.age, pgp: k.pgp} }

func (k *Keys) add(name string, value []byte) (err error) {
	switch {
	case path.Ext(name) == ageExtension:
		err = k.addAge(value)
	case path.Ext(name) == pgpExtension:
		err = k.addPGP(value)
	case name == awsFile:
		k.aws, err = awsCredentials(value)
	case name == gcpFile:
		k.gcp, err = gcpCredentials(value)
	case name == azureFile:
		k.azure, err = azureCredentials(value)
	case name == vaultTokenFile:
		k.vaultToken = strings.TrimSpace(string(value))
	case name == vaultAddressFile:
		k.vaultAddresses = strings.Fields(string(value))
	default:
		k.ignored = append(k.ignored, name)
	}
	return err
}

// plainError is an error of ours, whose text is known to hold no secret.
type plainError string

func (e plainError) Error() string { return string(e) }

// addAge takes identities, one a line, or one private key of SSH.
func (k *Keys) addAge(value []byte) error {
	if bytes.Contains(value, []byte("PRIVATE KEY-----")) {
		identity, err := agessh.ParseIdentity(value)
		if err != nil {
			return plainError("is no private key of SSH that age takes: ed25519 or RSA, without a passphrase")
		}
		k.age = append(k.age, identity)
		return nil
	}
	for line := range strings.Lines(string(value)) {
		line = strings.TrimSpace(line)
		var identity age.Identity
		var err error
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			continue
		case strings.HasPrefix(line, "AGE-SECRET-KEY-PQ-1"):
			identity, err = age.ParseHybridIdentity(line)
		case strings.HasPrefix(line, "AGE-SECRET-KEY-1"):
			identity, err = age.ParseX25519Identity(line)
		case strings.HasPrefix(line, "AGE-PLUGIN-"):
			return plainError("is an identity of an age plugin, which is a program: the hub runs none")
		default:
			return plainError("is no age identity: a line must begin with AGE-SECRET-KEY-")
		}
		if err != nil {
			return plainError("has an age identity that is damaged")
		}
		k.age = append(k.age, identity)
	}
	return nil
}

func (k *Keys) addPGP(value []byte) error {
	list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(value))
	if err != nil {
		return plainError("is no armored PGP key")
	}
	for _, entity := range list {
		private := entity.PrivateKey != nil
		locked := private && entity.PrivateKey.Encrypted
		for _, sub := range entity.Subkeys {
			private = private || sub.PrivateKey != nil
			locked = locked || sub.PrivateKey != nil && sub.PrivateKey.Encrypted
		}
		switch {
		case locked:
			return plainError("is protected by a passphrase: export it without one")
		case !private:
			return plainError("is a public key: export the private one, with gpg --export-secret-keys --armor")
		}
	}
	k.pgp = append(k.pgp, list...)
	return nil
}
