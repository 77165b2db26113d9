package rollout

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/rollout"
)

// choose returns the clusters that are to fail, by name or as a percentage of those that are there,
// and how each percentage was read. Which ones a percentage picks looks random and is the same each
// time; a greater one picks those of a smaller one too.
func choose(wanted []string, members []rollout.Member) (fails map[string]bool, chosen []string, err error) {
	fails = map[string]bool{}
	var names, there []string
	for _, m := range members {
		names = append(names, m.Name)
		if !absent(m) {
			there = append(there, m.Name)
		}
	}
	slices.SortFunc(there, func(a, b string) int { return cmp.Or(cmp.Compare(scatter(a), scatter(b)), cmp.Compare(a, b)) })
	for _, w := range wanted {
		if percent, ok := strings.CutSuffix(w, "%"); ok {
			p, err := strconv.Atoi(percent)
			if err != nil || p < 1 || p > 100 {
				return nil, nil, factory.Usagef("--fail %q: a percentage is from 1%% to 100%%", w)
			}
			n := min(len(there), max(1, p*len(there)/100))
			for _, name := range there[:n] {
				fails[name] = true
			}
			chosen = append(chosen, fmt.Sprintf("%d%% of %d = %d", p, len(there), n))
			continue
		}
		if !slices.Contains(names, w) {
			err := factory.Usagef("--fail: the kustomization is not for a cluster %q", w)
			if near := factory.Nearest(w, names); len(near) > 0 {
				err = factory.Next(err, "did you mean %s?", strings.Join(near, " or "))
			}
			return nil, nil, err
		}
		fails[w] = true
	}
	return fails, chosen, nil
}

func scatter(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	x := h.Sum64() // names that differ in the last letter stay neighbours without this
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}
