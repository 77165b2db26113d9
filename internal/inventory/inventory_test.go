package inventory

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/object"
)

func sample(n int) *Inventory {
	inv := New("apps.0123456789abcdef")
	inv.Revision, inv.Bundle = "main@sha1:1", "sha256:2"
	for i := range n {
		id := object.ID{Group: "apps", Kind: "Deployment", Namespace: "web", Name: fmt.Sprintf("app-%d", i)}
		inv.Objects[id] = Record{Version: "v1", Digest: fmt.Sprintf("%x", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))[:32], UID: fmt.Sprintf("u-%d", i), Fields: fmt.Sprintf("%x", i*31)}
	}
	return inv
}

func TestCodecKeepsWhatItIsGiven(t *testing.T) {
	for _, tc := range []struct{ objects, limit, shards int }{{0, 0, 1}, {1, 0, 1}, {500, 0, 1}, {500, 8 << 10, 2}} {
		inv := sample(tc.objects)
		shards, err := Encode(inv, tc.limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(shards) != tc.shards {
			t.Errorf("%d objects at limit %d give %d shards; want %d", tc.objects, tc.limit, len(shards), tc.shards)
		}
		got, err := Decode(inv.Owner, shards)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(inv, got); diff != "" {
			t.Error(diff)
		}
		again, err := Encode(got, tc.limit)
		if diff := cmp.Diff(shards, again); err != nil || diff != "" {
			t.Errorf("the same inventory gives other bytes: %v", err)
		}
	}
}

// A write of several shards may stop after any of them: what is then found must still name every
// object of the old and, since it was written ahead, of the new inventory that may exist.
func TestHalfWrittenShardsLoseNothing(t *testing.T) {
	before, after := sample(300), sample(300)
	for i := range 150 {
		after.Objects[object.ID{Kind: "ConfigMap", Namespace: "web", Name: fmt.Sprintf("new-%d", i)}] = Record{Version: "v1"}
	}
	oldShards, err := Encode(before, 12<<10)
	if err != nil {
		t.Fatal(err)
	}
	newShards, err := Encode(after, 12<<10)
	if err != nil {
		t.Fatal(err)
	}
	for k := range newShards {
		found := append([][]byte{}, newShards[:k]...)
		if len(oldShards) == len(newShards) {
			found = append(found, oldShards[k:]...)
		} else {
			found = append(found, oldShards...)
		}
		got, err := Decode(before.Owner, found)
		if err != nil {
			t.Fatal(err)
		}
		for id := range before.Objects {
			if _, ok := got.Objects[id]; !ok {
				t.Fatalf("%v is lost after %d of %d shards", id, k, len(newShards))
			}
		}
	}
}

func TestDisagreeingShardsLeaveAnObjectUnconfirmed(t *testing.T) {
	a, b := sample(1), sample(1)
	id := a.IDs()[0]
	b.Objects[id] = Record{Version: "v1", Digest: "other"}
	sa, _ := Encode(a, 0)
	sb, _ := Encode(b, 0)
	got, err := Decode(a.Owner, append(sa, sb...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Record{Version: "v1"}, got.Objects[id]); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeRefusesGarbage(t *testing.T) {
	good, _ := Encode(sample(3), 0)
	for name, data := range map[string][]byte{"empty": {}, "text": []byte("hello"), "cut": good[0][:len(good[0])-9]} {
		if _, err := Decode("apps.0123456789abcdef", [][]byte{data}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v; want ErrCorrupt", name, err)
		}
	}
	if _, err := Decode("another", good); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another owner: %v; want ErrCorrupt", err)
	}
}

// What decodes a shard is used again for the next one, whatever it met.
func TestDecodeAfterGarbage(t *testing.T) {
	packed := func(text string) []byte {
		var buf bytes.Buffer
		w := gzip.NewWriter(&buf)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		return buf.Bytes()
	}
	want := sample(3)
	good, _ := Encode(want, 0)
	for name, bad := range map[string][]byte{
		"no JSON":           packed("hello"),
		"no list":           packed(`{"format":1,"owner":"o","objects":{}}`),
		"a list that stops": packed(`{"format":1,"owner":"o","objects":[`),
		"an object twice":   packed(`{"format":1,"owner":"o","objects":[]}{}`),
		"no name":           packed(`{"format":1,"owner":"o","objects":[{"k":"K"}]}`),
		"a later format":    packed(`{"format":2,"owner":"o","objects":[]}`),
		"a wrong checksum":  append(bytes.Clone(good[0][:len(good[0])-8]), 1, 2, 3, 4, 5, 6, 7, 8),
	} {
		_, err := Decode("o", [][]byte{bad})
		if !errors.Is(err, ErrCorrupt) || strings.Contains(err.Error(), "inventory.entries") {
			t.Errorf("%s: %v; want ErrCorrupt", name, err)
		}
		got, err := Decode(want.Owner, good)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("after %s: %v %s", name, err, diff)
		}
	}
	if none, err := Decode("o", [][]byte{packed(`{"format":1,"owner":"o","objects":null}`)}); err != nil || len(none.Objects) != 0 {
		t.Errorf("no objects: %v, %v", none, err)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		shards, err := Encode(sample(n), 0)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode("apps.0123456789abcdef", shards); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestAhead(t *testing.T) {
	inv := sample(2)
	have := object.Object{ID: inv.IDs()[0], Version: "v1", Digest: inv.Objects[inv.IDs()[0]].Digest}
	if _, changed := inv.Ahead([]object.Object{have}); changed {
		t.Error("nothing new, yet a write is asked for")
	}
	fresh := object.Object{ID: object.ID{Kind: "Secret", Namespace: "web", Name: "s"}, Version: "v1"}
	union, changed := inv.Ahead([]object.Object{have, fresh})
	if !changed || len(union.Objects) != 3 || len(inv.Objects) != 2 {
		t.Errorf("Ahead = %v objects, %v; the original has %d", len(union.Objects), changed, len(inv.Objects))
	}
	edited := have
	edited.Digest = "another"
	union, changed = inv.Ahead([]object.Object{edited})
	if diff := cmp.Diff(Record{Version: "v1"}, union.Objects[have.ID]); !changed || diff != "" {
		t.Errorf("an object about to change must be unconfirmed: %v %s", changed, diff)
	}
	if _, again := union.Ahead([]object.Object{edited}); again {
		t.Error("what is unconfirmed already needs no second write")
	}
}

func FuzzDecode(f *testing.F) {
	for _, n := range []int{0, 1, 5} {
		shards, err := Encode(sample(n), 0)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(shards[0])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		inv, err := Decode("apps.0123456789abcdef", [][]byte{data})
		if err != nil {
			return
		}
		shards, err := Encode(inv, 0)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(inv.Owner, shards)
		if err != nil || !again.Equal(inv) {
			t.Fatalf("what was decoded does not survive: %v", err)
		}
	})
}

func TestSettleKeepsBothIDs(t *testing.T) {
	old := object.ID{Group: "example.com", Kind: "Widget", Namespace: "a", Name: "w"}
	settled := object.ID{Group: "example.com", Kind: "Widget", Name: "w"}
	scopes := object.Scopes(func(string, string) object.Scope { return object.ScopeCluster })
	inv := New("apps")
	inv.Objects[old] = Record{UID: "1", Digest: "d"}
	got, moved := inv.Settle(scopes)
	if !moved || got.Objects[old].UID != "1" || got.Objects[settled].UID != "1" || len(inv.Objects) != 1 {
		t.Errorf("got %v, %v from %v", got.Objects, moved, inv.Objects)
	}
	got.Objects[settled] = Record{UID: "2"}
	if again, moved := got.Settle(scopes); moved || again.Objects[settled].UID != "2" {
		t.Errorf("once more: %v, %v", again.Objects, moved)
	}
}

func TestNewerThanADecision(t *testing.T) {
	inv := New("apps")
	inv.Bundle, inv.Decided = "d2", 200
	for _, tt := range []struct {
		name    string
		bundle  string
		decided int64
		want    bool
	}{
		{"decided on before", "d1", 199, true},
		{"decided on before, and the same", "d2", 199, false},
		{"decided on in the same second", "d1", 200, false},
		{"decided on later", "d3", 201, false},
		{"not known when", "d1", 0, false},
		{"a removal that was decided on before", "", 199, true},
	} {
		if got := inv.Newer(tt.bundle, tt.decided); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if New("apps").Newer("d1", 1) {
		t.Error("an inventory of an earlier version is newer")
	}
	parts, err := Encode(inv, 0)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := Decode("apps", parts); err != nil || back.Decided != 200 {
		t.Errorf("decoded %+v, %v", back, err)
	}
}

// What the inventories of a cluster inflate to is bounded in sum: an edge may be hostile.
func TestInventoriesInflateWithinABudget(t *testing.T) {
	bomb := func(text string) []byte {
		var buf bytes.Buffer
		w := gzip.NewWriter(&buf)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		return buf.Bytes()
	}
	spaces := bomb(`{"format":1,"owner":"o","objects":[` + strings.Repeat(" ", 20<<20) + `]}`)
	many := bomb(`{"format":1,"owner":"o","objects":[` + strings.Repeat(`{"k":"K","n":"n"},`, objectLimit) + `{"k":"K","n":"n"}]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b := NewBudget()
	if _, err := b.Decode("o", [][]byte{spaces}); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if _, err := b.Decode("o", [][]byte{spaces}); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("beyond the budget: %v", err)
		}
	}
	if _, err := NewBudget().Decode("o", [][]byte{many}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("more objects than any cluster has: %v", err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 500<<20 {
		t.Errorf("%d MiB were allocated", grown>>20)
	}
}
