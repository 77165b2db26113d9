package edge

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// paths records the paths of requests in their order.
type paths struct {
	mu   sync.Mutex
	list []string
}

func (p *paths) add(r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, r.URL.Path)
}

// take returns the paths so far and forgets them.
func (p *paths) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.list
	p.list = nil
	return list
}

func gvks(names ...string) []schema.GroupVersionKind {
	var list []schema.GroupVersionKind
	for _, name := range names {
		apiVersion, kind, _ := strings.Cut(name, " ")
		list = append(list, schema.FromAPIVersionAndKind(apiVersion, kind))
	}
	return list
}

// discoveryVersion is a version of a group in a document of all groups, with one resource.
func discoveryVersion(version, freshness, resource, kind, scope string) string {
	return fmt.Sprintf(`{"version":%q,"freshness":%q,"resources":[{"resource":%q,"responseKind":{"group":"","version":"","kind":%q},"scope":%q,
		"verbs":["create","delete","get","list","patch","update","watch"],"subresources":[{"subresource":"status","responseKind":{"kind":%q}}]}]}`,
		version, freshness, resource, kind, scope, kind)
}

func discoveryGroup(name string, versions ...string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q},"versions":[%s]}`, name, strings.Join(versions, ","))
}

var aggregatedDocument = fmt.Sprintf(`{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[%s]}`, strings.Join([]string{
	discoveryGroup("apps", discoveryVersion("v1", "Current", "deployments", "Deployment", "Namespaced")),
	discoveryGroup("batch", discoveryVersion("v1", "Current", "jobs", "Job", "Namespaced")),
	discoveryGroup("rbac.authorization.k8s.io", discoveryVersion("v1", "Current", "clusterroles", "ClusterRole", "Cluster")),
	discoveryGroup("metrics.k8s.io", discoveryVersion("v1beta1", "Stale", "nodes", "NodeMetrics", "Cluster")),
	discoveryGroup("example.com", `{"version":"v1","freshness":"Stale"}`, discoveryVersion("v2", "Current", "things", "Thing", "Namespaced")),
}, ","))

// single answers requests for one group and version: with the resources of apps and batch, with 503 for
// metrics.k8s.io, and with 404 for the rest.
func single(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/apis/apps/v1":
		fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"apps/v1","resources":[{"name":"deployments","namespaced":true,"kind":"Deployment"},{"name":"deployments/scale","namespaced":true,"kind":"Scale"}]}`)
	case "/apis/batch/v1":
		fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"batch/v1","resources":[{"name":"jobs","namespaced":true,"kind":"Job"}]}`)
	case "/apis/metrics.k8s.io/v1beta1":
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, "service unavailable")
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "404 page not found")
	}
}

func TestKindsOfManyGroupsAreDiscoveredInOneRequest(t *testing.T) {
	var asked paths
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		asked.add(r)
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/apis" {
			if got := r.Header.Get("Accept"); got != asAggregated {
				t.Errorf("asked for %s", got)
			}
			fmt.Fprint(w, aggregatedDocument)
			return
		}
		single(w, r)
	})
	all := gvks("apps/v1 Deployment", "batch/v1 Job", "rbac.authorization.k8s.io/v1 ClusterRole", "metrics.k8s.io/v1beta1 NodeMetrics",
		"example.com/v1 Thing", "new.example.com/v1 Thing", "v1 ConfigMap")
	c.Discover(t.Context(), all)
	if diff := cmp.Diff([]string{"/apis"}, asked.take()); diff != "" {
		t.Error(diff)
	}
	for gvk, want := range map[schema.GroupVersionKind]Mapping{
		all[0]: {GVK: all[0], Resource: "deployments", Namespaced: true, Supported: true},
		all[1]: {GVK: all[1], Resource: "jobs", Namespaced: true, Supported: true},
		all[2]: {GVK: all[2], Resource: "clusterroles", Supported: true},
	} {
		if m, err := c.Mapping(t.Context(), gvk); err != nil || m != want {
			t.Errorf("%s: %+v, %v", gvk, m, err)
		}
	}
	if got := asked.take(); got != nil {
		t.Errorf("asked again: %v", got)
	}
	if _, known := c.KnownMapping(gvks("example.com/v2 Thing")[0]); known {
		t.Error("a version that was not asked for takes memory")
	}

	// A stale version is asked by itself, and its server's silence is not an absence.
	_, err := c.Mapping(t.Context(), all[3])
	if _, unknown := errors.AsType[*apierror.KindNotFoundError](err); unknown || !apierror.Unavailable(err) {
		t.Errorf("a stale version: %v", err)
	}
	for _, gvk := range all[4:6] { // stale and without resources; defined a moment ago, or not at all
		if _, err := c.Mapping(t.Context(), gvk); !isUnknown(err) {
			t.Errorf("%s: %v", gvk, err)
		}
	}
	if diff := cmp.Diff([]string{"/apis/example.com/v1", "/apis/metrics.k8s.io/v1beta1", "/apis/new.example.com/v1"}, slices.Sorted(slices.Values(slices.Compact(asked.take())))); diff != "" {
		t.Error(diff)
	}

	if !c.ForgetUnconfirmed(all[1]) || c.ForgetUnconfirmed(all[1]) {
		t.Error("a mapping that only the document has is forgotten once")
	}
	if _, err := c.Mapping(t.Context(), all[1]); err != nil || c.ForgetUnconfirmed(all[1]) {
		t.Errorf("a mapping that was asked for by itself is confirmed: %v", err)
	}
	asked.take()

	// What the document does not have is not a reason to read it again.
	c.Discover(t.Context(), all)
	c.ForgetMapping(all[0])
	c.Discover(t.Context(), all)
	if got := asked.take(); got != nil {
		t.Errorf("asked again: %v", got)
	}
	if _, err := c.Mapping(t.Context(), all[0]); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"/apis/apps/v1"}, asked.take()); diff != "" {
		t.Errorf("a forgotten mapping: %s", diff)
	}
}

func isUnknown(err error) bool {
	_, unknown := errors.AsType[*apierror.KindNotFoundError](err)
	return unknown
}

func TestKindsOfFewGroupsAreDiscoveredEachByItself(t *testing.T) {
	var asked paths
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) { asked.add(r); single(w, r) })
	c.Discover(t.Context(), gvks("apps/v1 Deployment", "apps/v1 StatefulSet", "batch/v1 Job", "v1 ConfigMap", "v1 Secret"))
	if got := asked.take(); got != nil {
		t.Errorf("asked %v", got)
	}
}

// TestWithoutAggregatedDiscoveryEachGroupIsAskedFor has servers that are older, that refuse, and that are
// hostile: the document is asked for once, and kinds are found one group at a time.
func TestWithoutAggregatedDiscoveryEachGroupIsAskedFor(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"an older server": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}]}]}`)
		},
		"one that accepts no such form": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotAcceptable) },
		"one that does not permit it": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"kind":"Status","status":"Failure","reason":"Forbidden","code":403}`)
		},
		"one that does not have it": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"one that fails":            func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"one that breaks off":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"what is no JSON":           func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "apps batch rbac") },
		"a list of something else":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"kind":"List","items":[]}`) },
		"fields of other types": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"kind":"APIGroupDiscoveryList","items":[7]}`)
		},
		"a document that is too long": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat(" ", maxAnswer+1)) },
		"a document of empty groups": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"kind":"APIGroupDiscoveryList","items":[%s{}]}`, strings.Repeat("{},", maxElements/2))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var asked paths
			c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
				asked.add(r)
				w.Header().Set("Content-Type", "application/json")
				if r.URL.Path == "/apis" {
					answer(w, r)
					return
				}
				single(w, r)
			})
			kinds := gvks("apps/v1 Deployment", "batch/v1 Job", "other.example.com/v1 Thing")
			for range 2 {
				c.Discover(t.Context(), kinds)
			}
			if diff := cmp.Diff([]string{"/apis"}, asked.take()); diff != "" {
				t.Errorf("the document was not asked for once: %s", diff)
			}
			for _, gvk := range kinds[:2] {
				if m, err := c.Mapping(t.Context(), gvk); err != nil || !m.Namespaced {
					t.Errorf("%s: %+v, %v", gvk, m, err)
				}
			}
			if _, err := c.Mapping(t.Context(), kinds[2]); !isUnknown(err) {
				t.Error(err)
			}
		})
	}
}

