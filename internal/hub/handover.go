package hub

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

const (
	// handoverTimeout bounds how long agents wait for the controllers of a hub that has started: they give up a handshake
	// after 30 s, of which those that have waited need some for their turn.
	handoverTimeout = 10 * time.Second
	// handoverStall is how long the controllers may hand over no Cluster before the gateway stops waiting for the rest.
	handoverStall = time.Second
	// handoverPollInterval is how often the gateway counts.
	handoverPollInterval = 50 * time.Millisecond
)

// handover decides when the gateway of a hub that has started begins to answer. An agent that comes before the controllers
// have handed over its Cluster is refused with a time to retry, and its TLS handshake, which costs both more than everything
// else, was for nothing; of 10,000 that are a fifth. So the gateway waits for the controllers, but not when they make no
// progress, and not for long.
//
// Example: 10,000 Clusters are handed over within 4 s, and agents answered then. One of them cannot be: they are answered
// after 5 s. Where the API server does not answer the controllers, agents are answered after 10 s, and refused with a time to retry.
type handover struct {
	expected     int // agents that the controllers will hand over
	started      time.Time
	handedOver   int // of those, when they were counted last
	lastProgress time.Time
}

// isOver reports whether the gateway begins to answer, by how many agents are handed over now.
func (h *handover) isOver(done int, now time.Time) bool {
	if done > h.handedOver {
		h.handedOver, h.lastProgress = done, now
	}
	return done >= h.expected || h.handedOver > 0 && now.Sub(h.lastProgress) >= handoverStall || now.Sub(h.started) >= handoverTimeout
}

// awaitHandover returns when the gateway begins to answer, or with the end of ctx.
func (p *parts) awaitHandover(ctx context.Context, log logr.Logger) {
	expected, err := joinedAgents(ctx, p.reader, p.shard.Record())
	if err != nil { // agents are refused with a time to retry
		log.Error(err, "cannot list the Clusters whose agents will connect")
		return
	}
	h := handover{expected: expected, started: time.Now()}
	ticker := time.NewTicker(handoverPollInterval)
	defer ticker.Stop()
	for now := h.started; !h.isOver(p.gateway.HandedOver(), now); now = time.Now() {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
	log.Info("agents are answered", "expected", expected, "handedOver", h.handedOver, "after", time.Since(h.started).Round(time.Millisecond).String())
}

// joinedAgents returns how many agents have joined whose Clusters are those of a shard, as their status records it. What is
// still to be taken from another shard is not waited for.
func joinedAgents(ctx context.Context, reader client.Reader, shard string) (n int, err error) {
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
