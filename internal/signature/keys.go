// Package signature verifies what Git signs: commits and tags, by PGP and by SSH keys.
//
// It promises that a signature counts only when it is by a key that was given, of a sufficient strength, and
// neither revoked nor expired at the given time; that what is verified is the object as it is, byte for byte;
// and that its errors name keys by their fingerprint and hold nothing else of them.
package signature

import (
	"bytes"
	"crypto/dsa" //nolint:staticcheck // to refuse such keys
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"golang.org/x/crypto/ssh"
)

// minRSA is the least size in bits of an RSA key whose signatures count.
const minRSA = 2048

// Keys are the public keys of trusted authors. The zero value trusts no key.
type Keys struct {
	pgp openpgp.EntityList
	ssh []sshKey
	// Sum is another one when the keys are others.
	Sum [sha256.Size]byte
}

// sshKey is a key of an authorized_keys or allowed_signers file.
type sshKey struct {
	ssh.PublicKey
	// from and until bound the time of its validity, where they are not zero.
	from, until time.Time
}

// ParseKeys reads the public keys of a Secret, as Flux has them: PGP keys under names that end in .asc, SSH keys
// in the format of authorized_keys under names that end in .sshpub. Beside those it takes .pub and the files
// authorized_keys and allowed_signers, and reads any other name for what its content is. An error names what is
// wrong with which name of the Secret.
func ParseKeys(secret map[string][]byte) (Keys, error) {
	var k Keys
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(secret)) {
		content := secret[name]
		if err := k.add(name, content); err != nil {
			return Keys{}, fmt.Errorf("key %s %w", name, err)
		}
		part := sha256.Sum256(content)
		sum.Write([]byte(name + "\x00"))
		sum.Write(part[:])
	}
	if len(k.pgp)+len(k.ssh) == 0 {
		return Keys{}, errors.New("it holds no public key: PGP keys belong under names that end in .asc, SSH keys under .sshpub")
	}
	sum.Sum(k.Sum[:0])
	return k, nil
}

func (k *Keys) add(name string, content []byte) error {
	switch {
	case bytes.Contains(content, []byte("PRIVATE KEY")):
		return errors.New("holds a private key: only public keys belong there")
	case isSSH(name), !strings.HasSuffix(name, ".asc") && !isPGP(content):
		found, err := parseSSH(content)
		k.ssh = append(k.ssh, found...)
		return err
	}
	found, err := parsePGP(content)
	k.pgp = append(k.pgp, found...)
	return err
}

func isSSH(name string) bool {
	return strings.HasSuffix(name, ".sshpub") || strings.HasSuffix(name, ".pub") || name == "authorized_keys" || name == "allowed_signers"
}

const pgpBegin = "-----BEGIN PGP PUBLIC KEY BLOCK-----"

func isPGP(content []byte) bool {
	return bytes.Contains(content, []byte(pgpBegin)) || len(content) > 0 && content[0]&0x80 != 0
}

// parsePGP reads armored blocks, any number of them, or one binary key ring.
func parsePGP(content []byte) (openpgp.EntityList, error) {
	if !bytes.Contains(content, []byte(pgpBegin)) {
		found, err := openpgp.ReadKeyRing(bytes.NewReader(content))
		if err != nil || len(found) == 0 {
			return nil, errors.New("holds no PGP public key that can be read")
		}
		return found, checkPGP(found)
	}
	var all openpgp.EntityList
	_, blocks, _ := strings.Cut(string(content), pgpBegin)
	for block := range strings.SplitSeq(blocks, pgpBegin) {
		found, err := openpgp.ReadArmoredKeyRing(strings.NewReader(pgpBegin + block))
		if err != nil || len(found) == 0 {
			return nil, errors.New("holds a PGP public key that cannot be read")
		}
		all = append(all, found...)
	}
	return all, checkPGP(all)
}

// checkPGP refuses private keys. Keys that are weak, revoked or expired may be there: what they sign does not
// count, and is told so.
func checkPGP(keys openpgp.EntityList) error {
	for _, e := range keys {
		if e.PrivateKey != nil {
			return errors.New("holds a private key: only public keys belong there")
		}
	}
	return nil
}

// weakPGP tells why signatures of a PGP key do not count whatever they are; "" if they may.
func weakPGP(k *packet.PublicKey) string {
	switch k.PubKeyAlgo {
	case packet.PubKeyAlgoDSA:
		return "is a DSA key, which is too weak"
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		if bits, err := k.BitLength(); err != nil || bits < minRSA {
			return fmt.Sprintf("has fewer than %d bits", minRSA)
		}
	default:
	}
	return ""
}

// weakSSH is the same for an SSH key.
func weakSSH(k ssh.PublicKey) string {
	c, ok := k.(ssh.CryptoPublicKey)
	if !ok {
		return "" // a key of a security token
	}
	switch key := c.CryptoPublicKey().(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSA {
			return fmt.Sprintf("has fewer than %d bits", minRSA)
		}
	case *dsa.PublicKey:
		return "is a DSA key, which is too weak"
	}
	return ""
}

// parseSSH reads the lines of an authorized_keys or allowed_signers file.
func parseSSH(content []byte) ([]sshKey, error) {
	var keys []sshKey
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := parseSSHLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d %w", number, err)
		}
		if key != nil {
			keys = append(keys, *key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("holds no SSH public key")
	}
	return keys, nil
}

// parseSSHLine returns nil for a key that allowed_signers gives for other things than Git.
func parseSSHLine(line string) (*sshKey, error) {
	pub, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || looksLikePrincipals(line, options) {
		// An allowed_signers line has its principals in front, which are not looked at, as Git without a
		// user.signingKey does not: the key is what is trusted.
		_, rest, _ := strings.Cut(line, " ")
		pub, _, options, _, err = ssh.ParseAuthorizedKey([]byte(strings.TrimSpace(rest)))
	}
	if err != nil {
		return nil, errors.New("is no SSH public key")
	}
	if _, ok := pub.(*ssh.Certificate); ok {
		return nil, errors.New("is a certificate, which is not supported: give the public key itself")
	}
	key := &sshKey{PublicKey: pub}
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "cert-authority":
			return nil, errors.New("is a certificate authority, which is not supported: give the public keys themselves")
		case "namespaces":
			if !slices.ContainsFunc(strings.Split(value, ","), func(p string) bool { return p == namespace || p == "*" }) {
				return nil, nil //nolint:nilnil // documented
			}
		case "valid-after":
			if key.from, err = parseTime(value); err != nil {
				return nil, err
			}
		case "valid-before":
			if key.until, err = parseTime(value); err != nil {
				return nil, err
			}
		}
	}
	return key, nil
}

// looksLikePrincipals reports whether what was read as the options of an authorized_keys line are the principals of
// an allowed_signers line: mail addresses and patterns are no options.
func looksLikePrincipals(line string, options []string) bool {
	first, _, _ := strings.Cut(line, " ")
	return len(options) > 0 && strings.ContainsAny(first, "@*") && !strings.Contains(first, "=")
}

// parseTime reads a time of an allowed_signers file: YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, in UTC.
func parseTime(value string) (time.Time, error) {
	value = strings.TrimSuffix(value, "Z")
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if t, err := time.Parse(layout, value); err == nil && len(layout) == len(value) {
			return t, nil
		}
	}
	return time.Time{}, errors.New("has a time that cannot be read")
}
