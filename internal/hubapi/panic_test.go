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
)

func TestAReconcileThatPanicsIsToldOfOnItsObject(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	key := types.NamespacedName{Namespace: "fleet", Name: "apps"}
	ks := &v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Generation: 3}}
	ks.Status.LastAppliedRevision = "main@sha1:1"
	ks.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Succeeded"}, {Type: "Stalled", Status: "False", Reason: "x"}}
	hub := Hub{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(ks).WithStatusSubresource(ks).Build()}
	r := Guarded[v1alpha1.Kustomization](hub, reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) { panic("swordfish") }))
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
	if c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.InternalErrorReason || c.ObservedGeneration != 3 || strings.Contains(c.Message, "swordfish") || !strings.Contains(c.Message, "hubapi.") {
		t.Errorf("%+v", c)
	}
	if len(now.Status.Conditions) != 2 || now.Status.LastAppliedRevision == "" {
		t.Errorf("the rest of the status is lost: %+v", now.Status)
	}
}
