package status

import (
	"fmt"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/table"
)

// rolloutRows are the changes that are not on every cluster, and what they wait for.
func rolloutRows(r Report, v View) [][]table.Cell {
	rows := [][]table.Cell{table.Header("NAMESPACE", "KUSTOMIZATION", "REVISION", "PHASE", "STAGE", "SENT", "HEALTHY", "MESSAGE")}
	for _, k := range r.Kustomizations {
		if k.Rollout == nil || k.State == Deleting {
			continue
		}
		paint := v.IO.Yellow
		if k.Rollout.Failed {
			paint = v.IO.Red
		}
		sent, healthy := "", ""
		if n := k.Rollout.Clusters; n > 0 {
			sent, healthy = fmt.Sprintf("%d/%d", k.Rollout.Updated, n), fmt.Sprintf("%d/%d", k.Rollout.Ready, n)
		}
		rows = append(rows, []table.Cell{
			v.Namespace(k.Namespace), table.Plain(k.Name), table.Plain(factory.ShortRevision(k.Rollout.Revision)),
			table.Painted(k.Rollout.Phase, paint), table.Plain(k.Rollout.Stage), table.Plain(sent), table.Plain(healthy),
			table.Plain(factory.ShortRevisions(k.Rollout.Message)),
		})
	}
	return rows
}
