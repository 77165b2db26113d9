package wait

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func newClient(t *testing.T, funcs interceptor.Funcs) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(funcs).Build()
}

func configMap(value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b", UID: "1"}, Data: map[string]string{"k": value}}
}

func TestUntilIsWokenByChanges(t *testing.T) {
	c := newClient(t, interceptor.Funcs{})
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b"}}
	seen := []string{}
	err := Until(t.Context(), c, []client.Object{o}, func() (bool, error) {
		if n := len(seen); n == 0 || seen[n-1] != o.Data["k"] {
			seen = append(seen, o.Data["k"])
		}
		switch {
		case o.UID == "":
			return false, c.Create(t.Context(), configMap("one"))
		case o.Data["k"] == "one":
			changed := o.DeepCopy()
			changed.Data["k"] = "two"
			return false, c.Update(t.Context(), changed)
		}
		return true, nil
	})
	if err != nil || len(seen) != 3 || seen[2] != "two" {
		t.Errorf("saw %q, %v", seen, err)
	}
}

func TestUntilEndsWithItsContextAndItsCheck(t *testing.T) {
	c := newClient(t, interceptor.Funcs{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	never := func() (bool, error) { return false, nil }
	if err := Until(ctx, c, []client.Object{configMap("")}, never); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("at the deadline: %v", err)
	}
	enough := errors.New("enough")
	if err := Until(t.Context(), c, []client.Object{configMap("")}, func() (bool, error) { return false, enough }); !errors.Is(err, enough) {
		t.Errorf("when the check fails: %v", err)
	}
}

// TestUntilOutlivesItsWatches: a change that happens while no watch stands is seen by the next.
func TestUntilOutlivesItsWatches(t *testing.T) {
	watches := 0
	var c client.WithWatch
	c = newClient(t, interceptor.Funcs{Watch: func(ctx context.Context, under client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
		watches++
		switch watches {
		case 1:
			return nil, errors.New("refused")
		case 2:
			w := watch.NewFake()
			w.Stop() // a watch that is cut off at once
			return w, c.Create(ctx, configMap("late"))
		}
		return under.Watch(ctx, list, opts...)
	}})
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b"}}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := Until(ctx, c, []client.Object{o}, func() (bool, error) { return o.Data["k"] == "late", nil }); err != nil {
		t.Error(err)
	}
}

func TestServedWaitsForTheKindOnly(t *testing.T) {
	calls := 0
	err := Served(t.Context(), func() error {
		if calls++; calls < 3 {
			return &meta.NoKindMatchError{}
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
	other := errors.New("no")
	if err := Served(t.Context(), func() error { return other }); !errors.Is(err, other) {
		t.Errorf("another error: %v", err)
	}
}
