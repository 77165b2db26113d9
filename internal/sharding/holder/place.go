package holder

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/sharding"
)

// owner returns the number of the shard that a Cluster belongs to; 0 for one that is not there.
func (h *Holder) owner(ctx context.Context, key types.NamespacedName) (int, error) {
	if h.Shard.Count == 1 {
		return 1, nil
	}
	h.mu.Lock()
	owner, known := h.owners[key.String()]
	h.mu.Unlock()
	if known {
		return owner, nil
	}
	if err := h.place(ctx); err != nil {
		return 0, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.owners[key.String()], nil
}

// place places all Clusters that the cache has, and calls Moved for those that move.
func (h *Holder) place(ctx context.Context) error {
	h.placing.Lock()
	defer h.placing.Unlock()
	list := &v1alpha1.ClusterList{}
	if err := h.Hub.List(ctx, list, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return fmt.Errorf("cannot list Clusters: %w", err)
	}
	keys := make([]string, len(list.Items))
	for i := range list.Items {
		keys[i] = client.ObjectKeyFromObject(&list.Items[i]).String()
	}
	now := sharding.Place(keys, h.Shard.Count)
	h.mu.Lock()
	before := h.owners
	h.owners = now
	h.mu.Unlock()
	var moved []string
	for key, owner := range now {
		if was := before[key]; was != owner && (was == h.Shard.Index || owner == h.Shard.Index) {
			moved = append(moved, key)
		}
	}
	slices.Sort(moved)
	for _, key := range moved {
		namespace, name, _ := strings.Cut(key, "/")
		h.Moved(types.NamespacedName{Namespace: namespace, Name: name})
	}
	return nil
}
