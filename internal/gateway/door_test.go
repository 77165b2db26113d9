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

// doorOf returns a door, and what brings connections to it, each so much later than the one before.
func doorOf(t *testing.T, between time.Duration, limits doorLimits) (*door, func(from string) (*visitor, *arrival)) {
	t.Helper()
	in := &arrivals{in: make(chan net.Conn, 1)}
	now := time.Unix(10000, 0)
	d := newDoor(in, limits, func() time.Time { return now })
	return d, func(from string) (*visitor, *arrival) {
		t.Helper()
		now = now.Add(between)
		came := &arrival{from: from}
		in.in <- came
		c, err := d.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c.(*visitor), came
	}
}

func key(i int) engine.Key { return engine.Key{Namespace: "fleet", Name: fmt.Sprintf("edge-%d", i)} }

// TestWhoComesFromACrowdMakesRoom, and not who comes from elsewhere, however late.
func TestWhoComesFromACrowdMakesRoom(t *testing.T) {
	_, arrive := doorOf(t, strangerGrace, doorLimits{all: 100, strangers: 5, each: 8, life: time.Hour})
	var crowd []*arrival
	_, agent := arrive("192.0.2.7:1")
	for i := range 10 {
		_, c := arrive(fmt.Sprintf("198.51.100.1:%d", 1000+i))
		crowd = append(crowd, c)
	}
	_, late := arrive("203.0.113.9:1")
	if agent.closed || late.closed {
		t.Errorf("the crowd keeps others out: the first %t, the last %t", agent.closed, late.closed)
	}
	for i, c := range crowd {
		if want := i < 7; c.closed != want { // four, the first and the last
			t.Errorf("connection %d of the crowd: closed %t, want %t", i, c.closed, want)
		}
	}
	// Of one network of IPv6, an attacker has as many addresses as it likes.
	_, arrive = doorOf(t, strangerGrace, doorLimits{all: 100, strangers: 3, each: 8, life: time.Hour})
	_, agent = arrive("[2001:db8:1::1]:1")
	for i := range 10 {
		arrive(fmt.Sprintf("[2001:db8:2::%x]:1", i+1))
	}
	if agent.closed {
		t.Error("a network of IPv6 counts as many origins")
	}
}

