package edge

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/inventory"
)

// Records is what Skerry keeps on a cluster for itself.
type Records struct {
	// Inventories by owner.
	Inventories map[string]*inventory.Inventory
	// Corrupt are owners whose inventory cannot be relied on.
	Corrupt map[string]*CorruptError
	// Clusters names the Cluster that wrote an inventory last, "namespace/name", by owner. An earlier
	// version did not write it down.
	Clusters map[string]string

	claim  *claim
	former *corev1.ConfigMap            // the hub's own claim under the name that it had before sharing was changed
	shards map[string]map[string]string // owner → name → resourceVersion
	// sharers are the other hubs that share the cluster.
	sharers map[string]bool
}

// sortOut sorts the ConfigMaps that have the part label by what they are. One that is not what its label
// names affects only the owner whose inventory it has the name of. It returns an *OtherHubError where the
// claim, or without one an inventory, is of another hub, and an *OtherClusterError where another Cluster of the hub has
// the cluster in another way: one to itself, the other shared. What another hub has that shares the cluster, as this one
// does, is passed over.
func sortOut(h Holder, list []corev1.ConfigMap) (*Records, error) {
	k := &Records{
		Inventories: map[string]*inventory.Inventory{}, Corrupt: map[string]*CorruptError{},
		Clusters: map[string]string{}, shards: map[string]map[string]string{},
	}
	slices.SortFunc(list, func(a, b corev1.ConfigMap) int { return strings.Compare(a.Name, b.Name) })
	inventories, otherHub := map[string]*shards{}, ""
	for i := range list {
		cm := &list[i]
		if is, shared := isClaim(cm.Name); !is {
			otherHub = cmp.Or(otherHub, k.takeShard(h, cm, inventories))
		} else if err := k.takeClaim(h, cm, shared); err != nil {
			return nil, err
		}
	}
	for hub := range k.sharers {
		if !h.Shared && k.claim == nil {
			return nil, &OtherHubError{Hub: hub, Shared: true}
		}
	}
	if otherHub != "" && (h.Shared || k.claim == nil && k.former == nil || k.claim != nil && k.claim.hub == "") {
		return nil, &OtherHubError{Hub: otherHub}
	}
	k.decode(inventories)
	return k, nil
}

// shards are those of one inventory.
type shards struct {
	names []string
	parts [][]byte
}

// takeShard takes up a ConfigMap that is no claim, and returns the hub whose inventory it is where that is neither
// this one nor one that shares the cluster; else "".
func (k *Records) takeShard(h Holder, cm *corev1.ConfigMap, inventories map[string]*shards) (otherHub string) {
	owner, ok := inventoryOwner(cm.Name)
	if !ok {
		return "" // with the label, and not one of ours
	}
	hub := cm.Annotations[hubAnnotation]
	switch {
	case cm.Labels[v1alpha1.PartLabel] != partInventory || cm.Labels[ownerLabel] != owner:
		k.Corrupt[owner] = &CorruptError{cm.Name, "has the name of an inventory and not its labels; delete it, or restore them"}
		return ""
	case hub != h.Hub && k.sharers[hub]:
		return ""
	case hub != h.Hub:
		k.Corrupt[owner] = &CorruptError{cm.Name, fmt.Sprintf("is of hub %q", hub)}
		return hub
	}
	if k.shards[owner] == nil {
		k.shards[owner], inventories[owner] = map[string]string{}, &shards{}
	}
	k.shards[owner][cm.Name] = cm.ResourceVersion
	if by := cm.Annotations[clusterAnnotation]; by != "" {
		k.Clusters[owner] = by
	}
	s := inventories[owner]
	s.names, s.parts = append(s.names, cm.Name), append(s.parts, cm.BinaryData[shardKey])
	return ""
}

// decode reads the inventories, within what all of them may take.
func (k *Records) decode(inventories map[string]*shards) {
	budget := inventory.NewBudget()
	for owner, s := range inventories {
		inv, err := budget.Decode(owner, s.parts)
		switch {
		case errors.Is(err, inventory.ErrTooLarge):
			k.Corrupt[owner] = &CorruptError{s.names[0], "cannot be read: " + err.Error()}
		case err != nil:
			k.Corrupt[owner] = unreadable(owner, s.names, s.parts)
		default:
			k.Inventories[owner] = inv
		}
	}
	for owner := range k.Corrupt {
		delete(k.Inventories, owner)
	}
}

// takeClaim takes up a claim. Claims come before inventories, by their names.
func (k *Records) takeClaim(h Holder, cm *corev1.ConfigMap, shared bool) error {
	c := readClaim(cm)
	switch {
	case c.name == h.claimName() && (c.hub == h.Hub || c.hub == ""):
		k.claim = c
	case c.hub == h.Hub && c.cluster != "" && c.cluster != h.Cluster && h.Holds != nil && h.Holds(c.cluster):
		return &OtherClusterError{Cluster: c.cluster}
	case c.hub == h.Hub:
		k.former = cm
	case c.hub == "": // of no hub
	case !shared:
		return &OtherHubError{Hub: c.hub}
	default:
		if k.sharers == nil {
			k.sharers = map[string]bool{}
		}
		k.sharers[c.hub] = true
	}
	return nil
}

// unreadable names the first shard that cannot be decoded.
func unreadable(owner string, names []string, parts [][]byte) *CorruptError {
	for i, part := range parts {
		if _, err := inventory.Decode(owner, [][]byte{part}); err != nil {
			return &CorruptError{names[i], "cannot be read: " + err.Error()}
		}
	}
	return &CorruptError{names[0], "cannot be read"}
}

func inventoryName(owner string, i, n int) string {
	return fmt.Sprintf("%s%s-%d-of-%d", v1alpha1.InventoryPrefix, owner, i, n)
}

// inventoryOwner returns whose inventory a ConfigMap has the name of.
func inventoryOwner(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, v1alpha1.InventoryPrefix)
	if !ok {
		return "", false
	}
	before, _, _ := strings.CutLast(rest, "-of-")
	owner := before[:max(0, strings.LastIndexByte(before, '-'))]
	var i, n int
	if _, err := fmt.Sscanf(rest[len(owner):], "-%d-of-%d", &i, &n); err != nil || owner == "" || inventoryName(owner, i, n) != name {
		return "", false
	}
	return owner, true
}
