package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
)

// TestAnAgentWaitsForTheControllers: until they have handed over its Assignment and its key, it is told to come back.
func TestAnAgentWaitsForTheControllers(t *testing.T) {
	r := newRig(t)
	p := r.peer()
	c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: edgeKey.Namespace, Name: edgeKey.Name, UID: types.UID(edgeKey.Name)}, Spec: v1alpha1.ClusterSpec{Agent: &v1alpha1.Agent{PublicKey: link.EncodeKey(p.public())}}}
	r.clusters[edgeKey] = c
	comesBack := func(when string) {
		t.Helper()
		status, answer := p.session()
		if status != http.StatusOK || answer.GoAway == nil || *answer.GoAway != (link.GoAway{Reason: link.GoAwayElsewhere, RetryAfter: 2}) || answer.Token != "" {
			t.Errorf("%s: %d %+v", when, status, answer.GoAway)
		}
	}
	comesBack("a Cluster that no controller has come to")
	r.gateway.Connect(edgeKey, engine.Connection{Agent: c.Spec.Agent})
	comesBack("without its Assignment")
	r.unreadable = errors.New("the cache has ended")
	r.gateway.Assign(edgeKey, []v1alpha1.AssignmentEntry{entry("apps", "sha256:1")})
	comesBack("while the Assignment cannot be read")
	r.unreadable = nil
	comesBack("after it could not be read")
	r.gateway.Connect(edgeKey, engine.Connection{Agent: &v1alpha1.Agent{PublicKey: link.EncodeKey(r.peer().public())}})
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	comesBack("with a key that the controllers do not know")
	r.connect(edgeKey)
	p.welcome()
}

// TestAgentsAreHandedOverOneByOne: with their key and what is assigned to them, which may be nothing.
func TestAgentsAreHandedOverOneByOne(t *testing.T) {
	r := newRig(t)
	other := engine.Key{Namespace: edgeKey.Namespace, Name: "other"}
	counts := func(want int, when string) {
		t.Helper()
		if got := r.gateway.HandedOver(); got != want {
			t.Errorf("%s: %d are handed over, want %d", when, got, want)
		}
	}
	counts(0, "at the start")
	r.gateway.Connect(edgeKey, engine.Connection{Agent: &v1alpha1.Agent{PublicKey: link.EncodeKey(r.peer().public())}})
	counts(0, "without its Assignment")
	r.gateway.Assign(edgeKey, nil)
	counts(1, "with nothing assigned")
	r.gateway.Connect(other, engine.Connection{Agent: &v1alpha1.Agent{}})
	r.gateway.Assign(other, nil)
	counts(1, "and one whose agent has not joined")
	r.gateway.Disconnect(edgeKey)
	counts(0, "when it is another shard's")
}

// TestWhoComesBeforeTheGatewayIsReadyWaits: in place of being refused, or turned away after a handshake.
func TestWhoComesBeforeTheGatewayIsReadyWaits(t *testing.T) {
	r := newRig(t)
	r.stop()
	r.gateway.stopped = false
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, awaited, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- r.gateway.Serve(ctx, ServeOptions{Listener: listener, Ready: func(context.Context) { close(awaited); <-ready }})
	}()
	<-awaited
	answered := make(chan error, 1)
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listener.Addr().String(), nil)
		if err == nil {
			var res *http.Response
			if res, err = http.DefaultClient.Do(req); err == nil {
				err = res.Body.Close()
			}
		}
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Errorf("answered before the gateway is ready: %v", err)
	case <-time.After(50 * time.Millisecond): // it cannot be seen that something waits
	}
	close(ready)
	if err := <-answered; err != nil {
		t.Errorf("who has waited is not answered: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestWhatCannotBeReadIsNotAssigned: no state is signed that is not one of an Assignment, and what was assigned stands.
func TestWhatCannotBeReadIsNotAssigned(t *testing.T) {
	r := newRig(t)
	p := r.joined()
	r.assign(edgeKey, 1, entry("apps", "sha256:1"))
	p.welcome()
	stream := p.stream(link.Have{})
	before := stream.next().Assignment
	stored := r.stored[edgeKey]
	r.unreadable = errors.New("the cache has ended")
	r.gateway.Assign(edgeKey, nil)
	r.mu.Lock()
	r.unreadable, r.stored[edgeKey] = nil, nil
	r.mu.Unlock()
	r.gateway.Assign(edgeKey, []v1alpha1.AssignmentEntry{entry("other", "sha256:2")})
	a := r.gateway.agentOf(edgeKey)
	a.mu.Lock()
	if a.signedAssignment.UID != before.UID || a.signedAssignment.Digest != before.Digest {
		t.Errorf("what cannot be read is signed: %+v", a.signedAssignment)
	}
	a.mu.Unlock()
	r.mu.Lock()
	r.stored[edgeKey] = stored
	r.mu.Unlock()
	r.assign(edgeKey, 2, entry("apps", "sha256:3"))
	after := stream.next().Assignment
	if after == nil || after.UID != before.UID || after.Generation != 2 || len(after.Entries) != 1 || len(after.Dropped) != 0 {
		t.Errorf("after %+v came %+v", before, after)
	}
}
