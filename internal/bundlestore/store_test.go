package bundlestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/object"
)

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func open(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	if o.Now == nil {
		o.Now = (&clock{at: time.Unix(1000, 0)}).now
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func bundle(t *testing.T, names ...string) *object.Bundle {
	t.Helper()
	var objects []object.Object
	for _, name := range names {
		o, err := object.FromMap(map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{"name": name, "namespace": "apps"},
			"data":     map[string]any{"key": strings.Repeat("x", 100)},
		})
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	b, err := object.NewBundle(objects)
	if err != nil {
		t.Fatal(err)
	}
	return &b
}

func put(t *testing.T, s *Store, b *object.Bundle) string {
	t.Helper()
	digest, err := s.Put(b)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestPutAndGetAcrossProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "below", "bundles")
	want := bundle(t, "a", "b")
	digest := put(t, open(t, dir, Options{}), want)
	if digest != want.Digest() {
		t.Errorf("digest %s", digest)
	}
	got, err := open(t, dir, Options{}).Get(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bundle (-want +got):\n%s", diff)
	}
	info, err := os.Stat(filepath.Join(dir, name(digest)))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestEmptyBundle(t *testing.T) {
	s := open(t, t.TempDir(), Options{CacheBytes: 1})
	digest := put(t, s, &object.Bundle{})
	b, err := s.Get(t.Context(), digest)
	if err != nil || len(b.Objects) != 0 {
		t.Errorf("%v, %v", b, err)
	}
}

func TestGetOfWhatIsMissing(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	for _, digest := range []string{
		bundle(t, "never-stored").Digest(), "", "sha256:", "sha256:../../etc/passwd",
		"sha256:" + strings.Repeat("A", 64), "sha1:" + strings.Repeat("a", 64),
	} {
		if _, err := s.Get(t.Context(), digest); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", digest, err)
		}
		if s.Has(digest) {
			t.Errorf("%q is there", digest)
		}
	}
}

func TestDamagedFilesAreMissing(t *testing.T) {
	for what, damage := range map[string]func(path string) error{
		"cut off":   func(p string) error { return os.Truncate(p, 10) },
		"emptied":   func(p string) error { return os.Truncate(p, 0) },
		"changed":   func(p string) error { return os.WriteFile(p, bundle(t, "other").Encode(), 0o600) },
		"garbage":   func(p string) error { return os.WriteFile(p, []byte("{{{\n"), 0o600) },
		"not there": os.Remove,
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			b := bundle(t, "a", "b")
			digest := put(t, open(t, dir, Options{}), b)
			path := filepath.Join(dir, name(digest))
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			s := open(t, dir, Options{})
			if _, err := s.Get(t.Context(), digest); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Get: %v", err)
			}
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file is still there: %v", err)
			}
			if s.Has(digest) {
				t.Error("Has says that it is there")
			}
			put(t, s, b)
			if _, err := s.Get(t.Context(), digest); err != nil {
				t.Errorf("Get after a new Put: %v", err)
			}
		})
	}
}

