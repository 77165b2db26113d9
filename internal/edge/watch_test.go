package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// notes is a handler that hands on what it is called with.
type notes chan string

func (n notes) Listing() {}
func (n notes) Listed(all []Observed) {
	text := "listed"
	for _, s := range all {
		text += " " + s.ID.Name
	}
	n <- text
}
func (n notes) Progress(string)    {}
func (n notes) Changed(s Observed) { n <- "changed " + s.ID.Name }
func (n notes) Deleted(s Observed) { n <- "deleted " + s.ID.Name }
func (n notes) Failed(err error)   { n <- "failed " + err.Error() }

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
	return watchingWith(t, answer, func(*Client) {})
}

func watchingWith(t *testing.T, answer http.HandlerFunc, change func(*Client)) notes {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	c, err := New(&rest.Config{Host: server.URL}, Options{Timeout: 5 * time.Second, Inflight: 2})
	if err != nil {
		t.Fatal(err)
	}
	change(c)
	ctx, cancel := context.WithCancel(t.Context())
	n, done := make(notes, 100), make(chan struct{})
	go func() {
		defer close(done)
		c.Watch(ctx, Mapping{GVK: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, Resource: "configmaps", Namespaced: true}, "", n)
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

// TestEventsComeInAnyPieces: where the network divides a watch has no effect on its events.
func TestEventsComeInAnyPieces(t *testing.T) {
	for _, between := range []string{"\n", "", " \n"} {
		text := ""
		for i := range 3 {
			text += fmt.Sprintf(`{"type":"ADDED","object":%s}`, metadataOf(fmt.Sprint("cm-", i), "1")) + between
		}
		for cut := range len(text) {
			parts := io.MultiReader(strings.NewReader(text[:cut]), strings.NewReader(text[cut:]))
			e := newEvents(t.Context(), newBudget(), parts, false)
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

// An API server whose store offers no progress requests, as old etcd and some kine do, answers a request
// for initial events with 200 and one ERROR event. Whatever it is that comes before the first bookmark,
// the kind is listed next, and the cluster is not asked for initial events again.
func TestInitialEventsThatFailAreListed(t *testing.T) {
	status := func(code int, reason string) string {
		return fmt.Sprintf(`{"kind":"Status","status":"Failure","reason":%q,"code":%d,"message":"etcdserver: progress notify is not supported"}`, reason, code)
	}
	for name, refuse := range map[string]http.HandlerFunc{
		"an error event of code 500": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "{\"type\":\"ERROR\",\"object\":%s}\n", status(500, "InternalError"))
		},
		"an error event of code 504": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "{\"type\":\"ERROR\",\"object\":%s}\n", status(504, "Timeout"))
		},
		"an error after some events": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "{\"type\":\"ADDED\",\"object\":%s}\n{\"type\":\"ERROR\",\"object\":%s}\n", metadataOf("one", "1"), status(500, "InternalError"))
		},
		"a 500": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			fmt.Fprint(w, status(500, "InternalError"))
		},
		"a 501":                     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(501) },
		"an end without a bookmark": func(http.ResponseWriter, *http.Request) {},
		"silence":                   func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); <-r.Context().Done() },
		"a bookmark without version": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, `{"type":"BOOKMARK","object":{"metadata":{"annotations":{"k8s.io/initial-events-end":"true"}}}}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked, remembered atomic.Int32
			n := watchingWith(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				switch q := r.URL.Query(); {
				case q.Get("sendInitialEvents") != "":
					asked.Add(1)
					refuse(w, r)
				case q.Get("watch") != "" && q.Get("resourceVersion") == "7":
					fmt.Fprintf(w, "{\"type\":\"ERROR\",\"object\":%s}\n", status(410, "Expired"))
				case q.Get("watch") != "":
					fmt.Fprintf(w, "{\"type\":\"MODIFIED\",\"object\":%s}\n", metadataOf("one", "9"))
					w.(http.Flusher).Flush()
					<-r.Context().Done()
				case remembered.Load() == 0:
					fmt.Fprintf(w, `{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"7"},"items":[%s]}`, metadataOf("one", "1"))
				default:
					fmt.Fprintf(w, `{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"8"},"items":[%s]}`, metadataOf("one", "1"))
				}
			}, func(c *Client) {
				if name == "silence" {
					c.firstSilence = 50 * time.Millisecond
				}
				c.onNoWatchList = func() { remembered.Add(1) }
			})
			n.next(t) // that the initial events failed
			for _, want := range []string{"listed one", "failed", "listed one", "changed one"} {
				if got := n.next(t); !strings.HasPrefix(got, want) {
					t.Errorf("told %q, want %q", got, want)
				}
			}
			// A silence may end before a slow machine has sent the request.
			if n := asked.Load(); n > 1 || n == 0 && name != "silence" || remembered.Load() != 1 {
				t.Errorf("initial events were asked for %d times, and it was remembered %d times", asked.Load(), remembered.Load())
			}
		})
	}
}

// An account that may list and not watch is no evidence of what the API server can do: others are still sent what is
// there as events.
func TestAWatchThatIsForbiddenIsNoServerWithoutInitialEvents(t *testing.T) {
	var remembered atomic.Int32
	n := watchingWith(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("watch") != "" {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"kind":"Status","status":"Failure","reason":"Forbidden","code":403,"message":"no"}`)
			return
		}
		fmt.Fprintf(w, `{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"7"},"items":[%s]}`, metadataOf("one", "1"))
	}, func(c *Client) { c.onNoWatchList = func() { remembered.Add(1) } })
	for _, want := range []string{"failed", "listed one", "failed"} {
		if got := n.next(t); !strings.HasPrefix(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	if remembered.Load() > 0 {
		t.Error("the cluster is not asked for initial events any more")
	}
}

func bookmark(version string, initial bool) string {
	annotations := ""
	if initial {
		annotations = `,"annotations":{"k8s.io/initial-events-end":"true"}`
	}
	return fmt.Sprintf(`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":%q%s}}}`+"\n", version, annotations)
}

// A watch can be silent while its connection lives. One that does not even bring a bookmark is begun
// anew from the last version, which brings what it did not.
func TestSilentWatchIsReplaced(t *testing.T) {
	n := watchingWith(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("sendInitialEvents") != "" {
			fmt.Fprint(w, bookmark("7", true))
		} else if r.URL.Query().Get("resourceVersion") == "7" {
			fmt.Fprintf(w, "{\"type\":\"DELETED\",\"object\":%s}\n", metadataOf("one", "8"))
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}, func(c *Client) { c.laterSilence = 50 * time.Millisecond })
	for _, want := range []string{"listed", "failed " + errSilent.Error(), "deleted one"} {
		if got := n.next(t); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
}

// A resource version that is lower than one before is that of a store which was restored from a backup:
// nothing that was seen counts any more.
func TestVersionThatGoesBackwardsListsAnew(t *testing.T) {
	for name, event := range map[string]string{
		"a bookmark": bookmark("5", false),
		"an event":   fmt.Sprintf(`{"type":"MODIFIED","object":%s}`, metadataOf("one", "5")),
	} {
		t.Run(name, func(t *testing.T) {
			var lists atomic.Int32
			n := watching(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				switch lists.Add(1) {
				case 1:
					fmt.Fprint(w, bookmark("7", true), event)
				default:
					if r.URL.Query().Get("sendInitialEvents") == "" {
						t.Errorf("the watch goes on from %q", r.URL.Query().Get("resourceVersion"))
					}
					fmt.Fprint(w, bookmark("6", true))
				}
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			})
			for _, want := range []string{"listed", "failed " + ErrBackwards.Error(), "listed", "failed " + ErrBackwards.Error()} {
				if got := n.next(t); got != want {
					t.Errorf("told %q, want %q", got, want)
				}
			}
		})
	}
}

func TestWatchThatEndsBeforeItsTimeIsTold(t *testing.T) {
	n := watching(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("sendInitialEvents") != "" {
			fmt.Fprint(w, bookmark("7", true))
		}
	})
	n.next(t)
	if got := n.next(t); !strings.HasPrefix(got, "failed "+ErrBrokenOff.Error()) {
		t.Errorf("told %q", got)
	}
}

// The storage of a new definition is ready a moment after the definition is established: the first
// pauses are short. A kind that stays away is asked for ever less often.
func TestWatchOfANewKindRetriesFastAtFirst(t *testing.T) {
	var quick, slow time.Duration
	for i := range notReadyTries {
		quick += watchBackoff(i, true)
	}
	slow = watchBackoff(30, true)
	if quick > 2*time.Second || slow < watchMax/2 {
		t.Errorf("the first %d pauses take %v, a late one %v", notReadyTries, quick, slow)
	}
}
