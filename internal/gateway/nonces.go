package gateway

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
)

const (
	// nonceLife is how long a challenge may be answered.
	nonceLife = time.Minute
	macSize   = 16
)

// nonces makes challenges that need no memory until they are answered: the time, randomness, and a MAC with a key of
// this process. Each serves one proof.
type nonces struct {
	key []byte
	now func() time.Time

	mu   sync.Mutex
	used map[[link.NonceSize]byte]time.Time // and when it would have expired
}

func newNonces(now func() time.Time) (*nonces, error) {
	n := &nonces{key: make([]byte, sha256.Size), now: now, used: map[[link.NonceSize]byte]time.Time{}}
	if _, err := rand.Read(n.key); err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	return n, nil
}

func (n *nonces) issue() []byte {
	nonce := binary.BigEndian.AppendUint64(make([]byte, 0, link.NonceSize), uint64(n.now().Add(nonceLife).UnixNano()))
	nonce = nonce[:link.NonceSize-macSize]
	_, _ = rand.Read(nonce[8:]) // it never fails
	return n.mac(nonce)
}

func (n *nonces) mac(head []byte) []byte {
	h := hmac.New(sha256.New, n.key)
	h.Write(head)
	return append(slices.Clip(head), h.Sum(nil)[:macSize]...)
}

// valid reports whether the nonce is one of this process and may still be answered.
func (n *nonces) valid(nonce []byte) bool {
	if len(nonce) != link.NonceSize || !hmac.Equal(n.mac(nonce[:link.NonceSize-macSize]), nonce) {
		return false
	}
	if !n.now().Before(expiry(nonce)) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	_, used := n.used[[link.NonceSize]byte(nonce)]
	return !used
}

// consume marks a valid nonce as used; it returns false when another proof has used it.
func (n *nonces) consume(nonce []byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	id := [link.NonceSize]byte(nonce)
	if _, used := n.used[id]; used {
		return false
	}
	n.used[id] = expiry(nonce)
	return true
}

func expiry(nonce []byte) time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(nonce))) }

// forget drops what has expired by itself.
func (n *nonces) forget(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, at := range n.used {
		if now.After(at) {
			delete(n.used, id)
		}
	}
}
