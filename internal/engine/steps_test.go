package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/expression"
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

// newJudges are the expressions of one cluster, of which nothing is spent or known.
func newJudges(now func() time.Time, budgets *steps) *expressions {
	return &expressions{now: now, steps: budgets, hub: newHubSteps(), random: func() float64 { return 0.5 }, assessments: &assessments{}, exhausted: func() {}}
}

func widgetsCurrent(t *testing.T, expression string) *health.Expressions {
	t.Helper()
	compiled, err := health.Compile([]v1alpha1.HealthCheckExpressions{{APIVersion: "example.com/v1", Kind: "Widget", Current: expression}})
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

const loops = "status.l.all(a, status.l.all(b, status.l.all(c, a + b + c >= 0)))"

// TestAnObjectThatHasNotChangedIsNotEvaluatedAgain lists objects again, in the same session and in others.
func TestAnObjectThatHasNotChangedIsNotEvaluatedAgain(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	budgets := &steps{}
	x := newJudges(func() time.Time { return now }, budgets)
	dear := widgetsCurrent(t, loops)
	x.set("dear", dear)
	takes := func(uid, version string, n int) time.Duration {
		before := budgets.refilled("dear", now)
		u := widget("w", n)
		u.SetUID(types.UID(uid))
		u.SetResourceVersion(version)
		x.Health("dear", u, func() {})
		return budgets.refilled("dear", now).Sub(before)
	}
	for _, tt := range []struct {
		name, uid, version string
		does               func()
		free               bool
	}{
		{name: "the first list", uid: "1", version: "7"},
		{name: "a list again", uid: "1", version: "7", free: true},
		{name: "a change", uid: "1", version: "8"},
		{name: "an object made anew", uid: "2", version: "8"},
		{name: "a new session", uid: "1", version: "8", does: x.assessments.startSession, free: true},
		{name: "two sessions later", uid: "2", version: "8", does: x.assessments.startSession},
		{name: "other expressions", uid: "2", version: "8", does: func() { x.set("dear", widgetsCurrent(t, loops+" || true")) }},
		{name: "the earlier ones", uid: "2", version: "8", does: func() { x.set("dear", dear) }, free: true},
		{name: "a cluster that was restored", uid: "2", version: "8", does: x.assessments.forget},
		{name: "an object without a uid", version: "8"},
		{name: "again", version: "8"},
	} {
		if tt.does != nil {
			tt.does()
		}
		if took := takes(tt.uid, tt.version, 20); (took == 0) != tt.free {
			t.Errorf("%s: its steps are given back after %s", tt.name, took)
		}
	}
	// What takes more steps than it may takes them once.
	first, again := takes("3", "9", 1000), takes("3", "9", 1000)
	if first == 0 || again != 0 {
		t.Errorf("an expression at its limit: %s, and %s again", first, again)
	}
	for i := range 3 * maxAssessed {
		x.assessments.put(assessed{dear, fmt.Sprint(i)}, "1", health.Status{})
	}
	if n := len(x.assessments.latest) + len(x.assessments.before); n > 2*maxAssessed {
		t.Errorf("%d are remembered", n)
	}
}

// TestExpressionsOfAllClustersAreBoundedInSum has a commit that brings an expensive expression to many clusters.
func TestExpressionsOfAllClustersAreBoundedInSum(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	hub := newHubSteps()
	dear, cheap := widgetsCurrent(t, loops), widgetsCurrent(t, "size(status.l) > 0")
	evaluated, skipped := 0, []*expressions{}
	cluster := func() *expressions {
		x := newJudges(func() time.Time { return now }, &steps{})
		x.hub = hub
		x.set("dear", dear)
		x.set("cheap", cheap)
		return x
	}
	// Seven objects on other clusters. Two Kustomizations share the limit, so that three of half of it are left.
	hub.charge("dear", now, 7*expression.ObjectLimit)
	for range 6 {
		x := cluster()
		switch got := x.Health("dear", widget("w", 1000), func() {}); got {
		case health.Unevaluated("on all clusters"):
			skipped = append(skipped, x)
		default:
			evaluated++
		}
		if got := x.Health("cheap", widget("w", 1000), func() {}); got.Phase != health.Current {
			t.Fatalf("another Kustomization is held back: %+v", got)
		}
	}
	if evaluated != 3 || len(skipped) != 3 {
		t.Fatalf("%d evaluated, %d skipped", evaluated, len(skipped))
	}
	now = skipped[0].next()
	if kinds := skipped[0].retrySkipped(now); len(kinds) != 1 {
		t.Errorf("not judged again: %v", kinds)
	}
	if got := skipped[0].Health("dear", widget("w", 2), func() {}); got == health.Unevaluated("on all clusters") {
		t.Errorf("once steps were given back: %+v", got)
	}
}

// TestExpressionsOfOneClusterAreBoundedInSum has an edge whose objects make an expression take as many
// steps as it may, again and again: the objects of that Kustomization are not judged any more, those of
// another one are, and all are judged again once the steps are given back.
func TestExpressionsOfOneClusterAreBoundedInSum(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	budgets, exhausted := &steps{}, 0
	session := func() *expressions {
		x := newJudges(func() time.Time { return now }, budgets)
		x.exhausted = func() { exhausted++ }
		for owner, current := range map[string]string{
			"dear":  loops,
			"cheap": "size(status.l) > 0",
		} {
			x.set(owner, widgetsCurrent(t, current))
		}
		return x
	}
	x := session()
	judged := func(owner string, n int) health.Status { return x.Health(owner, widget("w", n), func() {}) }
	if got := judged("cheap", 1000); got.Phase != health.Current {
		t.Fatalf("%+v", got)
	}
	budgets.allow("dear", now)
	budgets.charge("dear", now, 2*expression.ObjectLimit)
	n := 0
	for ; judged("dear", 1000) != health.Unevaluated("on this cluster"); n++ {
		if n == 10 {
			t.Fatal("it is evaluated without end")
		}
	}
	if n != 1 { // half of 5,000,000 is left after two of 1,000,000, as two share it, and not after three
		t.Errorf("%d more evaluations of 1,000,000 steps", n)
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
	if got := x.Health("nobody", widget("w", 1), func() {}); got.Unevaluated {
		t.Errorf("an object that no expression judges: %+v", got)
	}

	x = session() // the cluster has disconnected and come back
	if got := judged("dear", 2); !got.Unevaluated || exhausted != 2 {
		t.Errorf("a new session: %+v", got)
	}
	due := x.next()
	if wait := due.Sub(now); wait < 100*time.Second || wait > 150*time.Second {
		t.Errorf("judged after %v", wait)
	}
	now = due.Add(-time.Second)
	if kinds := x.retrySkipped(now); kinds != nil {
		t.Errorf("judged too early: %v", kinds)
	}
	now = due
	if diff := cmp.Diff([]schema.GroupKind{{Group: "example.com", Kind: "Widget"}}, x.retrySkipped(now)); diff != "" {
		t.Error(diff)
	}
	if got := judged("dear", 2); got.Phase != health.Current || !x.next().IsZero() || x.retrySkipped(now) != nil {
		t.Errorf("after the steps were given back: %+v, next at %v", got, x.next())
	}
}

// TestStepsOfAKustomizationThatGoesAreGivenUp keeps the parts of the others from growing ever smaller.
func TestStepsOfAKustomizationThatGoesAreGivenUp(t *testing.T) {
	x := newJudges(func() time.Time { return time.Unix(1, 0) }, &steps{})
	compiled := widgetsCurrent(t, "true")
	for i := range 5 {
		owner := fmt.Sprint(i)
		x.set(owner, compiled)
		x.Health(owner, widget("w", 1), func() {})
		x.set(owner, nil)
	}
	if n := len(x.steps.byOwner); n != 0 {
		t.Errorf("%d budgets are kept", n)
	}
}
