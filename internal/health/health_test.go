package health

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

func TestOf(t *testing.T) {
	for _, tc := range []struct {
		name, object string
		want         Status
	}{
		{"a config map is current as it stands", "{apiVersion: v1, kind: ConfigMap}", Status{Phase: Current}},
		{"a deployment without status is on its way", `
apiVersion: apps/v1
kind: Deployment
metadata: {generation: 2}
spec: {replicas: 2}`, Status{Phase: InProgress, Message: "Replicas: 0/2"}},
		{"a deployment past its deadline has failed", `
apiVersion: apps/v1
kind: Deployment
metadata: {generation: 1}
spec: {replicas: 1}
status:
  observedGeneration: 1
  conditions: [{type: Progressing, status: "False", reason: ProgressDeadlineExceeded}]`, Status{Phase: Failed, Message: "Progress deadline exceeded"}},
		{"a deployment with all replicas is current", `
apiVersion: apps/v1
kind: Deployment
metadata: {generation: 1}
spec: {replicas: 1}
status: {observedGeneration: 1, replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1, conditions: [{type: Available, status: "True"}]}`, Status{Phase: Current}},
		{"an old status does not count", `
apiVersion: example.com/v1
kind: Thing
metadata: {generation: 3}
status: {observedGeneration: 2, conditions: [{type: Ready, status: "True"}]}`, Status{Phase: InProgress, Message: "Thing generation is 3, but latest observed generation is 2"}},
		{"a definition waits to be established", `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: x}`, Status{Phase: InProgress, Message: "is not established yet"}},
		{"what is being deleted is terminating", `
apiVersion: v1
kind: ConfigMap
metadata: {deletionTimestamp: "2026-01-01T00:00:00Z"}`, Status{Phase: Terminating, Message: "is being deleted"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Of(parse(t, tc.object))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                      "plain",
		"two\nlines\tand  more":      "two lines and more",
		"\x1b[31mred\x1b[0m\x07":     "[31mred [0m",
		"bad \xff utf":               "bad utf",
		"hidden \u202e turn":         "hidden turn",
		strings.Repeat("a", 300):     strings.Repeat("a", messageLimit-3) + "…",
		strings.Repeat("é", 300)[1:]: strings.Repeat("é", (messageLimit-3)/2) + "…",
	} {
		got := Clean(in)
		if got != want || len(got) > messageLimit {
			t.Errorf("Clean(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestHasStatus(t *testing.T) {
	if HasStatus(schema.GroupKind{Kind: "Secret"}) || !HasStatus(schema.GroupKind{Group: "apps", Kind: "Deployment"}) {
		t.Error("a Secret must never be read, a Deployment must be")
	}
}
