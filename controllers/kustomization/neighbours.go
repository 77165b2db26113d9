package kustomization

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// neighbour is another Kustomization that may have to do with the same clusters.
type neighbour struct {
	ks       *v1alpha1.Kustomization
	from     string             // namespace of the Kustomization that looks at it, which names the clusters
	outcome  *targeting.Outcome // names clusters as the neighbour does
	source   *v1alpha1.GitRepository
	artifact string // what its source has fetched
	denied   bool   // its source does not admit it: it gets nothing of it
	selects  map[string]bool
	targets  map[string]targeting.Target // of the clusters that it selects, where its selection is valid
	assigned map[string]assigned         // names clusters as the neighbour does
}

// local is the name of a cluster as seen from the neighbour.
func (n *neighbour) local(cluster string) string {
	return v1alpha1.RelativeName(n.ks.Namespace, v1alpha1.ResolveName(n.from, cluster))
}

// name is the name of a neighbour as seen from the Kustomization that looks at it.
func (n *neighbour) name() string {
	return v1alpha1.RelativeName(n.from, client.ObjectKeyFromObject(n.ks))
}

// neighbours reads the other Kustomizations that no deletion has begun of and that may be on the same
// clusters: those of the namespace, of the namespaces of the clusters, and those that select Clusters of
// other namespaces.
func (r *Reconciler) neighbours(ctx context.Context, o *observed) ([]*neighbour, error) {
	if o.neighbours != nil {
		return o.neighbours, nil
	}
	items, err := r.neighbourhood(ctx, o)
	if err != nil {
		return nil, err
	}
	found := []*neighbour{}
	sources := map[types.NamespacedName]*v1alpha1.GitRepository{}
	for _, ks := range items {
		if client.ObjectKeyFromObject(ks) == o.key || !ks.DeletionTimestamp.IsZero() {
			continue
		}
		n := &neighbour{ks: ks, from: o.key.Namespace, outcome: r.outcomeAt(client.ObjectKeyFromObject(ks)), selects: map[string]bool{}, targets: map[string]targeting.Target{}}
		access, err := r.observeAccess(ctx, ks)
		if err != nil {
			return nil, err
		}
		selection, err := targeting.Select(ks, o.clusters, access)
		if err != nil {
			for name := range o.byName { // which of them it is to be on is not known
				n.selects[name] = true
			}
		}
		for _, t := range selection.Targets {
			name := v1alpha1.RelativeName(o.key.Namespace, v1alpha1.ResolveName(ks.Namespace, t.Name))
			n.selects[name], n.targets[name] = true, t
		}
		name := targeting.SourceOf(ks)
		if sources[name] == nil {
			source := &v1alpha1.GitRepository{}
			if err := r.Hub.Get(ctx, name, source); err != nil && !apierrors.IsNotFound(err) {
				return nil, fmt.Errorf("cannot read GitRepository: %w", err)
			}
			sources[name] = source
		}
		if n.source = sources[name]; n.source.Name != "" {
			n.artifact = artifactKey(name, n.source.Status.Artifact)
			n.denied = !access.Admits(ks.Namespace, name.Namespace, n.source.Spec.AccessFrom)
		}
		found = append(found, n)
	}
	o.neighbours = found
	return found, nil
}

// neighbourhood lists Kustomizations that may be on the clusters that one selects or is on.
func (r *Reconciler) neighbourhood(ctx context.Context, o *observed) ([]*v1alpha1.Kustomization, error) {
	namespaces := map[string]bool{o.key.Namespace: true}
	for name := range o.byName {
		namespaces[v1alpha1.ResolveName(o.key.Namespace, name).Namespace] = true
	}
	found := map[types.NamespacedName]*v1alpha1.Kustomization{}
	add := func(by ...client.ListOption) error {
		list := &v1alpha1.KustomizationList{}
		if err := r.Hub.List(ctx, list, append(by, shared)...); err != nil {
			return fmt.Errorf("cannot list Kustomizations: %w", err)
		}
		for i := range list.Items {
			found[client.ObjectKeyFromObject(&list.Items[i])] = &list.Items[i]
		}
		return nil
	}
	for namespace := range namespaces {
		if err := add(client.InNamespace(namespace)); err != nil {
			return nil, err
		}
	}
	if err := add(client.MatchingFields{crossIndex: crossClusters}); err != nil {
		return nil, err
	}
	all := make([]*v1alpha1.Kustomization, 0, len(found))
	for _, key := range slices.SortedFunc(maps.Keys(found), compareKeys) {
		all = append(all, found[key])
	}
	return all, nil
}

func compareKeys(a, b types.NamespacedName) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// unknown is the reason why it is not known what a neighbour renders for a cluster; see targeting.Outcome.
func (n *neighbour) unknown(o *observed, cluster string) (why string, problem bool) {
	t, selected := n.targets[cluster]
	now := targeting.Rendering{Generation: n.ks.Generation, Artifact: n.artifact, Cluster: n.local(cluster)}
	if selected {
		now.Input = func() uint64 { return inputOf(n.ks, o.byName[cluster], t) }
	}
	return n.outcome.Unknown(now)
}

// has reports whether a neighbour's bundle is assigned to a cluster, and whether it is applied there.
func (r *Reconciler) has(ctx context.Context, n *neighbour, cluster string) (assigned, applied bool, err error) {
	if n.assigned == nil {
		if n.assigned, err = r.observeAssigned(ctx, client.ObjectKeyFromObject(n.ks)); err != nil {
			return false, false, err
		}
	}
	cluster = n.local(cluster)
	digest, have := n.outcome.Digests[cluster], n.assigned[cluster]
	if !n.outcome.IsAssigned(cluster) {
		return false, false, nil
	}
	seen := have.entry != nil && !have.entry.Remove && have.entry.Digest == digest
	return true, seen && have.status != nil && have.status.AppliedDigest == digest, nil
}

// isFirst returns whether the cluster has nothing of the neighbour yet and gets it without stages. Then the
// engine there waits for it: it has no earlier digest that could pass for the new one, and no stage that
// could keep it from the cluster for long. Otherwise each link of a chain that is created at once would
// wait for a reconcile of the one before it.
func (r *Reconciler) isFirst(ctx context.Context, n *neighbour, cluster string) (bool, error) {
	if rollout := n.ks.Spec.Rollout; rollout == nil || rollout.Strategy != v1alpha1.RolloutAllAtOnce {
		return false, nil
	}
	if n.assigned == nil {
		var err error
		if n.assigned, err = r.observeAssigned(ctx, client.ObjectKeyFromObject(n.ks)); err != nil {
			return false, err
		}
	}
	cluster = n.local(cluster)
	return n.assigned[cluster].entry == nil && (n.outcome == nil || n.outcome.Assigned[cluster] == ""), nil
}
