package v1alpha1

import (
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Each field counts, also one that is added later.
func TestEqualStatuses(t *testing.T) {
	at := metav1.NewTime(time.Unix(1000, 0))
	full := func() *AssignmentEntryStatus {
		return &AssignmentEntryStatus{
			VerifiedAt: at.DeepCopy(), Objects: ObjectCounts{Total: 1}, Ready: metav1.ConditionTrue,
			Drifts: []DriftRecord{{Object: "ConfigMap/a/b", At: at, Paths: []string{".data"}}},
		}
	}
	if !full().Equal(full()) {
		t.Fatal("a status is not equal to one that says the same")
	}
	var each func(of reflect.Value, path string, check func(string))
	each = func(of reflect.Value, path string, check func(string)) {
		for i := range of.NumField() {
			field, name := of.Field(i), path+of.Type().Field(i).Name
			before := reflect.ValueOf(field.Interface())
			switch v := field.Addr().Interface().(type) {
			case **metav1.Time:
				*v = &metav1.Time{Time: at.Add(time.Second)}
			case *metav1.Time:
				*v = metav1.NewTime(at.Add(time.Second))
			case *ObjectCounts:
				each(field, name+".", check)
				continue
			case *[]DriftRecord:
				each(reflect.ValueOf(&(*v)[0]).Elem(), name+".", check)
				*v = nil
			case *[]string:
				*v = []string{".spec"}
			default:
				switch field.Kind() {
				case reflect.String:
					field.SetString("else")
				case reflect.Int32, reflect.Int64:
					field.SetInt(77)
				case reflect.Bool:
					field.SetBool(true)
				default:
					t.Fatalf("the test does not know how to change %s", name)
				}
			}
			check(name)
			field.Set(before)
		}
	}
	changed := full()
	each(reflect.ValueOf(changed).Elem(), "", func(field string) {
		if full().Equal(changed) || changed.Equal(full()) {
			t.Errorf("a status with another %s is equal", field)
		}
	})
	if !full().Equal(changed) {
		t.Fatal("the test did not put everything back")
	}
}
