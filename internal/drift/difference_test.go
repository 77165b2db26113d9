package drift

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/object"
)

// TestDifference: what an apply would conflict on differs, what has the value of Git does not, what is gone was
// removed, and what people add differs as well.
func TestDifference(t *testing.T) {
	o, err := object.FromMap(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "web"}, "data": map[string]any{"a": "1", "b": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	then := metav1.NewTime(time.Unix(1000, 0).UTC())
	all, onlyA := us+`/Apply v1 {"f:data":{"f:a":{},"f:b":{}}}`+"\n", us+`/Apply v1 {"f:data":{"f:a":{}}}`+"\n"
	theirs := `an-operator/Update v1 {"f:data":{"f:b":{}}}`
	conflict := &apierror.ConflictError{Fields: []string{".data.b"}}
	for name, tc := range map[string]struct {
		managed  string
		conflict *apierror.ConflictError
		unknown  bool
		keep     bool
		want     Difference
	}{
		"nothing":                               {managed: all},
		"another value":                         {managed: onlyA + theirs, conflict: conflict, want: Difference{[]string{".data.b"}, []string{"an-operator"}, then.Time}},
		"the same value":                        {managed: onlyA + theirs},
		"the value cannot be asked for":         {managed: onlyA + theirs, unknown: true, want: Difference{[]string{".data.b"}, []string{"an-operator"}, then.Time}},
		"removed":                               {managed: onlyA, want: Difference{Fields: []string{".data.b"}}},
		"nothing is ours":                       {managed: "", want: Difference{Fields: []string{".data.a", ".data.b"}}},
		"added by a person":                     {managed: all + `kubectl-edit/Update v1 {"f:data":{"f:c":{}}}`, want: Difference{[]string{".data.c"}, []string{"kubectl-edit"}, then.Time}},
		"added by a person, and to be kept":     {managed: all + `kubectl-edit/Update v1 {"f:data":{"f:c":{}}}`, keep: true},
		"added by a controller":                 {managed: all + `an-operator/Update v1 {"f:data":{"f:c":{}}}`},
		"a status":                              {managed: all + `kubectl/Update/status v1 {"f:status":{"f:b":{}}}`},
		"the map as a whole, with other values": {managed: `replacer/Update v1 {"f:data":{".":{},"f:a":{},"f:b":{}}}`, conflict: conflict, want: Difference{[]string{".data.b"}, []string{"replacer"}, then.Time}},
	} {
		managed := entries(tc.managed)
		for i := range managed {
			managed[i].Time = &then
		}
		got := Compared{Object: o, Manager: us, Managed: managed, Keep: tc.keep, Conflict: tc.conflict, Unknown: tc.unknown}.Difference()
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