// TestAnswersToDiscoveryAreBounded has a server that answers with a small text of many elements, which take much
// memory when they are decoded.
func TestAnswersToDiscoveryAreBounded(t *testing.T) {
	for name, answer := range map[string]string{
		"many resources": `{"kind":"APIResourceList","resources":[` + strings.Repeat("{},", maxElements/2) + `{}]}`,
		"many verbs":     `{"kind":"APIResourceList","resources":[{"name":"deployments","kind":"Deployment","verbs":[` + strings.Repeat(`"",`, maxElements) + `""]}]}`,
		"many versions":  `{"kind":"APIGroup","versions":[` + strings.Repeat("{},", maxElements/2) + `{}]}`,
		"many objects":   `{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"1"},"items":[` + strings.Repeat("{},", maxElements/2) + `{}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprint(w, answer)
			})
			if _, err := c.Mapping(t.Context(), gvks("apps/v1 Deployment")[0]); !errors.Is(err, ErrTooLarge) {
				t.Errorf("the resources of a group: %v", err)
			}
			if _, err := c.Discovery().group(t.Context(), "apps"); !errors.Is(err, ErrTooLarge) {
				t.Errorf("the versions of a group: %v", err)
			}
			if _, err := c.Discovery().defined(t.Context(), gvks("example.com/v1 Thing")[0]); !errors.Is(err, ErrTooLarge) {
				t.Errorf("the names of definitions: %v", err)
			}
			if _, err := NewInventories(c, Holder{Hub: "hub"}).Restored(t.Context()); !errors.Is(err, ErrTooLarge) {
				t.Errorf("the versions of inventories: %v", err)
			}
		})
	}
}

// TestNamesOfKindsAreBounded has a server that answers with names of a megabyte. A string counts as no part of an
// answer, so 200 pages with one such name each would all be kept.
func TestNamesOfKindsAreBounded(t *testing.T) {
	long := strings.Repeat("x", 1<<20) + ".example.com"
	list := func(name string) string {
		return fmt.Sprintf(`{"kind":"PartialObjectMetadataList","metadata":{},"items":[{"metadata":{"name":%q}}]}`, name)
	}
	thing := gvks("example.com/v1 Thing")[0]
	for name, tt := range map[string]struct {
		answers map[string]string
		look    func(*Client) error
	}{
		"a definition": {map[string]string{definitions: list(long)}, func(c *Client) error {
			_, err := c.Discovery().defined(t.Context(), thing)
			return err
		}},
		"an APIService": {map[string]string{apiServices: list(long)}, func(c *Client) error {
			_, err := c.Discovery().aggregated(t.Context(), thing.Group)
			return err
		}},
		"the kind of a definition": {map[string]string{
			definitions: list("things.example.com"), definitions + "/things.example.com": fmt.Sprintf(`{"spec":{"names":{"kind":%q}}}`, long),
		}, func(c *Client) error {
			_, err := c.Discovery().defined(t.Context(), thing)
			return err
		}},
		"a version": {map[string]string{"/apis/example.com": fmt.Sprintf(`{"kind":"APIGroup","versions":[{"version":%q}]}`, long)}, func(c *Client) error {
			_, err := c.Discovery().group(t.Context(), thing.Group)
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprint(w, tt.answers[r.URL.Path])
			})
			if err := tt.look(c); !errors.Is(err, ErrTooLarge) || len(err.Error()) > 300 {
				t.Errorf("%.300v", err)
			}
		})
	}
}

// TestKindsThatAreRememberedAreBounded has a server with more kinds than any has, some with names that none has. A
// kind that was not remembered for that reason does not count as gone.
func TestKindsThatAreRememberedAreBounded(t *testing.T) {
	resources := func(n int, name string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `{"name":"%s%d","kind":"Thing%d"},`, name, i, i)
		}
		return `{"kind":"APIResourceList","resources":[` + b.String() + `{"name":"others","kind":"Other"}]}`
	}
	answer := resources(3, strings.Repeat("x", 1<<10))
	c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, answer)
	})
	if _, err := c.Mapping(t.Context(), gvks("example.com/v1 Other")[0]); err != nil || len(c.mappings.known) != 1 {
		t.Errorf("%d kinds, %v", len(c.mappings.known), err)
	}
	answer = resources(maxDefinitions, "things")
	if _, err := c.Mapping(t.Context(), gvks("example.com/v2 Other")[0]); !errors.Is(err, ErrTooLarge) || len(c.mappings.known) > maxDefinitions {
		t.Errorf("%d kinds, %v", len(c.mappings.known), err)
	}
}

// What stands in a text does not count: kubectl keeps the whole definition in an annotation.
func TestLongTextsAreNoParts(t *testing.T) {
	c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"kind":"PartialObjectMetadataList","metadata":{},"items":[{"metadata":{"name":"things.example.org","annotations":{"applied":%q}}}]}`,
			strings.Repeat(`{"type":"string"},`, maxElements))
	})
	if _, err := c.Discovery().defined(t.Context(), gvks("example.com/v1 Thing")[0]); err != nil {
		t.Error(err)
	}
}