func TestOpenRemovesWhatWasHalfWritten(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{"tmp-1", "tmp-99", "not-ours"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir, Options{})
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "not-ours" {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	b := bundle(t, "a")
	// A folder in the place of the file makes the rename fail, as a full disk would the write.
	if err := os.MkdirAll(filepath.Join(dir, name(b.Digest()), "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(b); err == nil {
		t.Fatal("no error")
	}
	if s.Has(b.Digest()) {
		t.Error("Has says that it is there")
	}
	if left, err := filepath.Glob(filepath.Join(dir, "tmp-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestCollect(t *testing.T) {
	c := &clock{at: time.Unix(1000, 0)}
	dir := t.TempDir()
	s := open(t, dir, Options{Now: c.now, Grace: time.Minute})
	kept, gone, asked := put(t, s, bundle(t, "kept")), put(t, s, bundle(t, "gone")), put(t, s, bundle(t, "asked"))
	keep := map[string]struct{}{kept: {}}

	if n, err := s.Collect(keep); n != 0 || err != nil {
		t.Fatalf("within grace: %d, %v", n, err)
	}
	c.at = c.at.Add(time.Minute)
	if !s.Has(asked) {
		t.Fatal("asked is missing")
	}
	if n, err := s.Collect(keep); n != 1 || err != nil {
		t.Fatalf("after grace: %d, %v", n, err)
	}
	for digest, want := range map[string]bool{kept: true, gone: false, asked: true} {
		_, err := s.Get(t.Context(), digest)
		if got := err == nil; got != want {
			t.Errorf("%s: %v", digest, err)
		}
	}
	// A process that starts cannot know what is about to be used: grace starts anew.
	again := open(t, dir, Options{Now: c.now, Grace: time.Minute})
	if n, err := again.Collect(nil); n != 0 || err != nil {
		t.Errorf("after a restart: %d, %v", n, err)
	}
}

func TestCacheIsBoundedAndShared(t *testing.T) {
	one := bundle(t, "a")
	s := open(t, t.TempDir(), Options{CacheBytes: int64(2*one.Size()) + 10})
	digests := []string{put(t, s, one), put(t, s, bundle(t, "b")), put(t, s, bundle(t, "c"))}
	if s.cache.Len() != 2 {
		t.Errorf("%d bytes in %d bundles", s.cache.Size(), s.cache.Len())
	}
	first, err := s.Get(t.Context(), digests[0])
	if err != nil {
		t.Fatal(err)
	}
	if first == one {
		t.Error("the oldest is still in memory")
	}
	if again, _ := s.Get(t.Context(), digests[0]); again != first {
		t.Error("a second Get decodes again")
	}
}

func TestConcurrentUse(t *testing.T) {
	c := &clock{at: time.Unix(1000, 0)}
	s := open(t, t.TempDir(), Options{CacheBytes: 1, Now: c.now})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			b := bundle(t, fmt.Sprint(i%4))
			digest, err := s.Put(b)
			if err != nil {
				t.Error(err)
				return
			}
			got, err := s.Get(t.Context(), digest)
			if err != nil || got.Digest() != digest {
				t.Errorf("%v", err)
			}
			if _, err := s.Collect(nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestGetIsCancelled(t *testing.T) {
	s := open(t, t.TempDir(), Options{CacheBytes: 1})
	digest := put(t, s, bundle(t, "a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// Both ends of the select may be ready; what must not happen is another error.
	if _, err := s.Get(ctx, digest); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func BenchmarkPut(b *testing.B) {
	s, err := Open(b.TempDir(), Options{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		i++
		o, _ := object.FromMap(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": fmt.Sprint(i)}})
		one, _ := object.NewBundle([]object.Object{o})
		if _, err := s.Put(&one); err != nil {
			b.Fatal(err)
		}
	}
}

// TestReader: a second process sees what the first one stores later, and changes nothing.
func TestReader(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	writer, reader := open(t, dir, Options{}), open(t, dir, Options{ReadOnly: true})
	half := filepath.Join(dir, "tmp-7")
	if err := os.WriteFile(half, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{ReadOnly: true}) // what another process is writing stays
	b := bundle(t, "a")
	if _, err := reader.Get(ctx, b.Digest()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before it is stored: %v", err)
	}
	digest := put(t, writer, b)
	if !reader.Has(digest) {
		t.Error("the reader does not find what was stored after it was opened")
	}
	got, err := reader.Get(ctx, digest)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(b.Encode()), string(got.Encode())); diff != "" {
		t.Error(diff)
	}
	if _, err := reader.Put(bundle(t, "b")); err == nil {
		t.Error("the reader stores")
	}
	if n, err := reader.Collect(nil); n > 0 || err == nil {
		t.Errorf("the reader collects %d: %v", n, err)
	}

	damaged := put(t, writer, bundle(t, "c"))
	if err := os.WriteFile(filepath.Join(dir, name(damaged)), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Get(ctx, damaged); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a damaged file: %v", err)
	}
	for _, file := range []string{half, filepath.Join(dir, name(digest)), filepath.Join(dir, name(damaged))} {
		if _, err := os.Stat(file); err != nil {
			t.Errorf("the reader has changed something: %v", err)
		}
	}
	writer.Verify(digest)
	if !writer.Has(digest) || !writer.Has(damaged) {
		t.Error("the writer cannot know better yet")
	}
	writer.Verify(damaged)
	if writer.Has(damaged) {
		t.Error("the writer still trusts what is damaged")
	}
	put(t, writer, bundle(t, "c"))
	if _, err := reader.Get(ctx, damaged); err != nil {
		t.Errorf("after it is stored again: %v", err)
	}
	if reader.Has(digestPrefix + "../tmp-7") {
		t.Error("a name that is no digest is found")
	}
}

// TestFolderThatGoesIsMadeAgain: what was in it is forgotten, so that it is rendered and stored again.
func TestFolderThatGoesIsMadeAgain(t *testing.T) {
	for what, take := range map[string]func(dir string) error{
		"removed":            os.RemoveAll,
		"its parent removed": func(dir string) error { return os.RemoveAll(filepath.Dir(dir)) },
		"moved away":         func(dir string) error { return os.Rename(dir, dir+".old") },
		"made anew": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o755))
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "storage", "bundles")
			s := open(t, dir, Options{CacheBytes: 1})
			reader := open(t, dir, Options{ReadOnly: true, CacheBytes: 1})
			first := put(t, s, bundle(t, "first"))
			if err := take(dir); err != nil {
				t.Fatal(err)
			}
			second := put(t, s, bundle(t, "second"))
			if s.Has(first) || !s.Has(second) {
				t.Errorf("has the lost one: %t, the new one: %t", s.Has(first), s.Has(second))
			}
			put(t, s, bundle(t, "first"))
			for _, digest := range []string{first, second} {
				if _, err := s.Get(t.Context(), digest); err != nil {
					t.Error(err)
				}
				if _, err := reader.Get(t.Context(), digest); err != nil {
					t.Errorf("reader: %v", err)
				}
			}
			info, err := os.Stat(dir)
			if err != nil || (info.Mode().Perm() != 0o700) {
				t.Errorf("folder: %v, %v", info, err)
			}
		})
	}
	t.Run("cannot be made for a while", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "bundles")
		s := open(t, dir, Options{CacheBytes: 1})
		if err := errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		_, err := s.Put(bundle(t, "a"))
		if err == nil || !strings.Contains(err.Error(), "remove what is in the place of the folder "+dir) {
			t.Errorf("got %v", err)
		}
		if _, again := s.Put(bundle(t, "a")); err != nil && again != nil && again.Error() != err.Error() {
			t.Errorf("the message is not stable: %v, %v", err, again)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), put(t, s, bundle(t, "a"))); err != nil {
			t.Error(err)
		}
	})
}

func TestOpenTakesRightsOfOthers(t *testing.T) {
	dir := t.TempDir()
	digest := put(t, open(t, dir, Options{}), bundle(t, "a"))
	file := filepath.Join(dir, name(digest))
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(file, 0o644)); err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{})
	for path, want := range map[string]fs.FileMode{dir: 0o700, file: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}
