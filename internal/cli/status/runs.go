package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// runRows says which commit of each Kustomization runs on which cluster. Where that is more than a
// glance, the clusters that are ready at one revision become one row.
func runRows(r Report, v View) (rows [][]cell, rest string) {
	rows = [][]cell{header("NAMESPACE", "CLUSTER", "KUSTOMIZATION", "REVISION", "WANTED", "READY", "OBJECTS", "DRIFT", "VERIFIED")}
	total := 0
	for _, c := range r.Clusters {
		total += len(c.Runs)
	}
	fold := !v.All && total > glance
	folded := map[runGroup]int{}
	for _, c := range r.Clusters {
		for _, run := range c.Runs {
			if fold && run.State == Ready {
				folded[runGroup{c.Namespace, run.Kustomization, run.Revision}]++
				continue
			}
			if !fold || len(rows) <= glance {
				rows = append(rows, v.run(c, run))
			}
		}
	}
	left := total - len(rows) + 1
	for _, n := range folded {
		left -= n
	}
	if left > 0 {
		rest = fmt.Sprintf("… %d more that are not ready (--all lists every one)", left)
	}
	return append(rows, v.groups(folded)...), rest
}

type runGroup struct{ namespace, kustomization, revision string }

func (v View) groups(folded map[runGroup]int) [][]cell {
	groups := make([]runGroup, 0, len(folded))
	for g := range folded {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b runGroup) int {
		return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.kustomization, b.kustomization),
			strings.Compare(a.revision, b.revision))
	})
	var rows [][]cell
	for _, g := range groups {
		rows = append(rows, []cell{
			v.namespace(g.namespace), plain(number(folded[g], "cluster")), plain(g.kustomization), plain(short(g.revision)),
			{}, v.state(Ready), {}, {}, {},
		})
	}
	return rows
}

func (v View) run(c Cluster, run Run) []cell {
	revision, wanted, objects, drift := short(run.Revision), "", "", cell{}
	if revision == "" {
		revision = "none"
	}
	if run.Wanted != run.Revision {
		wanted = short(run.Wanted)
	}
	if run.Total > 0 {
		objects = fmt.Sprintf("%d/%d", run.Applied, run.Total)
	}
	if run.Drift > 0 {
		drift = plain(fmt.Sprint(run.Drift))
	}
	return []cell{
		v.namespace(c.Namespace), plain(c.Name), plain(run.Kustomization), plain(revision), plain(wanted),
		v.state(run.State), plain(objects), drift, plain(v.ago(run.Verified)),
	}
}
