package bundle

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/sleep"
)

const (
	// ticketFor is how long a ticket serves where it is not removed.
	ticketFor = 10 * time.Minute
	// noticeWithin is how long a hub may take to see the ticket.
	noticeWithin = 15 * time.Second
	// retryAfter is how long to wait where the gateway sends no Retry-After.
	retryAfter = time.Second
)

// gateway is the hub's gateway, with a ticket for one Cluster.
type gateway struct {
	hub     *factory.Hub
	cluster *v1alpha1.Cluster
	http    *http.Client
	url     string
	token   string
}

// newGateway writes the ticket. close takes it away.
func newGateway(ctx context.Context, hub *factory.Hub, c *v1alpha1.Cluster, e link.Enrollment, now time.Time) (*gateway, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CA != "" {
		config.ServerName, config.RootCAs = link.ServerName, x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(e.CA)) {
			return nil, factory.Next(errors.New("the gateway's certificate authority is not in PEM format"), "restart the hub, which writes it anew")
		}
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, DisableKeepAlives: true}
	g := &gateway{
		hub: hub, cluster: c, url: strings.TrimSuffix(e.Gateway, "/"), token: rand.Text(),
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	if err := g.annotate(ctx, ticket(g.token, now.Add(ticketFor))); err != nil {
		return nil, fmt.Errorf("cannot write a ticket onto cluster %s: %w", c.Name, err)
	}
	return g, nil
}

// ticket is the value of the annotation for a token.
func ticket(token string, until time.Time) *string {
	hash := link.HashToken(token)
	value := hex.EncodeToString(hash[:]) + "." + strconv.FormatInt(until.Unix(), 10)
	return &value
}

func (g *gateway) annotate(ctx context.Context, value *string) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": g.cluster.UID, "annotations": map[string]*string{v1alpha1.MediumTicketAnnotation: value}}})
	if err != nil {
		return fmt.Errorf("cannot encode: %w", err)
	}
	return g.hub.Patch(ctx, g.cluster, client.RawPatch(types.MergePatchType, body), client.FieldOwner(apply.FieldManager))
}

// close takes the ticket away. One that stays serves for minutes, and who has its token alone.
func (g *gateway) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = g.annotate(ctx, nil)
}

// fetchUpdate returns the file, which is the caller's to close.
func (g *gateway) fetchUpdate(ctx context.Context) (io.ReadCloser, error) {
	res, err := g.do(ctx, http.MethodGet, link.MediumUpdatePath, nil)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// sendReport hands in a report.
func (g *gateway) sendReport(ctx context.Context, file io.ReadSeeker) (link.MediumResponse, error) {
	var answer link.MediumResponse
	res, err := g.do(ctx, http.MethodPost, link.MediumReportPath, file)
	if err != nil {
		return answer, err
	}
	defer res.Body.Close()
	if err := link.ReadMessage(res.Body, link.MaxProof, &answer); err != nil {
		return answer, fmt.Errorf("cannot read the answer of the gateway: %w", err)
	}
	return answer, nil
}

// do asks until the hub has seen the ticket and is ready to answer.
func (g *gateway) do(ctx context.Context, method, path string, file io.ReadSeeker) (*http.Response, error) {
	noticed, cancel := context.WithTimeout(ctx, noticeWithin)
	defer cancel()
	for {
		res, err := g.once(ctx, method, path, file)
		if err != nil {
			return nil, factory.Next(factory.OtherServer(fmt.Errorf("cannot reach the hub's gateway: %w", err)), "name the address at which it is reached from here with --gateway")
		}
		if res.StatusCode == http.StatusOK {
			return res, nil
		}
		err = refusalOf(res)
		wait := retryAfter
		switch {
		case res.StatusCode == http.StatusServiceUnavailable, res.StatusCode == http.StatusTooManyRequests:
			if n, bad := strconv.Atoi(res.Header.Get("Retry-After")); bad == nil && n > 0 {
				wait = time.Duration(min(n, 10)) * time.Second
			}
		case res.StatusCode == http.StatusUnauthorized && noticed.Err() == nil:
			wait = retryAfter / 5
		default:
			return nil, err
		}
		if stopped := sleep.For(ctx, wait); stopped != nil {
			return nil, errors.Join(err, stopped)
		}
	}
}

func (g *gateway) once(ctx context.Context, method, path string, file io.ReadSeeker) (*http.Response, error) {
	var body io.Reader
	if file != nil {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("cannot read the file: %w", err)
		}
		body = io.NopCloser(file) // the transport would close it
	}
	req, err := http.NewRequestWithContext(ctx, method, g.url+path, body)
	if err != nil {
		return nil, fmt.Errorf("cannot make a request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+g.token)
	req.Header.Set(link.ClusterHeader, g.cluster.Namespace+"/"+g.cluster.Name)
	return g.http.Do(req)
}

// refusalOf returns what an answer that is none means, and closes it.
func refusalOf(res *http.Response) error {
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusConflict:
		var answer link.MediumResponse
		if err := link.ReadMessage(res.Body, link.MaxProof, &answer); err == nil && answer.Reason != "" {
			return fmt.Errorf("refused, and nothing was changed: %s: %s", answer.Reason, answer.Message)
		}
	case http.StatusUnauthorized:
		return factory.Next(errors.New("the gateway does not accept the ticket on the Cluster"), "check that this is the gateway of the hub, that the hub works, and that the clocks of both agree")
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return factory.Next(errors.New("the hub is not ready to answer: it has just started, or is rendering"), "see 'skerry status'")
	case http.StatusNotFound:
		return factory.Next(errors.New("the hub does not know this request"), "upgrade the hub: 'skerry check' names the versions")
	}
	return factory.Next(fmt.Errorf("the gateway, or what is between, answers with status %d", res.StatusCode), "check that --gateway leads to the hub's gateway, past any proxy")
}
