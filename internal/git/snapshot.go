package git

import (
	"container/list"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/skerry-dev/skerry/internal/tree"
)

// snapshot is one commit in memory, with what the next one needs to read only what changed.
type snapshot struct {
	hash            plumbing.Hash
	author, subject string
	time            time.Time
	tree            *tree.Tree
	submodules      []string

	folders map[plumbing.Hash][]object.TreeEntry
	blobs   map[plumbing.Hash][]byte
}

// commit is what a snapshot says of itself; Revision, Fetched and ForcePushed are for others to say.
func (s *snapshot) commit() Commit {
	return Commit{
		Hash: s.hash.String(), Digest: s.tree.Digest(), Size: s.tree.Size(), Author: s.author,
		Subject: s.subject, Time: s.time, Submodules: s.submodules,
	}
}

// is says whether the snapshot, which may be nil, is of that commit.
func (s *snapshot) is(commit string) bool { return s != nil && s.hash.String() == commit }

// snapshots keeps the last commit of each repository in memory, those used last, as far as the
// budget goes.
type snapshots struct {
	mu     sync.Mutex
	budget int64
	used   int64
	order  list.List // of *kept, the one used last in front
	byKey  map[string]*list.Element
}

type kept struct {
	key string
	s   *snapshot
}

func (c *snapshots) get(key string) *snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*kept).s
}

// put keeps a snapshot in place of the one of the same key; nil only removes that.
func (c *snapshots) put(key string, s *snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		c.drop(e)
	}
	if s == nil {
		return
	}
	if c.byKey == nil {
		c.byKey = map[string]*list.Element{}
	}
	c.byKey[key] = c.order.PushFront(&kept{key, s})
	c.used += s.tree.Size()
	for c.used > c.budget {
		c.drop(c.order.Back())
	}
}

func (c *snapshots) drop(e *list.Element) {
	k := c.order.Remove(e).(*kept)
	delete(c.byKey, k.key)
	c.used -= k.s.tree.Size()
}
