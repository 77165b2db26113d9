package deflate

import (
	"bytes"
	"compress/flate"
	"errors"
	"testing"
)

func TestDecompressReturnsWhatWasCompressed(t *testing.T) {
	for _, level := range []int{flate.BestSpeed, flate.BestCompression} {
		c := New(level)
		for _, plain := range [][]byte{nil, []byte("a"), bytes.Repeat([]byte("ab"), 50_000), []byte("after a larger one")} {
			packed, err := c.Compress(plain)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Decompress(packed, len(plain))
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("level %d: %d bytes come back as %d: %v", level, len(plain), len(got), err)
			}
		}
	}
}

func TestDecompressRefusesMoreThanTheLimit(t *testing.T) {
	packed, err := New(flate.BestSpeed).Compress(make([]byte, 1001))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decompress(packed, 1000); !errors.Is(err, ErrTooLarge) {
		t.Errorf("1001 bytes with a limit of 1000: %v", err)
	}
}

// TestDecompressAfterDamagedContent: what one content did to a decompressor does not show in the next.
func TestDecompressAfterDamagedContent(t *testing.T) {
	c := New(flate.BestCompression)
	packed, err := c.Compress([]byte("the content"))
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if got, err := Decompress([]byte{0xff, 0xff, 0xff}, 100); err == nil {
			t.Fatalf("damaged content is %q", got)
		}
		if got, err := Decompress(packed, 100); err != nil || string(got) != "the content" {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

func BenchmarkCompressSmall(b *testing.B) {
	c, plain := New(flate.BestCompression), bytes.Repeat([]byte(`{"name":"x"},`), 40)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Compress(plain); err != nil {
			b.Fatal(err)
		}
	}
}
