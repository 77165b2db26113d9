package sharding

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden file again")

func fleet(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("fleet/edge-%04d", i)
	}
	return keys
}

// moved counts the keys of both that are elsewhere.
func moved(a, b map[string]int) int {
	n := 0
	for key, shard := range a {
		if to, there := b[key]; there && to != shard {
			n++
		}
	}
	return n
}

func loads(placed map[string]int, n int) []int {
	load := make([]int, n)
	for _, shard := range placed {
		load[shard-1]++
	}
	return load
}

// TestGolden: where a cluster goes is for ever, or a new version of the hub moves the fleet.
func TestGolden(t *testing.T) {
	var b strings.Builder
	keys := append(fleet(12), "fleet/hub", "other/hub")
	for _, n := range []int{1, 2, 3} {
		placed := Place(keys, n)
		for s := 1; s <= n; s++ {
			var names []string
			for key, shard := range placed {
				if shard == s {
					names = append(names, key)
				}
			}
			slices.Sort(names)
			fmt.Fprintf(&b, "%d/%d: %s\n", s, n, strings.Join(names, " "))
		}
	}
	file := filepath.Join("testdata", "twelve-and-two-hubs.txt")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTheOrderDoesNotMatter(t *testing.T) {
	keys := fleet(500)
	want := Place(keys, 5)
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		if diff := cmp.Diff(want, Place(keys, 5)); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
}

func TestNoShardHasMoreThanItsRoom(t *testing.T) {
	for _, clusters := range []int{0, 1, 2, 3, 7, 12, 100, 1000} {
		for n := 1; n <= 9; n++ {
			placed := Place(fleet(clusters), n)
			if len(placed) != clusters {
				t.Errorf("%d of %d clusters placed", len(placed), clusters)
			}
			if most := slices.Max(loads(placed, n)); n > 1 && most > Capacity(clusters, n) {
				t.Errorf("%d clusters in %d shards: one has %d, more than %d", clusters, n, most, Capacity(clusters, n))
			}
		}
	}
}

// TestOneMoreShard: what a new shard takes has to move, and half as much again at most.
func TestOneMoreShard(t *testing.T) {
	for _, clusters := range []int{100, 1000, 5000} {
		for n := 2; n <= 8; n++ {
			got, share := moved(Place(fleet(clusters), n), Place(fleet(clusters), n+1)), clusters/(n+1)
			if got > share+share/2 {
				t.Errorf("%d clusters, %d → %d shards: %d move, the share of one is %d", clusters, n, n+1, got, share)
			}
		}
	}
}

// TestJoiningAndLeaving: a cluster that comes or goes moves n others at most, and on average fewer than
// one in four times.
func TestJoiningAndLeaving(t *testing.T) {
	for _, n := range []int{2, 3, 5, 8} {
		sum, most := 0, 0
		keys := fleet(600)
		rand.New(rand.NewPCG(1, 1)).Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		before := Place(keys[:1], n)
		for i := 2; i <= len(keys); i++ {
			now := Place(keys[:i], n)
			m := moved(before, now)
			sum, most, before = sum+m, max(most, m), now
		}
		t.Logf("%d shards, %d joins: %d moves in all, %d at most at once", n, len(keys)-1, sum, most)
		if most > n || sum > len(keys)/4 {
			t.Errorf("%d shards, %d joins: %d moves in all, %d at most at once", n, len(keys)-1, sum, most)
		}
	}
}

func TestNames(t *testing.T) {
	for _, bad := range []string{"", "1", "0/1", "2/1", "1/65", "01/2", "+1/2", "1/2/3", "a/b", "1-of-2"} {
		if s, err := Parse(bad); err == nil {
			t.Errorf("%q is %v", bad, s)
		}
	}
	for _, s := range []Shard{Whole, {1, 2}, {2, 2}, {7, 64}} {
		if got, err := Parse(s.String()); err != nil || got != s {
			t.Errorf("%v reads as %v: %v", s, got, err)
		}
		if got, err := OfRecord(s.Record()); err != nil || got != s {
			t.Errorf("the record of %v reads as %v: %v", s, got, err)
		}
		if got := OfIdentity(s.Identity("host_5f-of-3-a")); got != s {
			t.Errorf("the identity of %v is taken for %v", s, got)
		}
	}
	if got := []string{Whole.Lease(), Shard{1, 3}.Lease(), Shard{2, 3}.Lease()}; !slices.Equal(got, []string{"skerry-hub", "skerry-hub", "skerry-hub-2-of-3"}) {
		t.Errorf("leases: %v", got)
	}
}
