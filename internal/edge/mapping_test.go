package edge

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The Kustomizations of a cluster look for its kinds at the same time, and one answer serves all that find theirs in it.
func TestResourcesOfAGroupAreAskedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core := schema.GroupVersion{Version: "v1"}
		m := &mappings{}
		type result struct {
			found    Mapping
			ok       bool
			answered func()
			err      error
		}
		ask := func(ctx context.Context, kind string) *result {
			r := &result{}
			go func() { r.found, r.ok, r.answered, r.err = m.ask(ctx, core.WithKind(kind)) }()
			synctest.Wait()
			return r
		}
		first := ask(t.Context(), "ConfigMap")
		if first.answered == nil {
			t.Fatalf("the first is not to ask: %+v", first)
		}
		cancelled, cancel := context.WithCancelCause(t.Context())
		second, defined, gone := ask(t.Context(), "Secret"), ask(t.Context(), "Defined"), ask(cancelled, "Secret")
		lost := errors.New("the session has ended")
		cancel(lost)
		synctest.Wait()
		if second.ok || second.answered != nil || defined.answered != nil || !errors.Is(gone.err, lost) {
			t.Fatalf("before the answer: %+v, %+v, %+v", second, defined, gone)
		}
		_, err := m.take(core.WithKind("ConfigMap"), &metav1.APIResourceList{APIResources: []metav1.APIResource{
			{Name: "configmaps", Kind: "ConfigMap", Namespaced: true}, {Name: "secrets", Kind: "Secret", Namespaced: true},
		}})
		if err != nil {
			t.Fatal(err)
		}
		first.answered()
		synctest.Wait()
		if !second.ok || second.found.Resource != "secrets" {
			t.Errorf("who waited has not got the answer: %+v", second)
		}
		if defined.ok || defined.answered == nil {
			t.Errorf("what is not in the answer to another is not asked for: %+v", defined)
		}
		if other := ask(t.Context(), "ConfigMap"); !other.ok {
			t.Errorf("what is known is asked for: %+v", other)
		}
		defined.answered()
	})
}