// TestOfOneOriginTheEarliestMakesRoom when it has had its time, as behind a NAT that hides all; of a crowd that comes at
// once, the last.
func TestOfOneOriginTheEarliestMakesRoom(t *testing.T) {
	for name, tt := range map[string]struct {
		between time.Duration
		want    []bool
	}{"one after the other": {strangerGrace, []bool{true, true, false, false, false}}, "at once": {0, []bool{false, false, false, true, true}}} {
		t.Run(name, func(t *testing.T) {
			_, arrive := doorOf(t, tt.between, doorLimits{all: 100, strangers: 3, each: 8, life: time.Hour})
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

// TestAgentsHaveAShareOfTheDoor: strangers never take it, and make room when all of it is taken.
func TestAgentsHaveAShareOfTheDoor(t *testing.T) {
	d, arrive := doorOf(t, strangerGrace, doorLimits{all: 6, strangers: 4, each: 8, life: time.Hour})
	var agents []*arrival
	for i := range 5 {
		v, c := arrive(fmt.Sprintf("10.0.0.1:%d", 1000+i))
		if out := d.prove(v, key(i)); out != nil {
			t.Fatal("an agent makes room for another one")
		}
		agents = append(agents, c)
	}
	for i := range 10 {
		arrive(fmt.Sprintf("198.51.100.1:%d", 1000+i))
	}
	if slices.ContainsFunc(agents, func(c *arrival) bool { return c.closed }) {
		t.Error("strangers have agents closed out")
	}
	v, sixth := arrive("10.0.0.9:1")
	if d.prove(v, key(6)); sixth.closed || d.open > 6 {
		t.Errorf("the sixth agent: closed %t, of %d", sixth.closed, d.open)
	}
	if _, beyond := arrive("10.0.0.9:2"); !beyond.closed {
		t.Error("there are more connections than there may be")
	}
}

// TestConnectionsOfOneAgentMakeRoomForOneAnother, and for nobody else's; one that several use is nobody's.
func TestConnectionsOfOneAgentMakeRoomForOneAnother(t *testing.T) {
	d, arrive := doorOf(t, strangerGrace, doorLimits{all: 100, strangers: 10, each: 2, life: time.Hour})
	other, others := arrive("10.0.0.1:1")
	d.prove(other, key(1))
	shared, ingress := arrive("10.0.0.2:1")
	d.prove(shared, key(0))
	d.prove(shared, key(1))
	part, parts := arrive("10.0.0.3:1")
	d.prove(part, engine.Key{})
	var mine []*arrival
	for i := range 4 {
		v, c := arrive(fmt.Sprintf("10.0.0.1:%d", 10+i))
		for range 2 { // each request proves it again
			if out := d.prove(v, key(0)); out != nil {
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
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open != 5 || d.crowd.n != 0 || len(d.crowd.origins) != 0 || len(d.agents) != 2 {
		t.Errorf("%d are open, %d strangers of %d origins, agents %v", d.open, d.crowd.n, len(d.crowd.origins), d.agents)
	}
}

// TestConnectionThatCarriesTheStreamStays when its agent opens too many others, as an ingress does that pools them; after
// the stream it makes room as any other. An agent whose connections all carry one loses the earliest.
func TestConnectionThatCarriesTheStreamStays(t *testing.T) {
	d, arrive := doorOf(t, strangerGrace, doorLimits{all: 100, strangers: 10, each: 3, life: time.Hour})
	var mine []*arrival
	open := func() context.Context {
		v, c := arrive(fmt.Sprintf("10.0.0.1:%d", 10+len(mine)))
		mine = append(mine, c)
		ctx := withVisitor(t.Context(), v)
		markProven(ctx, key(0))
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
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open != 3 || d.agents[key(0)].Len() != 3 {
		t.Errorf("%d are open, %d of the agent", d.open, d.agents[key(0)].Len())
	}
}

// TestStreamOutlastsTheConnectionsOfAnIngress: a lone agent reports over one more connection than it may have, over an
// ingress that keeps all of them open, and its stream goes on.
func TestStreamOutlastsTheConnectionsOfAnIngress(t *testing.T) {
	r := newRigWith(t, func(g *Gateway) { g.limits.door = doorLimits{all: 100, strangers: 50, each: 3, life: time.Hour} })
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

// TestAConnectionThatProvesNothingIsClosed; one that has proven a key stands.
func TestAConnectionThatProvesNothingIsClosed(t *testing.T) {
	d, arrive := doorOf(t, strangerGrace, doorLimits{all: 100, strangers: 10, each: 8, life: time.Hour})
	proven, _ := arrive("10.0.0.1:1")
	timer := proven.timer
	markProven(withVisitor(t.Context(), tls.Server(proven, &tls.Config{MinVersion: tls.VersionTLS13})), key(1))
	if timer.Stop() || proven.timer != nil {
		t.Error("the connection of an agent would be closed")
	}
	proven.expire() // it was about to
	gone, _ := arrive("10.0.0.1:2")
	_ = gone.Close()
	_ = gone.Close()
	if gone.timer.Stop() {
		t.Error("a connection that has ended is remembered")
	}
	stranger, theirs := arrive("10.0.0.1:3")
	stranger.expire()
	if !theirs.closed || d.open != 1 {
		t.Errorf("the connection of a stranger: closed %t, and %d are open", theirs.closed, d.open)
	}
}

// strangersAtTheDoorKeepNobodyOut: they take all the connections that they get, and agents come in, and stay.
func strangersAtTheDoorKeepNobodyOut(t *testing.T) {
	r := newRigWith(t, func(g *Gateway) { g.limits.door = doorLimits{all: 12, strangers: 8, each: 8, life: time.Hour} })
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
			t.Fatalf("stranger %d: %v", i, err)
		}
	}
	r.pass(strangerGrace)
	second := r.peerWith(first.key, "uid-1")
	second.client.Timeout = 20 * time.Second
	second.welcome() // it waits behind nobody
	if got := stream.bye(); got != link.ByeReplaced {
		t.Errorf("the first stream ends with %q", got)
	}
	if status, _ := second.raw(http.MethodPost, link.ReportPath, encode(t, link.Up{Seq: 1, State: healthy, Complete: true})); status != http.StatusOK {
		t.Errorf("a report: %d", status)
	}
}

// TestWhoExpiresAtOnceIsInTheCrowd: the time of a connection can be over as soon as it is there, as on a machine that was
// suspended at that moment.
func TestWhoExpiresAtOnceIsInTheCrowd(t *testing.T) {
	limits := defaultDoor
	limits.life = 1
	d := newDoor(nil, limits, time.Now)
	for range 1000 {
		near, far := net.Pipe()
		d.enter(&visitor{Conn: near, door: d, since: d.now()})
		if _, err := far.Read(make([]byte, 1)); err == nil {
			t.Fatal("it stays")
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open != 0 || d.crowd.n != 0 {
		t.Errorf("%d are open, %d in the crowd", d.open, d.crowd.n)
	}
}
