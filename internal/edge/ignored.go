package edge

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/internal/drift"
	"github.com/skerry-dev/skerry/internal/object"
)

// ignored holds, by field manager, the objects of which fields are ignored.
type ignored struct {
	mu    sync.RWMutex
	owner map[string]map[object.ID]*drift.Ignored
}

// Ignore sets which fields of the objects of a field manager are ignored from now on. It returns the
// kinds of which something has changed: what was read of them before is judged by the rules before.
func (c *Client) Ignore(manager string, objects map[object.ID]*drift.Ignored) map[schema.GroupKind]bool {
	c.ignored.mu.Lock()
	defer c.ignored.mu.Unlock()
	before := c.ignored.owner[manager]
	if len(before) == 0 && len(objects) == 0 {
		return nil
	}
	changed := map[schema.GroupKind]bool{}
	for id, is := range objects {
		if before[id].Key() != is.Key() {
			changed[schema.GroupKind{Group: id.Group, Kind: id.Kind}] = true
		}
	}
	for id := range before {
		if objects[id] == nil {
			changed[schema.GroupKind{Group: id.Group, Kind: id.Kind}] = true
		}
	}
	if c.ignored.owner == nil {
		c.ignored.owner = map[string]map[object.ID]*drift.Ignored{}
	}
	c.ignored.owner[manager] = objects
	return changed
}

// Ignored returns the ignored fields of an object; nil when there are none.
func (c *Client) Ignored(manager string, id object.ID) *drift.Ignored {
	c.ignored.mu.RLock()
	defer c.ignored.mu.RUnlock()
	return c.ignored.owner[manager][id]
}