// decoding notes whether a large answer is reserved while it is decoded.
type decoding struct {
	budget   *budget
	reserved bool
}

func (d *decoding) UnmarshalJSON([]byte) error {
	d.reserved = len(d.budget.large) == cap(d.budget.large)
	return nil
}

func TestALargeAnswerToDiscoveryIsDecodedUnderItsReservation(t *testing.T) {
	c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"kind":%q}`, strings.Repeat("x", 2*smallAnswer))
	})
	got := decoding{budget: c.budget}
	if err := c.discovery(t.Context(), c.rest.Get().AbsPath("/apis"), &got); err != nil || !got.reserved {
		t.Errorf("reserved: %v, %v", got.reserved, err)
	}
	if len(c.budget.large) > 0 {
		t.Error("the reservation is kept")
	}
}

// TestAggregatedDiscoveryFindsWhatEachGroupSays compares both ways for all kinds of a real API server.
func TestAggregatedDiscoveryFindsWhatEachGroupSays(t *testing.T) {
	if testing.Short() {
		t.Skip("needs an API server")
	}
	cfg := controlplane.Shared(t).RESTConfig()
	one, all := newTestClient(t, cfg), newTestClient(t, cfg)
	var groups metav1.APIGroupList
	if err := one.read(t.Context(), "/apis", "application/json", nil, &groups); err != nil {
		t.Fatal(err)
	}
	var kinds []schema.GroupVersionKind
	for _, g := range groups.Groups {
		for _, v := range g.Versions {
			list, err := one.resources(t.Context(), schema.GroupVersion{Group: g.Name, Version: v.Version})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list.APIResources {
				if !strings.Contains(r.Name, "/") {
					kinds = append(kinds, schema.GroupVersionKind{Group: g.Name, Version: v.Version, Kind: r.Kind})
				}
			}
		}
	}
	if len(kinds) < 30 {
		t.Fatalf("only %d kinds", len(kinds))
	}
	all.Discover(t.Context(), kinds)
	for _, gvk := range kinds {
		want, err := one.Mapping(t.Context(), gvk)
		if err != nil {
			t.Fatal(err)
		}
		if got, known := all.KnownMapping(gvk); !known || got != want {
			t.Errorf("%s is %+v, want %+v", gvk, got, want)
		}
	}
}
