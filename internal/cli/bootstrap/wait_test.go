package bootstrap

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/components"
)

func TestStandOf(t *testing.T) {
	condition := func(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: "why"}
	}
	fetched := []metav1.Condition{condition("Ready", "True", "Succeeded")}
	refused := []metav1.Condition{condition("Ready", "False", "AuthenticationFailed"), condition("Reconciling", "True", "AuthenticationFailed")}
	stalled := []metav1.Condition{condition("Ready", "False", "InvalidSecret"), condition("Stalled", "True", "InvalidSecret")}
	working := []metav1.Condition{condition("Ready", "Unknown", "Progressing"), condition("Reconciling", "True", "Progressing")}
	broken := []metav1.Condition{condition("Ready", "False", "InvalidYAML"), condition("Stalled", "True", "InvalidYAML")}

	tests := map[string]struct {
		source, root       []metav1.Condition
		handled            string
		artifact           string
		attempted, applied string
		generation         int64
		want               syncState
	}{
		"nobody there":                    {want: syncState{note: "no hub has looked at the GitRepository yet"}},
		"old word of the source":          {source: fetched, handled: "before", want: syncState{note: "the hub has not looked at the GitRepository yet"}},
		"refused":                         {source: refused, handled: "now", want: syncState{note: "GitRepository: AuthenticationFailed: why"}},
		"stalled source":                  {source: stalled, handled: "now", want: syncState{note: "GitRepository: InvalidSecret: why", stalled: true}},
		"fetched, root new":               {source: fetched, handled: "now", artifact: "main@sha1:2", want: syncState{note: "the hub has not looked at the Kustomization yet"}},
		"old word of the root":            {source: fetched, handled: "now", artifact: "main@sha1:2", root: fetched, attempted: "main@sha1:1", applied: "main@sha1:1", want: syncState{note: "the hub has fetched main@sha1:2"}},
		"old failure of the root":         {source: fetched, handled: "now", artifact: "main@sha1:2", root: broken, attempted: "main@sha1:1", want: syncState{note: "the hub has fetched main@sha1:2"}},
		"a form that was not looked at":   {source: fetched, handled: "now", artifact: "main@sha1:2", root: fetched, applied: "main@sha1:2", generation: 2, want: syncState{note: "the hub has not looked at the Kustomization yet"}},
		"applying":                        {source: fetched, handled: "now", artifact: "main@sha1:2", root: working, attempted: "main@sha1:2", want: syncState{note: "Kustomization: Progressing: why"}},
		"broken":                          {source: fetched, handled: "now", artifact: "main@sha1:2", root: broken, attempted: "main@sha1:2", want: syncState{note: "Kustomization: InvalidYAML: why", stalled: true}},
		"applied, but not ready any more": {source: fetched, handled: "now", artifact: "main@sha1:2", root: working, attempted: "main@sha1:2", applied: "main@sha1:2", want: syncState{note: "Kustomization: Progressing: why"}},
		"done":                            {source: fetched, handled: "now", artifact: "main@sha1:2", root: fetched, attempted: "main@sha1:2", applied: "main@sha1:2", want: syncState{done: true}},
		"somebody pushed on top":          {source: fetched, handled: "now", artifact: "main@sha1:3", root: fetched, attempted: "main@sha1:3", applied: "main@sha1:3", want: syncState{note: "the hub is at main@sha1:3", otherCommit: true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			source := &v1alpha1.GitRepository{
				ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.ReconcileRequestAnnotation: "now"}},
				Status:     v1alpha1.GitRepositoryStatus{Conditions: tt.source, LastHandledReconcileAt: tt.handled},
			}
			if tt.artifact != "" {
				source.Status.Artifact = &v1alpha1.Artifact{Revision: tt.artifact}
			}
			root := &v1alpha1.Kustomization{
				ObjectMeta: metav1.ObjectMeta{Generation: max(1, tt.generation)},
				Status: v1alpha1.KustomizationStatus{
					ObservedGeneration: 1, Conditions: tt.root, LastAttemptedRevision: tt.attempted, LastAppliedRevision: tt.applied,
				},
			}
			if diff := cmp.Diff(tt.want, syncStateOf(source, root, "main@sha1:2"), cmp.AllowUnexported(syncState{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestHubIDIsTheSameAgainAndFits(t *testing.T) {
	tests := map[string]string{
		"clusters/hub":                   "hub-",
		".":                              "hub-",
		"clusters/Süd West_2":            "s-d-west-2-",
		"a/" + string(make([]byte, 100)): "hub-",
	}
	seen := map[string]bool{}
	for p, prefix := range tests {
		id := makeHubID("https://git.example.com/fleet", p)
		if id != makeHubID("https://git.example.com/fleet", p) || len(id) > 63 || len(id) != len(prefix)+8 || id[:len(prefix)] != prefix {
			t.Errorf("%q: %q", p, id)
		}
		if seen[id] {
			t.Errorf("%q is there twice", id)
		}
		seen[id] = true
	}
	if makeHubID("https://a", "p") == makeHubID("https://b", "p") {
		t.Error("two repositories, one identity")
	}
}

func TestKnownHubID(t *testing.T) {
	_, root := syncObjects(&Options{URL: "https://e/x", Branch: "main", Path: "p"}, "hub-1", false)
	if root.Annotations[components.HubIDAnnotation] != "hub-1" {
		t.Fatalf("annotations are %v", root.Annotations)
	}
	tests := map[string]struct{ in, want string }{
		"empty":   {"", ""},
		"without": {"kind: Kustomization\nmetadata: {name: x}\n", ""},
		"with":    {"# head\n---\nkind: GitRepository\n---\nkind: Kustomization\nmetadata:\n  annotations: {skerry.dev/hub-id: hub-1}\n", "hub-1"},
	}
	for name, tt := range tests {
		if got, err := knownHubID([]byte(tt.in)); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := knownHubID([]byte("a: [")); err == nil {
		t.Error("broken YAML passes for none: the hub would get another identity")
	}
}
