package gateway

import (
	"errors"
	"net/http"
	"testing"

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
		if status != http.StatusOK || answer.Bye == nil || *answer.Bye != (link.Bye{Reason: link.ByeElsewhere, RetryAfter: 2}) || answer.Token != "" {
			t.Errorf("%s: %d %+v", when, status, answer.Bye)
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
	if a.signed.UID != before.UID || a.signed.Digest != before.Digest {
		t.Errorf("what cannot be read is signed: %+v", a.signed)
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
