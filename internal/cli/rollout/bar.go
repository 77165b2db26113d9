package rollout

import (
	"github.com/skerry-dev/skerry/internal/cli/bar"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// barWidth is the width of a bar, in characters.
const barWidth = 24

// stageBar draws the clusters of a stage: ready, failed, on their way, absent, and those that wait. A bar is full
// only when all are ready, and takes so many characters.
func stageBar(s Stage, io *iostreams.IOStreams, width int) string {
	return bar.Draw([]bar.Part{
		{N: s.Ready, Mark: "█", Paint: io.Green},
		{N: s.Failed, Mark: "✗", Paint: io.Red},
		{N: s.Updated - s.Ready - s.Failed, Mark: "▒", Paint: io.Yellow},
		{N: s.Absent, Mark: "·"},
		{N: s.Clusters - s.Updated - s.Absent, Mark: "░"},
	}, width)
}
