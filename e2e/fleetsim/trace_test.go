package fleetsim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

var update = flag.Bool("update", false, "record testdata/trace.jsonl again from a real API server")

const traceFile = "testdata/trace.jsonl"

// step is a request and what a real API server answered.
type step struct {
	Method      string `json:"method"`
	Path        string `json:"path"`
	Query       string `json:"query,omitempty"`
	Accept      string `json:"accept,omitempty"`
	ContentType string `json:"contentType,omitempty"`
	// Body, in which {uid} and {version} stand for those of the object at the path as it was seen
	// last.
	Body string `json:"body,omitempty"`
	// Answer is the code and, reduced to what must be the same anywhere, the body.
	Code   int `json:"code"`
	Answer any `json:"answer,omitempty"`

	code    int    // while recording
	uid     string // of the object in the answer, while recording
	version string
}

const (
	uidMark     = "{uid}"
	versionMark = "{version}"
)

// answered notes what a request was answered with, and which uid and version of an earlier answer it
// holds.
func (s *step) answered(before []step, code int, body []byte) {
	s.code = code
	uid, version := identity(body)
	s.uid, s.version = uid, version
	for _, b := range slices.Backward(before) {
		if b.uid != "" && b.object() == s.object() {
			s.Body = strings.ReplaceAll(s.Body, b.uid, uidMark)
			s.Body = strings.Replace(s.Body, `"resourceVersion":"`+b.version+`"`, `"resourceVersion":"`+versionMark+`"`, 1)
			break
		}
	}
}

// object is the path of the object that a request is about.
func (s *step) object() string {
	var o struct{ Metadata struct{ Name string } }
	if s.Method == http.MethodPost && json.Unmarshal([]byte(s.Body), &o) == nil {
		return s.Path + "/" + o.Metadata.Name
	}
	return s.Path
}

func identity(body []byte) (uid, version string) {
	var o struct {
		Metadata struct{ UID, ResourceVersion string }
	}
	_ = json.Unmarshal(body, &o) // a body that is no object has neither
	return o.Metadata.UID, o.Metadata.ResourceVersion
}

// player sends the steps one after the other.
type player struct {
	t      testing.TB
	client *http.Client
	host   string
	uids   map[string]string
	latest map[string]string

	transcripts map[string]*transcript
}

func newPlayer(t testing.TB, cfg *rest.Config) *player {
	return &player{t: t, client: clientFor(t, cfg), host: cfg.Host, uids: map[string]string{}, latest: map[string]string{}, transcripts: map[string]*transcript{}}
}

// play sends a step and returns it with the answer in place of the one that it had.
func (p *player) play(s step) step {
	p.t.Helper()
	switch s.Method {
	case methodOpen:
		s.Code = p.open(s)
		return s
	case methodEvents:
		s.Answer = reduceEvents(p.events(s))
		return s
	}
	path := s.object()
	filled := s
	filled.Body = strings.NewReplacer(uidMark, p.uids[path], versionMark, p.latest[path]).Replace(s.Body)
	code, body := p.send(filled)
	s.Code = code
	uid, version := identity(body)
	var was string
	if uid != "" {
		was, p.latest[path], p.uids[path] = p.latest[path], version, uid
	}
	s.Answer = reduce(body)
	if o, ok := s.Answer.(map[string]any); ok && uid != "" && quiet(o) {
		o["changed"] = version != was
		if was != "" && len(version) < len(was) || len(version) == len(was) && version < was {
			p.t.Errorf("%s %s: resource version %s after %s", s.Method, s.Path, version, was)
		}
	}
	p.settle(s)
	return s
}

// send sends a request; of a watch it reads as far as what was there at first.
func (p *player) send(s step) (int, []byte) {
	p.t.Helper()
	query, err := url.ParseQuery(s.Query)
	if err != nil {
		p.t.Fatal(err)
	}
	if !isTrue(query.Get("watch")) {
		return send(p.t, p.client, p.host, s)
	}
	r, err := http.NewRequestWithContext(p.t.Context(), s.Method, p.host+s.Path+"?"+s.Query, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Accept", s.Accept)
	res, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	var out bytes.Buffer
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		out.Write(append(lines.Bytes(), '\n'))
		if strings.Contains(lines.Text(), "k8s.io/initial-events-end") || strings.Contains(lines.Text(), `"ERROR"`) {
			break
		}
	}
	return res.StatusCode, out.Bytes()
}

