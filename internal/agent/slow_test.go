package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/skerry-dev/skerry/internal/link"
)

// answering is a network that answers each request with a body.
type answering func(*http.Request) io.Reader

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(a(r)), Request: r}, nil
}

// slow brings a byte in each interval, and waits for ever after the last.
type slow struct {
	ctx   context.Context // of the request, whose end ends the wait
	data  *bytes.Reader
	every time.Duration
}

func (s slow) Read(p []byte) (int, error) {
	if s.data.Len() == 0 {
		<-s.ctx.Done()
		return 0, s.ctx.Err()
	}
	select {
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	case <-time.After(s.every):
		return s.data.Read(p[:1])
	}
}

// TestALargeFrameOnASlowLinkIsNoSilence: it takes longer than the gateway may be silent.
func TestALargeFrameOnASlowLinkIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frame, err := link.EncodeFrame(link.Down{GoAway: &link.GoAway{Reason: strings.Repeat("x", 200)}})
		if err != nil {
			t.Fatal(err)
		}
		g := newGateway(link.Enrollment{}, answering(func(r *http.Request) io.Reader { return slow{r.Context(), bytes.NewReader(frame), time.Minute} }), "v", time.Now)
		s := &session{a: &agent{now: time.Now, log: logr.Discard(), reportDue: make(chan struct{}, 1)}, gateway: g, keepAlive: link.DefaultKeepAlive, disconnect: func() {}}
		err = s.stream(t.Context())
		if goAway, ok := errors.AsType[*goAwayError](err); !ok || len(goAway.Reason) != 200 {
			t.Errorf("the stream ended with %v", err)
		}
		g.client.Transport = answering(func(r *http.Request) io.Reader { return slow{r.Context(), bytes.NewReader(frame[:10]), time.Minute} })
		if err := s.stream(t.Context()); !errors.Is(err, errSilent) {
			t.Errorf("a frame of which nothing comes any more: %v", err)
		}
	})
}

// TestAnAnswerMayWaitBehindADownload, and not for a link on which nothing moves.
func TestAnAnswerMayWaitBehindADownload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{now: time.Now, began: time.Now()}
		ctx, stop := g.withSilenceLimit(t.Context(), reportTimeout)
		defer stop()
		for range 10 {
			time.Sleep(reportTimeout / 2)
			g.arrived()
		}
		if ctx.Err() != nil {
			t.Error("it counts as silent while something arrives")
		}
		time.Sleep(reportTimeout)
		synctest.Wait()
		if !errors.Is(context.Cause(ctx), errSilent) {
			t.Errorf("nothing arrives: %v", context.Cause(ctx))
		}
	})
}
