package edge

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/internal/apierror"
)

// TestLost goes through what an API server may say of a kind that it does not serve: that it is gone is
// only certain where nothing defines it.
func TestLost(t *testing.T) {
	thing := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Thing"}
	const (
		none        = "404 page not found"
		definition  = `{"spec":{"names":{"kind":"Thing"}}}`
		other       = `{"spec":{"names":{"kind":"Other"}}}`
		group       = `{"kind":"APIGroup","name":"example.com","versions":[{"version":"v1"},{"version":"v2"}]}`
		resourcesV2 = `{"kind":"APIResourceList","resources":[{"name":"things","kind":"Thing","namespaced":true}]}`
		forbidden   = `{"kind":"Status","status":"Failure","reason":"Forbidden","code":403}`
		failure     = `{"kind":"Status","status":"Failure","reason":"InternalError","code":500}`
	)
	names := func(list ...string) string {
		items := ""
		for i, name := range list {
			if i > 0 {
				items += ","
			}
			items += fmt.Sprintf(`{"metadata":{"name":%q}}`, name)
		}
		return `{"kind":"PartialObjectMetadataList","metadata":{},"items":[` + items + `]}`
	}
	automatic := `{"kind":"PartialObjectMetadataList","metadata":{},"items":[{"metadata":{"name":"v1.example.com","labels":{"` + automanaged + `":"true"}}}]}`
	for name, tt := range map[string]struct {
		gvk     schema.GroupVersionKind
		answers map[string]string
		found   bool
		doubt   string
		gone    bool // else an error
	}{
		"nothing defines it":                      {answers: map[string]string{definitions: names("gadgets.example.com", "things.example.org"), apiServices: names("v1.example.org")}, gone: true},
		"another version is served":               {answers: map[string]string{"/apis/example.com": group, "/apis/example.com/v2": resourcesV2}, found: true},
		"another version fails":                   {answers: map[string]string{"/apis/example.com": group, "/apis/example.com/v2": failure}},
		"the group cannot be read":                {answers: map[string]string{"/apis/example.com": failure}},
		"it is defined":                           {answers: map[string]string{definitions: names("things.example.com"), definitions + "/things.example.com": definition}, doubt: "is defined, but not served"},
		"it is defined under another plural":      {answers: map[string]string{definitions: names("thingies.example.com"), definitions + "/thingies.example.com": definition}, doubt: "is defined, but not served"},
		"only its neighbour is defined":           {answers: map[string]string{definitions: names("others.example.com"), definitions + "/others.example.com": other, apiServices: names()}, gone: true},
		"a definition that goes while it is read": {answers: map[string]string{definitions: names("things.example.com"), apiServices: names()}, gone: true},
		"another server serves the group":         {answers: map[string]string{definitions: names(), apiServices: names("v1.example.com")}, doubt: "is defined, but not served"},
		"the API server serves the group":         {answers: map[string]string{definitions: names(), apiServices: automatic}, gone: true},
		"there is no aggregation":                 {answers: map[string]string{definitions: names()}, gone: true},
		"definitions may not be seen":             {answers: map[string]string{definitions: forbidden}, doubt: "is not served, and these credentials may not see whether it is still defined"},
		"APIServices may not be seen":             {answers: map[string]string{definitions: names(), apiServices: forbidden}, doubt: "is not served, and these credentials may not see whether it is still defined"},
		"definitions cannot be read":              {answers: map[string]string{definitions: failure}},
		"what is no list is no empty list":        {answers: map[string]string{definitions: `{"kind":"Status"}`}},
		"a kind of the core group":                {gvk: schema.GroupVersionKind{Version: "v1", Kind: "Thing"}, gone: true},
		"a kind of a group of the API server's":   {gvk: schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Thing"}, gone: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				text := tt.answers[r.URL.Path]
				switch text {
				case "":
					text = none
					fallthrough
				case none:
					w.WriteHeader(http.StatusNotFound)
				case forbidden:
					w.WriteHeader(http.StatusForbidden)
				case failure:
					w.WriteHeader(http.StatusInternalServerError)
				}
				fmt.Fprint(w, text)
			})
			gvk := tt.gvk
			if gvk.Kind == "" {
				gvk = thing
			}
			m, err := c.Discovery().Lost(t.Context(), gvk)
			_, gone := errors.AsType[*apierror.KindNotFoundError](err)
			doubt, inDoubt := errors.AsType[*apierror.UncertainKindError](err)
			switch {
			case (err == nil) != tt.found, gone != tt.gone, inDoubt != (tt.doubt != ""):
				t.Errorf("%+v, %v", m, err)
			case inDoubt && doubt.Why != tt.doubt:
				t.Errorf("it %s", doubt.Why)
			case tt.found && (m.GVK.Version != "v2" || m.Resource != "things"):
				t.Errorf("%+v", m)
			}
		})
	}
}

// TestDiscoveryAsksOnce holds that a pass with many kinds of one group that are not found reads the group,
// its definitions and the list of names once.
func TestDiscoveryAsksOnce(t *testing.T) {
	var asked paths
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		asked.add(r)
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case definitions:
			fmt.Fprint(w, `{"kind":"PartialObjectMetadataList","metadata":{},"items":[{"metadata":{"name":"things.example.com"}}]}`)
		case definitions + "/things.example.com":
			fmt.Fprint(w, `{"spec":{"names":{"kind":"Thing"}}}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	d := c.Discovery()
	for i := range 5 {
		_, err := d.Lost(t.Context(), schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Thing"})
		if _, inDoubt := errors.AsType[*apierror.UncertainKindError](err); !inDoubt {
			t.Errorf("%d: %v", i, err)
		}
	}
	if got := asked.take(); len(got) != 3 {
		t.Errorf("asked for %v", got)
	}
}
