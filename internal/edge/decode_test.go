package edge

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/skerry-dev/skerry/internal/health"
)

// eventOf reads the only event of a watch.
func eventOf(t *testing.T, text string, fullObject bool) (*seenEvent, error) {
	t.Helper()
	return newEvents(t.Context(), newBudget(), strings.NewReader(text), fullObject).next()
}

// TestWholeObjectIsDecodedAsUnstructured compares what is read in one pass with what client-go's helpers would read.
func TestWholeObjectIsDecodedAsUnstructured(t *testing.T) {
	object := func(event string) string {
		return strings.TrimSuffix(strings.TrimSpace(strings.TrimPrefix(event, `{"type":"MODIFIED","object":`)), "}")
	}
	for name, text := range map[string]string{
		"a Deployment": object(deploymentEvent),
		"a ConfigMap":  object(configMapEvent),
		"numbers":      `{"spec":{"a":0,"b":-1,"c":1.0,"d":1e3,"e":9223372036854775807,"f":9223372036854775808,"g":-0,"h":0.1,"i":-9223372036854775808,"j":1E2}}`,
		"empty":        `{}`,
		"empty fields": `{"spec":{"a":{},"b":[],"c":"","d":null,"e":false,"f":true,"":1},"status":null}`,
		"nested":       `{"spec":[[[1,{"a":[{}]}],[]],[null,"x"]]}`,
		"white space":  " { \"spec\" : [ 1 , 2 ,\n\t3 ] , \"a\" : { } } ",
		"escapes":      `{"\u0073pec":{"a\nb":"\u00e9\ud83d\ude00\/","\u00e9":"é","é2":"\"","` + strings.Repeat("long", 40) + `":1}}`,
		"bad unicode":  "{\"spec\":{\"a\xff\":\"\xc3(\",\"b\":\"\\ud800\"}}",
		"twice":        `{"spec":{"a":1,"a":{"b":2}},"spec":{"c":3}}`,
		"metadata": `{"metadata":{"name":"n","namespace":"s","uid":"u","resourceVersion":"1","generation":3,"labels":{"a":"b"},"annotations":{"c":"d\n"},
			"finalizers":["x","y"],"deletionTimestamp":"2026-01-02T03:04:05Z","deletionGracePeriodSeconds":30,"ownerReferences":[{"uid":"o","controller":true}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			var want map[string]any
			if err := utiljson.Unmarshal([]byte(text), &want); err != nil {
				t.Fatal(err)
			}
			for _, order := range []string{`{"type":"ADDED","object":` + text + `}`, `{"object":` + text + `,"type":"ADDED"}`} {
				e, err := eventOf(t, order, true)
				if err != nil {
					t.Fatal(err)
				}
				e.addManagedFields()
				if diff := cmp.Diff(want, e.content); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				plain, err := eventOf(t, order, false)
				if err != nil {
					t.Fatal(err)
				}
				e.Metadata.managedFields = nil
				if diff := cmp.Diff(e.Metadata, plain.Metadata, cmp.AllowUnexported(metadata{})); diff != "" {
					t.Errorf("metadata (-full object +metadata only):\n%s", diff)
				}
			}
		})
	}
}

// TestEventThatCannotBeRead: a watch ends with an error for what no API server sends, and with none at its end.
func TestEventThatCannotBeRead(t *testing.T) {
	for text, want := range map[string]error{
		"":                 io.EOF,
		" \n":              io.EOF,
		`{"type":"ADDED"`:  io.ErrUnexpectedEOF,
		`{"type":"ADDED",`: io.ErrUnexpectedEOF,
		`{"type":"ADDED","object":{"metadata":{"name":"a`:              io.ErrUnexpectedEOF,
		`{"type":"ADDED","object":{"metadata":{"name":1}}}`:            errNotOfItsType,
		`{"type":"ADDED","object":{"metadata":{"labels":{"a":1}}}}`:    errNotOfItsType,
		`{"type":"ADDED","object":{"metadata":{"labels":[]}}}`:         errNotOfItsType,
		`{"type":"ADDED","object":{"metadata":{"finalizers":{}}}}`:     errNotOfItsType,
		`{"type":"ADDED","object":{"metadata":{"managedFields":[1]}}}`: errNotOfItsType,
		`{"type":"ADDED","object":{"metadata":[]}}`:                    errNotOfItsType,
		`{"type":"ADDED","object":[]}`:                                 errNotOfItsType,
		`{"object":[],"type":"ADDED"}`:                                 errNotOfItsType,
		`{"type":1,"object":{}}`:                                       errNotOfItsType,
		`[]`:                                                           errNotOfItsType,
		`{"type":"ERROR"}`:                                             errNoStatus,
		`{"type":"ADDED","object":{"metadata":{}},}`:                   nil,
		`{"type":"ADDED","object":{"metadata":{"managedFields":[{]}}}`: nil,
		`{"type":"ADDED","object":{"a":` + strings.Repeat("[", 20000):  nil,
		`{"type":"ADDED","object":{"a":"` + strings.Repeat("a", 5<<20): ErrTooLarge,
	} {
		for _, fullObject := range []bool{false, true} {
			_, err := eventOf(t, text, fullObject)
			if err == nil || want != nil && !errors.Is(err, want) {
				t.Errorf("%.60q is read with %v", text, err)
			}
			if want == io.EOF && err != io.EOF { //nolint:errorlint // and nothing else, or the watch would have failed
				t.Errorf("the end is %v", err)
			}
		}
	}
}

// TestHealthThatDependsOnManagedFields: most kinds are judged without them, and a Job that is suspended is not.
func TestHealthThatDependsOnManagedFields(t *testing.T) {
	job := `{"type":"ADDED","object":{"metadata":{"name":"j","labels":{"skerry.dev/owner":"o"},"managedFields":[` +
		`{"manager":"skerry.o","operation":"Apply","apiVersion":"batch/v1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:suspend":{}}}}]},"spec":{"suspend":true}}}`
	e, err := eventOf(t, job, true)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{client: &Client{shared: &shared{assessor: assessor{}}}, mapping: Mapping{GVK: schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}}, fullObject: true}
	seen, _ := w.observe(e)
	if seen.Health.Phase != health.Current || seen.Fields.Digest == "" {
		t.Errorf("%+v", seen)
	}
	if e, err = eventOf(t, deploymentEvent, true); err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: e.content}
	if got := u.GetManagedFields(); got != nil {
		t.Errorf("managed fields are decoded that nothing reads: %v", got)
	}
	e.addManagedFields()
	if got := u.GetManagedFields(); len(got) != 2 || got[0].Manager != "skerry.o" {
		t.Errorf("%v", got)
	}
}
