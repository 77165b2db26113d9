package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
)

// arrival is a connection that comes from an address.
type arrival struct {
	net.Conn
	from   string
	closed bool
}

func (a *arrival) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.from))
}

func (a *arrival) Close() error { a.closed = true; return nil }

// arrivals are a listener to which a test brings connections.
type arrivals struct {
	net.Listener
	in chan net.Conn
}

func (a *arrivals) Accept() (net.Conn, error) { return <-a.in, nil }

// limitListenerOf returns a listener, and a function that connects to it, each time so much later than the time before.
func limitListenerOf(t *testing.T, between time.Duration, limits connLimits) (*limitListener, func(from string) (*trackedConn, *arrival)) {
	t.Helper()
	in := &arrivals{in: make(chan net.Conn, 1)}
	now := time.Unix(10000, 0)
	l := newLimitListener(in, limits, func() time.Time { return now })
	return l, func(from string) (*trackedConn, *arrival) {
		t.Helper()
		now = now.Add(between)
		came := &arrival{from: from}
		in.in <- came
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c.(*trackedConn), came
	}
}

func key(i int) engine.Key { return engine.Key{Namespace: "fleet", Name: fmt.Sprintf("edge-%d", i)} }

// TestOriginWithMostConnectionsLosesOne, and no other origin, however late it connects.
func TestOriginWithMostConnectionsLosesOne(t *testing.T) {
	_, arrive := limitListenerOf(t, unauthenticatedGrace, connLimits{total: 100, unauthenticated: 5, perAgent: 8, timeout: time.Hour})
	var crowded []*arrival
	_, agent := arrive("192.0.2.7:1")
	for i := range 10 {
		_, c := arrive(fmt.Sprintf("198.51.100.1:%d", 1000+i))
		crowded = append(crowded, c)
	}
	_, late := arrive("203.0.113.9:1")
	if agent.closed || late.closed {
		t.Errorf("connections of other origins are closed: the first %t, the last %t", agent.closed, late.closed)
	}
	for i, c := range crowded {
		if want := i < 7; c.closed != want { // four, the first and the last
			t.Errorf("connection %d of the origin with most: closed %t, want %t", i, c.closed, want)
		}
	}
	// Of one network of IPv6, an attacker has as many addresses as it likes.
	_, arrive = limitListenerOf(t, unauthenticatedGrace, connLimits{total: 100, unauthenticated: 3, perAgent: 8, timeout: time.Hour})
	_, agent = arrive("[2001:db8:1::1]:1")
	for i := range 10 {
		arrive(fmt.Sprintf("[2001:db8:2::%x]:1", i+1))
	}
	if agent.closed {
		t.Error("a network of IPv6 counts as many origins")
	}
}

