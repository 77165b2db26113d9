package signature

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// namespace is what an SSH signature of Git is for.
const namespace = "git"

// maxSignature is the longest signature that is looked at, in bytes.
const maxSignature = 64 << 10

// Verify verifies an object's signature at a time, and returns the fingerprint of the key that made it. Its
// error is one of a few texts, the same each time, that go behind "commit … ".
func (k Keys) Verify(o Object, now time.Time) (fingerprint string, err error) {
	signature := strings.TrimSpace(o.Signature)
	switch {
	case signature == "":
		return "", errors.New("is not signed")
	case len(signature) > maxSignature:
		return "", errors.New("has a signature that is too long")
	case strings.HasPrefix(signature, "-----BEGIN PGP SIGNATURE-----"):
		return k.verifyPGP(signature, o.Payload, now)
	case strings.HasPrefix(signature, "-----BEGIN SSH SIGNATURE-----"):
		return k.verifySSH(signature, o.Payload, now)
	case strings.HasPrefix(signature, "-----BEGIN SIGNED MESSAGE-----"):
		return "", errors.New("is signed with X.509, which is not supported: only PGP and SSH are")
	}
	return "", errors.New("has a signature of an unknown format: only PGP and SSH are supported")
}

func (k Keys) verifyPGP(signature string, payload []byte, now time.Time) (string, error) {
	block, err := armor.Decode(strings.NewReader(signature))
	if err != nil || block.Type != openpgp.SignatureType {
		return "", errors.New("has a PGP signature that cannot be read")
	}
	body, err := io.ReadAll(block.Body)
	if err != nil {
		return "", errors.New("has a PGP signature that cannot be read")
	}
	id := issuer(body)
	config := &packet.Config{Time: func() time.Time { return now }}
	made, signer, err := openpgp.VerifyDetachedSignature(k.pgp, bytes.NewReader(payload), bytes.NewReader(body), config)
	if made != nil && made.IssuerKeyId != nil {
		id = keyID(*made.IssuerKeyId) // of several signatures, the one that was looked at
	}
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return "", fmt.Errorf("is signed by the PGP key %s, which is not among the trusted ones, or may not sign", id)
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return "", fmt.Errorf("is signed by the PGP key %s, which has expired", id)
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return "", fmt.Errorf("is signed by the PGP key %s, which is revoked", id)
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		return "", fmt.Errorf("has a signature of the PGP key %s that has expired", id)
	case err != nil:
		return "", fmt.Errorf("has a signature of the PGP key %s that is not valid: the object was changed", id)
	case made.Hash == crypto.SHA1 || made.Hash == crypto.MD5 || made.Hash == crypto.RIPEMD160:
		return "", fmt.Errorf("has a signature of the PGP key %s that is weak: its hash can be forged", id)
	}
	for _, key := range signer.Subkeys {
		if key.PublicKey.KeyIdString() == id {
			if why := weakPGP(key.PublicKey); why != "" {
				return "", fmt.Errorf("is signed by the PGP key %s, which %s", id, why)
			}
		}
	}
	if why := weakPGP(signer.PrimaryKey); why != "" {
		return "", fmt.Errorf("is signed by the PGP key %s, which %s", id, why)
	}
	return signer.PrimaryKey.KeyIdString(), nil
}

// issuer is the key that a PGP signature names as its own, in hexadecimal.
func issuer(signature []byte) string {
	p, err := packet.Read(bytes.NewReader(signature))
	if s, ok := p.(*packet.Signature); err == nil && ok && s.IssuerKeyId != nil {
		return keyID(*s.IssuerKeyId)
	}
	return "unknown"
}

func keyID(id uint64) string { return fmt.Sprintf("%016X", id) }

func (k Keys) verifySSH(signature string, payload []byte, now time.Time) (string, error) {
	s, err := sshsig.Unarmor([]byte(signature))
	if err != nil {
		return "", errors.New("has an SSH signature that cannot be read")
	}
	id := ssh.FingerprintSHA256(s.PublicKey)
	for _, key := range k.ssh {
		if ssh.FingerprintSHA256(key) != id {
			continue
		}
		switch why := weakSSH(key.PublicKey); {
		case why != "":
			return "", fmt.Errorf("is signed by the SSH key %s, which %s", id, why)
		case !key.until.IsZero() && !now.Before(key.until):
			return "", fmt.Errorf("is signed by the SSH key %s, which has expired", id)
		case !key.from.IsZero() && now.Before(key.from):
			return "", fmt.Errorf("is signed by the SSH key %s, which is not yet valid", id)
		case s.Namespace != namespace:
			return "", fmt.Errorf("has a signature of the SSH key %s that is not one for Git", id)
		case s.Signature.Format == ssh.KeyAlgoRSA: // RSA with SHA-1, which sshsig forbids
			return "", fmt.Errorf("has a signature of the SSH key %s that is weak", id)
		}
		if err := sshsig.Verify(bytes.NewReader(payload), s, key.PublicKey, s.HashAlgorithm, namespace); err != nil {
			return "", fmt.Errorf("has a signature of the SSH key %s that is not valid: the object was changed", id)
		}
		return id, nil
	}
	return "", fmt.Errorf("is signed by the SSH key %s, which is not among the trusted ones", id)
}
