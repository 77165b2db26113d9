package hub

import (
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/internal/text"
)

const (
	// crowdAtOnce is how many clusters tell the same of one Kustomization in an event each. Of those that do so after
	// them the last tells once in crowdEvery how many they were: an event costs the API server some 4 ms, and the
	// removal of fifty Kustomizations from fifty clusters was 2,500.
	crowdAtOnce = 10
	crowdEvery  = 10 * time.Second
)

// crowd sums up what many clusters tell of one Kustomization at the same time.
type crowd struct {
	mu   sync.Mutex
	told map[crowdKey]*crowded // guarded by mu
}

type crowdKey struct {
	kustomization types.NamespacedName
	reason        string
}

// crowded is what was told within the last crowdEvery.
type crowded struct {
	at   int // events that were recorded one by one
	more int // that were not
	last func(more string)
}

// tell records an event of a cluster, now or with those of others; record is given what is to be said of those.
func (c *crowd) tell(key crowdKey, record func(more string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told == nil {
		c.told = map[crowdKey]*crowded{}
	}
	of := c.told[key]
	if of == nil {
		of = &crowded{}
		c.told[key] = of
		time.AfterFunc(crowdEvery, func() { c.sumUp(key) })
	}
	if of.at < crowdAtOnce {
		of.at++
		record("")
		return
	}
	of.more, of.last = of.more+1, record
}

// sumUp records what was not recorded one by one. While there is any, the next ones are not either.
func (c *crowd) sumUp(key crowdKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.told[key]
	if of.more == 0 {
		delete(c.told, key)
		return
	}
	more := ""
	if of.more > 1 {
		more = fmt.Sprintf("; and %s like this", text.Count(of.more-1, "more event"))
	}
	of.last(more)
	of.more, of.last = 0, nil
	time.AfterFunc(crowdEvery, func() { c.sumUp(key) })
}
