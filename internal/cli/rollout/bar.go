package rollout

import (
	"strings"

	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// barWidth is the width of a bar, in characters.
const barWidth = 24

// bar draws the clusters of a stage: ready, failed, on their way, absent, and those that wait. What
// there is of anything shows, so that one failure among a thousand is seen, and a bar is full only
// when all are ready.
func bar(s Stage, io *iostreams.IOStreams) string {
	parts := []struct {
		n     int32
		mark  string
		paint func(string) string
	}{
		{s.Ready, "█", io.Green},
		{s.Failed, "✗", io.Red},
		{s.Updated - s.Ready - s.Failed, "▒", io.Yellow},
		{s.Absent, "·", plainly},
		{s.Clusters - s.Updated - s.Absent, "░", plainly},
	}
	counts := make([]int32, len(parts))
	for i, p := range parts {
		counts[i] = p.n
	}
	var b strings.Builder
	for i, n := range shares(counts, barWidth) {
		if n > 0 {
			b.WriteString(parts[i].paint(strings.Repeat(parts[i].mark, n)))
		}
	}
	return b.String()
}

func plainly(text string) string { return text }

// shares divides width by the counts. Each count above zero has at least one, and what is over after
// rounding down goes to the largest; counts below zero are taken for zero.
func shares(counts []int32, width int) []int {
	total, largest := int32(0), 0
	for i, n := range counts {
		total += max(n, 0)
		if n > counts[largest] {
			largest = i
		}
	}
	out := make([]int, len(counts))
	if total == 0 {
		return out
	}
	left := width
	for i, n := range counts {
		if n > 0 {
			out[i] = max(1, int(int64(n)*int64(width)/int64(total)))
			left -= out[i]
		}
	}
	out[largest] += left
	return out
}
