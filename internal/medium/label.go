// Package medium is the form of files that are carried between a hub and an edge that no link joins: an update down,
// a report up. It is pure: it reads and writes streams that the caller opens.
//
//	skerry medium 1 {"kind":"update","hub":…,"cluster":…,"key":…,"made":…}\n     the label, readable by anyone
//	32 bytes                                                                    the encapsulated key
//	records                                                                     sealed, in order
//
// A record is four bytes, big-endian, and a sealed frame (link.AppendFrame) of that many bytes; the upper bit says that
// it is the last one. The first frame holds a signature and a message in JSON, Update or Report. Those of an update
// are followed by chunks of the objects of its bundles, one bundle after the other.
//
// It promises: only the holder of the key that the label names can read what is sealed; a file of which one bit was
// changed, that was cut off, or whose records were put into another order is refused, and so is one that was not
// signed by the hub, or by the agent, that it says it is from; and each refusal has a reason (RefusedError).
//
// Sealing is HPKE (RFC 9180): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. The recipient's key is that
// with which it signs on the link, ed25519, taken to its curve's Montgomery form, as age does with keys of SSH: the hub
// knows it of every agent that has joined, and every agent knows that of its hub.
package medium

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
)

// Kind says which way a file goes.
type Kind string

const (
	// KindUpdate is what the hub wants on a cluster.
	KindUpdate Kind = "update"
	// KindReport is what an agent tells its hub.
	KindReport Kind = "report"
)

// Extension ends the names of files.
const Extension = ".skerry"

// format begins a file; the number is that of the format.
const format = "skerry medium 1 "

// anyFormat begins a file of any version.
const anyFormat = "skerry medium "

// maxLabel bounds the label, in bytes.
const maxLabel = 4096

// Label says for whom a file is.
type Label struct {
	Kind Kind `json:"kind"`
	// Hub is the identity of the hub, Cluster "namespace/name" there.
	Hub     string `json:"hub"`
	Cluster string `json:"cluster"`
	// Key is the fingerprint of the key that opens it (link.Fingerprint).
	Key string `json:"key"`
	// Made is when it was made, by the clock of its maker.
	Made time.Time `json:"made"`
}

// RefusedError says why a file is not taken. Nothing was changed.
type RefusedError struct {
	// Reason is one of the Medium reasons of api/v1alpha1.
	Reason  string
	Message string
}

func (e *RefusedError) Error() string { return e.Reason + ": " + e.Message }

func refused(reason, form string, args ...any) error {
	return &RefusedError{Reason: reason, Message: fmt.Sprintf(form, args...)}
}

func damaged() error {
	return refused(v1alpha1.MediumDamagedReason, "the file was changed or cut off on its way: copy it again, or export it again")
}

// encode returns the label as it stands in a file.
func (l Label) encode() ([]byte, error) {
	l.Made = l.Made.UTC().Round(0)
	raw, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the label: %w", err)
	}
	line := append(append([]byte(format), raw...), '\n')
	if len(line) > maxLabel {
		return nil, fmt.Errorf("the label has %d bytes, and may have %d", len(line), maxLabel)
	}
	return line, nil
}

// ReadLabel reads the label of a file, and returns its bytes as well. What it says is not proven until the file was
// opened by its recipient.
func ReadLabel(from *bufio.Reader) (Label, []byte, error) {
	var l Label
	var line []byte
	for len(line) == 0 || line[len(line)-1] != '\n' {
		b, err := from.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return l, nil, notOurs(line)
		case err != nil:
			return l, nil, fmt.Errorf("cannot read the file: %w", err)
		case len(line) == maxLabel:
			return l, nil, notOurs(line)
		}
		line = append(line, b)
	}
	raw, ours := bytes.CutPrefix(line, []byte(format))
	if !ours {
		return l, nil, notOurs(line)
	}
	if err := json.Unmarshal(raw, &l); err != nil || l.Hub == "" || l.Cluster == "" || l.Key == "" {
		return l, nil, damaged()
	}
	return l, line, nil
}

func notOurs(line []byte) error {
	switch {
	case bytes.HasPrefix(line, []byte(anyFormat)) && !bytes.HasPrefix(line, []byte(format)):
		return refused(v1alpha1.MediumUnsupportedReason, "the file has a format that this version does not know: upgrade what reads it")
	case bytes.HasPrefix(line, []byte(format)):
		return damaged()
	}
	return refused(v1alpha1.MediumUnsupportedReason, `this is no file that "skerry bundle export" or "skerry-agent report" has written, or its beginning is damaged`)
}

// check returns an error unless a file is meant for a recipient.
func (l Label) check(kind Kind, hub, cluster string, key []byte) error {
	switch {
	case l.Kind != kind && kind == KindUpdate:
		return refused(v1alpha1.MediumUnsupportedReason, `the file is a %.20q for the hub, which takes it with "skerry bundle import-report"`, l.Kind)
	case l.Kind != kind:
		return refused(v1alpha1.MediumUnsupportedReason, `the file is an %.20q for an edge, whose agent takes it with "skerry-agent import"`, l.Kind)
	case l.Hub != hub:
		return refused(v1alpha1.MediumForAnotherHubReason, "the file is of the hub %.80q, and this one belongs to %q", l.Hub, hub)
	case l.Cluster != cluster:
		return refused(v1alpha1.MediumForAnotherClusterReason, "the file is of the cluster %.200q, and this is %s", l.Cluster, cluster)
	case l.Key != link.Fingerprint(key):
		return refused(v1alpha1.MediumForAnotherKeyReason, "the file is sealed for the key %.80q, and the key is %s now: it was rotated since, so export again", l.Key, link.Fingerprint(key))
	}
	return nil
}
