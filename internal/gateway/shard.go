package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
)

// serveShard sends a bundle to another shard of the hub, which proves that it has the hub's key.
func (g *Gateway) serveShard(w http.ResponseWriter, r *http.Request) {
	var ask link.ShardRequest
	release, ok := g.admitUnauthenticated(w, r, &ask)
	if !ok {
		return
	}
	genuine := g.nonces.valid(ask.Nonce) && len(ask.ShardNonce) == link.NonceSize && link.Verify(g.o.Hub.Key, link.ShardTranscript(g.o.Hub.ID, ask), ask.Signature) && g.nonces.consume(ask.Nonce)
	release()
	if !genuine {
		refuse(w)
		return
	}
	markAuthenticated(r.Context(), engine.Key{})
	b, err := g.o.Stored.Get(r.Context(), ask.Digest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		w.WriteHeader(http.StatusNotFound)
		return
	case err != nil:
		g.o.Log.Error(err, "cannot serve a bundle to another shard of the hub")
		retryLater(w, http.StatusServiceUnavailable, 2)
		return
	}
	g.setReadDeadline(w, 0) // that of the body would end the connection
	defer g.setReadDeadline(w, readTimeout)
	answer := link.ShardResponse{Confidential: b.Confidential, Size: int64(b.Size())}
	answer.Signature = g.sign(link.ShardResponseTranscript(g.o.Hub.ID, ask, answer))
	g.write(w, answer)
	for piece := range slices.Chunk(b.Encode(), link.MaxChunk) {
		frame, err := link.AppendFrame(nil, piece)
		if err != nil || g.writeAll(w, frame) != nil {
			return
		}
	}
	_ = g.writeAll(w, link.EmptyFrame()) // without it, the answer was cut off
}

// Store keeps bundles.
type Store interface {
	engine.Bundles
	// Put stores a bundle and returns its digest.
	Put(b *object.Bundle) (string, error)
}

// RemoteBundlesOptions are how one shard of a divided hub gets bundles from another. All but Proxy are required.
type RemoteBundlesOptions struct {
	// URL is that of the other shard's gateway.
	URL string
	// CA is the certificate, in PEM, that has signed the one that the gateway makes for itself. One that it was given is
	// verified by the authorities of the system.
	CA []byte
	// Hub is the identity of both, and Key its public key's private half.
	Hub link.HubIdentity
	Key ed25519.PrivateKey
	// Store is this shard's own.
	Store Store
	// Proxy returns the proxy for a request; nil for none.
	Proxy func(*http.Request) (*url.URL, error)
}

// RemoteBundles are the bundles of one shard of a divided hub: those in its own store, and those that it fetches from the
// shard that renders. It is safe for concurrent use.
type RemoteBundles struct {
	o       RemoteBundlesOptions
	client  *http.Client
	fetches singleflight.Group
}

var _ engine.Bundles = (*RemoteBundles)(nil)

// fetchTimeout bounds one bundle.
const fetchTimeout = 2 * time.Minute

// maxBundle bounds a bundle that another shard sends, in bytes.
const maxBundle = 1 << 30

// NewRemoteBundles returns RemoteBundles that have fetched none yet.
func NewRemoteBundles(o RemoteBundlesOptions) (*RemoteBundles, error) {
	pinned := x509.NewCertPool()
	if !pinned.AppendCertsFromPEM(o.CA) {
		return nil, errors.New("the gateway's authority is not in PEM format")
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("cannot parse the URL of the gateway: %w", err)
	}
	o.URL = strings.TrimSuffix(o.URL, "/")
	return &RemoteBundles{o: o, client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: shardTLS(pinned, u.Hostname()), ForceAttemptHTTP2: true, Proxy: o.Proxy, ResponseHeaderTimeout: fetchTimeout, IdleConnTimeout: time.Minute,
	}}}, nil
}

// shardTLS accepts the certificate that a gateway makes for itself, and one that it was given, or an ingress was, for its
// host.
func shardTLS(pinned *x509.CertPool, host string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: host,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies in its place
		VerifyConnection: func(s tls.ConnectionState) error {
			between := x509.NewCertPool()
			for _, c := range s.PeerCertificates[1:] {
				between.AddCert(c)
			}
			leaf := s.PeerCertificates[0]
			_, own := leaf.Verify(x509.VerifyOptions{DNSName: link.ServerName, Roots: pinned, Intermediates: between})
			if own == nil {
				return nil
			}
			_, err := leaf.Verify(x509.VerifyOptions{DNSName: host, Intermediates: between})
			return err
		},
	}
}

