package git

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

const (
	commitType   = 1
	blobType     = 3
	refDeltaType = 7
)

// entry is one object of a pack made by hand, which may lie about its size.
type entry struct {
	kind  byte
	size  uint64 // zero for the true one
	base  string // 20 bytes, of a refDeltaType
	plain string
}

func makePack(count uint32, entries ...entry) []byte {
	var b bytes.Buffer
	b.WriteString("PACK")
	_ = binary.Write(&b, binary.BigEndian, []uint32{2, count})
	for _, e := range entries {
		size := e.size
		if size == 0 {
			size = uint64(len(e.plain))
		}
		c := e.kind<<4 | byte(size&0xf)
		for size >>= 4; size > 0; size >>= 7 {
			b.WriteByte(c | 0x80)
			c = byte(size & 0x7f)
		}
		b.WriteByte(c)
		b.WriteString(e.base)
		z := zlib.NewWriter(&b)
		_, _ = io.WriteString(z, e.plain)
		_ = z.Close()
	}
	sum := sha1.Sum(b.Bytes())
	return append(b.Bytes(), sum[:]...)
}

// delta makes the content of a delta: sizes of source and target, then copies of the whole source.
func delta(source, target uint64, copies int) string {
	b := binary.AppendUvarint(nil, source)
	b = binary.AppendUvarint(b, target)
	for range copies {
		b = append(b, 0x80|0x10, byte(source)) // copy source bytes from offset 0
	}
	return string(b)
}

func blobHash(content string) string {
	sum := sha1.Sum([]byte("blob " + string(rune('0'+len(content))) + "\x00" + content))
	return string(sum[:])
}

func TestPacksOfStrangers(t *testing.T) {
	base := blobHash("12345678")
	good := makePack(2, entry{kind: blobType, plain: "12345678"}, entry{kind: refDeltaType, base: base, plain: delta(8, 16, 2)})
	flipped := bytes.Clone(good)
	flipped[20] ^= 1
	for _, c := range []struct {
		name string
		pack []byte
		want error
	}{
		{"good", good, nil},
		{"no objects", makePack(0), nil},
		{"nothing", nil, ErrFetchFailed},
		{"not a pack", []byte("<html>hello, this is a page</html>"), ErrFetchFailed},
		{"cut off", good[:len(good)-25], ErrFetchFailed},
		{"without its sum", good[:len(good)-20], ErrFetchFailed},
		{"flipped bit", flipped, ErrFetchFailed},
		{"fewer objects than announced", makePack(3, entry{kind: blobType, plain: "x"}), ErrFetchFailed},
		{"more objects than allowed", makePack(1<<31, entry{kind: blobType, plain: "x"}), ErrTooLarge},
		{"announces a terabyte", makePack(1, entry{kind: blobType, size: 1 << 40, plain: "x"}), ErrTooLarge},
		{"announces 900 KiB, has one byte", makePack(1, entry{kind: blobType, size: 900 << 10, plain: "x"}), ErrFetchFailed},
		{"announces one byte, has many", makePack(1, entry{kind: blobType, size: 1, plain: strings.Repeat("x", 1<<20)}), ErrFetchFailed},
		{"inflates too far", makePack(1, entry{kind: blobType, plain: strings.Repeat("x", 2<<20)}), ErrTooLarge},
		{"all together too large", makePack(6, entry{kind: blobType, plain: strings.Repeat("a", 900<<10)}, entry{kind: blobType, plain: strings.Repeat("b", 900<<10)}, entry{kind: blobType, plain: strings.Repeat("c", 900<<10)}, entry{kind: blobType, plain: strings.Repeat("d", 900<<10)}, entry{kind: blobType, plain: strings.Repeat("e", 900<<10)}, entry{kind: blobType, plain: strings.Repeat("f", 900<<10)}), ErrTooLarge},
		{"delta to a terabyte", makePack(2, entry{kind: blobType, plain: "12345678"}, entry{kind: refDeltaType, base: base, plain: delta(8, 1<<40, 2)}), ErrTooLarge},
		{"delta to a negative size", makePack(2, entry{kind: blobType, plain: "12345678"}, entry{kind: refDeltaType, base: base, plain: delta(8, 1<<63, 2)}), ErrTooLarge},
		{"delta of something else", makePack(2, entry{kind: blobType, plain: "12345678"}, entry{kind: refDeltaType, base: strings.Repeat("x", 20), plain: delta(8, 16, 2)}), ErrFetchFailed},
		{"delta without a size", makePack(2, entry{kind: blobType, plain: "12345678"}, entry{kind: refDeltaType, base: base, plain: "\xff"}), ErrFetchFailed},
		{"object of no type", makePack(1, entry{kind: 5, plain: "x"}), ErrFetchFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := packs{dir: t.TempDir(), limits: Limits{Object: 1 << 20, Inflated: 5 << 20}.withDefaults()}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := p.add(t.Context(), iotest.OneByteReader(bytes.NewReader(c.pack)))
			runtime.ReadMemStats(&after)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
				t.Errorf("took %d MiB of memory", grown>>20)
			}
			left, err := os.ReadDir(p.dir)
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]int{true: 2, false: 0}[c.name == "good"]; len(left) != want {
				t.Errorf("%d files are left, want %d", len(left), want)
			}
		})
	}
}

func TestPackStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := packs{dir: t.TempDir(), limits: Limits{}.withDefaults()}
	if err := p.add(ctx, bytes.NewReader(makePack(1, entry{kind: blobType, plain: "x"}))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func FuzzPack(f *testing.F) {
	base := blobHash("12345678")
	f.Add(makePack(2, entry{kind: blobType, plain: "12345678"}, entry{kind: refDeltaType, base: base, plain: delta(8, 16, 2)}))
	f.Add(makePack(1, entry{kind: commitType, plain: "tree x\n"}))
	f.Add(makePack(0))
	limits := Limits{Object: 1 << 16, Inflated: 1 << 18, Objects: 100}.withDefaults()
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, pack []byte) {
		if len(pack) > 20 { // a sum that is right, so that what it sums is looked at
			sum := sha1.Sum(pack[:len(pack)-20])
			pack = append(bytes.Clone(pack[:len(pack)-20]), sum[:]...)
		}
		p := packs{dir: dir, limits: limits}
		if err := p.add(t.Context(), bytes.NewReader(pack)); err != nil && !isTyped(err) {
			t.Errorf("an error of no kind: %v", err)
		}
		found, err := p.list()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.remove(found); err != nil {
			t.Fatal(err)
		}
	})
}

// TestFullDiskIsNotTheServersFault copies as a fetch does: io.Copy prefers a ReadFrom to a Write.
func TestFullDiskIsNotTheServersFault(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full on this machine")
	}
	defer f.Close()
	_, err = io.Copy(toDisk{f}, strings.NewReader("PACK"))
	if !errors.Is(err, ErrStoreFailed) {
		t.Errorf("got %v, want %v", err, ErrStoreFailed)
	}
}
