package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/table"
)

// runRows returns which commit of each Kustomization runs on which cluster. Where that is more than a
// glance, the clusters that are ready at one revision become one row.
func runRows(r Report, v View) (rows [][]table.Cell, rest string) {
	rows = [][]table.Cell{table.Header("NAMESPACE", "CLUSTER", "KUSTOMIZATION", "REVISION", "WANTED", "READY", "OBJECTS", "DRIFT", "VERIFIED")}
	total := 0
	for _, c := range r.Clusters {
		total += len(c.Runs)
	}
	fold := !v.All && total > v.glance()
	folded := map[runGroup]int{}
	for _, c := range r.Clusters {
		for _, run := range c.Runs {
			if fold && run.State == Ready {
				folded[runGroup{c.Namespace, run.Kustomization, run.Revision}]++
				continue
			}
			if !fold || len(rows) <= v.glance() {
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

func (v View) groups(folded map[runGroup]int) [][]table.Cell {
	groups := make([]runGroup, 0, len(folded))
	for g := range folded {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b runGroup) int {
		return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.kustomization, b.kustomization),
			strings.Compare(a.revision, b.revision))
	})
	var rows [][]table.Cell
	for _, g := range groups {
		rows = append(rows, []table.Cell{
			v.Namespace(g.namespace), table.Plain(number(folded[g], "cluster")), table.Plain(g.kustomization), table.Plain(factory.ShortRevision(g.revision)),
			{}, v.State(Ready), {}, {}, {},
		})
	}
	return rows
}

func (v View) run(c Cluster, run Run) []table.Cell {
	revision, wanted, objects, drift := factory.ShortRevision(run.Revision), "", "", table.Cell{}
	if revision == "" {
		revision = "none"
	}
	if run.Wanted != run.Revision {
		wanted = factory.ShortRevision(run.Wanted)
	}
	if run.Total > 0 {
		objects = fmt.Sprintf("%d/%d", run.Applied, run.Total)
	}
	if run.Drift > 0 {
		drift = table.Plain(fmt.Sprint(run.Drift))
	}
	return []table.Cell{
		v.Namespace(c.Namespace), table.Plain(c.Name), table.Plain(run.Kustomization), table.Plain(revision), table.Plain(wanted),
		v.State(run.State), table.Plain(objects), drift, table.Plain(v.ago(run.Verified)),
	}
}
