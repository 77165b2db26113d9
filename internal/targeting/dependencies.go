package targeting

import (
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Cycle returns the names on a cycle of dependsOn that starts and ends at ks, or nil. The names
// start with that of ks; a Kustomization that only waits for a cycle of others is not on it.
func Cycle(ks *v1alpha1.Kustomization, all []v1alpha1.Kustomization) []string {
	needs := make(map[string][]string, len(all)+1)
	for i := range all {
		if all[i].Namespace == ks.Namespace && len(all[i].Spec.DependsOn) > 0 {
			needs[all[i].Name] = Dependencies(&all[i])
		}
	}
	needs[ks.Name] = Dependencies(ks)
	return walk(ks.Name, []string{ks.Name}, needs, map[string]bool{})
}

func walk(goal string, way []string, needs map[string][]string, done map[string]bool) []string {
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

// Dependencies returns the names in dependsOn, sorted and once each.
func Dependencies(ks *v1alpha1.Kustomization) []string {
	if len(ks.Spec.DependsOn) == 0 {
		return nil
	}
	names := make([]string, 0, len(ks.Spec.DependsOn))
	for _, d := range ks.Spec.DependsOn {
		names = append(names, strings.TrimSpace(d.Name))
	}
	slices.Sort(names)
	return slices.Compact(names)
}
