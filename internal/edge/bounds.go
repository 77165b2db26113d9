package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// What no API server answers. A proxy that answers in its place may, and so may a server that was taken over.
var (
	ErrRedirect = errors.New("the server answers with a redirect, which is not followed")
	ErrNotAPI   = errors.New("what answers is not an API server")
	ErrWebPage  = errors.New("what answers is a web page, not an API server")
	ErrTooLarge = errors.New("the answer is larger than any that was asked for")
	errLongName = fmt.Errorf("%w: it has a name that no API server would take", ErrTooLarge)
	ErrTooMany  = fmt.Errorf("it shows more than %d objects with an owner label", MaxObjects)
)

// Unexpected names what is wrong with an answer that no API server gives; "" when nothing is.
func Unexpected(err error) string {
	for _, e := range []error{ErrRedirect, ErrWebPage, ErrNotAPI, ErrTooLarge, ErrTooMany} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return ""
}

const (
	// maxAnswer bounds the answer to a request for one thing: an object has at most 1.5 MiB.
	maxAnswer = 4 << 20
	// maxPage bounds one page of a list.
	maxPage = 16 << 20
	// maxElements bounds the elements of an answer of which only some fields are read: its JSON objects, list entries
	// and fields. Decoded, an empty object or string of two bytes takes up to 300.
	maxElements = 300_000
	// maxName bounds the names of objects, kinds, versions and resources, in bytes, as API servers do. Names of RBAC
	// may have letters of any script.
	maxName = 253
	// MaxObjects bounds what is kept of one cluster.
	MaxObjects = 50_000
	// A watch may bring flowBurst bytes at once and flowRate a second from then on: as many as a
	// list would at its start, and more than a cluster that means well later.
	flowBurst = 32 << 20
	flowRate  = 1 << 20
	// maxRetryAfter bounds how long a cluster may ask to be left alone before the same request is
	// repeated. A longer wait is the engine's business, which has others.
	maxRetryAfter = 2
	// maxHeader bounds the header of an answer, and headerTimeout the wait for it.
	maxHeader     = 128 << 10
	headerTimeout = 30 * time.Second
)

// bounds keeps what comes back within what can have been asked for. It counts what is left after
// decompression.
type bounds struct {
	next   http.RoundTripper
	budget *budget
}

func (b *bounds) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodGet {
		if err := b.budget.reads.Wait(req.Context()); err != nil {
			return nil, err
		}
	}
	res, err := b.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if err := unexpected(res); err != nil {
		return nil, errors.Join(err, res.Body.Close())
	}
	if after, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && after > maxRetryAfter {
		res.Header.Set("Retry-After", strconv.Itoa(maxRetryAfter))
	}
	switch query := req.URL.Query(); {
	case isWatch(query):
		res.Request = nil                                                                                    // which would stay in memory for as long as the watch lasts
		res.Body = &throttledBody{ReadCloser: res.Body, ctx: req.Context(), have: flowBurst, at: time.Now()} //nolint:forbidigo // a rate needs the time
	case req.Method == http.MethodGet && (query.Has("limit") || query.Has("labelSelector")):
		res.Body = b.budget.reserved(req.Context(), &limitedBody{ReadCloser: res.Body, left: maxPage})
	default:
		res.Body = b.budget.reserved(req.Context(), &limitedBody{ReadCloser: res.Body, left: maxAnswer})
	}
	return res, nil
}

// WrappedRoundTripper lets client-go find the transport below.
func (b *bounds) WrappedRoundTripper() http.RoundTripper { return b.next }

func unexpected(res *http.Response) error {
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400 && res.StatusCode != http.StatusNotModified:
		return fmt.Errorf("%w (%d)", ErrRedirect, res.StatusCode)
	case res.StatusCode < 300 && strings.HasPrefix(res.Header.Get("Content-Type"), "text/html"):
		return ErrWebPage
	}
	return nil
}

func isWatch(query url.Values) bool {
	watch := query.Get("watch")
	return watch != "" && watch != "false" && watch != "0"
}

// countElements counts the opening braces and commas of a JSON text that are not in a string. An answer may hold long
// texts with many: descriptions, and the annotation in which kubectl keeps what was applied last.
func countElements(raw []byte) (n int) {
	scan(raw, func(c byte, _ int) {
		if c == '{' || c == ',' {
			n++
		}
	})
	return n
}

// listEntries counts the commas between the entries of the lists that are fields of a JSON object: a few more than
// its longest list has. Undecoded, an entry of one byte takes forty.
func listEntries(raw []byte) (n int) {
	scan(raw, func(c byte, depth int) {
		if c == ',' && depth == 2 {
			n++
		}
	})
	return n
}

// scan calls a function for each character of a JSON text that is not in a string, with the number of objects
// and lists that it stands in.
func scan(raw []byte, visit func(c byte, depth int)) {
	quoted, depth := false, 0
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case quoted:
		case c == '{', c == '[':
			depth++
			visit(c, depth)
		case c == '}', c == ']':
			depth--
		case c == ',':
			visit(c, depth)
		}
	}
}

// limitedBody is a body that ends with an error when it is too long.
type limitedBody struct {
	io.ReadCloser
	left int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrTooLarge
	}
	// One byte more than is left distinguishes a body that ends at the limit from one that goes on.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}

// throttledBody is the body of a watch: it has no end, but what comes faster than it can be needed waits in
// the network, and not in the hub.
type throttledBody struct {
	io.ReadCloser
	ctx  context.Context //nolint:containedctx // of the request, whose end ends the wait
	have int             // bytes that may be read at once
	at   time.Time
}

func (f *throttledBody) Read(p []byte) (int, error) {
	now := time.Now() //nolint:forbidigo // a rate needs the time
	f.have = min(flowBurst, f.have+int(now.Sub(f.at).Seconds()*flowRate))
	f.at = now
	if f.have <= 0 {
		if err := f.wait(); err != nil {
			return 0, err
		}
	}
	n, err := f.ReadCloser.Read(p)
	f.have -= n
	return n, err
}

// wait waits until more may be read.
//
//go:noinline // or its frame would be part of that of each watch at rest
func (f *throttledBody) wait() error {
	wait := time.NewTimer(time.Duration(-f.have+64<<10) * time.Second / flowRate)
	defer wait.Stop()
	select {
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	case <-wait.C:
		return nil
	}
}
