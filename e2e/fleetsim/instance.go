package fleetsim

import (
	"strconv"
	"time"
)

// timed is how many entries of managedFields have a time of their own on an edge; those after share
// the last. Two is what an object has as a rule.
const timed = 4

// instance is an object on one edge: its content and what is the edge's own. It is replaced, never
// changed.
type instance struct {
	c          *content
	version    uint64
	born       uint64 // version at creation, from which the uid follows
	generation uint32
	created    uint32 // in seconds since the fleet began
	deleted    uint32 // the same, plus one; 0 when it is not being deleted
	times      [timed]uint32
}

// before orders objects of a kind as etcd has their keys: the slash between namespace and name counts.
func (o *instance) before(namespace, name string) bool {
	a, b := o.c.namespace, namespace
	if a == b {
		return o.c.name < name
	}
	n := min(len(a), len(b))
	switch {
	case a[:n] != b[:n]:
		return a < b
	case len(a) > n:
		return a[n] < '/'
	default:
		return '/' < b[n]
	}
}

// seed of an edge tells its uids from those of others.
type seed uint64

// mix spreads what differs in few bits over all: the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

const hexDigits = "0123456789abcdef"

// appendUID appends the uid, in the form of a random UUID, of the object that was born at a version.
func (s seed) appendUID(b []byte, born uint64) []byte {
	hi := mix(uint64(s)+mix(born))&^0xf000 | 0x4000
	lo := mix(hi^uint64(s))&^(3<<62) | 2<<62
	for i, x := range [2]uint64{hi, lo} {
		for n := range 16 {
			if i == 0 && (n == 8 || n == 12) || i == 1 && (n == 0 || n == 4) {
				b = append(b, '-')
			}
			b = append(b, hexDigits[x>>(60-4*n)&0xf])
		}
	}
	return b
}

// writer renders objects of one edge.
type writer struct {
	seed  seed
	epoch time.Time
}

func (w writer) uid(o *instance) string { return string(w.seed.appendUID(nil, o.born)) }

func (w writer) appendTime(b []byte, seconds uint32) []byte {
	return w.epoch.Add(time.Duration(seconds)*time.Second).AppendFormat(b, "2006-01-02T15:04:05Z")
}

func (w writer) appendMeta(b []byte, o *instance) []byte {
	at := 0
	for _, g := range o.c.gaps {
		b = append(b, o.c.meta[at:g.at]...)
		at = int(g.at)
		if g.what == gapTime {
			b = w.appendTime(b, o.times[min(int(g.entry), timed-1)])
			continue
		}
		b = append(b, `,"uid":"`...)
		b = w.seed.appendUID(b, o.born)
		b = append(b, `","resourceVersion":"`...)
		b = strconv.AppendUint(b, o.version, 10)
		if o.c.kind.counted {
			b = append(b, `","generation":`...)
			b = strconv.AppendUint(b, uint64(o.generation), 10)
			b = append(b, `,"creationTimestamp":"`...)
		} else {
			b = append(b, `","creationTimestamp":"`...)
		}
		b = append(w.appendTime(b, o.created), '"')
		if o.deleted > 0 {
			b = append(b, `,"deletionGracePeriodSeconds":0,"deletionTimestamp":"`...)
			b = append(w.appendTime(b, o.deleted-1), '"')
		}
	}
	return append(b, o.c.meta[at:]...)
}

// form says how objects are to be written.
type form uint8

const (
	whole form = iota
	metadataOnly
)

func (w writer) append(b []byte, o *instance, f form) []byte {
	if f == metadataOnly {
		b = append(b, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":`...)
		return append(w.appendMeta(b, o), '}')
	}
	b = append(b, `{"kind":"`...)
	b = append(b, o.c.kind.gvk.Kind...)
	b = append(b, `","apiVersion":"`...)
	b = append(b, o.c.kind.apiVersion...)
	b = append(b, `","metadata":`...)
	return append(w.appendMeta(b, o), o.c.tail...)
}

// appendItem is append for a list, whose items of built-in kinds do not say their kind.
func (w writer) appendItem(b []byte, o *instance, f form) []byte {
	if f == metadataOnly || o.c.kind.custom {
		return w.append(b, o, f)
	}
	b = append(b, `{"metadata":`...)
	return append(w.appendMeta(b, o), o.c.tail...)
}
