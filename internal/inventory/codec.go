package inventory

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"sync"

	"github.com/skerry-dev/skerry/internal/object"
)

const (
	// ShardLimit bounds one encoded shard in bytes: well below the 1 MiB that a ConfigMap may hold.
	ShardLimit = 512 << 10

	// decodedLimit and objectLimit bound what all inventories of a cluster may inflate to: an edge may be
	// hostile. Fifty thousand objects with names of usual length take half of it.
	decodedLimit = 32 << 20
	objectLimit  = 50_000

	maxShards = 1024
	format    = 1
)

// ErrCorrupt means that a shard cannot be read. What it held is unknown, which is not nothing.
var ErrCorrupt = errors.New("inventory is corrupt")

// ErrTooLarge means that the inventories of a cluster are larger than any that Skerry wrote.
var ErrTooLarge = fmt.Errorf("%w: too large", ErrCorrupt)

type shard struct {
	Format   int     `json:"format"`
	Owner    string  `json:"owner"`
	Revision string  `json:"revision,omitempty"`
	Bundle   string  `json:"bundle,omitempty"`
	Accepted string  `json:"accepted,omitempty"`
	Decided  int64   `json:"decided,omitempty"`
	Objects  []entry `json:"objects"`
}

// Budget is what the inventories of one cluster may take when they are decoded, all of them together.
type Budget struct{ bytes, objects int }

// NewBudget returns the budget of a cluster.
func NewBudget() *Budget { return &Budget{bytes: decodedLimit, objects: objectLimit} }

// part is a shard whose objects are not decoded yet.
type part struct {
	shard
	Objects json.RawMessage `json:"objects"`
}

type entry struct {
	Group     string `json:"g,omitempty"`
	Kind      string `json:"k"`
	Namespace string `json:"ns,omitempty"`
	Name      string `json:"n"`
	Record
}

// Encode returns the shards of an inventory, each gzipped and at most limit bytes (ShardLimit when
// zero). The same inventory gives the same bytes. An object keeps its shard as long as the number of
// shards stays, so that the shards can be written one after the other: at no point is an object
// recorded in none of them.
func Encode(inv *Inventory, limit int) ([][]byte, error) {
	if limit <= 0 {
		limit = ShardLimit
	}
	for n := 1; n <= maxShards; n *= 2 {
		shards, fits, err := encode(inv, n, limit)
		if err != nil {
			return nil, err
		}
		if fits {
			return shards, nil
		}
	}
	return nil, fmt.Errorf("cannot encode inventory of %d objects: more than %d shards", len(inv.Objects), maxShards)
}

func encode(inv *Inventory, n, limit int) ([][]byte, bool, error) {
	parts := make([]shard, n)
	for i := range parts {
		parts[i] = shard{Format: format, Owner: inv.Owner, Revision: inv.Revision, Bundle: inv.Bundle, Accepted: inv.Accepted, Decided: inv.Decided, Objects: []entry{}}
	}
	for _, id := range inv.IDs() {
		i := place(id, n)
		parts[i].Objects = append(parts[i].Objects, entry{id.Group, id.Kind, id.Namespace, id.Name, inv.Objects[id]})
	}
	out := make([][]byte, n)
	for i, part := range parts {
		data, err := pack(part)
		if err != nil {
			return nil, false, err
		}
		if len(data) > limit {
			return nil, false, nil
		}
		out[i] = data
	}
	return out, true, nil
}

func place(id object.ID, n int) int {
	if n == 1 {
		return 0
	}
	h := fnv.New32a()
	_, _ = io.WriteString(h, id.Group+"\x00"+id.Kind+"\x00"+id.Namespace+"\x00"+id.Name) // never fails
	return int(h.Sum32() % uint32(n))
}

// compressors are used again and again: each takes 800 KiB, and a hub of a thousand clusters needs one
// for each of two writes with every commit.
var compressors = sync.Pool{New: func() any { return gzip.NewWriter(io.Discard) }}

