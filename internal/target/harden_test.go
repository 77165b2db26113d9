package target

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

func hardenedClient(t *testing.T, url string) *http.Client {
	t.Helper()
	cfg := &rest.Config{Host: url, BearerToken: secret}
	Harden(cfg)
	c, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func get(t *testing.T, c *http.Client, url string) ([]byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

func TestHardenRefusesRedirects(t *testing.T) {
	reached := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer elsewhere.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, code))
		_, err := get(t, hardenedClient(t, server.URL), server.URL+"/api")
		server.Close()
		if !errors.Is(err, ErrRedirect) || strings.Contains(err.Error(), secret) {
			t.Errorf("%d: error %v", code, err)
		}
	}
	if reached {
		t.Error("a redirect was followed")
	}
}

func TestBoundedBody(t *testing.T) {
	tests := map[string]struct {
		body  string
		query string
		fails bool
	}{
		"below the limit":       {body: "1234567"},
		"at the limit":          {body: "12345678"},
		"beyond the limit":      {body: "123456789", fails: true},
		"a watch has no limit":  {body: strings.Repeat("x", 100), query: "?watch=true"},
		"watch=false is no one": {body: strings.Repeat("x", 100), query: "?watch=false", fails: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tt.body) }))
			defer server.Close()
			c := &http.Client{Transport: &hardened{next: http.DefaultTransport, limit: 8}}
			got, err := get(t, c, server.URL+"/"+tt.query)
			if tt.fails != errors.Is(err, ErrBodyTooLarge) {
				t.Fatalf("error %v", err)
			}
			if !tt.fails && string(got) != tt.body {
				t.Errorf("body %q", got)
			}
		})
	}
}
