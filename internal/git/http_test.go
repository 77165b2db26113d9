package git

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

// lossy loses the connections of the first requests, and answers those after them.
type lossy struct {
	errs []error
	asks int
}

func (l *lossy) RoundTrip(*http.Request) (*http.Response, error) {
	l.asks++
	if l.asks <= len(l.errs) {
		return nil, l.errs[l.asks-1]
	}
	return httptest.NewRecorder().Result(), nil
}

// TestALostConnectionIsTriedAgain, where that sends nothing twice, and a reason that is known is no loss.
func TestALostConnectionIsTriedAgain(t *testing.T) {
	lost := fmt.Errorf("net/http: HTTP/1.x transport connection broken: %w", net.ErrClosed)
	reset := &net.OpError{Op: "write", Err: syscall.EPIPE}
	refused := &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}
	for name, c := range map[string]struct {
		method string
		errs   []error
		asks   int
		want   error
	}{
		"closed, then answered":  {http.MethodGet, []error{lost}, 2, nil},
		"broken, then refused":   {http.MethodGet, []error{reset, refused}, 2, refused},
		"refused":                {http.MethodGet, []error{refused}, 1, refused},
		"closed again and again": {http.MethodGet, []error{lost, lost, lost, lost}, 3, net.ErrClosed},
		"a fetch":                {http.MethodPost, []error{lost}, 1, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			base := &lossy{errs: c.errs}
			g := &redirectGuard{base: base, limits: Limits{References: 1 << 10}}
			res, err := g.RoundTrip(httptest.NewRequest(c.method, "https://git.example.com/r.git/info/refs", strings.NewReader("")))
			if err == nil {
				err = res.Body.Close()
			}
			if !errors.Is(err, c.want) || base.asks != c.asks {
				t.Errorf("asked %d times, then %v; want %d, %v", base.asks, err, c.asks, c.want)
			}
		})
	}
}
