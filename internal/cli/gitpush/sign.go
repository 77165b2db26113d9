package gitpush

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// Signer returns the armored signature of a message.
type Signer func(message io.Reader) ([]byte, error)

// What a person can do something about when a key is to sign. No message holds anything of a key but its id.
var (
	// ErrSigningKey: there is no key that can sign.
	ErrSigningKey = errors.New("no key that can sign")
	// ErrPassphraseMissing: the key is encrypted, and no passphrase was given.
	ErrPassphraseMissing = errors.New("the key has a passphrase")
	// ErrPassphrase: the passphrase does not open the key.
	ErrPassphrase = errors.New("the passphrase does not open the key")
)

// namespace is what Git signs for with SSH keys.
const namespace = "git"

// SSHSigner signs with a private SSH key in PEM, as ssh-keygen -Y sign -n git does.
func SSHSigner(pem, passphrase []byte) (Signer, error) {
	signer, err := ssh.ParsePrivateKey(pem)
	if _, encrypted := errors.AsType[*ssh.PassphraseMissingError](err); encrypted {
		if len(passphrase) == 0 {
			return nil, ErrPassphraseMissing
		}
		if signer, err = ssh.ParsePrivateKeyWithPassphrase(pem, passphrase); err != nil {
			return nil, ErrPassphrase
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: it is not a private SSH key in PEM", ErrSigningKey)
	}
	return func(message io.Reader) ([]byte, error) {
		signed, err := sshsig.Sign(message, signer, sshsig.HashSHA512, namespace)
		if err != nil {
			return nil, err
		}
		return sshsig.Armor(signed), nil
	}, nil
}

// PGPSigner signs with a private key of a PGP key ring, armored or not: the one with the id, which is the end of a
// fingerprint in hexadecimal digits, or the first that can sign. now is the clock by which keys expire.
func PGPSigner(ring []byte, id string, passphrase []byte, now func() time.Time) (Signer, error) {
	entities, err := readRing(ring)
	if err != nil {
		return nil, err
	}
	config := &packet.Config{Time: now}
	entity, err := choose(entities, id, now())
	if err != nil {
		return nil, err
	}
	key, _ := entity.SigningKey(now())
	if key.PrivateKey.Encrypted {
		if len(passphrase) == 0 {
			return nil, ErrPassphraseMissing
		}
		if err := entity.DecryptPrivateKeys(passphrase); err != nil {
			return nil, ErrPassphrase
		}
	}
	return func(message io.Reader) ([]byte, error) {
		var out bytes.Buffer
		if err := openpgp.ArmoredDetachSign(&out, entity, message, config); err != nil {
			return nil, err
		}
		return out.Bytes(), nil
	}, nil
}

func readRing(ring []byte) (openpgp.EntityList, error) {
	read := openpgp.ReadKeyRing
	if bytes.Contains(ring, []byte("-----BEGIN PGP ")) {
		read = openpgp.ReadArmoredKeyRing
	}
	entities, err := read(bytes.NewReader(ring))
	if err != nil {
		return nil, fmt.Errorf("%w: it is not a PGP key ring, as 'gpg --export-secret-keys' writes it", ErrSigningKey)
	}
	return entities, nil
}

// choose returns the key with the id, or the first one, of those that can sign now.
func choose(entities openpgp.EntityList, id string, now time.Time) (*openpgp.Entity, error) {
	id = strings.ToUpper(strings.TrimPrefix(strings.ToLower(strings.ReplaceAll(id, " ", "")), "0x"))
	var able []string
	for _, entity := range entities {
		key, ok := entity.SigningKey(now)
		if !ok || key.PrivateKey == nil || key.PrivateKey.Dummy() {
			continue
		}
		names := []string{fingerprint(entity.PrimaryKey), fingerprint(key.PublicKey)}
		if id == "" || len(id) >= 8 && slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, id) }) {
			return entity, nil
		}
		able = append(able, entity.PrimaryKey.KeyIdString())
	}
	switch {
	case len(able) == 0:
		return nil, fmt.Errorf("%w: the key ring has no private key for signing that is neither expired nor revoked", ErrSigningKey)
	case len(id) < 8:
		return nil, fmt.Errorf("%w: the id of a key has at least 8 digits; there are %s", ErrSigningKey, strings.Join(able, ", "))
	}
	return nil, fmt.Errorf("%w with that id; there are %s", ErrSigningKey, strings.Join(able, ", "))
}

func fingerprint(key *packet.PublicKey) string { return fmt.Sprintf("%X", key.Fingerprint) }
