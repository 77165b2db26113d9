package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/health"
)

// widget is an object that an expression with three loops takes n³ iterations for.
func widget(name string, n int) *unstructured.Unstructured {
	list := make([]any, n)
	for i := range list {
		list[i] = int64(i)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"name": name}, "status": map[string]any{"l": list},
	}}
}

// TestExpressionsOfOneClusterAreBoundedInSum has an edge whose objects make an expression take as many
// steps as it may, again and again: the objects of that Kustomization are not judged any more, those of
// another one are, and all are judged again once the steps are given back.
func TestExpressionsOfOneClusterAreBoundedInSum(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	budgets, exhausted := &steps{}, 0
	session := func() *expressions {
		x := &expressions{now: func() time.Time { return now }, steps: budgets, exhausted: func() { exhausted++ }}
		for owner, current := range map[string]string{
			"dear":  "status.l.all(a, status.l.all(b, status.l.all(c, a + b + c >= 0)))",
			"cheap": "size(status.l) > 0",
		} {
			compiled, err := health.Compile([]v1alpha1.HealthCheckExpressions{{APIVersion: "example.com/v1", Kind: "Widget", Current: current}})
			if err != nil {
				t.Fatal(err)
			}
			x.set(owner, compiled)
		}
		return x
	}
	x := session()
	judged := func(owner string, n int) health.Status { return x.Health(owner, widget("w", n)) }
	if got := judged("cheap", 1000); got.Phase != health.Current {
		t.Fatalf("%+v", got)
	}
	n := 0
	for ; judged("dear", 1000) != health.Unjudged(); n++ {
		if n == 10 {
			t.Fatal("it is evaluated without end")
		}
	}
	if n != 3 { // half of 5,000,000 is left after two of 1,000,000, as two share it
		t.Errorf("%d evaluations of 1,000,000 steps", n)
	}
	for range 100 {
		judged("dear", 2)
	}
	if exhausted != 1 {
		t.Errorf("told %d times", exhausted)
	}
	if got := judged("cheap", 1000); got.Phase != health.Current {
		t.Errorf("another Kustomization is held back: %+v", got)
	}
	if got := x.Health("nobody", widget("w", 1)); got.Unjudged {
		t.Errorf("an object that no expression judges: %+v", got)
	}

	x = session() // the cluster has disconnected and come back
	if got := judged("dear", 2); !got.Unjudged || exhausted != 2 {
		t.Errorf("a new session: %+v", got)
	}
	due := x.next()
	if wait := due.Sub(now); wait < 100*time.Second || wait > 150*time.Second {
		t.Errorf("judged after %v", wait)
	}
	now = due.Add(-time.Second)
	if kinds := x.judgeSkipped(now); kinds != nil {
		t.Errorf("judged too early: %v", kinds)
	}
	now = due
	if diff := cmp.Diff([]schema.GroupKind{{Group: "example.com", Kind: "Widget"}}, x.judgeSkipped(now)); diff != "" {
		t.Error(diff)
	}
	if got := judged("dear", 2); got.Phase != health.Current || !x.next().IsZero() || x.judgeSkipped(now) != nil {
		t.Errorf("after the steps were given back: %+v, next at %v", got, x.next())
	}
}

// TestStepsOfAKustomizationThatGoesAreGivenUp keeps the parts of the others from growing ever smaller.
func TestStepsOfAKustomizationThatGoesAreGivenUp(t *testing.T) {
	x := &expressions{now: func() time.Time { return time.Unix(1, 0) }, steps: &steps{}, exhausted: func() {}}
	compiled, err := health.Compile([]v1alpha1.HealthCheckExpressions{{APIVersion: "example.com/v1", Kind: "Widget", Current: "true"}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		owner := fmt.Sprint(i)
		x.set(owner, compiled)
		x.Health(owner, widget("w", 1))
		x.set(owner, nil)
	}
	if n := len(x.steps.byOwner); n != 0 {
		t.Errorf("%d budgets are kept", n)
	}
}
