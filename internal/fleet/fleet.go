// Package fleet decides which clusters a Kustomization is for.
//
// It promises that the same input gives the same answer in the same order, that an absent selector
// is never read as "every cluster", and that a selector that cannot be read is an error and never
// an empty selection. Which of the selected clusters may move now is the rollout planner's to say.
package fleet

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Variables that every cluster has.
const (
	ClusterNameVar      = "cluster_name"
	ClusterNamespaceVar = "cluster_namespace"
)

// Target is one selected cluster.
type Target struct {
	// Name of the Cluster, in the namespace of the Kustomization.
	Name string
	// Suspended says that nothing may change on it; it counts all the same.
	Suspended bool
	// Vars are what path and postBuild see of the cluster.
	Vars map[string]string
}

// Selection is the clusters of one Kustomization.
type Selection struct {
	// Targets are sorted by name.
	Targets []Target
	// MissingHub says that the hub's own cluster is wanted and there is no Cluster for it yet.
	MissingHub bool
	// Reason says why there are no targets: NoClustersMatched. Empty when there are some.
	Reason string
	// Message goes with Reason.
	Message string
}

// Select returns the clusters of ks among those of its namespace; others, and those that are being
// deleted, are passed over. Without spec.clusters it is the hub's own; an empty selector picks every
// cluster but the hub's own. The error says that the selector is invalid.
func Select(ks *v1alpha1.Kustomization, clusters []v1alpha1.Cluster) (Selection, error) {
	wanted, err := matcher(ks.Spec.Clusters)
	if err != nil {
		return Selection{}, err
	}
	var s Selection
	seen := 0
	for i := range clusters {
		c := &clusters[i]
		if c.Namespace != ks.Namespace || !c.DeletionTimestamp.IsZero() {
			continue
		}
		seen++
		if wanted(c) {
			s.Targets = append(s.Targets, Target{Name: c.Name, Suspended: c.Spec.Suspend, Vars: Vars(c)})
		}
	}
	slices.SortFunc(s.Targets, func(a, b Target) int { return cmp.Compare(a.Name, b.Name) })
	if len(s.Targets) > 0 {
		return s, nil
	}
	s.Reason = v1alpha1.NoClustersMatchedReason
	switch {
	case ks.Spec.Clusters == nil:
		s.MissingHub = true
		s.Message = "There is no Cluster named hub in this namespace yet"
	case seen == 0:
		s.Message = "There is no Cluster in this namespace"
	default:
		s.Message = "No Cluster in this namespace matches the selector"
	}
	return s, nil
}

func matcher(targets *v1alpha1.ClusterTargets) (func(*v1alpha1.Cluster) bool, error) {
	if targets == nil {
		return func(c *v1alpha1.Cluster) bool { return c.Name == v1alpha1.HubCluster }, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(&targets.Selector)
	if err != nil {
		return nil, fmt.Errorf("cannot read spec.clusters.selector: %w", err)
	}
	if selector.Empty() {
		return func(c *v1alpha1.Cluster) bool { return c.Name != v1alpha1.HubCluster }, nil
	}
	return func(c *v1alpha1.Cluster) bool { return selector.Matches(labels.Set(c.Labels)) }, nil
}

// Vars returns the variables of a cluster: its own, cluster_name and cluster_namespace.
func Vars(c *v1alpha1.Cluster) map[string]string {
	vars := make(map[string]string, len(c.Spec.Vars)+2)
	for k, v := range c.Spec.Vars {
		vars[k] = string(v)
	}
	vars[ClusterNameVar] = c.Name
	vars[ClusterNamespaceVar] = c.Namespace
	return vars
}
