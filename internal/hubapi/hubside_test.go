package hubapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func TestAskedPassesWhatPeopleDo(t *testing.T) {
	base := func() *v1alpha1.Kustomization {
		return &v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Name: "apps", Generation: 1, UID: "a", Annotations: map[string]string{"x": "y"}}}
	}
	tests := map[string]struct {
		change func(*v1alpha1.Kustomization)
		want   bool
	}{
		"a new spec":        {func(k *v1alpha1.Kustomization) { k.Generation = 2 }, true},
		"a deletion":        {func(k *v1alpha1.Kustomization) { k.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, true},
		"made anew":         {func(k *v1alpha1.Kustomization) { k.UID = "b" }, true},
		"a request":         {func(k *v1alpha1.Kustomization) { k.Annotations[v1alpha1.ReconcileRequestAnnotation] = "now" }, true},
		"a Flux request":    {func(k *v1alpha1.Kustomization) { k.Annotations[v1alpha1.FluxReconcileRequestAnnotation] = "now" }, true},
		"a leave to prune":  {func(k *v1alpha1.Kustomization) { k.Annotations[v1alpha1.AllowPruneAnnotation] = "r1" }, true},
		"a status":          {func(k *v1alpha1.Kustomization) { k.Status.LastAppliedRevision = "r1"; k.ResourceVersion = "2" }, false},
		"a finalizer":       {func(k *v1alpha1.Kustomization) { k.Finalizers = []string{v1alpha1.Finalizer} }, false},
		"another note":      {func(k *v1alpha1.Kustomization) { k.Annotations["x"] = "z" }, false},
		"nothing: a resync": {func(*v1alpha1.Kustomization) {}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			after := base()
			tt.change(after)
			if got := RequestedPredicate().Update(event.UpdateEvent{ObjectOld: base(), ObjectNew: after}); got != tt.want {
				t.Errorf("passes: %v", got)
			}
		})
	}
}

func TestBellKeepsEarlyRings(t *testing.T) {
	var b Trigger
	key := types.NamespacedName{Namespace: "fleet", Name: "edge-1"}
	b.Enqueue(key)
	b.Enqueue(key)
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	if err := b.Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	if queue.Len() != 1 {
		t.Errorf("%d early rings", queue.Len())
	}
	got, _ := queue.Get()
	if got.NamespacedName != key {
		t.Errorf("got %v", got)
	}
	queue.Done(got)
	b.Enqueue(key)
	if queue.Len() != 1 {
		t.Error("a ring after the start is lost")
	}
}

func TestNoteFitsTheAPI(t *testing.T) {
	for _, text := range []string{"short", strings.Repeat("x", 5000), strings.Repeat("日", 900), strings.Repeat("é", 1000), strings.Repeat("𝕏", 999)} {
		got := Note(text)
		if len(got) > maxNote || !utf8.ValidString(got) {
			t.Errorf("%d bytes of %d", len(got), len(text))
		}
		if len(text) > 2000 && len(got) < maxNote/2 {
			t.Errorf("only %d bytes are left of %d", len(got), len(text))
		}
	}
	if Note("two\nlines") != "two lines" {
		t.Error("not one line")
	}
}

// Many writes end as one error: what is no error of one of them hides none of another.
func TestWhatFailedIsNotHiddenByWhatIsNoFailure(t *testing.T) {
	kind := schema.GroupResource{Resource: "assignments"}
	gone := fmt.Errorf("cannot write: %w", apierrors.NewNotFound(kind, "edge-1"))
	changed := fmt.Errorf("cannot write: %w", apierrors.NewConflict(kind, "edge-2", errors.New("changed")))
	broken := errors.New("disk full")
	cooling := &CooldownError{After: 5 * time.Millisecond}
	for name, tt := range map[string]struct {
		err   error
		after time.Duration
		want  string
	}{
		"nothing":                         {},
		"gone":                            {err: gone},
		"changed":                         {err: changed, after: afterConflict},
		"in cooldown":                     {err: fmt.Errorf("edge-3 %w", cooling), after: 5 * time.Millisecond},
		"changed and in cooldown":         {err: errors.Join(changed, cooling), after: 5 * time.Millisecond},
		"gone and broken":                 {err: errors.Join(gone, broken), want: "disk full"},
		"changed, broken and in cooldown": {err: errors.Join(changed, errors.Join(broken, cooling)), want: "disk full"},
		"gone and changed":                {err: errors.Join(gone, changed), after: afterConflict},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := ResultForError(tt.err)
			if got := fmt.Sprint(err); result.RequeueAfter != tt.after || (err != nil || tt.want != "") && got != tt.want {
				t.Errorf("again after %s, %v", result.RequeueAfter, err)
			}
		})
	}
}

// blocked is an API server that takes a request and never answers.
type blocked struct{ client.Client }

func (blocked) Patch(ctx context.Context, _ client.Object, _ client.Patch, _ ...client.PatchOption) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestAWriteOfFinalizersBoundsItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := PatchFinalizers(context.WithoutCancel(t.Context()), Hub{Client: blocked{}}, &v1alpha1.Cluster{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}
