package targeting

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Target is one selected cluster.
type Target struct {
	// Name of the Cluster; "namespace/name" of one that is not in the namespace of the Kustomization.
	Name string
	// Namespace of the Cluster.
	Namespace string
	// Denied means that the Cluster does not admit the Kustomization's namespace.
	Denied bool
	// Suspended means that nothing may change on it; it counts all the same.
	Suspended bool
	// Labels of the Cluster.
	Labels map[string]string
	// Vars are what path and postBuild see of the cluster; those of varsFrom are added by SetVars.
	Vars map[string]string
	// Secret names those of Vars that come from a Secret, sorted.
	Secret []string
}

// Selection is the clusters of one Kustomization.
type Selection struct {
	// Targets are sorted by name.
	Targets []Target
	// MissingHub means that the hub's own cluster is wanted and there is no Cluster for it yet.
	MissingHub bool
	// Denied are the selected Clusters that do not admit the Kustomization's namespace, sorted by name.
	Denied []Target
	// NotFound are the names in spec.clusters.names that no Cluster has, sorted.
	NotFound []string
	// Reason explains why there are no targets: NoClustersMatched. Empty when there are some.
	Reason string
	// Message goes with Reason.
	Message string
}

// Select returns the clusters of ks among those that are given; those that are being deleted are passed
// over. Without spec.clusters it is the hub's own; an empty selector picks every cluster but the hub's own,
// and the hub's own of another namespace is never picked: there it would be the same cluster twice. Those
// that are named come to those that the selector picks. An error means that a selector is invalid.
func Select(ks *v1alpha1.Kustomization, clusters []v1alpha1.Cluster, access Access) (Selection, error) {
	wanted, err := matcher(ks.Spec.Clusters)
	if err != nil {
		return Selection{}, err
	}
	inScope, err := access.namespaces(ks)
	if err != nil {
		return Selection{}, err
	}
	var s Selection
	seen := 0
	if ks.Spec.Clusters != nil {
		s.NotFound = slices.Sorted(slices.Values(ks.Spec.Clusters.Names))
	}
	for i := range clusters {
		c := &clusters[i]
		if !c.DeletionTimestamp.IsZero() || !inScope(c.Namespace) || c.Namespace != ks.Namespace && c.Name == v1alpha1.HubCluster {
			continue
		}
		seen++
		if at, named := slices.BinarySearch(s.NotFound, c.Name); named {
			s.NotFound = slices.Delete(s.NotFound, at, at+1)
		}
		if !wanted(c) {
			continue
		}
		t := Target{Name: v1alpha1.RelativeName(ks.Namespace, types.NamespacedName{Namespace: c.Namespace, Name: c.Name}), Namespace: c.Namespace, Suspended: c.Spec.Suspend, Labels: c.Labels, Vars: vars(c, nil)}
		if t.Denied = !access.Admits(ks.Namespace, c.Namespace, c.Spec.AccessFrom); t.Denied {
			s.Denied = append(s.Denied, t)
		} else {
			s.Targets = append(s.Targets, t)
		}
	}
	for _, list := range [][]Target{s.Targets, s.Denied} {
		slices.SortFunc(list, func(a, b Target) int { return cmp.Compare(a.Name, b.Name) })
	}
	if len(s.Targets) == 0 {
		s.Reason = v1alpha1.NoClustersMatchedReason
		s.MissingHub = ks.Spec.Clusters == nil
		s.Message = noTargets(ks, seen, len(s.Denied))
	}
	return s, nil
}

// noTargets is the message of a selection without targets.
func noTargets(ks *v1alpha1.Kustomization, seen, denied int) string {
	where := "this namespace"
	if SelectsNamespaces(ks) {
		where = "the namespaces of spec.clusters.namespaces"
	}
	switch {
	case ks.Spec.Clusters == nil:
		return "There is no Cluster named hub in this namespace yet"
	case seen == 0:
		return "There is no Cluster in " + where
	case denied > 0:
		return "No Cluster that is selected admits this namespace"
	case ks.Spec.Clusters.Selector == nil:
		return "No Cluster in " + where + " has a name in spec.clusters.names"
	}
	return "No Cluster in " + where + " matches the selector"
}

func matcher(targets *v1alpha1.ClusterTargets) (func(*v1alpha1.Cluster) bool, error) {
	if targets == nil {
		return func(c *v1alpha1.Cluster) bool { return c.Name == v1alpha1.HubCluster }, nil
	}
	named := make(map[string]bool, len(targets.Names))
	for _, name := range targets.Names {
		named[name] = true
	}
	if targets.Selector == nil { // no selector picks nothing, only an empty one picks all
		return func(c *v1alpha1.Cluster) bool { return named[c.Name] }, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(targets.Selector)
	if err != nil {
		return nil, fmt.Errorf("cannot read spec.clusters.selector: %w", err)
	}
	return func(c *v1alpha1.Cluster) bool {
		if selector.Empty() && c.Name == v1alpha1.HubCluster {
			return named[c.Name]
		}
		return named[c.Name] || selector.Matches(labels.Set(c.Labels))
	}, nil
}
