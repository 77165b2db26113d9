package edge

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// resting is the body of a watch that brings a bookmark and then nothing.
type resting struct {
	ctx  context.Context
	text string
	rest *sync.WaitGroup
}

func (r *resting) Read(p []byte) (int, error) {
	if r.text == "" {
		return r.wait()
	}
	n := copy(p, r.text)
	r.text = r.text[n:]
	return n, nil
}

// wait has about as large a frame as those of net/http and its pipe together.
//
//go:noinline
func (r *resting) wait() (int, error) {
	var frame [256]byte
	r.rest.Done()
	<-r.ctx.Done()
	return int(frame[len(r.text)]), io.EOF
}

func (r *resting) Close() error { return nil }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestWatchAtRestHasASmallStack: the hub has eleven watches for each cluster, so their stacks are a good part of its memory.
func TestWatchAtRestHasASmallStack(t *testing.T) {
	if build, ok := debug.ReadBuildInfo(); ok && slices.Contains(build.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector makes frames larger")
	}
	const watches = 300
	var atRest, ended sync.WaitGroup
	c, err := New(&rest.Config{Host: "https://edge.invalid"}, Options{Inflight: 1})
	if err != nil {
		t.Fatal(err)
	}
	c.rest, err = rest.UnversionedRESTClientForConfigAndClient(&rest.Config{Host: "https://edge.invalid", QPS: -1, ContentConfig: rest.ContentConfig{NegotiatedSerializer: Codecs()}},
		&http.Client{Transport: &observer{next: &bounds{budget: c.budget, next: roundTripper(func(r *http.Request) (*http.Response, error) {
			body := &resting{ctx: r.Context(), text: bookmark("7", true), rest: &atRest}
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: body, Request: r}, nil
		})}, outcome: func(error) {}}})
	if err != nil {
		t.Fatal(err)
	}
	before := stacks()
	ctx, cancel := context.WithCancel(t.Context())
	atRest.Add(watches)
	for range watches {
		told := make(notes, 10)
		ended.Go(c.Watcher(ctx, Mapping{GVK: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, Resource: "configmaps"}, "", told))
	}
	atRest.Wait()
	if each := (stacks() - before) / watches; each > 5<<10 {
		t.Errorf("a watch at rest has a stack of %d bytes", each)
	}
	cancel()
	ended.Wait()
}

// stacks returns how many bytes are in use for stacks, when the garbage collector has made them as small as it may.
func stacks() int {
	for range 4 { // which halves each once
		runtime.GC()
	}
	sample := []metrics.Sample{{Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}
