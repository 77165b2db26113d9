package edge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/inventory"
)

const (
	partHub       = "hub"
	partInventory = "inventory"
	ownerLabel    = v1alpha1.OwnerLabel + "-inventory"
	shardKey      = "inventory.json.gz"
)

// OtherHubError means that another hub manages the cluster.
type OtherHubError struct {
	Hub string
	// Shared means that the other one would share it.
	Shared bool
}

func (e *OtherHubError) Error() string {
	if e.Shared {
		return fmt.Sprintf("the cluster is managed by hub %q, which shares it with hubs whose Cluster says sharing: Shared", e.Hub)
	}
	return fmt.Sprintf("the cluster is managed by hub %q", e.Hub)
}

// OtherClusterError means that another Cluster of the hub leads to the cluster, and that one of the two has sharing: Shared
// and the other has not.
type OtherClusterError struct{ Cluster string }

func (e *OtherClusterError) Error() string {
	return "the Cluster " + e.Cluster + " has it, and one of the two does not say sharing: Shared"
}

// ErrInventoryChanged means that something else wrote an inventory since it was read.
var ErrInventoryChanged = errors.New("the inventory was written by something else")

// CorruptError means that the inventory of one owner cannot be relied on. What it held is unknown, which
// is not nothing: nothing may be applied or deleted for its owner.
type CorruptError struct {
	// ConfigMap at fault, in SystemNamespace, and what is wrong with it.
	ConfigMap, Why string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("ConfigMap %s/%s %s", v1alpha1.SystemNamespace, e.ConfigMap, e.Why)
}

// Inventories keeps the inventories of one hub on one cluster, as ConfigMaps of skerry-system. All
// are read at once by Load; a write states the version that it replaces.
type Inventories struct {
	client *Client
	holder Holder
	// limit bounds a shard in bytes; 0: inventory.ShardLimit.
	limit int

	mu       sync.Mutex
	shards   map[string]map[string]string // owner → name → resourceVersion
	clusters map[string]string            // Cluster that wrote an inventory last, by owner
	claimed  string                       // resourceVersion of the claim
	writing  int                          // writes under way
	written  uint64                       // writes begun or ended so far
	revision Revision                     // the highest that the cluster has shown
}

// NewInventories returns the inventories that a hub keeps on the cluster of the client.
func NewInventories(c *Client, h Holder) *Inventories {
	return &Inventories{client: c, holder: h, shards: map[string]map[string]string{}, clusters: map[string]string{}}
}

// Load claims the cluster for the hub and returns what it keeps there, in one request where the claim
// stands already. It returns an *OtherHubError where another hub's claim stands, and a *ContestedError
// where that of another hub of the same identity does, which may be working there.
func (s *Inventories) Load(ctx context.Context, q Contest) (*Records, error) {
	for try := 0; ; try++ {
		list, err := s.list(ctx, "")
		if err != nil {
			return nil, fmt.Errorf("cannot read inventories: %w", err)
		}
		records, err := sortOut(s.holder, list)
		if err != nil {
			return nil, err
		}
		err = s.claim(ctx, records.claim, q)
		if errors.Is(err, ErrInventoryChanged) && try < 3 {
			continue // of two hubs that claim it at once, one reads that it was second
		}
		if err != nil {
			return nil, err
		}
		if err := s.settleClaims(ctx, records); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.shards, s.clusters = records.shards, maps.Clone(records.Clusters) // the caller reads its own without a lock
		s.mu.Unlock()
		return records, nil
	}
}

// Writer returns the Cluster that wrote the inventory of an owner last, "namespace/name"; "" where that is not known.
func (s *Inventories) Writer(owner string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clusters[owner]
}

// Reload reads the inventory of one owner, which was corrupt, again.
func (s *Inventories) Reload(ctx context.Context, owner string) (*inventory.Inventory, error) {
	list, err := s.list(ctx, owner)
	if err != nil {
		return nil, fmt.Errorf("cannot read the inventory %q: %w", owner, err)
	}
	records, err := sortOut(s.holder, list)
	if err != nil {
		return nil, err
	}
	if corrupt := records.Corrupt[owner]; corrupt != nil {
		return nil, corrupt
	}
	s.mu.Lock()
	s.shards[owner] = records.shards[owner]
	s.mu.Unlock()
	if inv := records.Inventories[owner]; inv != nil {
		return inv, nil
	}
	return inventory.New(owner), nil
}

