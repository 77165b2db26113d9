package kustomization

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// readiness is a dependency with a readyExpr, which decides in place of the engine whether it is ready.
type readiness struct {
	key       types.NamespacedName
	expr      *targeting.ReadyExpr
	self, dep map[string]any // dep is nil when there is no such Kustomization
	neighbour *neighbour     // nil when it is on none of the clusters
}

// readyExprs compiles the readyExprs of dependsOn, and reads the Kustomizations that they are about. An
// error of an expression is one of the Kustomization.
func (r *Reconciler) readyExprs(ctx context.Context, o *observed) ([]*readiness, error) {
	var list []*readiness
	for i, ref := range o.ks.Spec.DependsOn {
		if ref.ReadyExpr == "" {
			continue
		}
		one := &readiness{key: types.NamespacedName{Namespace: cmp.Or(ref.Namespace, o.key.Namespace), Name: strings.TrimSpace(ref.Name)}}
		var err error
		if one.expr, err = targeting.CompileReadyExpr(ref.ReadyExpr); err != nil {
			return nil, &report.Stalled{Reason: v1alpha1.InvalidCELExpressionReason, Err: fmt.Errorf("spec.dependsOn[%d].readyExpr: %w", i, err)}
		}
		if one.self, err = targeting.ReadyExprObject(o.ks); err != nil {
			return nil, err
		}
		if at := slices.IndexFunc(o.all, func(ks v1alpha1.Kustomization) bool { return client.ObjectKeyFromObject(&ks) == one.key }); at >= 0 {
			if one.dep, err = targeting.ReadyExprObject(&o.all[at]); err != nil {
				return nil, err
			}
		}
		all, err := r.neighbours(ctx, o)
		if err != nil {
			return nil, err
		}
		if at := slices.IndexFunc(all, func(n *neighbour) bool { return client.ObjectKeyFromObject(n.ks) == one.key }); at >= 0 {
			one.neighbour = all[at]
		}
		list = append(list, one)
	}
	return list, nil
}

// awaitReadyExprs names the dependency a cluster waits for by its readyExpr. The expression sees the
// dependency as it is on that cluster; one that does not select the cluster, as it is as a whole. What has
// been assigned does not wait again.
func (r *Reconciler) awaitReadyExprs(ctx context.Context, o *observed, t *target, list []*readiness) (string, error) {
	have := o.assigned[t.Name].entry
	if t.digest == "" || have != nil && !have.Remove && have.Digest == t.digest {
		return "", nil
	}
	for _, one := range list {
		name := v1alpha1.RelativeName(o.key.Namespace, one.key)
		if one.dep == nil {
			return fmt.Sprintf("waits for Kustomization %s, which is not there", name), nil
		}
		dep := one.dep
		if n := one.neighbour; n != nil && n.selects[t.Name] {
			if n.assigned == nil {
				var err error
				if n.assigned, err = r.observeAssigned(ctx, one.key); err != nil {
					return "", err
				}
			}
			dep = targeting.OnCluster(dep, n.assigned[n.local(t.Name)].status)
		}
		holds, err := one.expr.Holds(one.self, dep)
		switch {
		case err != nil:
			return fmt.Sprintf("waits for Kustomization %s, whose readyExpr cannot be evaluated: %s", name, report.Line(err.Error())), nil
		case !holds:
			return fmt.Sprintf("waits for Kustomization %s, whose readyExpr is not true", name), nil
		}
	}
	return "", nil
}

// readyExprNames are the dependencies with a readyExpr, for an index.
func readyExprNames(o client.Object) []string {
	ks := o.(*v1alpha1.Kustomization)
	var names []string
	for _, ref := range ks.Spec.DependsOn {
		if ref.ReadyExpr != "" {
			names = append(names, cmp.Or(ref.Namespace, ks.Namespace)+"/"+strings.TrimSpace(ref.Name))
		}
	}
	return names
}

// readyExprHandler wakes those whose readyExpr may see something else: of itself, or of the dependency.
func (r *Reconciler) readyExprHandler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, queue work) {
			if !e.IsInInitialList {
				r.wakeReadyExprs(ctx, client.ObjectKeyFromObject(e.Object), queue)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue work) {
			before, after := e.ObjectOld.(*v1alpha1.Kustomization), e.ObjectNew.(*v1alpha1.Kustomization)
			metadata := !equality.Semantic.DeepEqual(before.Labels, after.Labels) || !equality.Semantic.DeepEqual(before.Annotations, after.Annotations)
			if metadata && len(readyExprNames(after)) > 0 {
				queue.Add(request(after.Namespace, after.Name))
			}
			if metadata || before.Generation != after.Generation || !equality.Semantic.DeepEqual(before.Status, after.Status) {
				r.wakeReadyExprs(ctx, client.ObjectKeyFromObject(after), queue)
			}
		},
	}
}

// wakeReadyExprs wakes those that have a readyExpr about a Kustomization.
func (r *Reconciler) wakeReadyExprs(ctx context.Context, key types.NamespacedName, queue work) {
	for _, ks := range r.kustomizations(ctx, client.MatchingFields{readyIndex: key.String()}) {
		r.wakeForReport(client.ObjectKeyFromObject(&ks), queue)
	}
}
