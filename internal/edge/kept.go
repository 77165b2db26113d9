package edge

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/inventory"
)

// Kept is what Skerry keeps on a cluster for itself.
type Kept struct {
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
// claim, or without one an inventory, is of another hub; what another hub has that shares the cluster, as this one
// does, is passed over.
func sortOut(h Holder, list []corev1.ConfigMap) (*Kept, error) {
	k := &Kept{
		Inventories: map[string]*inventory.Inventory{}, Corrupt: map[string]*CorruptError{},
		Clusters: map[string]string{}, shards: map[string]map[string]string{},
	}
	slices.SortFunc(list, func(a, b corev1.ConfigMap) int { return strings.Compare(a.Name, b.Name) })
	data, names, otherHub := map[string][][]byte{}, map[string][]string{}, ""
	for i := range list {
		cm := &list[i]
		if is, shared := isClaim(cm.Name); is {
			if err := k.takeClaim(h, cm, shared); err != nil {
				return nil, err
			}
			continue
		}
		owner, ok := inventoryOwner(cm.Name)
		if !ok {
			continue // with the label, and not one of ours
		}
		hub := cm.Annotations[hubAnnotation]
		switch {
		case cm.Labels[v1alpha1.PartLabel] != partInventory || cm.Labels[ownerLabel] != owner:
			k.Corrupt[owner] = &CorruptError{cm.Name, "has the name of an inventory and not its labels; delete it, or restore them"}
			continue
		case hub != h.Hub && k.sharers[hub]:
			continue
		case hub != h.Hub:
			k.Corrupt[owner] = &CorruptError{cm.Name, fmt.Sprintf("is of hub %q", hub)}
			if otherHub == "" {
				otherHub = hub
			}
			continue
		}
		if k.shards[owner] == nil {
			k.shards[owner] = map[string]string{}
		}
		k.shards[owner][cm.Name] = cm.ResourceVersion
		if by := cm.Annotations[clusterAnnotation]; by != "" {
			k.Clusters[owner] = by
		}
		data[owner], names[owner] = append(data[owner], cm.BinaryData[shardKey]), append(names[owner], cm.Name)
	}
	for hub := range k.sharers {
		if !h.Shared && k.claim == nil {
			return nil, &OtherHubError{Hub: hub, Shared: true}
		}
	}
	if otherHub != "" && (h.Shared || k.claim == nil && k.former == nil || k.claim != nil && k.claim.hub == "") {
		return nil, &OtherHubError{Hub: otherHub}
	}
	budget := inventory.NewBudget()
	for owner, parts := range data {
		inv, err := budget.Decode(owner, parts)
		if errors.Is(err, inventory.ErrTooLarge) {
			k.Corrupt[owner] = &CorruptError{names[owner][0], "cannot be read: " + err.Error()}
			continue
		}
		if err != nil {
			k.Corrupt[owner] = unreadable(owner, names[owner], parts)
			continue
		}
		k.Inventories[owner] = inv
	}
	for owner := range k.Corrupt {
		delete(k.Inventories, owner)
	}
	return k, nil
}

// takeClaim takes up a claim. Claims come before inventories, by their names.
func (k *Kept) takeClaim(h Holder, cm *corev1.ConfigMap, shared bool) error {
	c := readClaim(cm)
	switch {
	case c.name == h.claimName() && (c.hub == h.Hub || c.hub == ""):
		k.claim = c
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
