package linkproxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// server is an HTTP server on an address of its own.
type server struct {
	http    *http.Server
	address string
	ended   chan struct{}
}

func serve(handler http.Handler, certificate *tls.Certificate) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{http: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}, address: l.Addr().String(), ended: make(chan struct{})}
	if certificate != nil {
		s.http.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*certificate}}
	}
	go func() { // ends with Close
		defer close(s.ended)
		if certificate == nil {
			_ = s.http.Serve(l)
		} else {
			_ = s.http.ServeTLS(l, "", "")
		}
	}()
	return s, nil
}

func (s *server) close() error {
	err := s.http.Close()
	<-s.ended
	return err
}

// Tunnels is an HTTP proxy as companies have one: it opens tunnels (CONNECT) to the hosts that it knows, and refuses
// everything else.
type Tunnels struct {
	server *server
	opened atomic.Int64
	wg     sync.WaitGroup

	mu    sync.Mutex // guards what follows
	hosts map[string]string
	conns map[net.Conn]bool // nil when the proxy is closed
}

// ListenTunnels starts a proxy that knows no host. Close ends it.
func ListenTunnels() (*Tunnels, error) {
	t := &Tunnels{hosts: map[string]string{}, conns: map[net.Conn]bool{}}
	var err error
	t.server, err = serve(t, nil)
	return t, err
}

// URL is what HTTPS_PROXY names.
func (t *Tunnels) URL() string { return "http://" + t.server.address }

// Opened is how many tunnels were opened.
func (t *Tunnels) Opened() int64 { return t.opened.Load() }

// Lead opens tunnels to "host:port" to an address.
func (t *Tunnels) Lead(host, address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hosts[host] = address
}

// Close ends the proxy and all tunnels.
func (t *Tunnels) Close() error {
	err := t.server.close()
	t.mu.Lock()
	for c := range t.conns {
		_ = c.Close()
	}
	t.conns = nil
	t.mu.Unlock()
	t.wg.Wait()
	return err
}

// ServeHTTP implements http.Handler.
func (t *Tunnels) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	address := t.hosts[r.Host]
	t.mu.Unlock()
	if r.Method != http.MethodConnect || address == "" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	out, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(r.Context(), "tcp", address)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	in, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = out.Close()
		return
	}
	if !t.add(in, out) {
		return
	}
	t.opened.Add(1)
	_, _ = io.WriteString(in, "HTTP/1.1 200 OK\r\n\r\n")
	done := func() { t.remove(in, out) }
	t.wg.Go(func() { defer done(); _, _ = io.Copy(out, in) }) // both end with either connection
	t.wg.Go(func() { defer done(); _, _ = io.Copy(in, out) })
}

func (t *Tunnels) add(conns ...net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range conns {
		if t.conns == nil {
			_ = c.Close()
			continue
		}
		t.conns[c] = true
	}
	return t.conns != nil
}

func (t *Tunnels) remove(conns ...net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(t.conns, c)
	}
}

// Ingress is a reverse proxy that terminates TLS, and passes requests on in the clear.
type Ingress struct {
	// Certificate is what it shows, in PEM; it signed itself. Key is its key.
	Certificate, Key []byte
	server           *server
}

// ListenIngress starts one for a host, to an address. Close ends it.
func ListenIngress(host, to string) (*Ingress, error) {
	pair, certificate, key, err := selfSigned(host)
	if err != nil {
		return nil, err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: to}) },
		Transport:     &http.Transport{},
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0), // requests of agents that were killed
	}
	s, err := serve(proxy, pair)
	return &Ingress{certificate, key, s}, err
}

// Address is "host:port" of the ingress.
func (i *Ingress) Address() string { return i.server.address }

// Close ends the ingress.
func (i *Ingress) Close() error { return i.server.close() }

func selfSigned(host string) (pair *tls.Certificate, certificate, private []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, nil, err
	}
	pair = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return pair, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}
