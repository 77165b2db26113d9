package kustomization

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/plan"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/targeting"
	"github.com/skerry-dev/skerry/internal/text"
)

// accountOf is in whose name a Kustomization is applied. Whoever writes in the hub's namespace is the hub's
// administrator: the default is for all others.
func (r *Reconciler) accountOf(ks *v1alpha1.Kustomization) string {
	if ks.Spec.ServiceAccountName != "" || ks.Namespace == r.HubNamespace {
		return ks.Spec.ServiceAccountName
	}
	return r.DefaultServiceAccount
}

// accountOn is in whose name an entry on a cluster is applied. Where the Kustomization names no account any more and
// the rights of the credentials are not lent, the entry keeps the one that it had: else what that one was refused, and
// what stays while an error is reported, would be applied with those rights by an agent, which cannot tell.
func (o *observed) accountOn(cluster string) string {
	was := o.assigned[cluster].entry
	if o.account != "" || was == nil || o.lends != nil && o.lends(o.byName[cluster]) {
		return o.account
	}
	return was.ServiceAccountName
}

// requiresAccount reports whether an entry on a cluster has no account and needs one. The entry holds that, since an agent
// has nothing else to know it from, and is signed.
func (o *observed) requiresAccount(cluster string) bool {
	c := o.byName[cluster]
	return c != nil && o.lends != nil && !o.lends(c) && o.accountOn(cluster) == ""
}

// tenancy bounds what the Kustomization may have on a cluster.
func (r *Reconciler) tenancy(o *observed, c *v1alpha1.Cluster) *plan.Tenancy {
	return &plan.Tenancy{
		Namespace: o.key.Namespace, Hub: r.HubNamespace, Cluster: c.Namespace, Local: c.Spec.KubeConfig == nil && c.Spec.Agent == nil,
		Namespaces: c.Spec.Namespaces, RequireAccount: r.RequireServiceAccount,
	}
}

// denied is the error of a reference that is not admitted. A watch shows when that changes.
func denied(format string, args ...any) error {
	return &report.Waiting{Reason: v1alpha1.AccessDeniedReason, Err: fmt.Errorf(format, args...)}
}

func (o *observed) deniedSource(name string) error {
	return denied("the GitRepository %s admits no Kustomization of namespace %s: its spec.accessFrom would have to match that namespace", name, o.key.Namespace)
}

// refusedDependency is the error of a dependsOn that leads into another namespace where the hub forbids it;
// nil when there is none.
func (o *observed) refusedDependency() error {
	if !o.access.Closed {
		return nil
	}
	for _, key := range targeting.Dependencies(o.ks) {
		if key.Namespace != o.key.Namespace {
			return &report.Stalled{Reason: v1alpha1.AccessDeniedReason, Err: fmt.Errorf("dependsOn names Kustomization %s of another namespace, which this hub does not admit (--no-cross-namespace-refs)", key)}
		}
	}
	return nil
}

// addDenied reports selected clusters that do not admit the Kustomization's namespace, by their number:
// their names are not the tenant's to learn. Where the Kustomization has an entry it stays a target that
// gets nothing new: that access is withdrawn deletes nothing.
func (d *decision) addDenied(o *observed, list []targeting.Target) {
	for _, t := range list {
		if have := o.assigned[t.Name].entry; have != nil && !have.Remove {
			d.targets = append(d.targets, &target{Target: t, err: denied("the Cluster %s no longer admits Kustomizations of namespace %s: what it has stays as it is", t.Name, o.key.Namespace)})
		}
	}
	if len(list) > 0 {
		err := denied("%s that spec.clusters selects in other namespaces: spec.accessFrom does not admit namespace %s", text.Count(len(list), "Cluster"), o.key.Namespace)
		if d.selection == nil {
			d.selection = err
		} else {
			d.selection = &report.Waiting{Reason: v1alpha1.AccessDeniedReason, Err: errors.Join(err, d.selection)}
		}
	}
}

// namesFrom are the names of objects as seen from a namespace.
func namesFrom(namespace string, keys []types.NamespacedName) []string {
	names := make([]string, 0, len(keys))
	for _, key := range keys {
		names = append(names, v1alpha1.RelativeName(namespace, key))
	}
	return names
}
