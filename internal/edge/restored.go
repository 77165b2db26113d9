package edge

import (
	"context"
	"maps"
	"strconv"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Revision is the highest resource version that one store of a cluster has shown. The zero Revision has
// seen none.
type Revision struct{ highest atomic.Uint64 }

// Observe takes a resource version. One that is no number is passed over.
func (r *Revision) Observe(version string) {
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return
	}
	for {
		old := r.highest.Load()
		if n <= old || r.highest.CompareAndSwap(old, n) {
			return
		}
	}
}

// After reports whether a resource version is lower than one that was seen before, which no store shows
// unless it was restored from a backup.
func (r *Revision) After(version string) bool {
	n, err := strconv.ParseUint(version, 10, 64)
	return err == nil && n < r.highest.Load()
}

// Revision returns the highest resource version of the core group that the cluster has shown.
func (s *Inventories) Revision() *Revision { return &s.revision }

// Restored reports whether the cluster's store was restored from a backup, or another cluster answers: its
// resource versions are lower than before, or its inventories are not those that were read or written
// last. It costs one list of metadata.
func (s *Inventories) Restored(ctx context.Context) (bool, error) {
	before, quiet := s.snapshot()
	var list metav1.PartialObjectMetadataList
	err := s.client.read(ctx, configMaps, asMetadataList, map[string]string{"labelSelector": v1alpha1.PartLabel + "=" + partInventory}, &list)
	if err != nil {
		return false, err
	}
	if list.Kind != "PartialObjectMetadataList" || list.ResourceVersion == "" {
		return false, errNoList
	}
	if s.revision.After(list.ResourceVersion) {
		return true, nil
	}
	after, still := s.snapshot()
	if !quiet || !still || before.written != after.written {
		return false, nil // a write of ours was under way: nothing can be said
	}
	found := map[string]string{}
	for i := range list.Items {
		cm := &list.Items[i]
		owner, ok := inventoryOwner(cm.Name)
		if ok && cm.Labels[ownerLabel] == owner && cm.Annotations[hubAnnotation] == s.holder.Hub && s.own(cm.Annotations[clusterAnnotation]) {
			found[owner+"/"+cm.Name] = cm.ResourceVersion
		}
	}
	return !maps.Equal(found, after.versions), nil
}

type snapshot struct {
	versions map[string]string // owner/name → resourceVersion
	written  uint64
}

// snapshot returns what is on the cluster as far as is known, and whether no write is under way.
func (s *Inventories) snapshot() (snapshot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := snapshot{versions: map[string]string{}, written: s.written}
	for owner, shards := range s.shards {
		if !s.own(s.clusters[owner]) {
			continue
		}
		for name, version := range shards {
			out.versions[owner+"/"+name] = version
		}
	}
	return out, s.writing == 0
}

// own reports whether an inventory is not that of another Cluster that leads to the same cluster, which
// writes it by itself.
func (s *Inventories) own(cluster string) bool {
	return cluster == "" || s.holder.Cluster == "" || cluster == s.holder.Cluster
}

// begin notes that a write is under way until the function that it returns is called.
func (s *Inventories) begin() func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing++
	s.written++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.writing--
		s.written++
	}
}
