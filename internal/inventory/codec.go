package inventory

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"encoding/json/jsontext"
	jsonv2 "encoding/json/v2"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"sync"

	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/text"
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

// header is what a shard has beside its objects.
type header struct {
	Format   int    `json:"format"`
	Owner    string `json:"owner"`
	Revision string `json:"revision,omitempty"`
	Bundle   string `json:"bundle,omitempty"`
	Accepted string `json:"accepted,omitempty"`
	Decided  int64  `json:"decided,omitempty"`
}

type shard struct {
	header
	Objects []entry `json:"objects"`
}

// Budget is what the inventories of one cluster may take when they are decoded, all of them together.
type Budget struct{ bytes, objects int }

// NewBudget returns the budget of a cluster.
func NewBudget() *Budget { return &Budget{bytes: decodedLimit, objects: objectLimit} }

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
		parts[i] = shard{header{Format: format, Owner: inv.Owner, Revision: inv.Revision, Bundle: inv.Bundle, Accepted: inv.Accepted, Decided: inv.Decided}, []entry{}}
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
		part, err := b.unpack(data, inv.add)
		if err != nil {
			return nil, fmt.Errorf("cannot read shard %d of inventory %q: %w", i, owner, err)
		}
		if part.Owner != owner {
			return nil, fmt.Errorf("cannot read shard %d of inventory %q: it is of another owner: %w", i, owner, ErrCorrupt)
		}
		if i == 0 {
			text.Share(&part.Revision, &part.Bundle, &part.Accepted)
			inv.Revision, inv.Bundle, inv.Accepted = part.Revision, part.Bundle, part.Accepted
		}
		if inv.Revision != part.Revision || inv.Bundle != part.Bundle {
			inv.Revision, inv.Bundle = "", ""
		}
		inv.Decided = max(inv.Decided, part.Decided)
		if inv.Accepted != part.Accepted {
			inv.Accepted = ""
		}
	}
	return inv, nil
}

// add adds an object of a shard.
func (inv *Inventory) add(e entry) error {
	text.Share(&e.Group, &e.Kind, &e.Namespace, &e.Name, &e.Version, &e.Digest, &e.Fields)
	id := object.ID{Group: e.Group, Kind: e.Kind, Namespace: e.Namespace, Name: e.Name}
	if id.Kind == "" || id.Name == "" {
		return fmt.Errorf("%w: an object has no kind or name", ErrCorrupt)
	}
	if known, twice := inv.Objects[id]; twice && known != e.Record {
		e.Record = Record{
			Version: e.Version, PruneDisabled: known.PruneDisabled || e.PruneDisabled, Created: known.Created && e.Created,
			ManifestName: cmp.Or(known.ManifestName, e.ManifestName), Wave: max(known.Wave, e.Wave),
		}
	}
	inv.Objects[id] = e.Record
	return nil
}

// decompressors are used again and again: each takes 40 KiB, and a hub that starts decodes the inventories of a fleet.
var decompressors = sync.Pool{New: func() any { return new(gzip.Reader) }}

// unpack decodes one shard and calls add for each of its objects.
func (b *Budget) unpack(data []byte, add func(entry) error) (header, error) {
	r := decompressors.Get().(*gzip.Reader)
	defer decompressors.Put(r)
	if err := r.Reset(bytes.NewReader(data)); err != nil {
		return header{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	bounded := &io.LimitedReader{R: r, N: int64(b.bytes) + 1}
	part := struct {
		header
		Objects entries `json:"objects"`
	}{Objects: entries{budget: b, add: add}}
	err := jsonv2.UnmarshalRead(bounded, &part)
	b.bytes = int(bounded.N) - 1
	switch {
	case b.bytes < 0:
		b.bytes = 0
		return header{}, fmt.Errorf("%w: the inventories of the cluster inflate to more than %d bytes", ErrTooLarge, decodedLimit)
	case errors.Is(err, ErrCorrupt):
		if where, ok := errors.AsType[*jsonv2.SemanticError](err); ok { // which names types of this package
			err = where.Err
		}
		return header{}, err
	case err != nil:
		return header{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	case part.Format != format:
		return header{}, fmt.Errorf("%w: format %d", ErrCorrupt, part.Format)
	}
	return part.header, nil
}

// entries decodes objects one by one, so that it ends where there are too many.
type entries struct {
	budget *Budget
	add    func(entry) error
}

// UnmarshalJSONFrom implements jsonv2.UnmarshalerFrom.
func (e *entries) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	switch t, err := d.ReadToken(); {
	case err != nil:
		return err
	case t.Kind() == jsontext.KindNull:
		return nil
	case t.Kind() != jsontext.KindBeginArray:
		return fmt.Errorf("%w: the objects are no list", ErrCorrupt)
	}
	for d.PeekKind() != jsontext.KindEndArray {
		if e.budget.objects--; e.budget.objects < 0 {
			e.budget.objects = 0
			return fmt.Errorf("%w: the inventories of the cluster have more than %d objects", ErrTooLarge, objectLimit)
		}
		var one entry
		if err := jsonv2.UnmarshalDecode(d, &one); err != nil {
			return err
		}
		if err := e.add(one); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}
