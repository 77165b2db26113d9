package receiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/net/netutil"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/recovery"
)

const (
	// maxBody bounds the body of a webhook.
	maxBody = 1 << 20
	// maxHeader bounds its headers.
	maxHeader = 16 << 10
	// maxHandled bounds the webhooks that are read at a time, and with them the memory: maxBody of each. Those of
	// one Receiver are at most maxHandledEach, so that a sender that is slow, or means harm, leaves places for others.
	maxHandled     = 8
	maxHandledEach = 2
	// maxConnections bounds the connections.
	maxConnections = 256

	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 15 * time.Second
	idleTimeout   = 30 * time.Second
	shutdownGrace = 2 * time.Second
)

// Hook is a Receiver that accepts webhooks.
type Hook struct {
	// Receiver names it.
	Receiver types.NamespacedName
	Sender   Sender
	// Suspended refuses every webhook.
	Suspended bool
	// Fetch has the resources fetched again for which the filters hold.
	Fetch func(context.Context, *Evaluation) error
}

// Server answers webhooks at the paths of the Receivers that it knows. Its zero value knows none.
type Server struct {
	Log logr.Logger

	mu      sync.RWMutex                    // guards what follows
	hooks   map[string]*Hook                // by path
	paths   map[types.NamespacedName]string // of the Receivers
	handled map[types.NamespacedName]int    // webhooks that are read, of each Receiver that has some
	all     int                             // of all Receivers
}

// Set puts a Receiver at a path, and takes it off the one before. It reports whether the path was free: two
// Receivers have one path only when they have one token.
func (s *Server) Set(path string, hook *Hook) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.hooks[path]; other != nil && other.Receiver != hook.Receiver {
		s.remove(hook.Receiver)
		return false
	}
	s.remove(hook.Receiver)
	if s.hooks == nil {
		s.hooks, s.paths = map[string]*Hook{}, map[types.NamespacedName]string{}
	}
	s.hooks[path], s.paths[hook.Receiver] = hook, path
	return true
}

// Remove takes a Receiver off its path.
func (s *Server) Remove(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(key)
}

// remove needs the lock.
func (s *Server) remove(key types.NamespacedName) {
	if path, ok := s.paths[key]; ok {
		delete(s.hooks, path)
		delete(s.paths, key)
	}
}

func (s *Server) hook(path string) *Hook {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.hooks[path]
}

// enter takes a place for a webhook of a Receiver, if there is one. leave gives it back.
func (s *Server) enter(key types.NamespacedName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == maxHandled || s.handled[key] == maxHandledEach {
		return false
	}
	if s.handled == nil {
		s.handled = map[types.NamespacedName]int{}
	}
	s.handled[key]++
	s.all++
	return true
}

func (s *Server) leave(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.handled[key]--; s.handled[key] == 0 {
		delete(s.handled, key)
	}
}

// Handler returns the HTTP handler. A request is read when its path is that of a Receiver, to the letter.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := s.serve(w, r)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		http.Error(w, http.StatusText(status), status)
	})
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) int {
	var hook *Hook
	if strings.HasPrefix(r.RequestURI, v1alpha1.ReceiverWebhookPath) {
		hook = s.hook(r.RequestURI)
	}
	switch {
	case hook == nil:
		return http.StatusNotFound
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		return http.StatusMethodNotAllowed
	case hook.Suspended:
		return http.StatusServiceUnavailable
	}
	if !s.enter(hook.Receiver) {
		w.Header().Set("Retry-After", "1")
		return http.StatusServiceUnavailable
	}
	defer s.leave(hook.Receiver)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return http.StatusRequestEntityTooLarge
	}
	if err != nil {
		return http.StatusBadRequest
	}
	return s.handle(r.Context(), hook, Webhook{Header: r.Header, Body: body})
}

func (s *Server) handle(ctx context.Context, hook *Hook, webhook Webhook) int {
	wanted := false
	err := recovery.Run(func() (err error) {
		var claims map[string]any
		if wanted, claims, err = hook.Sender.Verify(ctx, webhook); err != nil || !wanted {
			return err
		}
		return hook.Fetch(ctx, &Evaluation{webhook: webhook, claims: claims})
	})
	log := s.Log.WithValues("receiver", hook.Receiver.String(), "type", hook.Sender.Type)
	switch {
	case err == nil:
		log.V(1).Info("webhook", "wanted", wanted)
		return http.StatusOK
	case errors.Is(err, ErrUnauthorized):
		log.Info("webhook refused", "reason", err.Error())
		return http.StatusUnauthorized
	case errors.Is(err, ErrMalformed):
		log.Info("webhook refused", "reason", err.Error())
		return http.StatusBadRequest
	}
	log.Error(err, "cannot handle a webhook")
	return http.StatusInternalServerError
}

// Serve answers webhooks until ctx is done. listening is told the address; nil for no one.
func (s *Server) Serve(ctx context.Context, address string, listening func(net.Addr)) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("the receiver cannot listen: %w", err)
	}
	if listening != nil {
		listening(listener.Addr())
	}
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(logr.ToSlogHandler(s.Log.V(1)), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(netutil.LimitListener(listener, maxConnections)) }() // ends with the server
	select {
	case err := <-ended:
		return fmt.Errorf("the receiver ended: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	err = server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
