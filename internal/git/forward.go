package git

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// ErrHistoryRewritten means that a reference which may only move forward has moved to a commit that does not
// follow from the one before, and that this was not acknowledged.
var ErrHistoryRewritten = errors.New("history was rewritten")

// errShortHistory means that what is stored of the history does not show whether a reference has moved
// forward; it never leaves the package.
var errShortHistory = errors.New("stored history is too short")

// maxForward bounds how many commits are read to prove that a reference has moved forward. Beyond it, it
// counts as not proved.
const maxForward = 500_000

// Forward describes how a reference may move. The zero value lets it move anywhere.
type Forward struct {
	// Required lets a branch or tag move only to commits that have Request.Known among their ancestors.
	Required bool
	// Accept is the revision, or its commit, to which it may move nevertheless.
	Accept string
	// Remedy ends the message of a refusal, behind the revision that is refused.
	Remedy string
}

func (f Forward) accepts(t target) bool {
	accept := strings.TrimSpace(f.Accept)
	return !f.Required || accept == t.revision() || accept == t.hash.String()
}

// check refuses a move to a target that is not proved to have known among its ancestors. Where the stored
// history ends too early to prove either, it is errShortHistory, unless all of it was asked for.
func (f Forward) check(ctx context.Context, sto storer.EncodedObjectStorer, r *repo, t target, known plumbing.Hash, whole bool) error {
	if f.accepts(t) {
		return nil
	}
	forward, proved := r.moves.get(known, t.hash)
	if !proved {
		forward, proved = movedForward(ctx, sto, t.hash, known)
		if err := ctx.Err(); err != nil {
			return err
		}
		if proved || whole {
			r.moves.put(known, t.hash, forward)
		}
	}
	switch {
	case forward:
		return nil
	case !proved && !whole:
		return errShortHistory
	}
	return fail(ErrHistoryRewritten, "%s does not follow from sha1:%s, which stays in use%s", t.revision(), known, f.Remedy)
}

// movedForward reports whether known is an ancestor of tip, and whether what is stored proves the answer.
func movedForward(ctx context.Context, sto storer.EncodedObjectStorer, tip, known plumbing.Hash) (forward, proved bool) {
	if rewritten(sto, tip, known) {
		return false, true
	}
	seen := map[plumbing.Hash]bool{tip: true}
	proved = true
	for queue := []plumbing.Hash{tip}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == known {
			return true, true
		}
		if ctx.Err() != nil || len(seen) > maxForward {
			return false, false
		}
		next, ok := parents(sto, queue[0])
		proved = proved && ok
		for _, p := range next {
			if !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
	}
	return false, proved
}

// moves remembers the answer about the last move, so that a refused one costs no walk at each check.
type moves struct {
	mu       sync.Mutex
	from, to plumbing.Hash // guarded by mu
	forward  bool          // guarded by mu
}

func (m *moves) get(from, to plumbing.Hash) (forward, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.forward, !to.IsZero() && m.from == from && m.to == to
}

func (m *moves) put(from, to plumbing.Hash, forward bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.from, m.to, m.forward = from, to, forward
}
