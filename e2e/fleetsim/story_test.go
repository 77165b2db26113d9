package fleetsim

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/kubeconfig"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// TestMain lets the tests of this package share one real cluster.
func TestMain(m *testing.M) {
	os.Exit(controlplane.Main(m, controlplane.Options{ControllerManager: true}))
}

// everything is one object or more of each kind that people put into Git.
//
//go:embed testdata/story.yaml
var everything string

// narrator tells a story to a hub with one cluster, and to somebody else who writes there too.
type narrator struct {
	*hub

	name    string
	client  *http.Client // of somebody else
	host    string
	tap     *tap
	reports []chapter
}

// chapter is where a hub stands at a point of the story.
type chapter struct {
	Name   string
	Report v1alpha1.AssignmentEntryStatus
}

func newNarrator(t *testing.T, cfg *rest.Config) *narrator {
	n := &narrator{hub: newHub(t), name: "edge", host: cfg.Host, tap: &tap{}}
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return n.tap.wrap(next) })
	n.client = clientFor(t, cfg)
	n.connectConfig(n.name, cfg, "1")
	return n
}

func clientFor(t testing.TB, cfg *rest.Config) *http.Client {
	t.Helper()
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1
	c, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tap notes every request that is not a watch.
type tap struct {
	mu    sync.Mutex
	steps []step
}

type tapped struct {
	*tap

	next http.RoundTripper
}

func (p *tap) wrap(next http.RoundTripper) http.RoundTripper { return &tapped{p, next} }

func (p *tapped) RoundTrip(r *http.Request) (*http.Response, error) {
	if isTrue(r.URL.Query().Get("watch")) {
		return p.next.RoundTrip(r)
	}
	s := step{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Accept: r.Header.Get("Accept"), ContentType: r.Header.Get("Content-Type")}
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		s.Body = string(body)
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	res, err := p.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	p.mu.Lock()
	defer p.mu.Unlock()
	s.answered(p.steps, res.StatusCode, body)
	p.steps = append(p.steps, s)
	return res, nil
}

func (n *narrator) assignDigest(digest string, change ...func(*v1alpha1.AssignmentEntry)) {
	d := func(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }
	e := v1alpha1.AssignmentEntry{
		Name: "apps", Revision: "main@sha1:" + digest[7:15], Digest: digest, Prune: true, Wait: true, AllowPrune: true,
		Interval: d(10 * time.Minute), RetryInterval: new(d(time.Minute)), Timeout: d(time.Minute),
	}
	for _, f := range change {
		f(&e)
	}
	n.pool.Assign(key(n.name), []v1alpha1.AssignmentEntry{e})
}

func (n *narrator) note(chapterName string, s v1alpha1.AssignmentEntryStatus) {
	n.reports = append(n.reports, chapter{chapterName, s})
}

// do has somebody else send a request, which must end with the code.
func (n *narrator) do(code int, method, path, contentType, body string) []byte {
	n.t.Helper()
	got, answer := send(n.t, n.client, n.host, step{Method: method, Path: path, ContentType: contentType, Body: body})
	if got != code {
		n.t.Fatalf("%s %s: %d, want %d: %s", method, path, got, code, answer)
	}
	return answer
}

const (
	configMapsPath = "/api/v1/namespaces/story/configmaps"
	mergePatch     = "application/merge-patch+json"
	applyPatch     = "application/apply-patch+yaml"
)

// tell tells the story.
func (n *narrator) tell() {
	one := n.bundle(strings.TrimSpace(everything))
	n.assignDigest(one)
	n.note("begin", n.ready(n.name, one))

	changed := strings.NewReplacer("key: one, other", "key: two, other", "b25l", "dHdv", "web:1", "web:2",
		"{name: bo, rank: cook}", "{name: cy}", "[north, south]", "[east]", "{feet: 16}", "{feet: 17}").Replace(everything)
	two := n.bundle(strings.TrimSpace(changed))
	n.assignDigest(two)
	n.note("change", n.ready(n.name, two))

	// Somebody else changes what is ours, beside it, and deletes.
	n.do(200, "PATCH", configMapsPath+"/cm-0?fieldManager=kubectl-edit", mergePatch, `{"data":{"key":"hand","mine":"too"}}`)
	n.eventually("the value is put back", func() bool { return strings.Contains(string(n.get(configMapsPath+"/cm-0")), `"two"`) })
	n.do(200, "DELETE", configMapsPath+"/cm-1", "", "")
	n.eventually("what was deleted is back", func() bool { return strings.Contains(string(n.get(configMapsPath+"/cm-1")), `"one"`) })
	n.note("drift", n.until(n.name, "corrected", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Drift == 2 && s.Ready == metav1.ConditionTrue
	}))

	// An object that another Kustomization owns.
	n.do(201, "PATCH", configMapsPath+"/taken?fieldManager=skerry.other.0123456789abcdef", applyPatch,
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"taken","namespace":"story","labels":{"`+v1alpha1.OwnerLabel+`":"other.0123456789abcdef"}},"data":{"a":"theirs"}}`)
	three := n.bundle(strings.TrimSpace(changed) + "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: taken, namespace: story}\ndata: {a: ours}")
	n.assignDigest(three)
	n.note("conflict", n.until(n.name, "refused", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Reason == v1alpha1.OwnershipConflictReason
	}))

	// A namespace that does not exist, and a kind that nobody serves.
	four := n.bundle(strings.TrimSpace(changed) + "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: lost, namespace: nowhere}\ndata: {a: ours}")
	n.assignDigest(four)
	n.note("no namespace", n.until(n.name, "refused", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Reason == v1alpha1.NamespaceNotFoundReason
	}))
	five := n.bundle(strings.TrimSpace(changed) + "\n---\napiVersion: nobody.example.com/v1\nkind: Thing\nmetadata: {name: thing, namespace: story}")
	n.assignDigest(five)
	n.note("no kind", n.until(n.name, "refused", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Reason == v1alpha1.KindNotFoundReason
	}))

	// Most of it goes: a namespace with what is in it, the definition with its objects.
	docs := strings.Split(strings.TrimSpace(changed), "\n---\n")
	few := n.bundle(strings.Join([]string{docs[0], docs[2], docs[6], docs[9]}, "\n---\n"))
	n.assignDigest(few)
	n.note("prune", n.ready(n.name, few))
	for _, path := range []string{"/api/v1/namespaces/story-two", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boats.story.example.com"} {
		n.eventually(path+" is gone", func() bool { return strings.Contains(string(n.get(path)), `"NotFound"`) })
	}

	n.assignDigest(few, func(e *v1alpha1.AssignmentEntry) { e.Remove, e.DeletionPolicy = true, v1alpha1.DeletionOrphan })
	n.note("orphan", n.until(n.name, "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed }))
}

// get reads past the tap: how often one has to look is not part of the story.
func (n *narrator) get(path string) []byte {
	n.tap.mu.Lock()
	before := len(n.tap.steps)
	n.tap.mu.Unlock()
	_, body := send(n.t, n.client, n.host, step{Method: "GET", Path: path})
	n.tap.mu.Lock()
	defer n.tap.mu.Unlock()
	for i := before; i < len(n.tap.steps); i++ {
		if s := n.tap.steps[i]; s.Method == "GET" && s.Path == path && s.Accept == "" {
			n.tap.steps = append(n.tap.steps[:i], n.tap.steps[i+1:]...)
			break
		}
	}
	return body
}

func (n *narrator) eventually(what string, is func() bool) {
	n.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			n.t.Fatalf("it never came true that %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func send(t testing.TB, c *http.Client, host string, s step) (int, []byte) {
	t.Helper()
	url := host + s.Path
	if s.Query != "" {
		url += "?" + s.Query
	}
	r, err := http.NewRequestWithContext(t.Context(), s.Method, url, strings.NewReader(s.Body))
	if err != nil {
		t.Fatal(err)
	}
	if s.Accept != "" {
		r.Header.Set("Accept", s.Accept)
	}
	if s.ContentType != "" {
		r.Header.Set("Content-Type", s.ContentType)
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", s.Method, s.Path, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", s.Method, s.Path, err)
	}
	return res.StatusCode, body
}

func edgeConfig(t testing.TB, e *Edge) *rest.Config {
	t.Helper()
	cfg, _, err := kubeconfig.Parse(e.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestEngineCannotTell tells the same story to an engine on a simulated edge and to one on a real
// cluster: what they report at each point must be the same, and what they wrote as well.
func TestEngineCannotTell(t *testing.T) {
	simulated := newNarrator(t, edgeConfig(t, startFleet(t, 1).Edges[0]))
	simulated.tell()
	real := newNarrator(t, controlplane.New(t, "engine", controlplane.Options{ControllerManager: true}).RESTConfig())
	real.tell()
	if diff := cmp.Diff(real.reports, simulated.reports, cmpopts.IgnoreFields(v1alpha1.AssignmentEntryStatus{}, "VerifiedAt"), cmpopts.IgnoreFields(v1alpha1.DriftRecord{}, "At")); diff != "" {
		t.Errorf("reports (-real +simulated):\n%s", diff)
	}
	if diff := cmp.Diff(real.tap.writes(), simulated.tap.writes()); diff != "" {
		t.Errorf("writes (-real +simulated):\n%s", diff)
	}
}

// writes counts the writes by method and path, and code. Custom resources are left out: how soon
// after its definition a kind is served differs, and with it how often it is tried. A write that is
// refused counts once: it is tried again when an event shows that what stands in its way changed,
// and the event of a change from before the first try may come before that try or after it.
func (p *tap) writes() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]int{}
	for _, s := range p.steps {
		if s.Method != http.MethodGet && !strings.Contains(s.Path, "story.example.com") && !strings.Contains(s.Path, "skerry-inventory") && !strings.HasSuffix(s.Path, "skerry-system/configmaps") {
			what := fmt.Sprintf("%s %s %d", s.Method, s.Path, s.code)
			out[what]++
			if s.code >= http.StatusBadRequest {
				out[what] = 1
			}
		}
	}
	return out
}
