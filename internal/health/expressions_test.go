package health

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/expression"
)

func expressions(kind, current, inProgress, failed string) v1alpha1.HealthCheckExpressions {
	return v1alpha1.HealthCheckExpressions{APIVersion: "example.com/v1beta1", Kind: kind, Current: current, InProgress: inProgress, Failed: failed}
}

func TestExpressionsJudgeTheirKind(t *testing.T) {
	going := func(message string) Status { return Status{Phase: InProgress, Message: message} }
	const widget = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {generation: 2}\n"
	const isReady = "status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'True')"
	unanswered := going("its spec.healthCheckExprs have no answer: a field that they ask for is not there")
	for _, tc := range []struct {
		name   string
		check  v1alpha1.HealthCheckExpressions
		object string
		want   Status
	}{
		{"what is true decides", expressions("Widget", isReady, "", ""), widget + "status: {conditions: [{type: Ready, status: 'True'}]}", Status{Phase: Current}},
		{"what is not true is in progress", expressions("Widget", isReady, "", ""), widget + "status: {conditions: [{type: Ready, status: 'False'}]}", going("none of its spec.healthCheckExprs is true")},
		{"a status that is not there yet is in progress", expressions("Widget", isReady, "", ""), widget, unanswered},
		{"inProgress comes before failed", expressions("Widget", "true", "status.phase == 'Retrying'", "has(status.error)"), widget + "status: {phase: Retrying, error: x}", going("is in progress, by spec.healthCheckExprs")},
		{"failed comes before current", expressions("Widget", "true", "", "has(status.error)"), widget + "status: {error: x}", Status{Phase: Failed, Message: "failed, by spec.healthCheckExprs"}},
		{"the generation before is in progress", expressions("Widget", "true", "", ""), widget + "status: {observedGeneration: 1}", going("its controller has not looked at this generation yet")},
		{"a spec can be compared with its status", expressions("Widget", "spec.replicas == status.replicas", "", ""), widget + "spec: {replicas: 2}\nstatus: {replicas: 2}", Status{Phase: Current}},
		{"optional fields are Flux's", expressions("Widget", "status.?phase.orValue('') == 'Up'", "", ""), widget + "status: {phase: Up}", Status{Phase: Current}},
		{"data of a kind without a status", expressions("Widget", "data.done == 'yes'", "", ""), widget + "data: {done: 'yes'}", Status{Phase: Current}},
		{"what is no boolean is in progress", expressions("Widget", "status.phase", "", ""), widget + "status: {phase: Up}", going("its spec.healthCheckExprs are neither true nor false")},
		{"a mistaken comparison is in progress", expressions("Widget", "status.phase > 3", "", ""), widget + "status: {phase: Up}", unanswered},
		{"another kind is judged as ever", expressions("Gadget", "false", "", ""), widget, Status{Phase: Current}},
		{"the deletion comes first", expressions("Widget", "true", "", ""), "apiVersion: example.com/v1\nkind: Widget\nmetadata: {deletionTimestamp: 2026-01-01T00:00:00Z, finalizers: [x/y]}", Status{Phase: Terminating, Message: "is being deleted and waits for its finalizers: x/y"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, err := Compile([]v1alpha1.HealthCheckExpressions{tc.check})
			if err != nil {
				t.Fatal(err)
			}
			got, _ := e.Of(parse(t, tc.object))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnExpressionThatCannotBeReadIsNamed(t *testing.T) {
	for _, tc := range []struct {
		checks []v1alpha1.HealthCheckExpressions
		want   string
	}{
		{[]v1alpha1.HealthCheckExpressions{expressions("Widget", "status.", "", "")}, "spec.healthCheckExprs[0] of Widget.example.com: current: ERROR: <input>:1:8: Syntax error"},
		{[]v1alpha1.HealthCheckExpressions{expressions("Widget", "true", "", "f(")}, "spec.healthCheckExprs[0] of Widget.example.com: failed: ERROR"},
		{[]v1alpha1.HealthCheckExpressions{expressions("Widget", "true", "", ""), expressions("Widget", "false", "", "")}, "spec.healthCheckExprs[1]: Widget.example.com is judged by an earlier one already"},
		{[]v1alpha1.HealthCheckExpressions{{APIVersion: "a/b/c", Kind: "Widget", Current: "true"}}, "spec.healthCheckExprs[0].apiVersion: "},
		{[]v1alpha1.HealthCheckExpressions{expressions("Widget", strings.Repeat("(", 4000), "", "")}, "spec.healthCheckExprs[0] of Widget.example.com: current: "},
	} {
		if _, err := Compile(tc.checks); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("got %v, want %s…", err, tc.want)
		}
	}
}

// TestAnExpressionIsBoundedInSteps holds that loops within loops over what a cluster shows end.
func TestAnExpressionIsBoundedInSteps(t *testing.T) {
	e, err := Compile([]v1alpha1.HealthCheckExpressions{expressions("Widget", "status.l.all(a, status.l.all(b, status.l.all(c, a + b + c >= 0)))", "", "")})
	if err != nil {
		t.Fatal(err)
	}
	var list strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&list, "%d, ", i)
	}
	got, steps := e.Of(parse(t, "apiVersion: example.com/v1\nkind: Widget\nstatus: {l: ["+list.String()+"]}"))
	if got.Message != "its spec.healthCheckExprs take too many steps" || !got.Unevaluated || steps != expression.ObjectLimit {
		t.Errorf("got %+v after %d steps", got, steps)
	}
}

func TestEqualExpressionsAreCompiledOnce(t *testing.T) {
	var c Compiler
	list := func(current string) []v1alpha1.HealthCheckExpressions {
		return []v1alpha1.HealthCheckExpressions{expressions("Widget", current, "", "")}
	}
	a, _ := c.Compile(list("true"))
	b, _ := c.Compile(list("true"))
	other, _ := c.Compile(list("false"))
	if a != b || a == other {
		t.Error("equal lists are compiled twice, or different ones are the same")
	}
	for i := range 3 * compiledLimit {
		if _, err := c.Compile(list(fmt.Sprintf("status.n == %d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.compiled) > compiledLimit {
		t.Errorf("%d are kept", len(c.compiled))
	}
	if none, err := c.Compile(nil); err != nil || none.Covers(schema.GroupKind{Kind: "Pod"}) {
		t.Error("nothing judges something")
	}
}
