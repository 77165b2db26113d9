package engine

import (
	"compress/gzip"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// trick answers a request itself, or returns false for the API server behind to do so.
type trick func(w http.ResponseWriter, r *http.Request) bool

// trickster stands between the hub and a real API server, by TLS and HTTP/2 as that one does.
type trickster struct {
	*httptest.Server
	now atomic.Pointer[trick]
}

func newTrickster(t *testing.T, behind *rest.Config) *trickster {
	t.Helper()
	transport, err := rest.TransportFor(behind)
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(behind.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Header.Del("Authorization")
	}}
	s := &trickster{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := s.now.Load(); f != nil && (*f)(w, r) {
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

func (s *trickster) play(f trick) {
	if f == nil {
		s.now.Store(nil)
		return
	}
	s.now.Store(&f)
}

func (s *trickster) config() *rest.Config {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return &rest.Config{Host: s.URL, BearerToken: "hub", TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
}

// endless writes a text again and again until it is not read any more.
func endless(w io.Writer, r *http.Request, pause time.Duration, text func(i int) string) {
	for i := 0; ; i++ {
		if _, err := io.WriteString(w, text(i)); err != nil {
			return
		}
		if pause == 0 {
			continue
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(pause):
		}
	}
}

func jsonHeader(w http.ResponseWriter) { w.Header().Set("Content-Type", "application/json") }

func isWatch(r *http.Request) bool { return r.URL.Query().Has("watch") }

var tricks = []struct {
	name string
	play trick
	// what is said of the cluster
	reachable bool
	reason    string
	message   string
}{
	{"redirects", func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, "https://localhost:1/elsewhere", http.StatusFound)
		return true
	}, true, v1alpha1.UnexpectedAnswerReason, "redirect"},
	{"a web page", func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = io.WriteString(w, "<html><body>Please log in</body></html>")
		return true
	}, true, v1alpha1.UnexpectedAnswerReason, "a web page"},
	{"something else", func(w http.ResponseWriter, _ *http.Request) bool {
		jsonHeader(w)
		_, _ = io.WriteString(w, `{"hello":"world"}`)
		return true
	}, true, v1alpha1.UnexpectedAnswerReason, "not an API server"},
	{"a body without end", func(w http.ResponseWriter, r *http.Request) bool {
		jsonHeader(w)
		_, _ = io.WriteString(w, `{"metadata":{"uid":"`)
		endless(w, r, 0, func(int) string { return strings.Repeat("x", 1<<16) })
		return true
	}, true, v1alpha1.UnexpectedAnswerReason, "larger than"},
	{"a compression bomb", func(w http.ResponseWriter, r *http.Request) bool {
		jsonHeader(w)
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		endless(z, r, 0, func(int) string { return strings.Repeat(" ", 1<<20) })
		return true
	}, true, v1alpha1.UnexpectedAnswerReason, "larger than"},
	{"silence", func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	}, false, v1alpha1.UnreachableReason, "no answer in time"},
	{"a body that drips", func(w http.ResponseWriter, r *http.Request) bool {
		jsonHeader(w)
		endless(w, r, 200*time.Millisecond, func(int) string { return " " })
		return true
	}, false, v1alpha1.UnreachableReason, "no answer in time"},
	{"a header without end", func(w http.ResponseWriter, _ *http.Request) bool {
		for i := range 2000 {
			w.Header().Set(fmt.Sprintf("X-Header-%d", i), strings.Repeat("x", 4000))
		}
		return true
	}, false, v1alpha1.UnreachableReason, "no usable answer"},
	{"come back tomorrow", func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "86400")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}, true, v1alpha1.FailedReason, "overloaded"},
	{"objects without end", func(w http.ResponseWriter, r *http.Request) bool {
		if !isWatch(r) {
			return false
		}
		jsonHeader(w)
		endless(w, r, 0, func(i int) string {
			return fmt.Sprintf(`{"type":"ADDED","object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"x-%d","namespace":"default","uid":"u-%d","resourceVersion":"%d","labels":{"skerry.dev/owner":"somebody"}}}}`+"\n", i, i, i+1)
		})
		return true
	}, true, v1alpha1.UnexpectedAnswerReason, "more than 50000 objects"},
}

