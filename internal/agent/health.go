package agent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// healthState is what the probes of the kubelet see: alive, and ready once the agent has its lease and works
// from its disk. The hub counts for neither: an agent that is cut off is as it should be.
type healthState struct {
	mu      sync.Mutex
	started bool
	err     error // why not
}

func (h *healthState) set(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.started, h.err = true, err
}

func (h *healthState) ready(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.err != nil:
		http.Error(w, h.err.Error(), http.StatusServiceUnavailable)
	case !h.started:
		http.Error(w, "starting", http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ok")
	}
}

// serve answers the probes until it is told to stop.
func (h *healthState) serve(ctx context.Context, address string) (stop func(), err error) {
	if address == "" || address == "0" {
		return func() {}, nil
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--health-probe-bind-address: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", h.ready)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	return func() { _ = server.Close() }, nil
}
