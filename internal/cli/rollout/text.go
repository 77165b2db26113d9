package rollout

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/table"
)

// Text writes a report for a person. It is pure, and holds no time but absolute ones, so that it
// changes only when something happens.
func Text(r Report, io *iostreams.IOStreams) string {
	var b strings.Builder
	if r.Phase == "" {
		b.WriteString(io.Wrap("Rollout of "+io.Bold(r.Name)+": nothing was rolled out yet", "  ") + "\n")
	} else {
		b.WriteString(io.Wrap("Rollout of "+io.Bold(r.Name)+": "+factory.ShortRevision(r.Revision)+": "+phase(r.Phase, io), "  ") + "\n")
	}
	for _, line := range about(r) {
		b.WriteString(io.Wrap("  "+line, "  ") + "\n")
	}
	if len(r.Stages) > 0 {
		b.WriteString("\n")
		table.WriteWithin(&b, stageRows(r, io), io.Width(), "UPDATED", "ABSENT", "PROGRESS")
	}
	if r.Clusters.Desired > 0 {
		b.WriteString("\n" + io.Wrap(clusterCounts(r, io), "") + "\n")
	}
	if len(r.Failures) > 0 {
		b.WriteString("\n")
		table.WriteWithin(&b, failureRows(r, io), io.Width())
	}
	return b.String()
}

func about(r Report) []string {
	var lines []string
	if r.Problem != "" {
		lines = append(lines, factory.ShortRevisions(r.Problem))
	}
	if r.Message != "" {
		lines = append(lines, factory.ShortRevisions(r.Message))
	}
	if r.Paused && r.Phase != v1alpha1.RolloutPaused {
		lines = append(lines, "paused: the next change waits until it is resumed")
	}
	if r.Promoted {
		lines = append(lines, "promoted: goes to every cluster, whatever fails")
	}
	if r.StartedAt != nil {
		lines = append(lines, "since "+stamp(*r.StartedAt))
	}
	if r.Verified != "" && r.Phase != v1alpha1.RolloutCompleted {
		lines = append(lines, "verified before: "+factory.ShortRevision(r.Verified))
	}
	return lines
}

// phase in words.
func phase(p v1alpha1.RolloutPhase, io *iostreams.IOStreams) string {
	switch p {
	case v1alpha1.RolloutCompleted:
		return io.Green("completed")
	case v1alpha1.RolloutHalted:
		return io.Red("halted")
	case v1alpha1.RolloutRollingBack:
		return io.Red("rolling back")
	case v1alpha1.RolloutRolledBack:
		return io.Red("rolled back")
	case v1alpha1.RolloutSoaking:
		return io.Yellow("soaking")
	case v1alpha1.RolloutAwaitingApproval:
		return io.Yellow("waits for approval")
	case v1alpha1.RolloutAwaitingWindow:
		return io.Yellow("waits for a window")
	case v1alpha1.RolloutPaused:
		return io.Yellow("paused")
	case v1alpha1.RolloutProgressing:
		return io.Yellow("progressing")
	}
	return iostreams.Line(string(p))
}

// phaseText joins a phase with its message, which often begins with the same words.
func phaseText(p v1alpha1.RolloutPhase, message string) string {
	word := phase(p, &iostreams.IOStreams{})
	switch {
	case message == "":
		return word
	case strings.HasPrefix(message, word):
		return message
	}
	return word + ": " + message
}

func stageRows(r Report, io *iostreams.IOStreams) [][]table.Cell {
	rows := [][]table.Cell{table.Header("STAGE", "PROGRESS", "CLUSTERS", "UPDATED", "READY", "FAILED", "ABSENT", "")}
	for _, s := range r.Stages {
		failed := table.Cell{}
		if s.Failed > 0 {
			failed = table.Painted(fmt.Sprint(s.Failed), io.Red)
		}
		absent := ""
		if s.Absent > 0 {
			absent = fmt.Sprint(s.Absent)
		}
		// The bar is measured without its colours, and drawn again in what is left of it.
		blank := &iostreams.IOStreams{}
		rows = append(rows, []table.Cell{
			table.Plain(s.Name), table.Painted(stageBar(s, blank, barWidth), func(left string) string { return stageBar(s, io, iostreams.Width(left)) }),
			table.Plain(fmt.Sprint(s.Clusters)), table.Plain(fmt.Sprint(s.Updated)), table.Plain(fmt.Sprint(s.Ready)),
			failed, table.Plain(absent), table.Plain(stageNote(r, s)),
		})
	}
	return rows
}

func stageNote(r Report, s Stage) string {
	switch {
	case s.Clusters == 0:
		return "no clusters"
	case s.Done:
		return "done"
	case s.Name == r.Stage && s.Approved:
		return "now, promoted"
	case s.Name == r.Stage:
		return "now"
	case s.Approved:
		return "promoted"
	}
	return ""
}

func clusterCounts(r Report, io *iostreams.IOStreams) string {
	c := r.Clusters
	var parts []string
	add := func(n int32, word string, paint func(string) string) {
		if n > 0 {
			parts = append(parts, paint(fmt.Sprintf("%d %s", n, word)))
		}
	}
	add(c.Ready, "ready", io.Green)
	add(c.Progressing, "on the way", io.Yellow)
	add(c.Failed, "failed", io.Red)
	add(c.Unreachable, "unreachable", io.Yellow)
	return fmt.Sprintf("%s: %s; %d at this revision", countOf(c.Desired), strings.Join(parts, ", "), c.Updated)
}

func failureRows(r Report, io *iostreams.IOStreams) [][]table.Cell {
	rows := [][]table.Cell{table.Header("NOT READY", "REASON", "MESSAGE")}
	for _, f := range r.Failures {
		rows = append(rows, []table.Cell{
			table.Plain(f.Cluster), table.Painted(f.Reason, io.Red), table.Plain(factory.ShortRevisions(f.Message)),
		})
	}
	return rows
}

// Line is a report in one line, for an output that is no terminal.
func Line(r Report) string {
	if r.Phase == "" {
		return strings.TrimSuffix("nothing was rolled out yet: "+r.Problem, ": ")
	}
	var stages []string
	failed := int32(0)
	for _, s := range r.Stages {
		stages = append(stages, fmt.Sprintf("%s %d/%d", s.Name, s.Ready, s.Clusters))
		failed += s.Failed
	}
	line := factory.ShortRevision(r.Revision)
	if len(stages) > 0 {
		line += ": ready " + strings.Join(stages, ", ")
	}
	if failed > 0 {
		line += fmt.Sprintf(", %d failed", failed)
	}
	return line + ": " + factory.ShortRevisions(cmp.Or(r.Problem, phaseText(r.Phase, r.Message)))
}
