package edgeproxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// server answers with its name, and a watch with its name again and again.
func server(t *testing.T, name string) *rest.Config {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			_, _ = io.WriteString(w, name)
			if !IsWatch(r) {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return &rest.Config{Host: s.URL}
}

// answer is a status and a body, which is closed with the test.
type answer struct {
	code int
	body io.Reader
}

func client(t *testing.T, p *Proxy) func(path string) answer {
	t.Helper()
	c, err := rest.HTTPClientFor(p.Config())
	if err != nil {
		t.Fatal(err)
	}
	return func(path string) answer {
		t.Helper()
		res, err := c.Get(p.server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return answer{res.StatusCode, res.Body}
	}
}

func text(t *testing.T, res answer) string {
	t.Helper()
	raw, err := io.ReadAll(res.body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(res.code, " ", string(raw))
}

func TestFrozenStreamLivesAndIsSilent(t *testing.T) {
	p := New(t, server(t, "a"))
	get := client(t, p)
	watch := get("/things?watch=true")
	one := make([]byte, 1)
	if _, err := watch.body.Read(one); err != nil {
		t.Fatal(err)
	}
	p.Freeze(IsWatch)
	came := make(chan struct{})
	go func() {
		defer close(came)
		for range 200 { // what was on the way
			if _, err := watch.body.Read(one); err != nil {
				return
			}
		}
	}()
	select {
	case <-came:
		t.Error("a frozen stream brings something")
	case <-time.After(100 * time.Millisecond):
	}
	if got := text(t, get("/things")); got != "200 a" {
		t.Errorf("another request: %s", got)
	}
	p.Thaw()
	<-came
	want := map[string]int{"WATCH /things": 1, "GET /things": 1}
	if got := p.Requests(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("requests %v, want %v", got, want)
	}
}

func TestSwapEndsStreamsAndKeepsConnections(t *testing.T) {
	p := New(t, server(t, "a"))
	get := client(t, p)
	watch := get("/things?watch=true")
	p.Swap(t, server(t, "b"))
	if _, err := io.Copy(io.Discard, watch.body); err != nil {
		t.Errorf("the stream ends with %v", err)
	}
	if got := text(t, get("/things")); got != "200 b" {
		t.Errorf("after the swap: %s", got)
	}
}

func TestAnswerInThePlaceOfTheServer(t *testing.T) {
	p := New(t, server(t, "a"))
	get := client(t, p)
	p.Answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/lie" {
			w.WriteHeader(http.StatusTeapot)
		}
		return r.URL.Path == "/lie"
	})
	if got := text(t, get("/lie")) + text(t, get("/true")); got != "418 200 a" {
		t.Errorf("answers: %s", got)
	}
}
