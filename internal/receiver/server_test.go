package receiver

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func TestOneFetchASecondAndRepositoryAndNoneIsLost(t *testing.T) {
	var p Pace
	start := time.Unix(1000, 0)
	a, b := types.NamespacedName{Name: "a"}, types.NamespacedName{Name: "b"}
	type step struct {
		key  types.NamespacedName
		at   time.Duration
		wait time.Duration
		due  bool
	}
	for _, s := range []step{
		{a, 0, 0, true},
		{a, 200 * time.Millisecond, 800 * time.Millisecond, true},
		{b, 300 * time.Millisecond, 0, true},
		{a, 700 * time.Millisecond, 0, false}, // with the one at 1 s
		{a, 1100 * time.Millisecond, 900 * time.Millisecond, true},
		{a, 2 * time.Second, time.Second, true},
		{a, 2500 * time.Millisecond, 0, false},
		{a, 5 * time.Second, 0, true},
	} {
		if wait, due := p.Next(s.key, start.Add(s.at)); wait != s.wait || due != s.due {
			t.Errorf("%s at %s: %s, %v", s.key.Name, s.at, wait, due)
		}
	}
	if len(p.last) != 1 {
		t.Errorf("%d repositories are remembered", len(p.last))
	}
}

func TestFiltersReadResourceAndBody(t *testing.T) {
	res := map[string]any{"metadata": map[string]any{"name": "fleet"}}
	for text, want := range map[string]string{
		"":                                  "true",
		`res.metadata.name == "fleet"`:      "true",
		`req.ref == "refs/heads/main"`:      "true",
		`req.ref == "refs/heads/other"`:     "false",
		`req.commits.exists(c, c.id == "")`: "false",
		`req.nothing.there == "x"`:          "error",
		`req.commits.exists(a, req.commits.exists(b, req.commits.exists(c, a.id + b.id == c.id)))`: "false",
	} {
		f, err := NewFilter(v1alpha1.GitHubReceiver, text)
		if err != nil {
			t.Fatal(err)
		}
		got := "error"
		if ok, err := (&Evaluation{webhook: recorded(t, "github-push")}).Admits(f, res); err == nil {
			got = map[bool]string{true: "true", false: "false"}[ok]
		}
		if got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
	for _, text := range []string{"res.", "1", `"x"`, "nothing"} {
		if _, err := NewFilter(v1alpha1.GitHubReceiver, text); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
	f, err := NewFilter(v1alpha1.GitHubReceiver, `res.metadata.name == "fleet"`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&Evaluation{webhook: Webhook{Body: []byte("[]")}}).Admits(f, res); !errors.Is(err, ErrMalformed) {
		t.Errorf("an array: %v", err)
	}
	if _, err := (&Evaluation{webhook: recorded(t, "github-push"), steps: filterSteps + 1}).Admits(f, res); err == nil {
		t.Error("no limit in sum")
	}
}

// endless is a body that does not end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestServerAnswersAtTheExactPathOnly(t *testing.T) {
	fetched := 0
	s := &Server{}
	key := types.NamespacedName{Namespace: "fleet", Name: "push"}
	path := (&v1alpha1.Receiver{}).WebhookPathFor(token)
	hook := &Hook{Receiver: key, Sender: Sender{Type: v1alpha1.GitHubReceiver, Token: []byte(token), Events: []string{"push"}}, Fetch: func(context.Context, *Evaluation) error { fetched++; return nil }}
	s.Set(path, hook)
	handler := s.Handler()
	ask := func(method, target string, w Webhook, body io.Reader) int {
		if body == nil {
			body = strings.NewReader(string(w.Body))
		}
		r := httptest.NewRequest(method, target, body)
		r.Header = w.Header.Clone()
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, r)
		return recorder.Code
	}
	push := recorded(t, "github-push")
	for target, want := range map[string]int{
		path: 200, path + "/": 404, path + "?x=1": 404, "/" + path: 404, strings.ToUpper(path): 404, path[:len(path)-1]: 404,
		"/hook/": 404, "/": 404, "/hook/%2e%2e" + path: 404, "/x" + path: 404, strings.Replace(path, "hook", "h%6fok", 1): 404,
	} {
		before := fetched
		if got := ask(http.MethodPost, target, push, nil); got != want || (fetched > before) != (want == 200) {
			t.Errorf("%s: %d", target, got)
		}
	}
	fetched = 0
	for name, tt := range map[string]struct {
		got, want int
	}{
		"GET":             {ask(http.MethodGet, path, push, nil), 405},
		"HEAD":            {ask(http.MethodHead, path, push, nil), 405},
		"an endless body": {ask(http.MethodPost, path, push, io.LimitReader(endless{}, 1<<30)), 413},
		"another body":    {ask(http.MethodPost, path, push, strings.NewReader("x")), 401},
		"another event":   {ask(http.MethodPost, path, recorded(t, "github-ping"), nil), 200},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d", name, tt.got)
		}
	}
	hook.Suspended = true
	if got := ask(http.MethodPost, path, push, nil); got != 503 {
		t.Errorf("suspended: %d", got)
	}
	hook.Suspended = false
	hook.Fetch = func(context.Context, *Evaluation) error { panic("x") }
	if got := ask(http.MethodPost, path, push, nil); got != 500 {
		t.Errorf("a panic: %d", got)
	}
	if fetched != 0 {
		t.Errorf("%d fetches", fetched)
	}
}

