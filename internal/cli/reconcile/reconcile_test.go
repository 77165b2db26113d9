package reconcile

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

func TestJudge(t *testing.T) {
	condition := func(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
	}
	reconciling := condition("Reconciling", "True", "Progressing", "")
	tests := map[string]struct {
		handled    string
		gone       bool
		observed   int64
		suspended  bool
		once       bool
		complete   bool
		conditions []metav1.Condition
		want       string
	}{
		"nothing said yet":            {want: "wait: the hub has not handled the request yet"},
		"an old success":              {handled: "old", conditions: []metav1.Condition{condition("Ready", "True", "Succeeded", "")}, want: "wait: the hub has not handled the request yet"},
		"an old failure":              {handled: "old", conditions: []metav1.Condition{condition("Ready", "False", "BuildFailed", "x")}, want: "wait: the hub has not handled the request yet"},
		"on its way":                  {handled: "old", conditions: []metav1.Condition{condition("Ready", "Unknown", "Progressing", "applying"), reconciling}, want: "wait: Progressing: applying"},
		"handled, on its way":         {handled: "now", observed: 1, conditions: []metav1.Condition{condition("Ready", "Unknown", "WaitingForHealth", "web"), reconciling}, want: "wait: WaitingForHealth: web"},
		"handled, of an older form":   {handled: "now", conditions: []metav1.Condition{condition("Ready", "True", "Succeeded", "")}, want: "wait: the hub is looking at it"},
		"handled, ready":              {handled: "now", observed: 1, conditions: []metav1.Condition{condition("Ready", "True", "Succeeded", "")}, want: "done"},
		"handled, failed":             {handled: "now", observed: 1, conditions: []metav1.Condition{condition("Ready", "False", "BuildFailed", "x")}, want: "error: not ready: BuildFailed: x"},
		"handled, tried again":        {handled: "now", observed: 1, conditions: []metav1.Condition{condition("Ready", "False", "Timeout", "x"), reconciling}, want: "error: not ready: Timeout: x"},
		"handled, rest not reachable": {handled: "now", observed: 1, conditions: []metav1.Condition{condition("Ready", "Unknown", "ClustersUnreachable", "1 of 2")}, want: "error: not ready: ClustersUnreachable: 1 of 2"},
		"deleted meanwhile":           {gone: true, want: "error: it was deleted"},
		"suspended meanwhile":         {suspended: true, want: "error: it was suspended"},
		"once, not handled yet":       {suspended: true, once: true, handled: "old", observed: 1, conditions: []metav1.Condition{condition("Ready", "Unknown", "Suspended", "")}, want: "wait: the hub has not handled the request yet"},
		"once, ready":                 {suspended: true, once: true, handled: "now", observed: 1, conditions: []metav1.Condition{condition("Ready", "True", "Succeeded", "")}, want: "done"},
		"once, failed":                {suspended: true, once: true, handled: "now", observed: 1, conditions: []metav1.Condition{condition("Ready", "False", "BuildFailed", "x")}, want: "error: not ready: BuildFailed: x"},
		"once, awaits approval":       {suspended: true, once: true, handled: "now", observed: 1, conditions: []metav1.Condition{condition("Ready", "Unknown", "RolloutWaiting", "x"), reconciling}, want: "error: not ready: RolloutWaiting: x"},
		"once, suspended again":       {suspended: true, once: true, complete: true, handled: "now", observed: 1, conditions: []metav1.Condition{condition("Ready", "Unknown", "Suspended", "")}, want: "done"},
		"once, suspended, incomplete": {suspended: true, once: true, handled: "now", observed: 1, conditions: []metav1.Condition{condition("Ready", "Unknown", "Suspended", "")}, want: "error: not everything is at the newest revision, and it is suspended again"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := &v1alpha1.Kustomization{
				ObjectMeta: metav1.ObjectMeta{UID: "1", Generation: 1, Annotations: map[string]string{v1alpha1.ReconcileRequestAnnotation: "now"}},
				Status:     v1alpha1.KustomizationStatus{Conditions: tt.conditions},
			}
			if tt.gone {
				o.UID = ""
			}
			if tt.once {
				o.Annotations[v1alpha1.ReconcileOnceAnnotation] = "now"
			}
			v := resultOf(o, known{handled: tt.handled, observed: tt.observed, suspended: tt.suspended, complete: tt.complete})
			got := "wait: " + v.note
			if v.done {
				got = "done"
			}
			if v.err != nil {
				got = "error: " + v.err.Error()
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// answer lets what a hub would do follow upon the request: the status is set by fn.
func answer(fn func(client.Object)) interceptor.Funcs {
	return interceptor.Funcs{Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
		if err := c.Patch(ctx, o, p, opts...); err != nil {
			return err
		}
		answered := o.DeepCopyObject().(client.Object)
		fn(answered)
		return c.Status().Update(ctx, answered)
	}}
}

func ready(o client.Object, status metav1.ConditionStatus, reason, message string) {
	conditions := []metav1.Condition{{Type: "Ready", Status: status, Reason: reason, Message: message}}
	value := o.GetAnnotations()[v1alpha1.ReconcileRequestAnnotation]
	switch o := o.(type) {
	case *v1alpha1.GitRepository:
		o.Status.Conditions, o.Status.LastHandledReconcileAt = conditions, value
		o.Status.Artifact = &v1alpha1.Artifact{Revision: "main@sha1:2"}
	case *v1alpha1.Kustomization:
		o.Status.Conditions, o.Status.LastHandledReconcileAt = conditions, value
		o.Status.LastAttemptedRevision, o.Status.LastAppliedRevision = "main@sha1:2", "main@sha1:2"
		o.Status.Clusters = v1alpha1.ClusterCounts{Desired: 3, Ready: 3}
	case *v1alpha1.Cluster:
		o.Status.Conditions, o.Status.LastHandledReconcileAt = conditions, value
		o.Status.Version = "v1.36.3"
	}
}

func TestReconcile(t *testing.T) {
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "skerry-system", Name: name, UID: "1"}
	}
	objects := func() []client.Object {
		return []client.Object{
			&v1alpha1.GitRepository{ObjectMeta: meta("fleet")},
			&v1alpha1.Kustomization{ObjectMeta: meta("apps"), Spec: v1alpha1.KustomizationSpec{SourceRef: v1alpha1.SourceReference{Name: "fleet"}}},
			&v1alpha1.Kustomization{ObjectMeta: meta("paused"), Spec: v1alpha1.KustomizationSpec{Suspend: true}},
			&v1alpha1.Cluster{ObjectMeta: meta("shop-1")},
		}
	}
	fine := answer(func(o client.Object) { ready(o, "True", "Succeeded", "fine") })
	tests := map[string]struct {
		args    string
		funcs   interceptor.Funcs
		timeout time.Duration
		wantErr string
		wantLog []string
	}{
		"source":        {args: "source fleet", funcs: fine, wantLog: []string{"✔ reconcile source fleet: at main@sha1:2"}},
		"kustomization": {args: "ks apps", funcs: fine, wantLog: []string{"✔ reconcile kustomization apps: at main@sha1:2, ready on 3 of 3 clusters"}},
		"with source": {args: "kustomization apps --with-source", funcs: fine,
			wantLog: []string{"✔ reconcile source fleet", "✔ reconcile kustomization apps"}},
		"cluster": {args: "cluster shop-1", funcs: fine, wantLog: []string{"✔ reconcile cluster shop-1: Kubernetes v1.36.3"}},
		"failure": {args: "ks apps", funcs: answer(func(o client.Object) { ready(o, "False", "BuildFailed", "web.yaml:3: \x1b[31mno") }),
			wantErr: "cannot reconcile kustomization apps: not ready: BuildFailed: web.yaml:3: \x1b[31mno", wantLog: []string{"✗ reconcile kustomization apps"}},
		"suspended, once":   {args: "ks paused --once", funcs: fine, wantLog: []string{"✔ reconcile kustomization paused: at main@sha1:2, and suspended as before"}},
		"suspended":         {args: "ks paused", wantErr: "cannot reconcile kustomization paused: it is suspended"},
		"a typing mistake":  {args: "ks aps", wantErr: `there is no kustomization "aps" in namespace "skerry-system"`},
		"nobody answers":    {args: "ks apps", timeout: 50 * time.Millisecond, wantErr: "cannot reconcile kustomization apps within 50ms: the hub has not handled the request yet"},
		"no name":           {args: "ks", wantErr: "reconcile kustomization needs a name"},
		"two names":         {args: "ks a b", wantErr: `reconcile kustomization takes one name, and there is also "b"`},
		"a kind that isn't": {args: "kustomisation apps", wantErr: `unknown command "kustomisation" for "reconcile"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			scheme, err := factory.Scheme()
			if err != nil {
				t.Fatal(err)
			}
			c := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(tt.funcs).WithObjects(objects()...).
				WithStatusSubresource(objects()...).Build()
			streams, _, _, log := iostreams.Test()
			f := &factory.Factory{
				IO: streams, Now: time.Now, Flags: &factory.Flags{Namespace: "skerry-system", Timeout: tt.timeout},
				Hub: func() (*factory.Hub, error) { return &factory.Hub{WithWatch: c}, nil },
			}
			cmd := NewCmdReconcile(f, nil)
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			cmd.SetArgs(strings.Fields(tt.args))
			err = cmd.ExecuteContext(t.Context())
			if got := fmt.Sprint(err); tt.wantErr == "" && err != nil || tt.wantErr != "" && got != tt.wantErr {
				t.Errorf("error is %q, want %q", got, tt.wantErr)
			}
			for _, want := range tt.wantLog {
				if !strings.Contains(log.String(), want) {
					t.Errorf("standard error lacks %q:\n%s", want, log)
				}
			}
		})
	}
}
