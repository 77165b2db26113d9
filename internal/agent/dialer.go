package agent

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
)

// idleTimeout is above every heartbeat, so that an idle agent keeps the connection that it has: a new one costs
// more than a hundred heartbeats.
const idleTimeout = 25 * time.Hour

// newTransport returns how the agent reaches its gateway: over HTTP/2, or 1.1 where a proxy speaks nothing
// else, and through the proxy that the environment names. TCP and HTTP/2 send no keepalives of their own: the
// gateway's frames are what shows that the link lives.
func newTransport(e link.Enrollment, proxy func(*http.Request) (*url.URL, error)) (*http.Transport, error) {
	config, err := tlsConfig(e)
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		Proxy:                 proxy,
		DialContext:           (&net.Dialer{Timeout: 20 * time.Second, KeepAlive: -1}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   30 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   2,
		IdleConnTimeout:       idleTimeout,
		DisableCompression:    true, // frames are compressed already
	}, nil
}

// tlsConfig verifies the gateway's certificate by the authority that is pinned, or those of the system, and by
// its name. The time in a certificate is not looked at: a board without a battery starts in 1970, and one that
// was cut off for years has an authority's certificate that has expired since. What time would protect from,
// a stolen key of an old certificate, the hub's own key does: no session begins without its signature.
func tlsConfig(e link.Enrollment) (*tls.Config, error) {
	u, err := url.Parse(e.Gateway)
	if err != nil {
		return nil, fmt.Errorf("cannot parse the URL of the gateway: %w", err)
	}
	serverName := u.Hostname()
	var roots *x509.CertPool
	var authorities []*x509.Certificate
	if e.CA != "" {
		serverName, roots = link.ServerName, x509.NewCertPool()
		if authorities, err = parsePEM([]byte(e.CA)); err != nil {
			return nil, err
		}
		for _, c := range authorities {
			roots.AddCert(c)
		}
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: serverName,
		// VerifyConnection verifies in its place, at a time of the certificate's own. It is called for resumed
		// sessions as well.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(s tls.ConnectionState) error {
			return verifyChain(s.PeerCertificates, authorities, roots, serverName)
		},
		ClientSessionCache: tls.NewLRUClientSessionCache(2),
	}, nil
}

// verifyChain verifies a chain at a moment at which all of it was valid: when its leaf or one of the
// authorities began to be, or when the leaf ends.
func verifyChain(chain, authorities []*x509.Certificate, roots *x509.CertPool, serverName string) error {
	if len(chain) == 0 {
		return errors.New("the gateway shows no certificate")
	}
	intermediates := x509.NewCertPool()
	times := []time.Time{chain[0].NotBefore, chain[0].NotAfter}
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
		times = append(times, c.NotBefore)
	}
	for _, c := range authorities {
		times = append(times, c.NotBefore)
	}
	var first error
	for _, at := range times {
		_, err := chain[0].Verify(x509.VerifyOptions{DNSName: serverName, Roots: roots, Intermediates: intermediates, CurrentTime: at})
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return fmt.Errorf("the certificate of the gateway is not one of the hub's: %w", first)
}
