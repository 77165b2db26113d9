package v1alpha1

import (
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// TestEqualLooksAtEveryFieldOfAnEntry: a field that Equal forgets would never be written.
func TestEqualLooksAtEveryFieldOfAnEntry(t *testing.T) {
	values := map[reflect.Type]any{
		reflect.TypeFor[string]():                   "x",
		reflect.TypeFor[bool]():                     true,
		reflect.TypeFor[[]string]():                 []string{"x"},
		reflect.TypeFor[metav1.Duration]():          metav1.Duration{Duration: time.Second},
		reflect.TypeFor[*metav1.Duration]():         &metav1.Duration{Duration: time.Second},
		reflect.TypeFor[*metav1.Time]():             &metav1.Time{Time: time.Unix(1, 0)},
		reflect.TypeFor[*Bundle]():                  &Bundle{Digest: "x"},
		reflect.TypeFor[*Drift]():                   &Drift{Ignore: []IgnoreRule{{Paths: []string{"/x"}}}},
		reflect.TypeFor[*intstr.IntOrString]():      new(intstr.FromInt32(1)),
		reflect.TypeFor[DeletionPolicy]():           DeletionOrphan,
		reflect.TypeFor[[]HealthCheckReference]():   []HealthCheckReference{{Name: "x"}},
		reflect.TypeFor[[]HealthCheckExpressions](): []HealthCheckExpressions{{Kind: "x"}},
	}
	for i := range reflect.TypeFor[AssignmentEntry]().NumField() {
		var a, b AssignmentEntry
		field := reflect.ValueOf(&b).Elem().Field(i)
		name := reflect.TypeFor[AssignmentEntry]().Field(i).Name
		value, ok := values[field.Type()]
		if !ok {
			t.Fatalf("%s: no value for a %s", name, field.Type())
		}
		field.Set(reflect.ValueOf(value))
		if a.Equal(&b) || b.Equal(&a) {
			t.Errorf("%s is not compared", name)
		}
		if !b.Equal(b.DeepCopy()) {
			t.Errorf("%s differs from its copy", name)
		}
	}
}
