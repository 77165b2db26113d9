package hub

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

const (
	// handoverMax bounds how long agents wait for the controllers of a hub that has started: they give up a handshake
	// after 30 s, of which those that have waited need some for their turn.
	handoverMax = 10 * time.Second
	// handoverPause is how long the controllers hand over none before the gateway waits for no more of them.
	handoverPause = time.Second
	// handoverLook is how often the gateway looks.
	handoverLook = 50 * time.Millisecond
)

// handover decides when the gateway of a hub that has started begins to answer. An agent that comes before the controllers
// have handed over its Cluster is told to come back, and its TLS handshake, which costs both more than everything else, was
// for nothing; of 10,000 that are a fifth. So the gateway waits for them, but neither for one that does not get on, nor for
// long.
//
// Example: 10,000 Clusters are handed over within 4 s, and agents answered then. One of them cannot be: they are answered
// after 5 s. Where the API server does not answer the controllers, agents are answered after 10 s, and told to come back.
type handover struct {
	expected int // agents that the controllers will hand over
	began    time.Time
	done     int // of those, at the last look
	grew     time.Time
}

// over reports whether the gateway begins to answer, by how many agents are handed over now.
func (h *handover) over(done int, now time.Time) bool {
	if done > h.done {
		h.done, h.grew = done, now
	}
	return done >= h.expected || h.done > 0 && now.Sub(h.grew) >= handoverPause || now.Sub(h.began) >= handoverMax
}

// awaitHandover returns when the gateway begins to answer, or with the end of ctx.
func (p *parts) awaitHandover(ctx context.Context, log logr.Logger) {
	expected, err := agentsOf(ctx, p.reader, p.share.Record())
	if err != nil { // they are told to come back
		log.Error(err, "cannot list the Clusters whose agents will connect")
		return
	}
	h := handover{expected: expected, began: time.Now()}
	look := time.NewTicker(handoverLook)
	defer look.Stop()
	for now := h.began; !h.over(p.gateway.HandedOver(), now); now = time.Now() {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
	log.Info("agents are answered", "expected", expected, "handedOver", h.done, "after", time.Since(h.began).Round(time.Millisecond).String())
}

// agentsOf returns how many agents have joined whose Clusters are those of a shard, as their status records it. What is
// still to be taken from another shard is not waited for.
func agentsOf(ctx context.Context, reader client.Reader, shard string) (n int, err error) {
	list := &v1alpha1.ClusterList{}
	if err := reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return 0, err
	}
	for i := range list.Items {
		c := &list.Items[i]
		if c.Spec.Agent != nil && c.Spec.Agent.PublicKey != "" && c.DeletionTimestamp.IsZero() && c.Status.Shard == shard {
			n++
		}
	}
	return n, nil
}
