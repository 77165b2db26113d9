package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/sleep"
)

// callTimeout bounds one request that is no stream: a frame of a megabyte takes two minutes at 64 kbit/s.
const callTimeout = 3 * time.Minute

// statusError is an answer of the gateway, or of something on the way to it, that is none of the protocol's.
type statusError struct {
	code       int
	retryAfter time.Duration
}

func (e *statusError) Error() string {
	switch e.code {
	case http.StatusUnauthorized:
		return "the gateway does not accept the key or the token of this agent"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return "the gateway asks to be left alone for a while"
	}
	return fmt.Sprintf("the gateway, or what is between, answers with status %d", e.code)
}

// unauthorized reports whether the gateway refused the key or the token.
func unauthorized(err error) bool {
	s, ok := errors.AsType[*statusError](err)
	return ok && s.code == http.StatusUnauthorized
}

// busy reports whether the gateway asks for another try later.
func busy(err error) bool {
	s, ok := errors.AsType[*statusError](err)
	return ok && (s.code == http.StatusTooManyRequests || s.code == http.StatusServiceUnavailable)
}

func notFound(err error) bool {
	s, ok := errors.AsType[*statusError](err)
	return ok && s.code == http.StatusNotFound
}

// gateway is the hub's end of the link.
type gateway struct {
	client *http.Client
	url    string
	agent  string // User-Agent
	token  string // of the session
	nonce  []byte // of the agent, for the session
	// hubSigns is set when the hub has signed frames of earlier sessions.
	hubSigns bool
	now      func() time.Time
	began    time.Time
	// progress is when something has arrived last, in nanoseconds since began: an edge's clock may jump by years.
	progress atomic.Int64
}

func newGateway(e link.Enrollment, transport http.RoundTripper, version string, now func() time.Time) *gateway {
	return &gateway{
		now: now, began: now(),
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		url:    strings.TrimSuffix(e.Gateway, "/"), agent: "skerry-agent/" + version,
	}
}

// encodedFrames is a message whose frames are made already.
type encodedFrames []byte

// do sends one message. The body of the answer is the caller's to close.
func (g *gateway) do(ctx context.Context, method, path string, message any) (io.ReadCloser, error) {
	var body io.Reader
	switch m := message.(type) {
	case nil:
	case encodedFrames:
		body = bytes.NewReader(m)
	default:
		frame, err := link.EncodeFrame(message)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(frame)
	}
	req, err := http.NewRequestWithContext(ctx, method, g.url+path, body)
	if err != nil {
		return nil, fmt.Errorf("cannot make a request: %w", err)
	}
	req.Header.Set("User-Agent", g.agent)
	req.Header.Set("Content-Type", link.ContentType)
	if g.token != "" {
		req.Header.Set("Authorization", "Bearer "+g.token)
	}
	res, err := g.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return progressBody{progressReader{res.Body, g.arrived}, res.Body}, nil
	}
	_ = res.Body.Close()
	e := &statusError{code: res.StatusCode}
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && n > 0 {
		e.retryAfter = min(time.Duration(n)*time.Second, time.Hour)
	}
	return nil, e
}

// progressBody is a body that records when something has arrived.
type progressBody struct {
	progressReader
	io.Closer
}

func (g *gateway) arrived() { g.progress.Store(int64(g.now().Sub(g.began))) }

// lastProgress is when something has arrived last, of whatever the gateway sends.
func (g *gateway) lastProgress() time.Time { return g.began.Add(time.Duration(g.progress.Load())) }