// ForeignWrite reports whether an observation of a ConfigMap of SystemNamespace shows that something else wrote or
// deleted an inventory of one of the owners. It is not certain while a write of our own is under way:
// then the second result is false, and the observation is to be judged again.
func (s *Inventories) ForeignWrite(name string, there bool, version string, ours func(owner string) bool) (byOther, certain bool) {
	owner, ok := inventoryOwner(name)
	if !ok || !ours(owner) {
		return false, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known, recorded := s.shards[owner][name]
	switch {
	case there && recorded:
		byOther = newer(version, known)
	case there != recorded:
		byOther = true
	}
	return byOther, !byOther || s.writing == 0
}

// newer compares resourceVersions, which are ordered numbers.
func newer(a, b string) bool {
	x, err := strconv.ParseUint(a, 10, 64)
	y, err2 := strconv.ParseUint(b, 10, 64)
	return err == nil && err2 == nil && x > y
}

// Save records an inventory. Its shards are written before those of an earlier division are deleted,
// so that at no point less is recorded than before or after.
func (s *Inventories) Save(ctx context.Context, inv *inventory.Inventory) error {
	parts, err := inventory.Encode(inv, s.limit)
	if err != nil {
		return err
	}
	names := make([]string, len(parts))
	for i, data := range parts {
		names[i] = inventoryName(inv.Owner, i, len(parts))
		if err := s.write(ctx, inv.Owner, names[i], data); err != nil {
			return fmt.Errorf("cannot write inventory %q: %w", inv.Owner, err)
		}
	}
	return s.deleteExcept(ctx, inv.Owner, names)
}

// Delete strikes the inventory of an owner that has nothing left on the cluster.
func (s *Inventories) Delete(ctx context.Context, owner string) error {
	return s.deleteExcept(ctx, owner, nil)
}

func (s *Inventories) deleteExcept(ctx context.Context, owner string, keep []string) error {
	s.mu.Lock()
	var names []string
	for name := range s.shards[owner] {
		if !slices.Contains(keep, name) {
			names = append(names, name)
		}
	}
	s.mu.Unlock()
	slices.Sort(names)
	defer s.begin()()
	for _, name := range names {
		err := s.do(ctx, func(ctx context.Context) error {
			return s.client.rest.Delete().AbsPath(configMaps, name).Do(ctx).Error()
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("cannot delete inventory %q: %w", owner, err)
		}
		s.mu.Lock()
		delete(s.shards[owner], name)
		s.mu.Unlock()
	}
	return nil
}

func (s *Inventories) write(ctx context.Context, owner, name string, data []byte) error {
	defer s.begin()()
	s.mu.Lock()
	version := s.shards[owner][name]
	s.mu.Unlock()
	cm := systemConfigMap(name, partInventory)
	cm.Labels[ownerLabel] = owner
	cm.Annotations = map[string]string{hubAnnotation: s.holder.Hub}
	if s.holder.Cluster != "" {
		cm.Annotations[clusterAnnotation] = s.holder.Cluster
	}
	cm.ResourceVersion = version
	cm.BinaryData = map[string][]byte{shardKey: data}
	written, err := s.put(ctx, cm)
	if errors.Is(err, ErrInventoryChanged) && version == "" {
		return s.explainNameTaken(ctx, owner, name)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shards[owner] == nil {
		s.shards[owner] = map[string]string{}
	}
	s.shards[owner][name] = written
	if s.holder.Cluster != "" {
		s.clusters[owner] = s.holder.Cluster
	}
	s.revision.Observe(written)
	return nil
}

// explainNameTaken describes what a ConfigMap is that was not found as an inventory, and yet has the name of one.
func (s *Inventories) explainNameTaken(ctx context.Context, owner, name string) error {
	cm, err := s.get(ctx, name)
	switch {
	case apierrors.IsNotFound(err):
		return ErrInventoryChanged
	case err != nil:
		return err
	case cm.Labels[v1alpha1.PartLabel] == partInventory && cm.Labels[ownerLabel] == owner:
		return ErrInventoryChanged
	}
	return &CorruptError{name, "has the name of an inventory and not its labels; delete it, or restore them"}
}
