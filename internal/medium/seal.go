package medium

import (
	"bufio"
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"filippo.io/edwards25519"

	"github.com/skerry-dev/skerry/internal/link"
)

const (
	// last is the bit in the header of a record that says that none follows.
	last       = 1 << 31
	headerSize = 4
	keySize    = 32
	// maxRecord bounds a sealed record: a frame's header, and what sealing adds.
	maxRecord = link.MaxMessage + 64
)

// recipientOf returns the X25519 key that belongs to a public ed25519 key.
func recipientOf(key []byte) (hpke.PublicKey, error) {
	point, err := new(edwards25519.Point).SetBytes(key)
	if err != nil {
		return nil, fmt.Errorf("the recipient has no ed25519 key: %w", err)
	}
	if new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return nil, errors.New("the recipient's key is none: what is sealed for it, everybody could open")
	}
	public, err := ecdh.X25519().NewPublicKey(point.BytesMontgomery())
	if err != nil {
		return nil, fmt.Errorf("the recipient's key is none: %w", err)
	}
	return hpke.NewDHKEMPublicKey(public)
}

// openerOf returns the X25519 key that belongs to a private ed25519 key, RFC 8032.
func openerOf(key ed25519.PrivateKey) (hpke.PrivateKey, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, errors.New("there is no ed25519 key to open the file with")
	}
	sum := sha512.Sum512(key.Seed())
	private, err := ecdh.X25519().NewPrivateKey(sum[:keySize])
	if err != nil {
		return nil, fmt.Errorf("cannot open the file: %w", err)
	}
	return hpke.NewDHKEMPrivateKey(private)
}

func suite() (hpke.KDF, hpke.AEAD) { return hpke.HKDFSHA256(), hpke.ChaCha20Poly1305() }

// sealer writes a file.
type sealer struct {
	to     io.Writer
	sender *hpke.Sender
}

// seal begins a file with its label, and its first record: the message, signed.
func seal(to io.Writer, l Label, recipient []byte, message []byte, signer ed25519.PrivateKey) (*sealer, error) {
	l.Key = link.Fingerprint(recipient)
	line, err := l.encode()
	if err != nil {
		return nil, err
	}
	public, err := recipientOf(recipient)
	if err != nil {
		return nil, err
	}
	kdf, aead := suite()
	enc, sender, err := hpke.NewSender(public, kdf, aead, line)
	if err != nil {
		return nil, fmt.Errorf("cannot seal the file: %w", err)
	}
	if _, err := to.Write(append(line, enc...)); err != nil {
		return nil, fmt.Errorf("cannot write the file: %w", err)
	}
	s := &sealer{to: to, sender: sender}
	return s, s.write(append(ed25519.Sign(signer, link.MediumTranscript(line, message)), message...), false)
}

// write writes one record.
func (s *sealer) write(payload []byte, isLast bool) error {
	frame, err := link.AppendFrame(nil, payload)
	if err != nil {
		return err
	}
	head := uint32(len(frame) + overhead)
	if isLast {
		head |= last
	}
	header := binary.BigEndian.AppendUint32(nil, head)
	sealed, err := s.sender.Seal(header, frame)
	if err != nil {
		return fmt.Errorf("cannot seal the file: %w", err)
	}
	if _, err := s.to.Write(append(header, sealed...)); err != nil {
		return fmt.Errorf("cannot write the file: %w", err)
	}
	return nil
}

// overhead is what sealing adds to a record: the tag of ChaCha20-Poly1305.
const overhead = 16

// opener reads a file.
type opener struct {
	from      *bufio.Reader
	recipient *hpke.Recipient
	ended     bool
}

// open begins to read a file whose label was read, and returns its message. signer is the public key of its maker.
func open(from *bufio.Reader, line []byte, key ed25519.PrivateKey, signer []byte) (*opener, []byte, error) {
	private, err := openerOf(key)
	if err != nil {
		return nil, nil, err
	}
	enc := make([]byte, keySize)
	if _, err := io.ReadFull(from, enc); err != nil {
		return nil, nil, readError(err)
	}
	kdf, aead := suite()
	recipient, err := hpke.NewRecipient(enc, private, kdf, aead, line)
	if err != nil {
		return nil, nil, damaged()
	}
	o := &opener{from: from, recipient: recipient}
	first, err := o.read()
	if err != nil {
		return nil, nil, err
	}
	if len(first) < ed25519.SignatureSize {
		return nil, nil, damaged()
	}
	signature, message := first[:ed25519.SignatureSize], first[ed25519.SignatureSize:]
	if !link.Verify(signer, link.MediumTranscript(line, message), signature) {
		return nil, nil, notSigned()
	}
	return o, message, nil
}

// read returns the payload of the next record, and io.EOF after the last one, which has to end the file.
func (o *opener) read() ([]byte, error) {
	if o.ended {
		return nil, io.EOF
	}
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(o.from, header); err != nil {
		return nil, readError(err)
	}
	head := binary.BigEndian.Uint32(header)
	size := int64(head &^ last)
	if size > maxRecord {
		return nil, damaged()
	}
	// The buffer grows with what is there: a header alone must not cost the limit.
	var sealed bytes.Buffer
	if _, err := io.CopyN(&sealed, o.from, size); err != nil {
		return nil, readError(err)
	}
	frame, err := o.recipient.Open(header, sealed.Bytes())
	if err != nil {
		return nil, damaged()
	}
	if head&last != 0 {
		o.ended = true
		if _, err := o.from.ReadByte(); !errors.Is(err, io.EOF) {
			return nil, damaged()
		}
	}
	payload, err := link.ReadFrame(bytes.NewReader(frame), link.MaxMessage)
	if err != nil {
		return nil, damaged()
	}
	return payload, nil
}

// readError tells a file that is cut off from one that cannot be read.
func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged()
	}
	return fmt.Errorf("cannot read the file: %w", err)
}
