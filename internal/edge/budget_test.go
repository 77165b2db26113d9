package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

func clientOf(t *testing.T, answer http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	c, err := New(&rest.Config{Host: server.URL}, Options{Timeout: 20 * time.Second, Inflight: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestOneLargeAnswerAtATime(t *testing.T) {
	b := newBudget()
	one, two, small := &reservation{budget: b}, &reservation{budget: b}, &reservation{budget: b}
	if err := one.add(t.Context(), smallAnswer+1); err != nil {
		t.Fatal(err)
	}
	if err := small.add(t.Context(), smallAnswer); err != nil {
		t.Fatalf("a small answer waits for a large one: %v", err)
	}
	over, cancel := context.WithCancelCause(t.Context())
	cancel(errSilent)
	if err := two.add(over, smallAnswer+1); !errors.Is(err, errSilent) {
		t.Errorf("a second large answer: %v", err)
	}
	one.release()
	one.release()
	if err := two.add(t.Context(), 1); err != nil {
		t.Errorf("after the first: %v", err)
	}
	two.release()
}

// A hostile cluster may have any number of kinds, and send one large event for each: of these one at a time is decoded,
// and until what it was decoded into is handed over.
func TestLargeEventsOfManyKindsAreDecodedOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const kinds = 30
		large := `{"type":"ADDED","object":{"metadata":{"name":"x"},"status":{"x":"` + strings.Repeat("x", 2*smallAnswer) + `"}}}` + "\n"
		b := newBudget()
		var decoded atomic.Int32
		handOver := make(chan struct{})
		var wg sync.WaitGroup
		for range kinds {
			wg.Go(func() {
				e := newEvents(t.Context(), b, strings.NewReader(large), true)
				defer e.end()
				if _, err := e.next(); err != nil {
					t.Error(err)
				}
				decoded.Add(1)
				<-handOver
				if _, err := e.next(); !errors.Is(err, io.EOF) {
					t.Errorf("after the event: %v", err)
				}
			})
		}
		for n := range int32(kinds) {
			synctest.Wait()
			if got := decoded.Load(); got != n+1 {
				t.Fatalf("%d events are decoded after %d were handed over", got, n)
			}
			handOver <- struct{}{}
		}
		wg.Wait()
		if len(b.large) > 0 {
			t.Error("a reservation is kept")
		}
	})
}

// Pages without objects that never end are no reason to ask for ever.
func TestPagesWithoutEnd(t *testing.T) {
	for name, items := range map[string]string{"without objects": "", "with an object each": metadataOf("one", "1")} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"7","continue":"c%d"},"items":[%s]}`, asked.Add(1), items)
			})
			m := Mapping{GVK: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, Resource: "configmaps", Namespaced: true}
			c.budget.reads.SetLimit(rate.Inf) // see TestReadsArePaced
			if _, _, err := c.Versions(t.Context(), m, ""); !errors.Is(err, ErrTooMany) || asked.Load() > maxPages+1 {
				t.Errorf("%v after %d pages", err, asked.Load())
			}
			asked.Store(0)
			gvk := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Thing"}
			if _, err := c.Discovery().defined(t.Context(), gvk); !errors.Is(err, ErrTooLarge) || asked.Load() > maxPages+1 {
				t.Errorf("definitions: %v after %d pages", err, asked.Load())
			}
			if n := c.budget.objects.Load(); n != 0 {
				t.Errorf("%d objects are still counted", n)
			}
		})
	}
}

// However many reads a cluster makes necessary, they come at a pace: here two, and no more.
func TestReadsArePaced(t *testing.T) {
	var asked atomic.Int32
	c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"7","continue":"c%d"},"items":[]}`, asked.Add(1))
	})
	c.budget.reads = rate.NewLimiter(0, 2)
	m := Mapping{GVK: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, Resource: "configmaps", Namespaced: true}
	if _, _, err := c.Versions(t.Context(), m, ""); err == nil || asked.Load() != 2 {
		t.Errorf("%v after %d reads", err, asked.Load())
	}
}

// A page is bounded in what it takes once it is decoded, and not only in its own size.
func TestAPageIsBoundedInItsObjects(t *testing.T) {
	for name, tt := range map[string]struct {
		items string
		want  error
	}{
		"more entries than objects are kept": {strings.Repeat("1,", MaxObjects+1) + "1", ErrTooMany},
		"an object that no API server takes": {`{"metadata":{"name":"x"},"status":[` + strings.Repeat("{},", maxEvent/3) + `{}]}`, ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"kind":"DeploymentList","metadata":{"resourceVersion":"7"},"items":[%s]}`, tt.items)
			})
			m := Mapping{GVK: schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, Resource: "deployments", Namespaced: true}
			c.budget.reads.SetLimit(rate.Inf) // see TestReadsArePaced
			if _, _, err := c.Versions(t.Context(), m, ""); !errors.Is(err, tt.want) {
				t.Error(err)
			}
			if n := c.budget.objects.Load(); n != 0 {
				t.Errorf("%d objects are still counted", n)
			}
		})
	}
}

// Objects that are being listed count together, whatever their kinds.
func TestObjectsUnderWayCountInSum(t *testing.T) {
	b := newBudget()
	for range MaxObjects {
		if err := b.addObject(); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.addObject(); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	b.removeObjects(MaxObjects + 1)
	if err := b.addObject(); err != nil {
		t.Errorf("after they were handed over: %v", err)
	}
}
