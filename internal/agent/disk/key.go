package disk

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeySize is the size of the secret that a Key is derived from, in bytes.
const KeySize = 32

// Key seals records. It is derived from a secret that the edge keeps in its API server, so that a disk which
// is stolen without the cluster's etcd reveals nothing.
type Key struct{ seal []byte }

// NewKey returns the Key of a secret of KeySize random bytes.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) != KeySize {
		return nil, fmt.Errorf("a storage key has %d bytes, not %d", KeySize, len(secret))
	}
	seal, err := hkdf.Key(sha256.New, secret, nil, "skerry agent disk v1", chacha20poly1305.KeySize)
	if err != nil {
		return nil, fmt.Errorf("cannot derive the storage key: %w", err)
	}
	return &Key{seal}, nil
}

// sealMark begins each record.
const sealMark = "skerry agent record 1\n"

var errNotWhole = errors.New("the record is not whole, or is sealed with another key")

// sealed returns what is written of a record. The name is authenticated too, so that no file passes for
// another one.
func (k *Key) sealed(name string, plain []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(k.seal)
	if err != nil {
		return nil, fmt.Errorf("cannot seal: %w", err)
	}
	head := len(sealMark) + aead.NonceSize()
	out := make([]byte, head, head+len(plain)+aead.Overhead())
	copy(out, sealMark)
	if _, err := rand.Read(out[len(sealMark):]); err != nil {
		return nil, fmt.Errorf("cannot seal: %w", err)
	}
	return aead.Seal(out, out[len(sealMark):], plain, []byte(name)), nil
}

// opened returns the content of a record.
func (k *Key) opened(name string, data []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(k.seal)
	if err != nil {
		return nil, fmt.Errorf("cannot open a sealed record: %w", err)
	}
	head := len(sealMark) + aead.NonceSize()
	if len(data) < head || string(data[:len(sealMark)]) != sealMark {
		return nil, errNotWhole
	}
	plain, err := aead.Open(nil, data[len(sealMark):head], data[head:], []byte(name))
	if err != nil {
		return nil, errNotWhole
	}
	return plain, nil
}