// peak watches the heap and returns what it was at most.
func peak(stop <-chan struct{}) <-chan uint64 {
	out := make(chan uint64, 1)
	go func() {
		most := uint64(0)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			select {
			case <-stop:
				out <- most
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return out
}

// TestHostileEdges has one cluster play tricks while another one is worked on by the same pool.
func TestHostileEdges(t *testing.T) {
	c := controlplane.New(t, "hostile", controlplane.Options{})
	bad := newTrickster(t, c.RESTConfig())
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("apps", many(r, 3, "one"))
	r.ready("apps")
	key := Key{Namespace: r.key.Namespace, Name: "bad"}
	defer r.pool.Disconnect(key)
	for i, tt := range tricks {
		t.Run(tt.name, func(t *testing.T) {
			bad.play(nil)
			r.pool.Connect(key, Connection{Config: bad.config(), Fingerprint: fmt.Sprint(i)})
			r.pool.Assign(key, []v1alpha1.AssignmentEntry{r.ks["apps"]})
			r.eventually("the cluster means well", func() bool {
				s, _ := r.pool.State(key)
				list, _ := r.pool.Report(key)
				return s.Usable && len(list) == 1 && list[0].Ready == metav1.ConditionTrue
			})
			runtime.GC()
			var before runtime.MemStats
			runtime.ReadMemStats(&before)
			stop := make(chan struct{})
			most := peak(stop)

			bad.play(tt.play)
			r.pool.Verify(key)
			if tt.name == "come back tomorrow" { // which ends no session, but keeps one from beginning
				r.pool.Connect(key, Connection{Config: bad.config(), Fingerprint: "anew"})
			}
			r.want("apps", many(r, 3, tt.name))
			r.ready("apps")
			r.eventually("it is told what is wrong", func() bool {
				s, _ := r.pool.State(key)
				return s.Known && s.Reachable == tt.reachable && !s.Usable && s.Reason == tt.reason && strings.Contains(s.Message, tt.message)
			})
			close(stop)
			if grown := int64(<-most) - int64(before.HeapInuse); grown > 160<<20 {
				t.Errorf("the heap grew by %d MiB", grown>>20)
			} else {
				t.Logf("the heap grew by %d MiB", grown>>20)
			}
		})
	}
}

// What a cluster reports of itself is cut and cleaned before anything else takes it.
func TestStringsOfAnEdge(t *testing.T) {
	c := controlplane.New(t, "talks", controlplane.Options{})
	bad := newTrickster(t, c.RESTConfig())
	r := newRig(t, testHub, bad.config())
	esc := "\\u001b[31mred\\u0007\\n"
	bad.play(func(w http.ResponseWriter, req *http.Request) bool {
		switch {
		case req.URL.Path == "/version":
			jsonHeader(w)
			_, _ = fmt.Fprintf(w, `{"gitVersion":"v1%s%s"}`, esc, strings.Repeat("9", 1<<16))
		case req.Method == http.MethodPatch && strings.HasSuffix(req.URL.Path, "/cm-0"):
			jsonHeader(w)
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"%s%s"}`, esc, strings.Repeat("no ", 1<<16))
		case req.Method == http.MethodPatch && strings.HasSuffix(req.URL.Path, "/cm-1"):
			jsonHeader(w)
			w.WriteHeader(http.StatusConflict)
			cause := fmt.Sprintf(`{"reason":"FieldManagerConflict","field":".metadata.labels.skerry.dev/owner","message":"conflict with \"%s%s\" using v1"}`, esc, strings.Repeat("m", 4096))
			_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409,"details":{"causes":[%s%s]}}`, cause, strings.Repeat(","+cause, 50))
		default:
			return false
		}
		return true
	})
	r.pool.Disconnect(r.key)
	r.connect(bad.config())
	r.want("apps", many(r, 3, "one"))
	st := r.failed("apps", v1alpha1.ApplyFailedReason)
	s, _ := r.pool.State(r.key)
	for what, text := range map[string]string{"version": s.Version, "message": st.Message} {
		if strings.ContainsAny(text, "\x1b\x07\n\r") || len(text) > 1000 || !strings.Contains(text, "red") {
			t.Errorf("%s: %d bytes: %q", what, len(text), text[:min(len(text), 300)])
		}
	}
	for _, e := range r.events {
		if strings.ContainsAny(e.Message, "\x1b\x07\n\r") || len(e.Message) > 1000 {
			t.Errorf("event: %q", e.Message)
		}
	}
}
