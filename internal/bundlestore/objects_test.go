package bundlestore

import (
	"bytes"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/internal/object"
)

// What a store with a key gives out has digests of which nothing can be guessed, whether it was stored by this
// process or is read again; without a key, and without a secret, they are plain.
func TestObjectsOfAConfidentialBundleHaveSealedDigests(t *testing.T) {
	key, err := NewKey(bytes.Repeat([]byte{7}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		key          *Key
		confidential bool
		sealed       bool
	}{
		"confidential":              {key, true, true},
		"not confidential":          {key, false, false},
		"confidential without keys": {nil, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := object.FromMap(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}, "data": map[string]any{"a": "b"}})
			if err != nil {
				t.Fatal(err)
			}
			b := &object.Bundle{Objects: []object.Object{o}, Confidential: tt.confidential}
			dir := t.TempDir()
			var digest, first string
			for _, what := range []string{"stored", "read again"} {
				s, err := Open(dir, Options{Now: time.Now, Key: tt.key})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if digest == "" {
					if digest, err = s.Put(b); err != nil {
						t.Fatal(err)
					}
				}
				got, err := s.Get(t.Context(), digest)
				if err != nil {
					t.Fatal(err)
				}
				if is := got.Objects[0]; is.IsSealed() != tt.sealed || tt.sealed == (is.Digest == o.Digest) || !is.HasDigest(o.Digest) {
					t.Errorf("%s: digest %s, plain %s", what, is.Digest, o.Digest)
				} else if first == "" {
					first = is.Digest
				} else if first != is.Digest {
					t.Errorf("read again: digest %s, was %s", is.Digest, first)
				}
			}
			if b.Objects[0].IsSealed() {
				t.Error("the bundle that was stored was changed")
			}
		})
	}
}
