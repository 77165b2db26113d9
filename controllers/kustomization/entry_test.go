package kustomization

import (
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// TestSameEntryLooksAtEveryField: a field that sameEntry forgets would never be written.
func TestSameEntryLooksAtEveryField(t *testing.T) {
	values := map[reflect.Type]any{
		reflect.TypeFor[string]():                            "x",
		reflect.TypeFor[bool]():                              true,
		reflect.TypeFor[[]string]():                          []string{"x"},
		reflect.TypeFor[metav1.Duration]():                   metav1.Duration{Duration: time.Second},
		reflect.TypeFor[*metav1.Duration]():                  &metav1.Duration{Duration: time.Second},
		reflect.TypeFor[*metav1.Time]():                      &metav1.Time{Time: time.Unix(1, 0)},
		reflect.TypeFor[*v1alpha1.Bundle]():                  &v1alpha1.Bundle{Digest: "x"},
		reflect.TypeFor[*v1alpha1.Drift]():                   &v1alpha1.Drift{Ignore: []v1alpha1.IgnoreRule{{Paths: []string{"/x"}}}},
		reflect.TypeFor[*intstr.IntOrString]():               new(intstr.FromInt32(1)),
		reflect.TypeFor[v1alpha1.DeletionPolicy]():           v1alpha1.DeletionOrphan,
		reflect.TypeFor[[]v1alpha1.HealthCheckReference]():   []v1alpha1.HealthCheckReference{{Name: "x"}},
		reflect.TypeFor[[]v1alpha1.HealthCheckExpressions](): []v1alpha1.HealthCheckExpressions{{Kind: "x"}},
	}
	for i := range reflect.TypeFor[v1alpha1.AssignmentEntry]().NumField() {
		var a, b v1alpha1.AssignmentEntry
		field := reflect.ValueOf(&b).Elem().Field(i)
		name := reflect.TypeFor[v1alpha1.AssignmentEntry]().Field(i).Name
		value, ok := values[field.Type()]
		if !ok {
			t.Fatalf("%s: no value for a %s", name, field.Type())
		}
		field.Set(reflect.ValueOf(value))
		if sameEntry(&a, &b) || sameEntry(&b, &a) {
			t.Errorf("%s is not compared", name)
		}
		if !sameEntry(&b, b.DeepCopy()) {
			t.Errorf("%s differs from its copy", name)
		}
	}
}
