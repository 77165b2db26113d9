package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"

	"github.com/skerry-dev/skerry/internal/link"
)

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 15 * time.Minute // of a connection without a stream; longer than a heartbeat
	maxHeader     = 16 << 10
	// maxStreams bounds the requests of one connection at a time: a stream, a report, and downloads.
	maxStreams = 16
	// headerTable bounds what is remembered of the headers of a connection's requests. What an agent repeats takes some
	// 320 bytes as HPACK counts them. The default of 4 KiB would be filled with lengths and the paths of bundles, and its
	// maps and lists take three times as much memory. Nothing fits into an answerTable: an answer to a report has no header
	// but its length, which costs three bytes more than one that is remembered, and the maps are never made.
	headerTable, answerTable = 512, 1
	// maxFrame is the least that HTTP/2 allows. A connection keeps a buffer for the largest frame that has come on it, which
	// without a limit is a report of 64 KiB.
	maxFrame = 16 << 10
	// unacknowledged is how long the network may take to acknowledge a ping until the connection counts as dead.
	unacknowledged = 45 * time.Second
	// shutdownGrace is how long streams have to send their last frame.
	shutdownGrace = 2 * time.Second
)

// ServeOptions are how a gateway listens.
type ServeOptions struct {
	// Address is "host:port".
	Address string
	// Listener is used in place of Address when it is set. Serve closes it.
	Listener net.Listener
	// OwnCertificate is the certificate for link.ServerName, shown to agents that ask for that name, and to all when there is no
	// other. Certificate returns another one, for all other callers; nil for none. Without both, the gateway serves without
	// TLS, behind an ingress that terminates it.
	OwnCertificate *tls.Certificate
	Certificate    func() (*tls.Certificate, error)
	// Listening is called with the address, before Ready; may be nil.
	Listening func(net.Addr)
	// Ready returns when agents are to be answered, or ctx is done; nil for at once. Connections that are opened before wait
	// in the backlog of the listener.
	Ready func(ctx context.Context)
}

// Serve answers agents until ctx is done. Streams have ended when it returns.
func (g *Gateway) Serve(ctx context.Context, o ServeOptions) error {
	listener, err := o.listen(ctx)
	if err != nil {
		return err
	}
	if o.Listening != nil {
		o.Listening(listener.Addr())
	}
	if o.Ready != nil {
		o.Ready(ctx)
	}
	server, limited := g.server(o), newLimitListener(listener, g.limits.conns, g.o.Now)
	listener = limited
	if o.overTLS() {
		listener = newTLSListener(ctx, limited, server.TLSConfig, handshakeSlots(), g.o.Log)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }() // ends with the server
	ticking, stop := context.WithCancel(ctx)
	defer stop()
	go g.Run(ticking)
	select {
	case err := <-ended:
		return fmt.Errorf("the gateway ended: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	g.Stop(grace)
	err = server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func (o ServeOptions) listen(ctx context.Context) (net.Listener, error) {
	if o.Listener != nil {
		return o.Listener, nil
	}
	// TCP's own keepalive would cost an idle edge more than everything else together.
	config := net.ListenConfig{KeepAlive: -1, Control: boundUnacknowledged}
	listener, err := config.Listen(ctx, "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("the gateway cannot listen: %w", err)
	}
	return listener, nil
}

func (o ServeOptions) overTLS() bool { return o.OwnCertificate != nil || o.Certificate != nil }

// certificate chooses by the name that the caller asks for: agents that joined before the gateway was given another
// certificate have pinned the hub's own authority.
func (o ServeOptions) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if o.OwnCertificate != nil && (o.Certificate == nil || hello.ServerName == link.ServerName) {
		return o.OwnCertificate, nil
	}
	return o.Certificate()
}

func (g *Gateway) server(o ServeOptions) *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(o.overTLS())
	protocols.SetUnencryptedHTTP2(!o.overTLS())
	server := &http.Server{
		Handler: g.Handler(), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ConnContext: withConn,
		Protocols:   protocols, HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: 1 << 16, MaxReceiveBufferPerStream: 1 << 16, MaxReadFrameSize: maxFrame,
			MaxDecoderHeaderTableSize: headerTable, MaxEncoderHeaderTableSize: answerTable,
		},
		DisableClientPriority: true,                                                                 // agents have none, and what keeps them takes memory
		ErrorLog:              slog.NewLogLogger(logr.ToSlogHandler(g.o.Log.V(1)), slog.LevelDebug), // an unauthenticated caller can cause it at will
	}
	if o.overTLS() {
		server.TLSConfig = &tls.Config{
			MinVersion:     tls.VersionTLS13,
			GetCertificate: o.certificate,
			NextProtos:     []string{"h2", "http/1.1"},
		}
	}
	return server
}