func pack(part shard) ([]byte, error) {
	raw, err := json.Marshal(part)
	if err != nil {
		return nil, fmt.Errorf("cannot encode inventory: %w", err)
	}
	var buf bytes.Buffer
	w := compressors.Get().(*gzip.Writer)
	defer compressors.Put(w)
	w.Reset(&buf)
	if _, err := w.Write(raw); err != nil {
		return nil, fmt.Errorf("cannot compress inventory: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("cannot compress inventory: %w", err)
	}
	return buf.Bytes(), nil
}

// Decode returns the union of shards, which may stem from two writes of which the second stopped
// halfway. Where two shards disagree on an object it counts as unconfirmed. A shard that cannot be
// read is an error that wraps ErrCorrupt.
func Decode(owner string, shards [][]byte) (*Inventory, error) {
	return NewBudget().Decode(owner, shards)
}

// Decode decodes within what is left of the budget. What is beyond it is corrupt.
func (b *Budget) Decode(owner string, shards [][]byte) (*Inventory, error) {
	inv := New(owner)
	for i, data := range shards {
		part, err := b.unpack(data)
		if err != nil {
			return nil, fmt.Errorf("cannot read shard %d of inventory %q: %w", i, owner, err)
		}
		if part.Owner != owner {
			return nil, fmt.Errorf("cannot read shard %d of inventory %q: it is of another owner: %w", i, owner, ErrCorrupt)
		}
		if i == 0 {
			inv.Revision, inv.Bundle, inv.Accepted = part.Revision, part.Bundle, part.Accepted
		}
		if inv.Revision != part.Revision || inv.Bundle != part.Bundle {
			inv.Revision, inv.Bundle = "", ""
		}
		inv.Decided = max(inv.Decided, part.Decided)
		if inv.Accepted != part.Accepted {
			inv.Accepted = ""
		}
		for _, e := range part.Objects {
			id := object.ID{Group: e.Group, Kind: e.Kind, Namespace: e.Namespace, Name: e.Name}
			if id.Kind == "" || id.Name == "" {
				return nil, fmt.Errorf("cannot read shard %d of inventory %q: an object has no kind or name: %w", i, owner, ErrCorrupt)
			}
			if known, twice := inv.Objects[id]; twice && known != e.Record {
				e.Record = Record{
					Version: e.Version, PruneDisabled: known.PruneDisabled || e.PruneDisabled, Created: known.Created && e.Created,
					ManifestName: cmp.Or(known.ManifestName, e.ManifestName), Wave: max(known.Wave, e.Wave),
				}
			}
			inv.Objects[id] = e.Record
		}
	}
	return inv, nil
}

func (b *Budget) unpack(data []byte) (shard, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return shard{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	raw, err := io.ReadAll(io.LimitReader(r, int64(b.bytes)+1))
	if err != nil {
		return shard{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if b.bytes -= len(raw); b.bytes < 0 {
		b.bytes = 0
		return shard{}, fmt.Errorf("%w: the inventories of the cluster inflate to more than %d bytes", ErrTooLarge, decodedLimit)
	}
	var part part
	if err := json.Unmarshal(raw, &part); err != nil {
		return shard{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if part.Format != format {
		return shard{}, fmt.Errorf("%w: format %d", ErrCorrupt, part.Format)
	}
	part.shard.Objects, err = b.entries(part.Objects)
	return part.shard, err
}

// entries decodes objects one by one, so that it ends where there are too many.
func (b *Budget) entries(raw []byte) ([]entry, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if t, err := decoder.Token(); err != nil || t != json.Delim('[') {
		if err == nil && t == nil { // null
			return nil, nil
		}
		return nil, fmt.Errorf("%w: the objects are no list", ErrCorrupt)
	}
	var out []entry
	for decoder.More() {
		if b.objects--; b.objects < 0 {
			b.objects = 0
			return nil, fmt.Errorf("%w: the inventories of the cluster have more than %d objects", ErrTooLarge, objectLimit)
		}
		var e entry
		if err := decoder.Decode(&e); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		out = append(out, e)
	}
	return out, nil
}
