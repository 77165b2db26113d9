package bundlestore

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/skerry-dev/skerry/internal/object"
)

// KeySize is the size of the secret that a Key is made of, in bytes.
const KeySize = 32

// Key seals bundles that hold secrets, and makes their digests. All stores of one hub have the same.
type Key struct {
	seal, digest []byte
	objects      *object.Seal
}

// NewKey returns the Key of a secret of KeySize random bytes.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) != KeySize {
		return nil, fmt.Errorf("a key has %d bytes, not %d", KeySize, len(secret))
	}
	k := &Key{}
	var objects []byte
	for purpose, to := range map[string]*[]byte{"skerry bundle seal v1": &k.seal, "skerry bundle digest v1": &k.digest, "skerry object digest v1": &objects} {
		derived, err := hkdf.Key(sha256.New, secret, nil, purpose, KeySize)
		if err != nil {
			return nil, fmt.Errorf("cannot derive a key: %w", err)
		}
		*to = derived
	}
	k.objects = object.NewSeal(objects)
	return k, nil
}

// objectSeal makes the digests of the objects of a bundle; nil where there is no key.
func (k *Key) objectSeal() *object.Seal {
	if k == nil {
		return nil
	}
	return k.objects
}

// Digest is the key of the digests of bundles that hold secrets (object.Bundle.KeyedDigest).
func (k *Key) Digest() []byte {
	if k == nil {
		return nil
	}
	return k.digest
}

// sealedMark begins a sealed file. A bundle that is not sealed begins with "{".
const sealedMark = "skerry sealed bundle 1\n"

var errSealed = errors.New("the file is sealed with another key")

func isSealed(data []byte) bool { return bytes.HasPrefix(data, []byte(sealedMark)) }

// sealed returns what is written of a bundle of that name: the name is bound to it, so that no file passes
// for another.
func (k *Key) sealed(name string, plain []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(k.seal)
	if err != nil {
		return nil, fmt.Errorf("cannot seal: %w", err)
	}
	head := len(sealedMark) + aead.NonceSize()
	out := make([]byte, head, head+len(plain)+aead.Overhead())
	copy(out, sealedMark)
	nonce := out[len(sealedMark):]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("cannot seal: %w", err)
	}
	return aead.Seal(out, nonce, plain, []byte(name)), nil
}

// opened returns the bundle in a sealed file.
func (k *Key) opened(name string, data []byte) ([]byte, error) {
	if k == nil {
		return nil, errSealed
	}
	aead, err := chacha20poly1305.NewX(k.seal)
	if err != nil {
		return nil, fmt.Errorf("cannot open a sealed bundle: %w", err)
	}
	data = data[len(sealedMark):]
	if len(data) < aead.NonceSize() {
		return nil, errSealed
	}
	plain, err := aead.Open(nil, data[:aead.NonceSize()], data[aead.NonceSize():], []byte(name))
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}
