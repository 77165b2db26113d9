package fleetsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestLargeBodies goes beyond what the windows of HTTP/2 let through at once, both ways.
func TestLargeBodies(t *testing.T) {
	e := startFleet(t, 1).Edges[0]
	client := clientFor(t, edgeConfig(t, e))
	const base = "/api/v1/namespaces/default/configmaps"
	apply := func(name string, size int) (int, []byte) {
		return send(t, client, e.URL(), step{
			Method: "PATCH", Path: base + "/" + name, Query: "fieldManager=m", ContentType: applyPatch, Accept: metadataAccept,
			Body: string(applyBody(name, strings.Repeat("x", size))),
		})
	}
	const size = 2500 << 10
	for i := range 4 {
		if code, body := apply(fmt.Sprintf("large-%d", i), size); code != http.StatusCreated {
			t.Fatalf("%d: %s", code, body)
		}
	}
	if code, body := apply("too-large", maxBody); code != http.StatusRequestEntityTooLarge {
		t.Fatalf("%d: %s", code, body)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			code, body := send(t, client, e.URL(), step{Method: "GET", Path: base})
			var list struct {
				Items []struct{ Data map[string]string }
			}
			if err := json.Unmarshal(body, &list); code != http.StatusOK || err != nil || len(list.Items) != 4 {
				t.Errorf("%d, %d items: %v", code, len(list.Items), err)
				return
			}
			for i, item := range list.Items {
				if n := len(item.Data["key"]); n != size {
					t.Errorf("item %d has %d bytes", i, n)
				}
			}
		})
	}
	wg.Wait()
}

// TestManyRequestsAtOnce shares one connection among many, some of whom give up.
func TestManyRequestsAtOnce(t *testing.T) {
	f := startFleet(t, 1)
	e := f.Edges[0]
	client := clientFor(t, edgeConfig(t, e))
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			name := fmt.Sprintf("cm-%03d", i)
			code, body := send(t, client, e.URL(), step{
				Method: "PATCH", Path: "/api/v1/namespaces/default/configmaps/" + name, Query: "fieldManager=m", ContentType: applyPatch,
				Accept: metadataAccept, Body: string(applyBody(name, "one")),
			})
			if code != http.StatusCreated || !strings.Contains(string(body), name) {
				t.Errorf("%d: %s", code, body)
			}
		})
	}
	wg.Wait()
	c := e.Counters()
	if c.Requests["apply"] != 200 || c.Writes != 200 || c.Failed != 0 || c.Objects != 204 {
		t.Errorf("%+v", c)
	}
	if got := len(e.Writes()); got != 200 {
		t.Errorf("%d writes noted", got)
	}
}
