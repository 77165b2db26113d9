package deleting

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/targeting"
	"github.com/skerry-dev/skerry/internal/text"
)

// shown is how many clusters are named.
const shown = 10

// kustomizationLines returns what becomes of what a Kustomization has on its clusters, the one with the most
// objects first.
func kustomizationLines(ks *v1alpha1.Kustomization, assignments []v1alpha1.Assignment, clusters []v1alpha1.Cluster) []string {
	type on struct {
		name    string
		objects int
		silent  bool
	}
	var all []on
	total, silent := 0, 0
	for i := range assignments {
		a := &assignments[i]
		at := types.NamespacedName{Namespace: a.Namespace, Name: a.Name}
		for j := range a.Spec.Entries {
			if v1alpha1.ResolveName(a.Namespace, a.Spec.Entries[j].Name) != (types.NamespacedName{Namespace: ks.Namespace, Name: ks.Name}) {
				continue
			}
			c := on{name: v1alpha1.RelativeName(ks.Namespace, at), silent: !reachable(clusters, at)}
			for k := range a.Status.Entries {
				if a.Status.Entries[k].Name == a.Spec.Entries[j].Name {
					c.objects = int(a.Status.Entries[k].Objects.Applied)
				}
			}
			total += c.objects
			if c.silent {
				silent++
			}
			all = append(all, c)
		}
	}
	consequence := "to be deleted"
	if ks.GetDeletionPolicy() == v1alpha1.DeletionOrphan {
		consequence = "to stay and belong to nobody"
	}
	if len(all) == 0 {
		return []string{fmt.Sprintf("kustomization %s has nothing on any cluster", ks.Name)}
	}
	slices.SortFunc(all, func(a, b on) int { return cmp.Or(b.objects-a.objects, strings.Compare(a.name, b.name)) })
	lines := []string{fmt.Sprintf("kustomization %s: %s on %s, %s:", ks.Name, text.Count(total, "object"), text.Count(len(all), "cluster"), consequence)}
	for i, c := range all {
		if i == shown {
			lines = append(lines, fmt.Sprintf("  and %d more", len(all)-shown))
			break
		}
		line := fmt.Sprintf("  %s: %s", c.name, text.Count(c.objects, "object"))
		if c.silent {
			line += ", does not answer"
		}
		lines = append(lines, line)
	}
	if silent > 0 {
		lines = append(lines, fmt.Sprintf("it stays until %s that does not answer is back, or removed", text.Count(silent, "cluster")))
	}
	return lines
}

func reachable(clusters []v1alpha1.Cluster, at types.NamespacedName) bool {
	for i := range clusters {
		if c := &clusters[i]; c.Namespace == at.Namespace && c.Name == at.Name {
			return apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ReachableCondition)
		}
	}
	return false
}

// sourceLines names the Kustomizations that render a source.
func sourceLines(source *v1alpha1.GitRepository, all []v1alpha1.Kustomization) []string {
	var users []string
	for i := range all {
		if targeting.SourceOf(&all[i]) == (types.NamespacedName{Namespace: source.Namespace, Name: source.Name}) {
			users = append(users, v1alpha1.RelativeName(source.Namespace, types.NamespacedName{Namespace: all[i].Namespace, Name: all[i].Name}))
		}
	}
	if len(users) == 0 {
		return []string{fmt.Sprintf("no kustomization uses source %s", source.Name)}
	}
	slices.Sort(users)
	names := strings.Join(users[:min(len(users), shown)], ", ")
	if more := len(users) - shown; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return []string{fmt.Sprintf("source %s is used by %s: %s; what they have applied stays as it is, and they get no further commit", source.Name, text.Count(len(users), "kustomization"), names)}
}
