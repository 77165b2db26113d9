package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// TestRollout steers a rollout through a real API server: its watches, its status subresource and its
// managed fields. The hub is played by the test.
func TestRollout(t *testing.T) {
	c := controlplane.New(t, "rollout", controlplane.Options{})
	run(t, c.Kubeconfig(), "", "install", "--crds-only").want(t, factory.ExitOK)
	hub := clientOf(t, c)
	ks := &v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "skerry-system", Name: "apps"}}
	ks.Spec.SourceRef.Name, ks.Spec.Interval.Duration = "fleet", 10*time.Minute
	if err := hub.Create(t.Context(), ks, client.FieldOwner("kustomize")); err != nil {
		t.Fatal(err)
	}
	say := func(phase v1alpha1.RolloutPhase, with func(*v1alpha1.RolloutStatus)) {
		t.Helper()
		before := ks.DeepCopy()
		r := &v1alpha1.RolloutStatus{
			RolloutChange: v1alpha1.RolloutChange{ID: "c2", Revision: "main@sha1:2"}, Phase: phase, Stage: "rest",
			Stages: []v1alpha1.RolloutStageStatus{{Name: "canary", Clusters: 1, Updated: 1, Ready: 1, Done: true}, {Name: "rest", Clusters: 9}},
		}
		if with != nil {
			with(r)
		}
		ks.Status.Rollout, ks.Status.ObservedGeneration = r, ks.Generation
		if err := hub.Status().Patch(t.Context(), ks, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	say(v1alpha1.RolloutAwaitingApproval, nil)

	t.Run("what the hub does not follow is told, and stays", func(t *testing.T) {
		run(t, c.Kubeconfig(), "", "rollout", "promote", "apps", "--timeout", "1s").want(t, factory.ExitFailed,
			"it is written down, and the hub has not followed within 1s", "there is no Deployment skerry-hub")
		if err := hub.Get(t.Context(), client.ObjectKeyFromObject(ks), ks); err != nil {
			t.Fatal(err)
		}
		if got := ks.Annotations[v1alpha1.RolloutPromoteAnnotation]; got != "c2/rest" {
			t.Errorf("promoted is %q", got)
		}
		if !ownedBy(ks, "skerry-cli", "f:"+v1alpha1.RolloutPromoteAnnotation) {
			t.Errorf("managed fields: %v", ks.ManagedFields)
		}
	})
	t.Run("a watch ends when the change is everywhere", func(t *testing.T) {
		lines := watching(t, c.Kubeconfig(), factory.ExitOK, func() {
			say(v1alpha1.RolloutProgressing, func(r *v1alpha1.RolloutStatus) { r.Stages[1].Approved, r.Stages[1].Updated = true, 9 })
		}, func() {
			say(v1alpha1.RolloutCompleted, func(r *v1alpha1.RolloutStatus) { r.Stages[1].Ready = 9 })
		})
		for _, want := range []string{"waits for approval", "ready canary 1/1, rest 0/9: progressing", "ready canary 1/1, rest 9/9: completed"} {
			if !strings.Contains(lines, want) {
				t.Errorf("lacks %q:\n%s", want, lines)
			}
		}
	})
	t.Run("a watch is interrupted", func(t *testing.T) {
		say(v1alpha1.RolloutProgressing, nil)
		watching(t, c.Kubeconfig(), factory.ExitInterrupted)
	})
	t.Run("stages are completed", func(t *testing.T) {
		if r := run(t, c.Kubeconfig(), "", "__complete", "rollout", "promote", "apps", "--stage", ""); !strings.Contains(r.out, "canary\nrest\n") {
			t.Errorf("completion:\n%s", r.out)
		}
		if r := run(t, c.Kubeconfig(), "", "__complete", "rollout", "undo", ""); !strings.Contains(r.out, "apps\n") {
			t.Errorf("completion:\n%s", r.out)
		}
	})
}

// watching watches the rollout, lets each step follow on what was shown before, and interrupts it
// after the last where it has not ended.
func watching(t *testing.T, kubeconfig string, code int, steps ...func()) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f := factory.New("v0.0.0-test", func(string) string { return "" })
	streams, _, _, log := iostreams.Test()
	shown := make(chan string)
	streams.Out = writer(func(p []byte) (int, error) {
		shown <- string(p)
		return len(p), nil
	})
	f.IO = streams
	ended := make(chan int, 1)
	go func() {
		ended <- Run(ctx, f, []string{"--kubeconfig", kubeconfig, "rollout", "status", "apps", "--watch"})
	}()
	text := ""
	for {
		select {
		case line := <-shown:
			text += line
			if len(steps) == 0 {
				if code == factory.ExitInterrupted {
					cancel()
				}
				continue
			}
			steps[0]()
			steps = steps[1:]
		case got := <-ended:
			if got != code {
				t.Errorf("exit code %d, want %d\n%s%s", got, code, text, log)
			}
			return text
		}
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func ownedBy(o client.Object, manager, field string) bool {
	for _, m := range o.GetManagedFields() {
		if m.Manager == manager && strings.Contains(m.FieldsV1.GetRawString(), field) && m.Subresource == "" {
			return true
		}
	}
	return false
}
