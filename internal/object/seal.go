package object

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
)

// Seal makes the digests of objects of which nothing may be guessed: HMACs with a key of the hub. An inventory
// holds digests on the edge, where a short password, in a body of which the rest is known, would be found by
// trying from a plain one.
type Seal struct{ key []byte }

// NewSeal returns the seal with a key; nil where there is none.
func NewSeal(key []byte) *Seal {
	if len(key) == 0 {
		return nil
	}
	return &Seal{key: key}
}

// digest is 32 hexadecimal digits, as those of a plain digest.
func (s *Seal) digest(plain string) string {
	h := hmac.New(sha256.New, s.key)
	_, _ = io.WriteString(h, plain) // never fails
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// WithSeal returns the object under a seal, which may be nil. Of one that is confidential the digest is made by
// it; of any other it is only known what the seal would make of it.
func (o Object) WithSeal(s *Seal, confidential bool) Object {
	if s == nil {
		return o
	}
	plain := o.plain()
	if o.Seal, o.Unsealed = s, ""; confidential {
		o.Unsealed = plain
	}
	o.setDigest(plain)
	return o
}

// IsSealed reports whether nothing of the object can be guessed from its digest.
func (o *Object) IsSealed() bool { return o.Unsealed != "" }

// HasDigest reports whether a digest that was recorded is that of the object: as it is, or as it would be with
// the seal or without it. An earlier version recorded plain digests, and a bundle may get its first Secret or
// lose its last one: none of that changes an object.
func (o *Object) HasDigest(recorded string) bool {
	switch {
	case recorded == o.Digest:
		return true
	case recorded == "" || o.Seal == nil:
		return false
	case o.IsSealed():
		return recorded == o.Unsealed
	}
	return recorded == o.Seal.digest(o.Digest)
}

// plain is the digest of the object without a seal.
func (o *Object) plain() string {
	if o.Unsealed != "" {
		return o.Unsealed
	}
	return o.Digest
}

// setDigest sets the digest that the object has without a seal.
func (o *Object) setDigest(plain string) {
	o.Digest = plain
	if o.Unsealed != "" {
		o.Unsealed, o.Digest = plain, o.Seal.digest(plain)
	}
}
