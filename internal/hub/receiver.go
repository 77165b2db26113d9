package hub

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/skerry-dev/skerry/controllers/receiver"
	"github.com/skerry-dev/skerry/internal/hubapi"
	webhooks "github.com/skerry-dev/skerry/internal/receiver"
)

// addReceiver adds the controller of Receivers, and the listener of webhooks. Only the hub that leads answers.
func (p *parts) addReceiver(ctx context.Context, o Options, hub hubapi.Hub, direct hubapi.Direct, recorder hubapi.Recorder) error {
	off := ""
	if o.ReceiverAddress == "" {
		off = "The hub accepts no webhooks: it runs without --receiver-bind-address"
	}
	server := &webhooks.Server{Log: o.Log.WithName("receiver")}
	receivers := receiver.New(receiver.Options{
		Hub: hub, Direct: direct, Recorder: recorder, Off: off, Server: server,
		Keys: &webhooks.Keys{Allowed: o.ReceiverOIDCIssuers, Now: time.Now}, Enqueue: p.sources.EnqueueAfter, NoCrossNamespaceRefs: o.NoCrossNamespaceRefs, Now: time.Now,
	})
	if err := receivers.SetUp(ctx, p.mgr, o.Concurrency); err != nil {
		return err
	}
	if off != "" {
		return nil
	}
	return p.mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		return server.Serve(ctx, o.ReceiverAddress, o.ReceiverListening)
	}))
}
