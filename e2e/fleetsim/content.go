package fleetsim

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"weak"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// content is an object without what differs from edge to edge: uid, versions and times. It never
// changes once it is made, and edges whose objects are alike share it.
type content struct {
	kind            *kind
	namespace, name string
	sum             [sha256.Size]byte
	labels          map[string]string
	finalizers      bool
	// meta is the object's metadata as JSON with a gap for all that differs; tail is what follows the
	// metadata in the whole object, from the comma to the closing brace.
	meta string
	gaps []gap
	tail string
	// entries are the keys of managedFields in their order.
	entries []entryKey
}

// gap is a place in the JSON where something of the edge's own goes.
type gap struct {
	at   uint32
	what gapKind
	// entry is the place in managedFields whose time goes here.
	entry uint8
}

type gapKind uint8

const (
	gapServer gapKind = iota // uid, resourceVersion, generation, times of creation and deletion
	gapTime
)

type entryKey struct{ manager, operation, version, subresource string }

// entryTime is the time of an entry in a rendering that is to be taken apart again.
const entryTime = "2001-01-01T00:00:00Z"

// newContent takes an object apart. It may change the object.
func newContent(k *kind, u *unstructured.Unstructured) (*content, error) {
	c := &content{kind: k, namespace: u.GetNamespace(), name: u.GetName(), labels: u.GetLabels(), finalizers: len(u.GetFinalizers()) > 0}
	meta, _ := u.Object["metadata"].(map[string]any)
	managed, _ := meta["managedFields"].([]any)
	for _, own := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"} {
		delete(meta, own)
	}
	dropEmpty(meta)
	text, err := json.Marshal(meta)
	if err != nil {
		return nil, fmt.Errorf("cannot encode metadata: %w", err)
	}
	text = text[:len(text)-1]
	c.gaps = append(c.gaps, gap{at: uint32(len(text)), what: gapServer})
	if text, err = c.appendManaged(text, managed); err != nil {
		return nil, err
	}
	c.meta = string(append(text, '}'))
	rest := make(map[string]any, len(u.Object))
	for key, v := range u.Object {
		if key != "apiVersion" && key != "kind" && key != "metadata" {
			rest[key] = v
		}
	}
	tail, err := json.Marshal(rest)
	if err != nil {
		return nil, fmt.Errorf("cannot encode: %w", err)
	}
	if len(rest) == 0 {
		c.tail = "}"
	} else {
		tail[0] = ','
		c.tail = string(tail)
	}
	c.seal()
	return c, nil
}

// seal works out the sum, by which contents are told apart.
func (c *content) seal() {
	h := sha256.New()
	fmt.Fprintf(h, "%p\n%s\n%s", c.kind, c.meta, c.tail)
	h.Sum(c.sum[:0])
}

// dropEmpty takes out of metadata what an API server does not write when it is empty.
func dropEmpty(meta map[string]any) {
	for key, v := range meta {
		switch v := v.(type) {
		case map[string]any:
			if len(v) == 0 {
				delete(meta, key)
			}
		case []any:
			if len(v) == 0 {
				delete(meta, key)
			}
		case nil:
			delete(meta, key)
		}
	}
}

func (c *content) appendManaged(text []byte, managed []any) ([]byte, error) {
	if len(managed) == 0 {
		return text, nil
	}
	text = append(text, `,"managedFields":[`...)
	for i, m := range managed {
		entry, _ := m.(map[string]any)
		str := func(key string) string { s, _ := entry[key].(string); return s }
		c.entries = append(c.entries, entryKey{str("manager"), str("operation"), str("apiVersion"), str("subresource")})
		delete(entry, "time")
		one, err := json.Marshal(entry)
		if err != nil {
			return nil, fmt.Errorf("cannot encode managedFields: %w", err)
		}
		if i > 0 {
			text = append(text, ',')
		}
		text = append(append(text, one[:len(one)-1]...), `,"time":"`...)
		c.gaps = append(c.gaps, gap{at: uint32(len(text)), what: gapTime, entry: uint8(i)})
		text = append(text, `"}`...)
	}
	return append(text, ']'), nil
}

// decode makes the object again, with the server's own fields as of no edge. The caller owns it.
func (c *content) decode() (*unstructured.Unstructured, error) {
	var text []byte
	text = append(text, `{"metadata":`...)
	at := 0
	for _, g := range c.gaps {
		text = append(text, c.meta[at:g.at]...)
		if g.what == gapServer {
			text = append(text, `,"uid":"any"`...)
		} else {
			text = append(text, entryTime...)
		}
		at = int(g.at)
	}
	text = append(append(text, c.meta[at:]...), c.tail...)
	u := c.kind.blank()
	if err := utiljson.Unmarshal(text, &u.Object); err != nil {
		return nil, fmt.Errorf("cannot decode what was encoded: %w", err)
	}
	return u, nil
}

// pool keeps one of all contents that are alike, for as long as an edge has it.
type pool struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]weak.Pointer[content]
}

func newPool() *pool { return &pool{known: map[[sha256.Size]byte]weak.Pointer[content]{}} }

// share returns the content that all use in place of c.
func (p *pool) share(c *content) *content {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.known[c.sum].Value(); old != nil {
		return old
	}
	w := weak.Make(c)
	p.known[c.sum] = w
	runtime.AddCleanup(c, func(sum [sha256.Size]byte) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.known[sum] == w {
			delete(p.known, sum)
		}
	}, c.sum)
	return c
}

func (p *pool) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.known)
}
