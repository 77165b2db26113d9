package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// notes is a sink that hands on what it is told.
type notes chan string

func (n notes) Listing() {}
func (n notes) Listed(all []Seen) {
	text := "listed"
	for _, s := range all {
		text += " " + s.ID.Name
	}
	n <- text
}
func (n notes) Changed(s Seen)   { n <- "changed " + s.ID.Name }
func (n notes) Deleted(s Seen)   { n <- "deleted " + s.ID.Name }
func (n notes) Failed(err error) { n <- "failed " + err.Error() }

func (n notes) next(t *testing.T) string {
	t.Helper()
	select {
	case text := <-n:
		return text
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was told")
		return ""
	}
}

func metadataOf(name, version string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"apps","uid":"u-%s","resourceVersion":%q,"labels":{"skerry.dev/owner":"o"}}}`, name, name, version)
}

// watching watches ConfigMaps of a server.
func watching(t *testing.T, answer http.HandlerFunc) notes {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	c, err := New(&rest.Config{Host: server.URL}, Options{Timeout: 5 * time.Second, Inflight: 2})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n, done := make(notes, 100), make(chan struct{})
	go func() {
		defer close(done)
		c.Watch(ctx, Mapping{GVK: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, Resource: "configmaps", Namespaced: true}, n)
	}()
	t.Cleanup(func() { cancel(); <-done; c.Close() })
	return n
}

// TestAServerThatCannotSendWhatIsThere is one of before Kubernetes 1.27, or with the feature off: what
// is there is listed page by page, and watched from there on.
func TestAServerThatCannotSendWhatIsThere(t *testing.T) {
	n := watching(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch q := r.URL.Query(); {
		case q.Get("sendInitialEvents") != "":
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprint(w, `{"kind":"Status","status":"Failure","reason":"Invalid","code":422}`)
		case q.Get("watch") != "":
			if q.Get("resourceVersion") != "7" {
				t.Errorf("watched from %q", q.Get("resourceVersion"))
			}
			fmt.Fprintf(w, "{\"type\":\"DELETED\",\"object\":%s}\n", metadataOf("one", "8"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case q.Get("continue") == "":
			fmt.Fprintf(w, `{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"7","continue":"more"},"items":[%s]}`, metadataOf("one", "1"))
		default:
			fmt.Fprintf(w, `{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"7"},"items":[%s]}`, metadataOf("two", "2"))
		}
	})
	for _, want := range []string{"failed", "listed one two", "deleted one"} {
		if got := n.next(t); got != want && (want != "failed" || len(got) < len(want)) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
}

// TestWhatIsNoListIsNoEmptyList: an answer that is none must not pass for "there is nothing".
func TestWhatIsNoListIsNoEmptyList(t *testing.T) {
	for name, answer := range map[string]string{
		"an empty object":    `{}`,
		"a status":           `{"kind":"Status","metadata":{"resourceVersion":"7"}}`,
		"one without a time": `{"kind":"PartialObjectMetadataList","metadata":{},"items":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			n := watching(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.URL.Query().Get("sendInitialEvents") != "" {
					w.WriteHeader(http.StatusBadRequest)
					answer := `{"kind":"Status","status":"Failure","reason":"BadRequest","code":400}`
					fmt.Fprint(w, answer)
					return
				}
				fmt.Fprint(w, answer)
			})
			n.next(t) // that it cannot send what is there
			if got, want := n.next(t), "failed "+errNoList.Error(); got != want {
				t.Errorf("told %q, want %q", got, want)
			}
		})
	}
}

// TestEventsComeInAnyPieces: where the network divides a watch says nothing about its events.
func TestEventsComeInAnyPieces(t *testing.T) {
	for _, between := range []string{"\n", "", " \n"} {
		text := ""
		for i := range 3 {
			text += fmt.Sprintf(`{"type":"ADDED","object":%s}`, metadataOf(fmt.Sprint("cm-", i), "1")) + between
		}
		for cut := range len(text) {
			parts := io.MultiReader(strings.NewReader(text[:cut]), strings.NewReader(text[cut:]))
			e := newEvents(parts, false)
			var names []string
			for {
				one, err := e.next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("cut at %d: %v", cut, err)
				}
				names = append(names, one.Metadata.Name)
			}
			if diff := cmp.Diff([]string{"cm-0", "cm-1", "cm-2"}, names); diff != "" {
				t.Fatalf("cut at %d (-want +got):\n%s", cut, diff)
			}
		}
	}
}
