package target

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"k8s.io/client-go/rest"
)

// MaxBody bounds the body of an answer that is not a watch, in bytes.
const MaxBody = 64 << 20

// ErrRedirect says that the server wanted to send the client, and its credentials, elsewhere.
var ErrRedirect = errors.New("the server answered with a redirect, which is not followed")

// ErrBodyTooLarge says that an answer was longer than MaxBody.
var ErrBodyTooLarge = errors.New("the answer is larger than 64 MiB")

// Harden makes every client of the config treat a redirect as an error and stop reading an answer
// at MaxBody. An API server answers with neither; who answers in its place may.
func Harden(cfg *rest.Config) {
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return &hardened{next: next, limit: MaxBody} })
}

type hardened struct {
	next  http.RoundTripper
	limit int64
}

// RoundTrip sits below the HTTP client, which would follow a redirect by itself.
func (h *hardened) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := h.next.RoundTrip(req)
	if err != nil {
		return res, err
	}
	switch res.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return nil, errors.Join(fmt.Errorf("%w (%d)", ErrRedirect, res.StatusCode), res.Body.Close())
	}
	if isWatch(req.URL) || res.StatusCode == http.StatusSwitchingProtocols {
		return res, nil
	}
	res.Body = &boundedBody{ReadCloser: res.Body, left: h.limit}
	return res, nil
}

// WrappedRoundTripper lets client-go find the transport below, to close idle connections.
func (h *hardened) WrappedRoundTripper() http.RoundTripper { return h.next }

func isWatch(u *url.URL) bool {
	watch := u.Query().Get("watch")
	return watch != "" && watch != "false" && watch != "0"
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrBodyTooLarge
	}
	// One byte more than is left tells a body that ends at the limit from one that goes on.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, ErrBodyTooLarge
	}
	return n, err
}
