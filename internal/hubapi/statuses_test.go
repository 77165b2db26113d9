package hubapi

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func TestOnlyAStatusThatAnotherWroteWakesTheController(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	at := func(version, applied string) *v1alpha1.Kustomization {
		ks := &v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "apps", UID: "a", ResourceVersion: version}}
		ks.Status.LastAppliedRevision = applied
		return ks
	}
	statuses := NewStatuses(func(ks *v1alpha1.Kustomization) any { return &ks.Status })
	if _, foreign := statuses.Foreign(at("1", "of an earlier process")); foreign {
		t.Error("what was there before is foreign")
	}
	hub := Hub{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(at("1", "")).WithStatusSubresource(&v1alpha1.Kustomization{}).Build()}
	for _, revision := range []string{"r1", "r2"} {
		now := &v1alpha1.Kustomization{}
		if err := hub.Get(t.Context(), client.ObjectKey{Namespace: "fleet", Name: "apps"}, now); err != nil {
			t.Fatal(err)
		}
		now.Status.LastAppliedRevision = revision
		if err := statuses.Commit(t.Context(), hub, now); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		for name, tt := range map[string]struct {
			now  *v1alpha1.Kustomization
			want bool
		}{
			"our last write":                       {at("11", "r2"), false},
			"the one before, which comes late":     {at("10", "r1"), false},
			"wiped":                                {at("12", ""), true},
			"edited":                               {at("12", "r3"), true},
			"another object of the name":           {func() *v1alpha1.Kustomization { ks := at("12", ""); ks.UID = "b"; return ks }(), false},
			"a resync, which tells nothing at all": {at("old", ""), false},
		} {
			queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
			statuses.Handler().Update(context.Background(), event.UpdateEvent{ObjectOld: at("old", ""), ObjectNew: tt.now}, queue)
			time.Sleep(RebuildAfter + time.Millisecond)
			synctest.Wait()
			if got := queue.Len() > 0; got != tt.want {
				t.Errorf("%s: woken %v", name, got)
			}
			queue.ShutDown()
		}
	})
	last, foreign := statuses.Foreign(at("12", ""))
	if !foreign || last.Status.LastAppliedRevision != "r2" {
		t.Errorf("what is written again is not what was written last: %+v", last)
	}
	statuses.Forget(client.ObjectKey{Namespace: "fleet", Name: "apps"})
	if _, foreign := statuses.Foreign(at("12", "")); foreign {
		t.Error("an object that is gone is remembered")
	}
}