// Get implements engine.Bundles.
func (p *RemoteBundles) Get(ctx context.Context, digest string) (*object.Bundle, error) {
	b, err := p.o.Store.Get(ctx, digest)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	fetched := p.fetches.DoChan(digest, func() (any, error) { // others may wait for the same
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		return p.fetch(ctx, digest)
	})
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot get bundle %.80q from the shard that renders: %w", digest, ctx.Err())
	case got := <-fetched:
		if got.Err != nil {
			return nil, fmt.Errorf("cannot get bundle %.80q from the shard that renders: %w", digest, got.Err)
		}
		b, _ := got.Val.(*object.Bundle)
		return b, nil
	}
}

// fetch gets a bundle, and stores it if it has the digest.
func (p *RemoteBundles) fetch(ctx context.Context, digest string) (*object.Bundle, error) {
	if b, err := p.o.Store.Get(ctx, digest); err == nil { // it came while the caller looked
		return b, nil
	}
	ask := link.ShardRequest{Digest: digest, ShardNonce: make([]byte, link.NonceSize)}
	if _, err := rand.Read(ask.ShardNonce); err != nil {
		return nil, fmt.Errorf("cannot make a nonce: %w", err)
	}
	var challenge link.ChallengeResponse
	body, err := p.do(ctx, link.ChallengePath, link.ChallengeRequest{Versions: []int{link.Version}})
	if err != nil {
		return nil, err
	}
	err = link.ReadMessage(body, link.MaxProof, &challenge)
	_ = body.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot read a challenge: %w", err)
	}
	ask.Nonce = challenge.Nonce
	ask.Signature = ed25519.Sign(p.o.Key, link.ShardTranscript(p.o.Hub.ID, ask))
	if body, err = p.do(ctx, link.ShardPath, ask); err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := p.read(body, ask)
	if err != nil {
		return nil, err
	}
	stored, err := p.o.Store.Put(b)
	switch {
	case err != nil:
		return nil, err
	case stored != digest:
		return nil, fmt.Errorf("the bundle that came is %s", stored)
	}
	return p.o.Store.Get(ctx, digest)
}

// read reads an answer of the hub.
func (p *RemoteBundles) read(from io.Reader, ask link.ShardRequest) (*object.Bundle, error) {
	var answer link.ShardResponse
	if err := link.ReadMessage(from, link.MaxProof, &answer); err != nil {
		return nil, fmt.Errorf("cannot read the answer: %w", err)
	}
	if !link.Verify(p.o.Hub.Key, link.ShardResponseTranscript(p.o.Hub.ID, ask, answer), answer.Signature) {
		return nil, errors.New("what answers does not have the key of the hub")
	}
	if answer.Size < 0 || answer.Size > maxBundle {
		return nil, link.ErrTooLarge
	}
	var encoded []byte
	for {
		payload, err := link.ReadFrame(from, link.MaxChunk)
		if err != nil {
			return nil, fmt.Errorf("the bundle was cut off: %w", err)
		}
		if len(payload) == 0 {
			break
		}
		if encoded = append(encoded, payload...); int64(len(encoded)) > answer.Size {
			return nil, link.ErrTooLarge
		}
	}
	b, err := object.DecodeBundle(encoded)
	if err != nil {
		return nil, err
	}
	b.Confidential = answer.Confidential || b.HoldsSecret()
	return &b, nil
}

// do sends one message. The body of the answer is the caller's to close.
func (p *RemoteBundles) do(ctx context.Context, path string, message any) (io.ReadCloser, error) {
	frame, err := link.EncodeFrame(message)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.o.URL+path, bytes.NewReader(frame))
	if err != nil {
		return nil, fmt.Errorf("cannot make a request: %w", err)
	}
	req.Header.Set("Content-Type", link.ContentType)
	res, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	switch res.StatusCode {
	case http.StatusOK:
		return res.Body, nil
	case http.StatusNotFound:
		err = fs.ErrNotExist
	case http.StatusUnauthorized:
		err = errors.New("what answers is not the shard that renders, or has another key")
	default:
		err = fmt.Errorf("the shard that renders answers with %s", res.Status)
	}
	_ = res.Body.Close()
	return nil, err
}