// TestEarliestOfAnOriginIsClosedAfterItsGrace, as behind a NAT that hides all agents; of connections that are opened at once,
// the last is.
func TestEarliestOfAnOriginIsClosedAfterItsGrace(t *testing.T) {
	for name, tt := range map[string]struct {
		between time.Duration
		want    []bool
	}{"one after the other": {unauthenticatedGrace, []bool{true, true, false, false, false}}, "at once": {0, []bool{false, false, false, true, true}}} {
		t.Run(name, func(t *testing.T) {
			_, arrive := limitListenerOf(t, tt.between, connLimits{total: 100, unauthenticated: 3, perAgent: 8, timeout: time.Hour})
			var all []*arrival
			for i := range 5 {
				_, c := arrive(fmt.Sprintf("10.0.0.1:%d", 1000+i))
				all = append(all, c)
			}
			var closed []bool
			for _, c := range all {
				closed = append(closed, c.closed)
			}
			if diff := cmp.Diff(tt.want, closed); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestUnauthenticatedConnectionsDoNotCloseThoseOfAgents, and are closed themselves when agents need all that there may be.
func TestUnauthenticatedConnectionsDoNotCloseThoseOfAgents(t *testing.T) {
	l, arrive := limitListenerOf(t, unauthenticatedGrace, connLimits{total: 6, unauthenticated: 4, perAgent: 8, timeout: time.Hour})
	var agents []*arrival
	for i := range 5 {
		v, c := arrive(fmt.Sprintf("10.0.0.1:%d", 1000+i))
		if out := l.authenticate(v, key(i)); out != nil {
			t.Fatal("the connection of an agent is closed for that of another one")
		}
		agents = append(agents, c)
	}
	for i := range 10 {
		arrive(fmt.Sprintf("198.51.100.1:%d", 1000+i))
	}
	if slices.ContainsFunc(agents, func(c *arrival) bool { return c.closed }) {
		t.Error("connections of agents are closed for unauthenticated ones")
	}
	v, sixth := arrive("10.0.0.9:1")
	if l.authenticate(v, key(6)); sixth.closed || l.open > 6 {
		t.Errorf("the sixth agent: closed %t, of %d", sixth.closed, l.open)
	}
	if _, beyond := arrive("10.0.0.9:2"); !beyond.closed {
		t.Error("there are more connections than there may be")
	}
}

// TestConnectionLimitPerAgentClosesItsOwn, and no other agent's; one that several agents use counts for none of them.
func TestConnectionLimitPerAgentClosesItsOwn(t *testing.T) {
	l, arrive := limitListenerOf(t, unauthenticatedGrace, connLimits{total: 100, unauthenticated: 10, perAgent: 2, timeout: time.Hour})
	other, others := arrive("10.0.0.1:1")
	l.authenticate(other, key(1))
	shared, ingress := arrive("10.0.0.2:1")
	l.authenticate(shared, key(0))
	l.authenticate(shared, key(1))
	part, parts := arrive("10.0.0.3:1")
	l.authenticate(part, engine.Key{})
	var mine []*arrival
	for i := range 4 {
		v, c := arrive(fmt.Sprintf("10.0.0.1:%d", 10+i))
		for range 2 { // each request proves it again
			if out := l.authenticate(v, key(0)); out != nil {
				_ = out.Conn.Close()
			}
		}
		mine = append(mine, c)
	}
	var closed []bool
	for _, c := range append(mine, others, ingress, parts) {
		closed = append(closed, c.closed)
	}
	if diff := cmp.Diff([]bool{true, true, false, false, false, false, false}, closed); diff != "" {
		t.Error(diff)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != 5 || l.unauthenticated.n != 0 || len(l.unauthenticated.origins) != 0 || len(l.agents) != 2 {
		t.Errorf("%d are open, %d unauthenticated of %d origins, agents %v", l.open, l.unauthenticated.n, len(l.unauthenticated.origins), l.agents)
	}
}

// TestConnectionThatCarriesTheStreamStays when its agent opens too many others, as an ingress does that pools them; after
// the stream it makes room as any other. An agent whose connections all carry one loses the earliest.
func TestConnectionThatCarriesTheStreamStays(t *testing.T) {
	l, arrive := limitListenerOf(t, unauthenticatedGrace, connLimits{total: 100, unauthenticated: 10, perAgent: 3, timeout: time.Hour})
	var mine []*arrival
	open := func() context.Context {
		v, c := arrive(fmt.Sprintf("10.0.0.1:%d", 10+len(mine)))
		mine = append(mine, c)
		ctx := withConn(t.Context(), v)
		markAuthenticated(ctx, key(0))
		return ctx
	}
	check := func(when string, want ...int) {
		t.Helper()
		var stay []int
		for i, c := range mine {
			if !c.closed {
				stay = append(stay, i)
			}
		}
		if diff := cmp.Diff(want, stay); diff != "" {
			t.Errorf("%s: the connections that stay: %s", when, diff)
		}
	}
	end := carryStream(open())
	for range 4 {
		open()
	}
	check("the first carries the stream", 0, 3, 4)
	end()
	carryStream(open())
	check("the stream has ended", 3, 4, 5)
	carryStream(open())
	carryStream(open())
	check("the later ones carry streams", 5, 6, 7)
	open()
	check("all carry streams", 6, 7, 8)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != 3 || l.agents[key(0)].Len() != 3 {
		t.Errorf("%d are open, %d of the agent", l.open, l.agents[key(0)].Len())
	}
}

// TestStreamOutlastsTheConnectionsOfAnIngress: a lone agent reports over one more connection than it may have, over an
// ingress that keeps all of them open, and its stream goes on.
func TestStreamOutlastsTheConnectionsOfAnIngress(t *testing.T) {
	r := newRigWith(t, func(g *Gateway) {
		g.limits.conns = connLimits{total: 100, unauthenticated: 50, perAgent: 3, timeout: time.Hour}
	})
	p := r.joined()
	p.welcome()
	stream := p.stream(link.Have{})
	for i := range 6 {
		pooled := r.peerWith(p.key, "uid-1")
		pooled.token = p.token
		if status, _ := pooled.raw(http.MethodPost, link.ReportPath, encode(t, link.Up{Seq: uint64(i + 1), State: healthy, Complete: true})); status != http.StatusOK {
			t.Fatalf("report %d: %d", i, status)
		}
	}
	r.gateway.Verify(edgeKey)
	if !stream.next().Verify {
		t.Error("the stream does not carry the request that follows")
	}
}

// TestUnauthenticatedConnectionTimesOut; one on which a key was proven stays.
func TestUnauthenticatedConnectionTimesOut(t *testing.T) {
	l, arrive := limitListenerOf(t, unauthenticatedGrace, connLimits{total: 100, unauthenticated: 10, perAgent: 8, timeout: time.Hour})
	proven, _ := arrive("10.0.0.1:1")
	timer := proven.timer
	markAuthenticated(withConn(t.Context(), tls.Server(proven, &tls.Config{MinVersion: tls.VersionTLS13})), key(1))
	if timer.Stop() || proven.timer != nil {
		t.Error("the connection of an agent would be closed")
	}
	proven.expire() // it was about to
	gone, _ := arrive("10.0.0.1:2")
	_ = gone.Close()
	_ = gone.Close()
	if gone.timer.Stop() {
		t.Error("the timer of a closed connection runs")
	}
	unauthenticated, theirs := arrive("10.0.0.1:3")
	unauthenticated.expire()
	if !theirs.closed || l.open != 1 {
		t.Errorf("an unauthenticated connection: closed %t, and %d are open", theirs.closed, l.open)
	}
}

// unauthenticatedConnectionsDoNotLockAgentsOut: callers open as many as they can, and agents connect, and stay connected.
func unauthenticatedConnectionsDoNotLockAgentsOut(t *testing.T) {
	r := newRigWith(t, func(g *Gateway) {
		g.limits.conns = connLimits{total: 12, unauthenticated: 8, perAgent: 8, timeout: time.Hour}
	})
	first := r.joined()
	first.welcome()
	stream := first.stream(link.Have{})
	for i := range 20 {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", r.base[len("https://"):])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if i < 8 {
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); !isEnd(err) { // all before it were taken in
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	r.pass(unauthenticatedGrace)
	second := r.peerWith(first.key, "uid-1")
	second.client.Timeout = 20 * time.Second
	second.welcome() // it does not wait
	if got := stream.closeReason(); got != link.GoAwayReplaced {
		t.Errorf("the first stream ends with %q", got)
	}
	if status, _ := second.raw(http.MethodPost, link.ReportPath, encode(t, link.Up{Seq: 1, State: healthy, Complete: true})); status != http.StatusOK {
		t.Errorf("a report: %d", status)
	}
}

// TestConnectionThatExpiresAtOnceIsTracked: a timeout can end as soon as its connection is accepted, as on a machine that was
// suspended at that moment.
func TestConnectionThatExpiresAtOnceIsTracked(t *testing.T) {
	limits := defaultConnLimits
	limits.timeout = 1
	l := newLimitListener(nil, limits, time.Now)
	for range 1000 {
		near, far := net.Pipe()
		l.add(&trackedConn{Conn: near, listener: l, since: l.now()})
		if _, err := far.Read(make([]byte, 1)); err == nil {
			t.Fatal("it stays")
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != 0 || l.unauthenticated.n != 0 {
		t.Errorf("%d are open, %d unauthenticated", l.open, l.unauthenticated.n)
	}
}
