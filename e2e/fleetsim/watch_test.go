package fleetsim

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// looker reads the events of one watch.
type looker struct {
	t     *testing.T
	lines *bufio.Reader
	stop  func()
}

// look opens a watch of ConfigMaps.
func look(t *testing.T, client *http.Client, e *Edge, query string) *looker {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", e.URL()+"/api/v1/configmaps?watch=true&"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		t.Fatalf("code %d", res.StatusCode)
	}
	return &looker{t, bufio.NewReader(res.Body), func() { res.Body.Close() }}
}

// next returns the next event as its type and the name of its object, or the code of an error.
func (l *looker) next() string {
	l.t.Helper()
	line, err := l.lines.ReadBytes('\n')
	if err != nil {
		return err.Error()
	}
	var e struct {
		Type   string
		Object struct {
			Code     int
			Metadata struct{ Name string }
		}
	}
	if err := json.Unmarshal(line, &e); err != nil {
		l.t.Fatal(err)
	}
	if e.Type == "ERROR" {
		return fmt.Sprint("ERROR ", e.Object.Code)
	}
	return e.Type + " " + e.Object.Metadata.Name
}

func (l *looker) expect(want ...string) {
	l.t.Helper()
	for _, w := range want {
		if got := l.next(); got != w {
			l.t.Fatalf("%q, want %q", got, w)
		}
	}
}

func TestWatch(t *testing.T) {
	e := startFleet(t, 1).Edges[0]
	client := clientFor(t, edgeConfig(t, e))
	label := func(name, value string) uint64 {
		t.Helper()
		code, body := send(t, client, e.URL(), step{
			Method: "PATCH", Path: "/api/v1/namespaces/default/configmaps/" + name, Query: "fieldManager=m", ContentType: applyPatch,
			Body: fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"labels":{"is":%q}}}`, name, value),
		})
		if code >= 300 {
			t.Fatalf("%d: %s", code, body)
		}
		_, version := identity(body)
		var n uint64
		if _, err := fmt.Sscan(version, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	first := label("a", "in")
	in := look(t, client, e, "labelSelector=is%3Din")
	in.expect("ADDED a")
	label("b", "out")
	label("a", "out")
	label("b", "in")
	label("b", "in") // no change, no event
	code, _ := send(t, client, e.URL(), step{Method: "DELETE", Path: "/api/v1/namespaces/default/configmaps/b"})
	if code != http.StatusOK {
		t.Fatal(code)
	}
	in.expect("DELETED a", "ADDED b", "DELETED b")

	// One that comes back sees what it has missed, and nothing twice.
	again := look(t, client, e, fmt.Sprintf("resourceVersion=%d", first))
	again.expect("ADDED b", "MODIFIED a", "MODIFIED b", "DELETED b")

	// One that comes back too late is told so.
	for i := range 2 * historySize {
		label("busy", fmt.Sprint(i))
	}
	late := look(t, client, e, fmt.Sprintf("resourceVersion=%d", first))
	late.expect("ERROR 410", io.EOF.Error())

	// A watch ends when its time is over, and one that is given up is released.
	begin := time.Now()
	short := look(t, client, e, "timeoutSeconds=1&labelSelector=none")
	short.expect(io.EOF.Error())
	if took := time.Since(begin); took < time.Second || took > 10*time.Second {
		t.Errorf("a watch of one second took %s", took)
	}
	in.stop()
	again.stop()
	deadline := time.Now().Add(10 * time.Second)
	for e.Counters().OpenWatches > 0 {
		if time.Now().After(deadline) {
			t.Fatal("watches that were given up are still open")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestEdgesAreApart checks that edges that share everything share nothing that can be seen.
func TestEdgesAreApart(t *testing.T) {
	f := startFleet(t, 2)
	seen := map[string]int{}
	for _, e := range f.Edges {
		seen[e.URL()]++
		seen[e.token]++
		seen[e.UID()]++
		if code, body := send(t, clientFor(t, edgeConfig(t, e)), e.URL(), step{
			Method: "PATCH", Path: "/api/v1/namespaces/default/configmaps/cm", Query: "fieldManager=m", ContentType: applyPatch, Body: string(applyBody("cm", "one")),
		}); code != http.StatusCreated {
			t.Fatalf("%d: %s", code, body)
		}
	}
	if len(seen) != 6 {
		t.Errorf("addresses, tokens and uids: %v", seen)
	}
	foreign := edgeConfig(t, f.Edges[0])
	foreign.Host = f.Edges[1].URL()
	if code, _ := send(t, clientFor(t, foreign), foreign.Host, step{Method: "GET", Path: "/version"}); code != http.StatusUnauthorized {
		t.Errorf("the token of one edge gets %d on another", code)
	}
	var contents []*content
	for _, e := range f.Edges {
		contents = append(contents, e.collection(f.kinds.configMap).get("default", "cm").c)
	}
	if contents[0] != contents[1] {
		t.Error(cmp.Diff(contents[0].meta+contents[0].tail, contents[1].meta+contents[1].tail))
	}
}
