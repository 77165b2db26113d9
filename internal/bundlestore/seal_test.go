package bundlestore

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/internal/object"
)

const canary = "hunter2-canary"

func testKey(t *testing.T, fill byte) *Key {
	t.Helper()
	k, err := NewKey(bytes.Repeat([]byte{fill}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func secretBundle(t *testing.T, name string) *object.Bundle {
	t.Helper()
	o, err := object.FromMap(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": "shop", "annotations": map[string]any{"password": canary}}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := object.NewBundle([]object.Object{o})
	if err != nil {
		t.Fatal(err)
	}
	b.Confidential = true
	return &b
}

func openSealed(t *testing.T, dir string, key *Key) *Store {
	t.Helper()
	s, err := Open(dir, Options{Key: key, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// onDisk returns all that is in the folder.
func onDisk(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(f + "\n")
		all.Write(data)
	}
	return all.String()
}

func TestConfidentialBundleIsSealedOnDisk(t *testing.T) {
	dir, b := t.TempDir(), secretBundle(t, "db")
	digest, err := openSealed(t, dir, testKey(t, 1)).Put(b)
	if err != nil {
		t.Fatal(err)
	}
	disk := onDisk(t, dir)
	if strings.Contains(disk, canary) || strings.Contains(disk, "password") || strings.Contains(disk, name(b.Digest())) {
		t.Errorf("the disk holds\n%s", disk)
	}
	if digest == b.Digest() || digest != b.KeyedDigest(testKey(t, 1).Digest()) {
		t.Errorf("digest %s: want one that only the key can make", digest)
	}
	for _, readOnly := range []bool{false, true} { // another process with the key, such as a shard of a divided hub
		s, err := Open(dir, Options{Key: testKey(t, 1), Now: time.Now, ReadOnly: readOnly})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(t.Context(), digest)
		if err != nil || !bytes.Equal(got.Encode(), b.Encode()) || !got.Confidential {
			t.Errorf("read only %t: %v, %v", readOnly, got, err)
		}
		_ = s.Close()
	}
}

// TestBundleWhoseKeyWasLostIsMissing, and so is one under another name, and one of which a bit was changed.
func TestBundleWhoseKeyWasLostIsMissing(t *testing.T) {
	for what, spoil := range map[string]func(t *testing.T, dir, digest, other string) *Key{
		"another key": func(t *testing.T, _, _, _ string) *Key { return testKey(t, 2) },
		"no key":      func(*testing.T, string, string, string) *Key { return nil },
		"another name": func(t *testing.T, dir, digest, other string) *Key {
			if err := os.Rename(filepath.Join(dir, name(other)), filepath.Join(dir, name(digest))); err != nil {
				t.Fatal(err)
			}
			return testKey(t, 1)
		},
		"cut off": func(t *testing.T, dir, digest, _ string) *Key {
			if err := os.Truncate(filepath.Join(dir, name(digest)), int64(len(sealedMark)+3)); err != nil {
				t.Fatal(err)
			}
			return testKey(t, 1)
		},
		"a bit changed": func(t *testing.T, dir, digest, _ string) *Key {
			file := filepath.Join(dir, name(digest))
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)-20] ^= 1
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return testKey(t, 1)
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			first := openSealed(t, dir, testKey(t, 1))
			digest, err := first.Put(secretBundle(t, "db"))
			if err != nil {
				t.Fatal(err)
			}
			other, err := first.Put(secretBundle(t, "other"))
			if err != nil {
				t.Fatal(err)
			}
			s := openSealed(t, dir, spoil(t, dir, digest, other))
			if got, err := s.Get(t.Context(), digest); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("Get: %v, %v; want it missing", got, err)
			}
			if s.Has(digest) {
				t.Error("it is still promised")
			}
			again, err := s.Put(secretBundle(t, "db"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(t.Context(), again); err != nil {
				t.Errorf("rendered again: %v", err)
			}
		})
	}
}

// TestBundleOfAnEarlierVersionIsSealedWhenItIsRead: its name stays, for Assignments name it.
func TestBundleOfAnEarlierVersionIsSealedWhenItIsRead(t *testing.T) {
	dir, b := t.TempDir(), secretBundle(t, "db")
	plain := openSealed(t, dir, nil)
	digest, err := plain.Put(b)
	if err != nil || digest != b.Digest() || !strings.Contains(onDisk(t, dir), canary) {
		t.Fatalf("%s, %v; want a plain file", digest, err)
	}
	for range 2 {
		got, err := openSealed(t, dir, testKey(t, 1)).Get(t.Context(), digest)
		if err != nil || !bytes.Equal(got.Encode(), b.Encode()) {
			t.Fatalf("%v, %v", got, err)
		}
		if strings.Contains(onDisk(t, dir), canary) {
			t.Error("it is still readable")
		}
	}
}

// TestOtherBundlesAreAsTheyWere: no key changes the name or the file of a bundle without secrets.
func TestOtherBundlesAreAsTheyWere(t *testing.T) {
	o, err := object.FromMap(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}})
	if err != nil {
		t.Fatal(err)
	}
	dir, b := t.TempDir(), &object.Bundle{Objects: []object.Object{o}}
	digest, err := openSealed(t, dir, testKey(t, 1)).Put(b)
	if err != nil || digest != b.Digest() {
		t.Fatalf("%s, %v", digest, err)
	}
	data, err := os.ReadFile(filepath.Join(dir, name(digest)))
	if err != nil || !bytes.Equal(data, b.Encode()) {
		t.Errorf("%s, %v", data, err)
	}
}