// TestBodiesAreBounded: one of 1 MiB is read, to the last byte, and one that is larger is not.
func TestBodiesAreBounded(t *testing.T) {
	s := &Server{}
	s.Set("/hook/1", &Hook{Sender: Sender{Type: v1alpha1.GenericHMACReceiver, Token: []byte(token)}, Fetch: func(context.Context, *Evaluation) error { return nil }})
	for size, want := range map[int]int{1 << 20: http.StatusOK, 1<<20 + 1: http.StatusRequestEntityTooLarge} {
		body := strings.Repeat("x", size)
		mac := hmac.New(sha256.New, []byte(token))
		mac.Write([]byte(body))
		r := httptest.NewRequest(http.MethodPost, "/hook/1", strings.NewReader(body))
		r.Header.Set("X-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
		recorder := httptest.NewRecorder()
		s.Handler().ServeHTTP(recorder, r)
		if recorder.Code != want {
			t.Errorf("%d bytes: %d", size, recorder.Code)
		}
	}
}

// slow is a body that does not come before it is let go.
type slow struct {
	begun chan<- struct{}
	letGo <-chan struct{}
}

func (b slow) Read([]byte) (int, error) {
	b.begun <- struct{}{}
	<-b.letGo
	return 0, io.EOF
}

// A sender whose webhooks take long keeps those of other Receivers from being read no more than all senders
// together may.
func TestOneReceiverLeavesPlacesForTheOthers(t *testing.T) {
	s := &Server{}
	handler := s.Handler()
	paths := make([]string, maxHandled/maxHandledEach+1)
	for i := range paths {
		paths[i] = fmt.Sprintf("/hook/%d", i)
		s.Set(paths[i], &Hook{Receiver: types.NamespacedName{Name: paths[i]}, Sender: Sender{Type: v1alpha1.GitHubReceiver, Token: []byte(token)}})
	}
	post := func(path string, body io.Reader) *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, path, body))
		return recorder
	}
	begun, letGo := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	for _, path := range paths[:maxHandled/maxHandledEach] {
		for range maxHandledEach {
			wg.Go(func() { post(path, slow{begun, letGo}) })
			<-begun
		}
		if got := post(path, strings.NewReader("x")); got.Code != http.StatusServiceUnavailable || got.Header().Get("Retry-After") == "" {
			t.Errorf("one more at %s: %d", path, got.Code)
		}
		other, want := paths[len(paths)-1], http.StatusUnauthorized
		if s.all == maxHandled {
			want = http.StatusServiceUnavailable
		}
		if got := post(other, strings.NewReader("x")); got.Code != want {
			t.Errorf("another Receiver, with %d webhooks under way: %d", s.all, got.Code)
		}
	}
	close(letGo)
	wg.Wait()
	if got := post(paths[0], strings.NewReader("x")); got.Code != http.StatusUnauthorized || len(s.handled) > 0 || s.all > 0 {
		t.Errorf("afterwards: %d, %d places taken", got.Code, s.all)
	}
}

func TestAReceiverHasOnePathOfItsOwn(t *testing.T) {
	s := &Server{}
	a, b := &Hook{Receiver: types.NamespacedName{Name: "a"}}, &Hook{Receiver: types.NamespacedName{Name: "b"}}
	got := []bool{s.Set("/hook/1", a), s.Set("/hook/2", a), s.hook("/hook/1") == nil, s.Set("/hook/2", b), s.hook("/hook/2") == a}
	s.Remove(a.Receiver)
	got = append(got, s.hook("/hook/2") == nil, s.Set("/hook/2", b))
	if diff := cmp.Diff([]bool{true, true, true, false, true, true, true}, got); diff != "" {
		t.Error(diff)
	}
}
