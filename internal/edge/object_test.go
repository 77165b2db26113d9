package edge

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/object"
)

var (
	configMapMapping = Mapping{GVK: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, Resource: "configmaps", Namespaced: true}
	webID            = object.ID{Kind: "ConfigMap", Namespace: "web", Name: "cm"}
	webObject        = object.Object{ID: webID, Version: "v1", Body: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm"}}`)}
)

// seen is a request as a server gets it.
type seen struct {
	method, path, contentType, body string
	query                           url.Values
}

// answering is a client of a server that gives one answer, and the requests that it got.
func answering(t *testing.T, code int, text string) (*Client, *[]seen) {
	t.Helper()
	var got []seen
	return clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, seen{r.Method, r.URL.Path, r.Header.Get("Content-Type"), string(body), r.URL.Query()})
		if accept := r.Header.Get("Accept"); accept != asMetadata {
			t.Errorf("asked for %s", accept)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprint(w, text)
	}), &got
}

func status(code int, reason metav1.StatusReason, details string) string {
	return fmt.Sprintf(`{"kind":"Status","status":"Failure","reason":%q,"code":%d,"message":"refused","details":%s}`, reason, code, details)
}

const (
	metadataAnswer = `{"kind":"PartialObjectMetadata","metadata":{"name":"cm","namespace":"web","uid":"u1","resourceVersion":"7","labels":{"skerry.dev/owner":"apps.1"}}}`
	noSuchObject   = `{"name":"cm","kind":"configmaps"}`
)

func TestApply(t *testing.T) {
	conflictOn := func(field string) string {
		return status(409, metav1.StatusReasonConflict, fmt.Sprintf(`{"name":"cm","causes":[{"reason":"FieldManagerConflict","message":"conflict with \"kubectl-edit\" using v1","field":%q}]}`, field))
	}
	for name, tt := range map[string]struct {
		code    int
		text    string
		force   bool
		created bool
		err     func(error) bool // nil: none
	}{
		"created":           {code: 201, text: metadataAnswer, created: true},
		"changed, by force": {code: 200, text: metadataAnswer, force: true},
		"another owner": {code: 409, text: conflictOn(".metadata.labels.skerry.dev/owner"), err: func(err error) bool {
			c, ok := errors.AsType[*apierror.ConflictError](err)
			return ok && c.Owner() && c.Managers[0] == "kubectl-edit"
		}},
		"another manager": {code: 409, text: conflictOn(".data.key"), err: func(err error) bool {
			c, ok := errors.AsType[*apierror.ConflictError](err)
			return ok && !c.Owner() && cmp.Equal(c.Fields, []string{".data.key"})
		}},
		"another conflict": {code: 409, text: status(409, metav1.StatusReasonConflict, `{"name":"cm"}`), err: func(err error) bool {
			_, ok := errors.AsType[*apierror.ConflictError](err)
			return !ok && apierrors.IsConflict(err)
		}},
		"the kind is not served":  {code: 404, text: "404 page not found", err: apierror.KindGone},
		"a refusal":               {code: 422, text: status(422, metav1.StatusReasonInvalid, noSuchObject), err: apierrors.IsInvalid},
		"an answer without uid":   {code: 200, text: `{"metadata":{"name":"cm"}}`, err: func(err error) bool { return strings.Contains(err.Error(), "not an object's metadata") }},
		"an answer of a stranger": {code: 200, text: `{"metadata":{"uid":"` + "\u001b[2J" + `","resourceVersion":"7"}}`, err: func(err error) bool { return strings.Contains(err.Error(), "not an object's metadata") }},
		"a web page":              {code: 200, text: "<html>", err: func(err error) bool { return strings.Contains(err.Error(), "not an object's metadata") }},
	} {
		t.Run(name, func(t *testing.T) {
			c, requests := answering(t, tt.code, tt.text)
			got, err := c.Apply(t.Context(), configMapMapping, webObject, "skerry.apps", tt.force)
			if (err == nil) != (tt.err == nil) || err != nil && !tt.err(err) {
				t.Fatalf("%v", err)
			}
			if err == nil && (got.UID != "u1" || got.ResourceVersion != "7" || got.Created != tt.created) {
				t.Errorf("%+v", got)
			}
			want := []seen{{http.MethodPatch, "/api/v1/namespaces/web/configmaps/cm", "application/apply-patch+yaml", string(webObject.Body), url.Values{"fieldManager": {"skerry.apps"}, "fieldValidation": {"Ignore"}}}}
			if tt.force {
				want[0].query.Set("force", "true")
			}
			if diff := cmp.Diff(want, *requests, cmp.AllowUnexported(seen{})); diff != "" {
				t.Errorf("one request, and that:\n%s", diff)
			}
		})
	}
}

// TestWriteIsRepeatedWhileTheClusterIsBusy, twice and no more.
func TestWriteIsRepeatedWhileTheClusterIsBusy(t *testing.T) {
	for busy, want := range map[int]int{1: 2, 2: 3, 5: 3} {
		n := 0
		c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if n++; n <= busy {
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(http.StatusTooManyRequests)
				fmt.Fprint(w, status(429, metav1.StatusReasonTooManyRequests, "{}"))
				return
			}
			fmt.Fprint(w, metadataAnswer)
		})
		_, err := c.Apply(t.Context(), configMapMapping, webObject, "m", false)
		if n != want || (err == nil) != (busy <= retries) || err != nil && !apierror.Overloaded(err) {
			t.Errorf("busy %d times: %d requests, %v", busy, n, err)
		}
	}
}

