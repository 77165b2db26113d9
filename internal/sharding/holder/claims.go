package holder

import (
	"context"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/sharding"
)

// uidIndex finds the Clusters that lead to a cluster, among others: the index has a set for each of its values, which takes
// more memory than what is in it, so that a value stands for one of uidGroups groups of uids.
const (
	uidIndex  = "cluster.uid"
	uidGroups = 1024
)

// IndexUIDs adds the index that WithUID and BetterClaim read.
func IndexUIDs(ctx context.Context, indexer client.FieldIndexer) error {
	return indexer.IndexField(ctx, &v1alpha1.Cluster{}, uidIndex, func(o client.Object) []string {
		if uid := o.(*v1alpha1.Cluster).Status.UID; uid != "" {
			return []string{uidGroup(uid)}
		}
		return nil
	})
}

// uidGroup returns the group of a uid, the same in each process.
func uidGroup(uid string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid)) // it never fails
	return strconv.FormatUint(uint64(h.Sum32()%uidGroups), 36)
}

// BetterClaim returns a function that names another Cluster with a better claim to the cluster that has a uid, as
// sharding.BetterClaim decides. It reads the statuses, which are there before any cluster is connected: a cluster that answers with
// the uid of another one cannot keep that one from the hub by being the first to answer.
func BetterClaim(ctx context.Context, reader client.Reader, now func() time.Time) func(types.NamespacedName, string) (types.NamespacedName, bool) {
	return func(key types.NamespacedName, uid string) (types.NamespacedName, bool) {
		own := &v1alpha1.Cluster{}
		others, err := WithUID(ctx, reader, uid)
		if err != nil || reader.Get(ctx, key, own) != nil {
			return types.NamespacedName{}, false // the hub is about to end
		}
		for _, other := range others {
			if sharding.BetterClaim(other, own, uid, now()) {
				return client.ObjectKeyFromObject(other), true
			}
		}
		return types.NamespacedName{}, false
	}
}

// WithUID returns the Clusters whose statuses name the uid of a cluster. They are those of the cache, and must not be
// changed.
func WithUID(ctx context.Context, reader client.Reader, uid string) ([]*v1alpha1.Cluster, error) {
	list := &v1alpha1.ClusterList{}
	if err := reader.List(ctx, list, client.MatchingFields{uidIndex: uidGroup(uid)}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot find the Clusters with a uid: %w", err)
	}
	var found []*v1alpha1.Cluster
	for i := range list.Items {
		if list.Items[i].Status.UID == uid {
			found = append(found, &list.Items[i])
		}
	}
	return found, nil
}

// Holds returns a function that reports whether a Cluster has a right to the cluster with a uid, by its status.
func Holds(ctx context.Context, reader client.Reader, now func() time.Time) func(types.NamespacedName, string) bool {
	return func(key types.NamespacedName, uid string) bool {
		c := &v1alpha1.Cluster{}
		return reader.Get(ctx, key, c) == nil && sharding.Holds(c, uid, now())
	}
}
