// Package inventory says what one Kustomization has, or may have, on one cluster.
//
// The promise: an inventory that was written ahead of a change is a superset of what stands on the
// cluster, whatever order the writes stop in. It shrinks only after a deletion was confirmed. The
// package is pure; internal/edge keeps the encoded shards on the cluster.
package inventory

import (
	"cmp"
	"maps"
	"slices"

	"github.com/skerry-dev/skerry/internal/object"
)

// Record is what is known of one object. The zero Record says: may exist, never confirmed.
type Record struct {
	// Version of the API that the object was applied with.
	Version string `json:"v,omitempty"`
	// Digest of the body that was applied last; empty when that is not known to have happened.
	Digest string `json:"d,omitempty"`
	// UID that the object had after that apply.
	UID string `json:"u,omitempty"`
	// Fields is the digest of the fields that our manager owned after that apply. As long as the
	// cluster shows the same, none of them has changed.
	Fields string `json:"f,omitempty"`
	// PruneDisabled means that the manifest asked that the object is never deleted. It is kept here for
	// the time when the manifest is gone.
	PruneDisabled bool `json:"p,omitempty"`
	// Created means that the object was not there before its owner applied it. It is false where that is
	// not certain: of a record that an earlier version wrote, or that a crash left unconfirmed.
	Created bool `json:"c,omitempty"`
	// ManifestName is how messages name the object, where its own name has the value of a Secret in it
	// (object.ManifestNameKey). It is kept here for the time when the manifest is gone.
	ManifestName string `json:"m,omitempty"`
	// Wave in which the object was applied. It is kept here for the order in which objects are deleted.
	Wave int32 `json:"w,omitempty"`
	// Finished is how a Job ended that Kubernetes removes some time after its end (a health.Outcome), so
	// that its absence is no drift; empty while that is not known.
	Finished string `json:"e,omitempty"`
}

// Inventory holds the objects of one owner on one cluster.
type Inventory struct {
	// Owner is the value of the owner label.
	Owner string
	// Revision and Bundle are the last that were applied as a whole.
	Revision, Bundle string
	// Accepted is the bundle that was written ahead last: what it prunes has passed the guard. Its
	// retries are not judged again, by numbers that its own applies have changed.
	Accepted string
	// Decided is when the hub had decided on the youngest bundle of which something was applied, in Unix
	// seconds; 0 when that is not known.
	Decided int64
	// Objects by identity.
	Objects map[object.ID]Record
}

// New returns an empty inventory.
func New(owner string) *Inventory {
	return &Inventory{Owner: owner, Objects: map[object.ID]Record{}}
}

// Clone returns a copy that shares nothing with the original.
func (inv *Inventory) Clone() *Inventory {
	c := *inv
	c.Objects = maps.Clone(inv.Objects)
	return &c
}

// IDs returns the objects, sorted.
func (inv *Inventory) IDs() []object.ID {
	return slices.SortedFunc(maps.Keys(inv.Objects), object.ID.Compare)
}

// Ahead returns the inventory to write before the objects are applied: the union of what may exist
// and what is about to, with what is about to change unconfirmed, so that a crash between the change
// and its record cannot pass for the state before. What must not be deleted stays marked, be it so
// before the change or after it. The second result is false when that is what is
// recorded already and nothing needs writing.
func (inv *Inventory) Ahead(applying []object.Object) (*Inventory, bool) {
	ahead := inv
	for _, o := range applying {
		record, known := inv.Objects[o.ID]
		if known && (record.Digest == "" || o.HasDigest(record.Digest)) {
			continue
		}
		if ahead == inv {
			ahead = inv.Clone()
		}
		ahead.Objects[o.ID] = Record{
			Version: o.Version, PruneDisabled: record.PruneDisabled || o.PruneDisabled, Created: record.Created,
			ManifestName: cmp.Or(record.ManifestName, o.ManifestName), Wave: o.Wave,
		}
	}
	return ahead, ahead != inv
}

// Settle returns the inventory with every object under the ID that the cluster gives it, beside the one
// under which it was recorded, and whether that adds any. Both stay until a plan has seen that there is
// no object under the old one: shards are written one after the other, and an object that moved from one
// to another must be in either of them at any time.
func (inv *Inventory) Settle(scopes object.Scopes) (*Inventory, bool) {
	settled := inv
	for id, record := range inv.Objects {
		is, _ := scopes.Settle(id)
		if _, known := settled.Objects[is]; known {
			continue
		}
		if settled == inv {
			settled = inv.Clone()
		}
		settled.Objects[is] = record
	}
	return settled, settled != inv
}

// Newer reports whether what the cluster has was decided on later than a bundle: the state of the hub is
// older than what it did, because it was restored from a backup. To apply the bundle would take the
// cluster back, and delete what came since. The same bundle takes nothing back.
func (inv *Inventory) Newer(bundle string, decided int64) bool {
	return decided != 0 && inv.Decided > decided && (bundle != inv.Bundle || bundle == "")
}

// Equal reports whether two inventories record the same.
func (inv *Inventory) Equal(other *Inventory) bool {
	return inv.Owner == other.Owner && inv.Revision == other.Revision && inv.Bundle == other.Bundle && inv.Decided == other.Decided && inv.Accepted == other.Accepted &&
		maps.Equal(inv.Objects, other.Objects)
}
