package hubapi

import (
	"context"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// TestAPanicOfAReconcileIsReportedOnItsObject has a reconcile panic, and its continuation, which is raised again by the
// next reconcile.
func TestAPanicOfAReconcileIsReportedOnItsObject(t *testing.T) {
	explode := func(context.Context, reconcile.Request) (reconcile.Result, error) { panic("swordfish") }
	t.Run("itself", func(t *testing.T) { panics(t, explode) })
	t.Run("its continuation", func(t *testing.T) {
		c := NewContinuations(&woken{})
		panics(t, func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
			rest := func(context.Context, error) (reconcile.Result, error) { return explode(ctx, req) }
			c.Begin(ctx, req.NamespacedName, 1, rest)(nil)
			return c.Reconcile(ctx, req, explode)
		})
	})
}

func panics(t *testing.T, reconciler reconcile.Func) {
	t.Helper()
	total := recovery.Total()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	key := types.NamespacedName{Namespace: "fleet", Name: "apps"}
	ks := &v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Generation: 3}}
	ks.Status.LastAppliedRevision = "main@sha1:1"
	ks.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Succeeded"}, {Type: "Stalled", Status: "False", Reason: "x"}}
	hub := Hub{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(ks).WithStatusSubresource(ks).Build()}
	r := ReportPanics[v1alpha1.Kustomization](hub, reconciler)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("controller-runtime does not hear of it: nothing is counted, logged or tried again")
			}
		}()
		_, _ = r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
	}()
	now := &v1alpha1.Kustomization{}
	if err := hub.Get(t.Context(), key, now); err != nil {
		t.Fatal(err)
	}
	c := meta.FindStatusCondition(now.Status.Conditions, v1alpha1.ReadyCondition)
	if c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.InternalErrorReason || c.ObservedGeneration != 3 || strings.Contains(c.Message, "swordfish") || !strings.Contains(c.Message, "in hubapi.TestAPanicOfAReconcile") {
		t.Errorf("%+v", c)
	}
	if got := recovery.Total() - total; got != 1 {
		t.Errorf("it is counted %d times", got)
	}
	if len(now.Status.Conditions) != 2 || now.Status.LastAppliedRevision == "" {
		t.Errorf("the rest of the status is lost: %+v", now.Status)
	}
}
