package targeting

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// SourceOf returns the key of the source of ks.
func SourceOf(ks *v1alpha1.Kustomization) types.NamespacedName {
	ref := ks.Spec.SourceRef
	return types.NamespacedName{Namespace: cmp.Or(ref.Namespace, ks.Namespace), Name: ref.Name}
}

// Cycle returns the keys on a cycle of dependsOn that starts and ends at ks, or nil. The keys
// start with that of ks; a Kustomization that only waits for a cycle of others is not on it.
func Cycle(ks *v1alpha1.Kustomization, all []v1alpha1.Kustomization) []types.NamespacedName {
	needs := make(map[types.NamespacedName][]types.NamespacedName, len(all)+1)
	for i := range all {
		if len(all[i].Spec.DependsOn) > 0 {
			needs[keyOf(&all[i])] = Dependencies(&all[i])
		}
	}
	needs[keyOf(ks)] = Dependencies(ks)
	return walk(keyOf(ks), []types.NamespacedName{keyOf(ks)}, needs, map[types.NamespacedName]bool{})
}

func walk(goal types.NamespacedName, way []types.NamespacedName, needs map[types.NamespacedName][]types.NamespacedName, done map[types.NamespacedName]bool) []types.NamespacedName {
	for _, next := range needs[way[len(way)-1]] {
		if next == goal {
			return way
		}
		if done[next] {
			continue
		}
		done[next] = true
		if found := walk(goal, append(way, next), needs, done); found != nil {
			return found
		}
	}
	return nil
}

func keyOf(ks *v1alpha1.Kustomization) types.NamespacedName {
	return types.NamespacedName{Namespace: ks.Namespace, Name: ks.Name}
}

// Dependencies returns the keys of the Kustomizations in dependsOn, sorted and once each.
func Dependencies(ks *v1alpha1.Kustomization) []types.NamespacedName {
	if len(ks.Spec.DependsOn) == 0 {
		return nil
	}
	keys := make([]types.NamespacedName, 0, len(ks.Spec.DependsOn))
	for _, d := range ks.Spec.DependsOn {
		keys = append(keys, types.NamespacedName{Namespace: cmp.Or(d.Namespace, ks.Namespace), Name: strings.TrimSpace(d.Name)})
	}
	slices.SortFunc(keys, func(a, b types.NamespacedName) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return slices.Compact(keys)
}

// DependsOnEntries names the dependencies whose readiness the engine waits for, as the Assignment of a
// Cluster in the given namespace names them, sorted. Of those with a readyExpr the hub decides.
func DependsOnEntries(ks *v1alpha1.Kustomization, namespace string) []string {
	var names []string
	for _, d := range ks.Spec.DependsOn {
		if d.ReadyExpr == "" {
			key := types.NamespacedName{Namespace: cmp.Or(d.Namespace, ks.Namespace), Name: strings.TrimSpace(d.Name)}
			names = append(names, v1alpha1.RelativeName(namespace, key))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