func TestDeleteIsOfOneObject(t *testing.T) {
	for name, tt := range map[string]struct {
		code int
		text string
		gone bool
		err  func(error) bool
	}{
		"accepted":                 {code: 200, text: `{"kind":"Status","status":"Success"}`},
		"it is gone":               {code: 404, text: status(404, metav1.StatusReasonNotFound, noSuchObject), gone: true},
		"another one has its name": {code: 409, text: status(409, metav1.StatusReasonConflict, noSuchObject), gone: true},
		"the kind is not served":   {code: 404, text: "404 page not found", err: apierror.KindGone},
		"a refusal":                {code: 403, text: status(403, metav1.StatusReasonForbidden, noSuchObject), err: apierrors.IsForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			c, requests := answering(t, tt.code, tt.text)
			gone, err := c.Delete(t.Context(), configMapMapping, webID, "u1")
			if gone != tt.gone || (err == nil) != (tt.err == nil) || err != nil && !tt.err(err) {
				t.Errorf("%v, %v", gone, err)
			}
			if len(*requests) != 1 || !strings.Contains((*requests)[0].body, `"preconditions":{"uid":"u1"}`) || !strings.Contains((*requests)[0].body, `"propagationPolicy":"Background"`) {
				t.Errorf("%+v", *requests)
			}
		})
	}
}

func TestReleaseLeavesWhatIsNotOurs(t *testing.T) {
	for name, tt := range map[string]struct {
		code int
		text string
		ok   bool
	}{
		"released":                 {200, metadataAnswer, true},
		"it is gone":               {404, status(404, metav1.StatusReasonNotFound, noSuchObject), true},
		"another one has its name": {422, status(422, metav1.StatusReasonInvalid, `{"name":"cm","causes":[{"field":"metadata.uid"}]}`), true},
		"another field is refused": {422, status(422, metav1.StatusReasonInvalid, `{"name":"cm","causes":[{"field":"metadata.labels"}]}`), false},
		"the kind is not served":   {404, "404 page not found", false},
	} {
		t.Run(name, func(t *testing.T) {
			c, requests := answering(t, tt.code, tt.text)
			if err := c.Release(t.Context(), configMapMapping, webID, "u1", "m"); (err == nil) != tt.ok {
				t.Error(err)
			}
			if want := `{"metadata":{"labels":{"` + v1alpha1.OwnerLabel + `":null},"uid":"u1"}}`; (*requests)[0].body != want {
				t.Errorf("sent %s", (*requests)[0].body)
			}
		})
	}
}

func TestSetManagedOfAnObjectThatHasChangedWritesNothing(t *testing.T) {
	for code, want := range map[int]bool{200: true, 409: false, 404: false} {
		text := metadataAnswer
		if code != 200 {
			text = status(code, map[int]metav1.StatusReason{409: metav1.StatusReasonConflict, 404: metav1.StatusReasonNotFound}[code], noSuchObject)
		}
		c, requests := answering(t, code, text)
		_, written, err := c.SetManaged(t.Context(), configMapMapping, webID, "6", nil, "m")
		if written != want || err != nil || !strings.Contains((*requests)[0].body, `{"op":"replace","path":"/metadata/resourceVersion","value":"6"}`) {
			t.Errorf("%d: %v, %v, %s", code, written, err, (*requests)[0].body)
		}
	}
	c, _ := answering(t, 500, status(500, metav1.StatusReasonInternalError, "{}"))
	if _, written, err := c.SetManaged(t.Context(), configMapMapping, webID, "6", nil, "m"); written || err == nil {
		t.Errorf("%v, %v", written, err)
	}
}

func TestFind(t *testing.T) {
	c, _ := answering(t, 200, metadataAnswer)
	if f, err := c.Find(t.Context(), configMapMapping, webID, "m"); err != nil || f.Owner != "apps.1" || f.UID != "u1" {
		t.Errorf("%+v, %v", f, err)
	}
	c, _ = answering(t, 404, status(404, metav1.StatusReasonNotFound, noSuchObject))
	if f, err := c.Find(t.Context(), configMapMapping, webID, "m"); f != nil || err != nil {
		t.Errorf("there is none: %+v, %v", f, err)
	}
	c, _ = answering(t, 404, "404 page not found")
	if f, err := c.Find(t.Context(), configMapMapping, webID, "m"); f != nil || !apierror.KindGone(err) {
		t.Errorf("a path that is not served says nothing of the object: %+v, %v", f, err)
	}
}

// TestCreatable: that an object of the name is there, and what that object holds itself, is no refusal.
func TestCreatable(t *testing.T) {
	for text, want := range map[string]bool{
		metadataAnswer: true,
		status(409, metav1.StatusReasonAlreadyExists, noSuchObject):                                                                                        true,
		strings.Replace(status(422, metav1.StatusReasonInvalid, noSuchObject), "refused", "spec.ports[0].nodePort: provided port is already allocated", 1): true,
		strings.Replace(status(403, metav1.StatusReasonForbidden, noSuchObject), "refused", "exceeded quota: q", 1):                                        true,
		status(422, metav1.StatusReasonInvalid, noSuchObject):                                                                                              false,
	} {
		code := 201
		for _, n := range []int{409, 422, 403} {
			if strings.Contains(text, fmt.Sprintf(`"code":%d`, n)) {
				code = n
			}
		}
		c, requests := answering(t, code, text)
		err := c.Creatable(t.Context(), configMapMapping, webObject, "m")
		if (err == nil) != want || (*requests)[0].query.Get("dryRun") != metav1.DryRunAll || (*requests)[0].method != http.MethodPost {
			t.Errorf("%s: %v, %+v", text, err, (*requests)[0])
		}
	}
}