// withSilenceLimit returns a context that ends when nothing has arrived for a while, from now on.
func (g *gateway) withSilenceLimit(ctx context.Context, limit time.Duration) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	began := g.now()
	go func() { // ends with stop, at the latest
		for left := limit; sleep.For(ctx, left) == nil; {
			if left = limit - g.now().Sub(latest(began, g.lastProgress())); left <= 0 {
				cancel(errSilent)
				return
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

// call sends one message and reads one.
func (g *gateway) call(ctx context.Context, method, path string, message, answer any, limit int) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := g.do(ctx, method, path, message)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := link.ReadMessage(body, limit, answer); err != nil {
		return fmt.Errorf("cannot read the answer of the gateway: %w", err)
	}
	return nil
}

// errHub: what answers is not the hub that the agent belongs to.
var errHub = errors.New("what answers at the gateway's address does not have the key of the hub")

// challenge fetches a nonce for one proof.
func (g *gateway) challenge(ctx context.Context) ([]byte, error) {
	var a link.ChallengeResponse
	if err := g.call(ctx, http.MethodPost, link.ChallengePath, link.ChallengeRequest{Versions: []int{link.Version}}, &a, link.MaxProof); err != nil {
		return nil, err
	}
	switch {
	case a.Version != link.Version:
		return nil, fmt.Errorf("the hub speaks versions %v of the protocol, this agent %d: upgrade the older one", a.Versions, link.Version)
	case len(a.Nonce) != link.NonceSize:
		return nil, errors.New("the gateway sent no challenge")
	}
	return a.Nonce, nil
}

func nonce() ([]byte, error) {
	n := make([]byte, link.NonceSize)
	if _, err := rand.Read(n); err != nil {
		return nil, fmt.Errorf("cannot make a nonce: %w", err)
	}
	return n, nil
}

// join binds a key to the Cluster of an enrollment, and returns the hub's identity, which has proven the key
// that the enrollment names.
func (g *gateway) join(ctx context.Context, e link.Enrollment, key ed25519.PrivateKey, clusterUID string) (link.HubIdentity, error) {
	theirs, err := g.challenge(ctx)
	if err != nil {
		return link.HubIdentity{}, err
	}
	ours, err := nonce()
	if err != nil {
		return link.HubIdentity{}, err
	}
	j := link.JoinRequest{Cluster: e.Cluster, Token: e.Token, Key: key.Public().(ed25519.PublicKey), ClusterUID: clusterUID, Nonce: theirs, AgentNonce: ours}
	j.Signature = ed25519.Sign(key, link.JoinTranscript(e.HubID, j))
	var a link.JoinResponse
	if err := g.call(ctx, http.MethodPost, link.JoinPath, j, &a, link.MaxProof); err != nil {
		return link.HubIdentity{}, err
	}
	return a.Hub, proven(e, a.Hub, "", theirs, ours, a.Signature)
}

// proven returns an error unless the hub has the identity and the key that are pinned, and signed this exchange.
func proven(e link.Enrollment, hub link.HubIdentity, token string, theirs, ours, signature []byte) error {
	if hub.ID != e.HubID || !bytes.Equal(hub.Key, e.HubKey) || !link.Verify(e.HubKey, link.HubTranscript(hub, e.Cluster, token, theirs, ours), signature) {
		return errHub
	}
	return nil
}

// session proves the key, and has the gateway take the session's token from then on.
func (g *gateway) session(ctx context.Context, e link.Enrollment, key ed25519.PrivateKey, about link.Agent) (link.SessionResponse, error) {
	var a link.SessionResponse
	theirs, err := g.challenge(ctx)
	if err != nil {
		return a, err
	}
	ours, err := nonce()
	if err != nil {
		return a, err
	}
	s := link.SessionRequest{Cluster: e.Cluster, Key: key.Public().(ed25519.PublicKey), Nonce: theirs, AgentNonce: ours, Agent: about}
	s.Signature = ed25519.Sign(key, link.SessionTranscript(e.HubID, s))
	if err := g.call(ctx, http.MethodPost, link.SessionPath, s, &a, link.MaxMessage); err != nil {
		return a, err
	}
	if err := proven(e, a.Hub, a.Token, theirs, ours, a.Signature); err != nil {
		return link.SessionResponse{}, err
	}
	g.token, g.nonce = a.Token, ours
	return a, nil
}

func parsePEM(data []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for len(data) > 0 {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("cannot parse the certificate authority: %w", err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("the certificate authority is not in PEM format")
	}
	return all, nil
}
