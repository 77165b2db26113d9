package gateway

import (
	"net/netip"
	"testing"
	"time"
)

func TestConnToCloseIsOfTheOriginWithMost(t *testing.T) {
	const a, b = "192.0.2.1/32", "192.0.2.2/32"
	type conn struct {
		origin string
		age    time.Duration
		queued bool
	}
	const young, old = unauthenticatedGrace - time.Second, unauthenticatedGrace
	for name, tt := range map[string]struct {
		conns []conn // the earliest first
		want  int    // its place in conns
	}{
		"one":                                    {[]conn{{a, 0, false}}, 0},
		"the earliest of most":                   {[]conn{{a, old, false}, {b, old, false}, {b, 0, false}}, 1},
		"the last of most, within its time":      {[]conn{{a, old, false}, {b, young, false}, {b, young, false}, {b, 0, false}}, 3},
		"the last, while the earliest is queued": {[]conn{{a, old, true}, {a, old, false}, {a, young, false}}, 2},
		"as many of each: the earliest":          {[]conn{{a, old, false}, {b, old, false}}, 0},
		"as many of each: the last of the origin with the earliest": {[]conn{{a, young, false}, {b, young, false}, {a, 0, false}, {b, 0, false}}, 2},
		"an origin with fewer keeps those that are over their time": {[]conn{{a, old, false}, {b, young, false}, {b, 0, false}}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			now, all, conns := time.Unix(10000, 0), newUnauthenticatedConns(), []*trackedConn(nil)
			for i, c := range tt.conns {
				conns = append(conns, &trackedConn{number: uint64(i), origin: netip.MustParsePrefix(c.origin), since: now.Add(-c.age), queued: c.queued})
				all.add(conns[i])
			}
			if got := all.connToClose(now); got != conns[tt.want] {
				t.Errorf("connection %d is closed, want %d", got.number, tt.want)
			}
		})
	}
}
