package git

import (
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// maxHistory bounds how many commits one check reads of the history.
const maxHistory = 2000

// parents returns a commit's parents, and false if the store lacks the commit.
func parents(sto storer.EncodedObjectStorer, h plumbing.Hash) ([]plumbing.Hash, bool) {
	c, err := object.GetCommit(sto, h)
	if err != nil {
		return nil, false
	}
	return c.ParentHashes, true
}

// ancestors returns the commits of the store that can be reached from tip without going behind a
// commit in ends, tip included if it is there, at most limit of them, the nearest first.
func ancestors(sto storer.EncodedObjectStorer, tip plumbing.Hash, ends []plumbing.Hash, limit int) []plumbing.Hash {
	var found []plumbing.Hash
	seen := map[plumbing.Hash]bool{tip: true}
	for queue := []plumbing.Hash{tip}; len(queue) > 0 && len(found) < limit; queue = queue[1:] {
		next, ok := parents(sto, queue[0])
		if !ok {
			continue
		}
		found = append(found, queue[0])
		if slices.Contains(ends, queue[0]) {
			continue
		}
		for _, p := range next {
			if !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
	}
	return found
}

// rewritten means that known is proved not to be an ancestor of tip: the branch was moved by force.
//
// The store holds only some of the history, so that not finding known proves nothing by itself. It
// does where every path back from tip either ends at a first commit or meets an ancestor of known,
// behind which known cannot be. Where a path ends for want of commits instead, as after more commits
// in one push than a fetch brings, the answer is no.
func rewritten(sto storer.EncodedObjectStorer, tip, known plumbing.Hash) bool {
	if known.IsZero() || tip == known {
		return false
	}
	older := map[plumbing.Hash]bool{}
	for _, h := range ancestors(sto, known, nil, maxHistory) {
		older[h] = h != known
	}
	seen := map[plumbing.Hash]bool{tip: true}
	visited := 0
	for queue := []plumbing.Hash{tip}; len(queue) > 0; queue = queue[1:] {
		h := queue[0]
		if h == known {
			return false
		}
		if older[h] {
			continue
		}
		next, ok := parents(sto, h)
		if visited++; !ok || visited > maxHistory {
			return false
		}
		for _, p := range next {
			if !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
	}
	return true
}