// quiet objects are written by nobody but us, so their versions tell whether a request changed them.
func quiet(o map[string]any) bool {
	switch o["of"] {
	case "ConfigMap", "Secret", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "Boat":
		return true
	}
	return false
}

// settle waits for what controllers do about a step, in their own time: the next step may need it.
func (p *player) settle(s step) {
	p.t.Helper()
	isDefinition := strings.HasPrefix(s.Path, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/")
	switch {
	case s.Method == http.MethodPatch && isDefinition && s.Code < 300:
		p.wait(s.Path, func(_ int, answer string) bool {
			return strings.Contains(answer, "InitialNamesAccepted")
		})
		p.wait("/apis/story.example.com/v1/namespaces/story/boats", func(code int, _ string) bool { return code == http.StatusOK })
	case s.Method == http.MethodDelete && s.Code < 300 && (isDefinition || strings.Count(s.Path, "/") == 4 && strings.HasPrefix(s.Path, "/api/v1/namespaces/")):
		p.wait(s.Path, func(code int, _ string) bool { return code == http.StatusNotFound })
	}
}

func (p *player) wait(path string, is func(code int, body string) bool) {
	p.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		code, body := send(p.t, p.client, p.host, step{Method: http.MethodGet, Path: path, Accept: jsonType})
		if is(code, string(body)) {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s never came to what was waited for: %s", path, body)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// record has an engine live through the story on a real API server, and keeps the requests.
func record(t *testing.T) []step {
	n := newNarrator(t, controlplane.New(t, "story", controlplane.Options{ControllerManager: true}).RESTConfig())
	n.tell()
	n.tap.mu.Lock()
	defer n.tap.mu.Unlock()
	var steps []step
	for _, s := range n.tap.steps {
		// How often a kind is asked for until it is served is chance.
		if s.code == http.StatusNotFound && strings.Contains(s.Path, "story.example.com") {
			continue
		}
		// There the two differ: see DESIGN.md.
		if strings.HasPrefix(s.Path, "/apis/apiregistration.k8s.io/") {
			continue
		}
		steps = append(steps, s)
	}
	for i, s := range steps {
		if s.Method == http.MethodDelete && s.Path == configMapsPath+"/cm-1" { // between the chapters, what a watch shows
			steps = slices.Insert(steps, i, watches("story")...)
			break
		}
	}
	return framed(append(steps, probes()...))
}

func load(t *testing.T) []step {
	t.Helper()
	data, err := os.ReadFile(traceFile)
	if err != nil {
		t.Fatal(err)
	}
	var steps []step
	for line := range bytes.Lines(data) {
		var s step
		if err := json.Unmarshal(line, &s); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, s)
	}
	return steps
}

func save(t *testing.T, steps []step) {
	t.Helper()
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	for _, s := range steps {
		if err := encoder.Encode(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(traceFile, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestTrace sends a simulated edge what a real API server was sent once, and compares the answers.
func TestTrace(t *testing.T) {
	if *update {
		t.Skip("recording")
	}
	compare(t, newPlayer(t, edgeConfig(t, startFleet(t, 1).Edges[0])), load(t))
}

// TestTraceOfARealAPIServer sends the same to a real API server, so that the trace is not what one
// once was. With -update it records.
func TestTraceOfARealAPIServer(t *testing.T) {
	p := newPlayer(t, controlplane.Shared(t).RESTConfig())
	if !*update {
		compare(t, p, load(t))
		return
	}
	steps := record(t)
	for i := range steps {
		steps[i] = p.play(steps[i])
	}
	save(t, steps)
}

func compare(t *testing.T, p *player, steps []step) {
	t.Helper()
	if len(steps) < 100 {
		t.Fatalf("the trace has %d steps", len(steps))
	}
	for i, want := range steps {
		got := p.play(want)
		name := fmt.Sprintf("step %d: %s %s?%s %s", i+1, want.Method, want.Path, want.Query, want.ContentType)
		if got.Code != want.Code {
			t.Errorf("%s\ncode %d, want %d: %v", name, got.Code, want.Code, got.Answer)
			continue
		}
		answer := roundTrip(t, got.Answer)
		if diff := cmp.Diff(project(want.Answer, answer), answer); diff != "" {
			t.Errorf("%s (-real +here):\n%s", name, diff)
		}
	}
}

func roundTrip(t *testing.T, v any) any {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
