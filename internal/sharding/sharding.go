// Package sharding decides which of several hubs works on which clusters. It is pure: the same clusters and
// the same number of shards give the same answer, in whatever order they come.
package sharding

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Max is how many shards there may be.
const Max = 64

// leaseName is what hubs of one cluster agree on.
const leaseName = "skerry-hub"

// Shard is one of Count shards of a fleet, Index from 1 to Count.
type Shard struct{ Index, Count int }

// Whole is the only shard of a fleet that is not divided.
var Whole = Shard{1, 1}

// Parse reads "k/n".
func Parse(text string) (Shard, error) {
	k, n, ok := strings.Cut(text, "/")
	s, err := parse(k, n)
	if !ok || err != nil {
		return Shard{}, fmt.Errorf("%q is not k/n, with k from 1 to n and n at most %d", text, Max)
	}
	return s, nil
}

func parse(k, n string) (Shard, error) {
	number := func(text string) int {
		i, err := strconv.Atoi(text)
		if err != nil || strconv.Itoa(i) != text {
			return 0
		}
		return i
	}
	s := Shard{number(k), number(n)}
	if s.Index < 1 || s.Index > s.Count || s.Count > Max {
		return Shard{}, fmt.Errorf("there is no shard %.20q of %.20q", k, n)
	}
	return s, nil
}

// String returns "k/n".
func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.Index, s.Count) }

// Record is what the status of a Cluster holds of the shard that works on it: nothing where the fleet
// is not divided.
func (s Shard) Record() string {
	if s == Whole {
		return ""
	}
	return s.String()
}

// OfRecord is the opposite of Record.
func OfRecord(record string) (Shard, error) {
	if record == "" {
		return Whole, nil
	}
	return Parse(record)
}

// Lease is the name of the lease that the hubs of a shard compete for. The first shard also decides for
// all clusters, so that the first of however many has one and the same lease.
func (s Shard) Lease() string {
	if s.Index == 1 {
		return leaseName
	}
	return fmt.Sprintf("%s-%d-of-%d", leaseName, s.Index, s.Count)
}

// Identity marks the identity under which a process holds a lease with its shard.
func (s Shard) Identity(process string) string {
	if s == Whole {
		return process
	}
	return fmt.Sprintf("%s_%d-of-%d", process, s.Index, s.Count)
}

// OfIdentity returns the shard of who holds a lease.
func OfIdentity(identity string) Shard {
	if k, n, ok := strings.Cut(identity[strings.LastIndexByte(identity, '_')+1:], "-of-"); ok {
		if s, err := parse(k, n); err == nil {
			return s
		}
	}
	return Whole
}

// points is how many places each shard has on the ring: enough that shards differ by a few percent.
const points = 256

type point struct {
	at    uint64
	shard int
}

// Place assigns clusters, given as "namespace/name", to n shards, 1 to n. Each goes to the first shard
// clockwise from its place on a ring that has room: with N clusters a shard has at most Capacity(N, n).
// The hub's own Clusters go to the first shard and do not count.
func Place(keys []string, n int) map[string]int {
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	out := make(map[string]int, len(keys))
	for _, key := range keys {
		if n == 1 || key[strings.LastIndexByte(key, '/')+1:] == v1alpha1.HubCluster {
			out[key] = 1
		}
	}
	if n == 1 {
		return out
	}
	ring, load, room := newRing(n), make([]int, n+1), Capacity(len(keys)-len(out), n)
	for _, key := range keys {
		if out[key] != 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(ring, hash(key), func(p point, h uint64) int {
			switch {
			case p.at < h:
				return -1
			case p.at > h:
				return 1
			}
			return 0
		})
		for load[ring[at%len(ring)].shard] >= room {
			at++
		}
		to := ring[at%len(ring)].shard
		load[to]++
		out[key] = to
	}
	return out
}

// Capacity is how many of so many clusters one of n shards takes: a quarter more than its share,
// rounded up.
func Capacity(clusters, n int) int { return (5*clusters + 4*n - 1) / (4 * n) }

func newRing(n int) []point {
	ring := make([]point, 0, n*points)
	for s := 1; s <= n; s++ {
		for i := range points {
			ring = append(ring, point{hash(fmt.Sprintf("shard %d point %d", s, i)), s})
		}
	}
	slices.SortFunc(ring, func(a, b point) int {
		if a.at != b.at {
			if a.at < b.at {
				return -1
			}
			return 1
		}
		return a.shard - b.shard
	})
	return ring
}

func hash(text string) uint64 {
	sum := sha256.Sum256([]byte(text))
	return binary.BigEndian.Uint64(sum[:8])
}
