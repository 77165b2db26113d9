package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/skerry-dev/skerry/internal/agent/disk"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
)

// bundlePrefix and partPrefix begin the names of records: bundles, and what has arrived of one that has not
// arrived as a whole. The rest is the digest.
const (
	bundlePrefix = "bundle-"
	partPrefix   = "part-"
	digestPrefix = "sha256:"
)

// bundles are those on the disk. What is returned from there is what was verified when it arrived: records are
// sealed.
type bundles struct{ disk *disk.Store }

func recordOf(prefix, digest string) string {
	return prefix + strings.TrimPrefix(digest, digestPrefix)
}

// header is the first line of a record. The others are the encoded bundle.
type header struct {
	Confidential bool `json:"confidential,omitempty"`
}

// Get implements engine.Bundles.
func (b bundles) Get(_ context.Context, digest string) (*object.Bundle, error) {
	head, body, err := b.read(bundlePrefix, digest)
	if err != nil {
		return nil, err
	}
	bundle, err := object.DecodeBundle(body)
	if err != nil { // a later version wrote it, or an earlier one
		b.disk.Remove(recordOf(bundlePrefix, digest))
		return nil, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	bundle.Confidential = head.Confidential
	return &bundle, nil
}

func (b bundles) read(prefix, digest string) (header, []byte, error) {
	var h header
	data, err := b.disk.Read(recordOf(prefix, digest))
	if err != nil {
		return h, nil, err
	}
	line, body, found := bytes.Cut(data, []byte{'\n'})
	if !found || json.Unmarshal(line, &h) != nil {
		b.disk.Remove(recordOf(prefix, digest))
		return h, nil, fmt.Errorf("the record of bundle %.80q is none: %w", digest, fs.ErrNotExist)
	}
	return h, body, nil
}

// put keeps a bundle that was verified.
func (b bundles) put(digest string, bundle *object.Bundle) error {
	head, err := json.Marshal(header{Confidential: bundle.Confidential})
	if err != nil {
		return fmt.Errorf("cannot encode: %w", err)
	}
	return b.disk.Write(recordOf(bundlePrefix, digest), append(append(head, '\n'), bundle.Encode()...))
}

// putPart keeps the bodies of objects that have arrived of a bundle.
func (b bundles) putPart(digest string, bodies map[link.ObjectID][]byte) {
	data := []byte("{}\n")
	for _, body := range bodies {
		data = append(append(data, body...), '\n')
	}
	_ = b.disk.Write(recordOf(partPrefix, digest), data) // the disk names its problem itself
}

func (b bundles) dropPart(digest string) { b.disk.Remove(recordOf(partPrefix, digest)) }

// digests returns those of the bundles on the disk.
func (b bundles) digests() map[string]bool {
	out := map[string]bool{}
	for _, name := range b.disk.List(bundlePrefix) {
		out[digestPrefix+strings.TrimPrefix(name, bundlePrefix)] = true
	}
	return out
}

// collect removes all bundles, and parts of some, that are not kept.
func (b bundles) collect(keep map[string]bool) {
	for _, prefix := range []string{bundlePrefix, partPrefix} {
		for _, name := range b.disk.List(prefix) {
			if !keep[digestPrefix+strings.TrimPrefix(name, prefix)] {
				b.disk.Remove(name)
			}
		}
	}
}

// find returns the bodies of those of the objects that are on the disk, in whichever bundle. It reads one
// record at a time, so that memory holds one.
func (b bundles) find(ids []link.ObjectID) map[link.ObjectID][]byte {
	want := make(map[link.ObjectID]bool, len(ids))
	for _, id := range ids {
		want[id] = true
	}
	found := map[link.ObjectID][]byte{}
	for _, prefix := range []string{partPrefix, bundlePrefix} {
		for _, name := range b.disk.List(prefix) {
			if len(found) == len(want) {
				return found
			}
			_, body, err := b.read(prefix, strings.TrimPrefix(name, prefix))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			for line := range bytes.Lines(body) {
				line = bytes.TrimSuffix(line, []byte{'\n'})
				if id := link.IDOf(line); want[id] && found[id] == nil {
					found[id] = bytes.Clone(line)
				}
			}
		}
	}
	return found
}

// fresh is the bundle that has arrived last, until the engine reads it: what was put together a moment ago need not be
// read from the disk, unsealed, and decoded again.
type fresh struct {
	// forgetDue is woken when there is a bundle that may have to be forgotten.
	forgetDue chan struct{}

	mu     sync.Mutex // guards what follows
	digest string
	bundle *object.Bundle
	at     time.Time
}

// freshFor is how long the engine has to read it: it does that at once where it wants it.
const freshFor = 2 * time.Second

func (f *fresh) put(digest string, b *object.Bundle, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.digest, f.bundle, f.at = digest, b, now
	wake(f.forgetDue)
}

// take returns the bundle of a digest once; nil for another one.
func (f *fresh) take(digest string) (b *object.Bundle) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.digest == digest {
		b, f.bundle = f.bundle, nil
	}
	return b
}

// holds reports whether there is a bundle that the engine has not read.
func (f *fresh) holds() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bundle != nil
}

// forget lets a bundle go that the engine has not read in time.
func (f *fresh) forget(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.at) >= freshFor {
		f.bundle = nil
	}
}
