package fleetsim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Methods of steps that are not HTTP's: one begins a watch, the other looks at all that it has shown.
const (
	methodOpen   = "OPEN"
	methodEvents = "EVENTS"
)

// lastName begins the names of objects whose events end what is compared.
const lastName = "zz-last-in-"

// framed puts watches around a trace, which see it from its beginning to its end.
func framed(steps []step) []step {
	const query = "allowWatchBookmarks=false&timeoutSeconds=600&watch=true"
	owned := step{Path: "/api/v1/configmaps", Query: query + "&labelSelector=" + strings.ReplaceAll(v1alpha1.OwnerLabel, "/", "%2F"), Accept: metadataAccept}
	probe := step{Path: "/api/v1/namespaces/probe/configmaps", Query: query, Accept: jsonType}
	open := func(s step) step { s.Method = methodOpen; return s }
	events := func(s step, namespace string) step { s.Method, s.Body = methodEvents, lastName+namespace; return s }
	last := func(namespace string) step {
		return step{
			Method: "PATCH", Path: "/api/v1/namespaces/" + namespace + "/configmaps/" + lastName + namespace, Query: "fieldManager=last", ContentType: applyPatch, Accept: metadataAccept,
			Body: `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + lastName + namespace + `","namespace":"` + namespace + `","labels":{"` + v1alpha1.OwnerLabel + `":"last"}}}`,
		}
	}
	out := []step{open(owned), open(probe)}
	for _, s := range steps {
		if s.Method == http.MethodDelete && s.Path == "/api/v1/namespaces/probe" {
			out = append(out, last("probe"), events(probe, "probe"))
		}
		out = append(out, s)
	}
	return append(out, last("default"), events(owned, "default"))
}

// transcript is what a watch has shown so far.
type transcript struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func (p *player) open(s step) int {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.host+s.Path+"?"+s.Query, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Accept", s.Accept)
	res, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { res.Body.Close() })
	w := &transcript{more: make(chan struct{}, 1)}
	p.transcripts[s.Path] = w
	go func() {
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			w.mu.Lock()
			w.lines = append(w.lines, lines.Text())
			w.mu.Unlock()
			select {
			case w.more <- struct{}{}:
			default:
			}
		}
	}()
	return res.StatusCode
}

// events returns what a watch has shown, up to the object that the step names.
func (p *player) events(s step) []byte {
	p.t.Helper()
	w := p.transcripts[s.Path]
	deadline := time.After(20 * time.Second)
	for {
		w.mu.Lock()
		lines := w.lines
		w.mu.Unlock()
		if slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, `"name":"`+s.Body+`"`) }) {
			return strip(p.t, lines)
		}
		select {
		case <-w.more:
		case <-deadline:
			p.t.Fatalf("the watch of %s never showed the last object: %s", s.Path, strings.Join(lines, "\n"))
		}
	}
}

// strip leaves out what controllers make, and checks that versions grow.
func strip(t testing.TB, lines []string) []byte {
	t.Helper()
	var out bytes.Buffer
	last := 0
	for _, line := range lines {
		var e struct {
			Object struct {
				Metadata struct{ Name, ResourceVersion string }
			}
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		version, err := strconv.Atoi(e.Object.Metadata.ResourceVersion)
		if err != nil || version <= last {
			t.Errorf("version %q after %d: %s", e.Object.Metadata.ResourceVersion, last, line)
		}
		last = version
		if e.Object.Metadata.Name != "kube-root-ca.crt" {
			out.WriteString(line + "\n")
		}
	}
	return out.Bytes()
}
