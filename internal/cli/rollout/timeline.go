package rollout

import (
	"fmt"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/table"
	"github.com/skerry-dev/skerry/internal/rollout"
	"github.com/skerry-dev/skerry/internal/text"
)

// What still is a glance: names in a row, and steps of one stage in a row.
const (
	glanceNames = 6
	glanceSteps = 8
)

// simulationText writes a simulation for a person. It is pure.
func simulationText(s Simulation, all bool, io *iostreams.IOStreams) string {
	var b strings.Builder
	away := ""
	if len(s.Absent) > 0 {
		away = fmt.Sprintf(" (%d of them absent)", len(s.Absent))
	}
	b.WriteString(io.Wrap(fmt.Sprintf("Simulation of the next change of %s on %s%s, from %s. Nothing is touched.",
		io.Bold(s.Name), countOf(int32(s.Clusters)), away, stamp(s.Start)), "") + "\n")
	for _, line := range s.Assumed {
		b.WriteString(io.Wrap("  assumed: "+line, "    ") + "\n")
	}
	if s.Clusters == 0 {
		b.WriteString("\nNo cluster matches, so nothing happens.\n")
		return b.String()
	}
	b.WriteString("\n" + io.Bold("STAGES") + "\n")
	if len(s.Stages) == 0 {
		b.WriteString("none: every cluster gets the change at once\n")
	} else {
		table.WriteWithin(&b, simulatedStageRows(s, all), io.Width(), "SIZE", "BEGINS", "SOAK")
	}
	if len(s.Absent) > 0 {
		b.WriteString("\n" + io.Bold("ABSENT") + ": nothing waits for them\n")
		table.WriteWithin(&b, absentRows(s, all), io.Width())
	}
	b.WriteString("\n" + io.Bold("TIME LINE") + "\n")
	if len(s.Events) == 0 {
		b.WriteString("nothing happens\n")
	} else {
		table.WriteWithin(&b, eventRows(s, all, io), io.Width(), "AT")
	}
	b.WriteString("\n" + io.Wrap(ending(s, io), "") + "\n")
	return b.String()
}

func simulatedStageRows(s Simulation, all bool) [][]table.Cell {
	rows := [][]table.Cell{table.Header("STAGE", "CLUSTERS", "SIZE", "AT ONCE", "MAY FAIL", "SOAK", "BEGINS", "WHICH")}
	for _, stage := range s.Stages {
		begins := ""
		if stage.Approval == string(v1alpha1.ApprovalManual) {
			begins = "by approval"
		}
		rows = append(rows, []table.Cell{
			table.Plain(stage.Name), table.Plain(fmt.Sprint(len(stage.Clusters))), table.Plain(stage.Size),
			table.Plain(stage.MaxConcurrent), table.Plain(stage.MaxFailures), table.Plain(stage.Soak), table.Plain(begins),
			table.Plain(names(stage.Clusters, all)),
		})
	}
	return rows
}

func absentRows(s Simulation, all bool) [][]table.Cell {
	rows := [][]table.Cell{table.Header("CLUSTER", "WHY")}
	for i, a := range s.Absent {
		if !all && i >= glanceSteps {
			rows = append(rows, []table.Cell{table.Plain(fmt.Sprintf("… %d more", len(s.Absent)-i)), {}})
			break
		}
		rows = append(rows, []table.Cell{table.Plain(a.Cluster), table.Plain(a.Reason)})
	}
	return rows
}

func names(list []string, all bool) string {
	if !all && len(list) > glanceNames {
		return fmt.Sprintf("%s, … %d more", strings.Join(list[:glanceNames-1], ", "), len(list)-glanceNames+1)
	}
	return strings.Join(list, ", ")
}

// eventRows are the events, and of a stage that goes in many small steps its first and last ones.
func eventRows(s Simulation, all bool, io *iostreams.IOStreams) [][]table.Cell {
	rows := [][]table.Cell{table.Header("AT", "AFTER", "STAGE", "WHAT")}
	var last time.Time
	for i := 0; i < len(s.Events); {
		n := steps(s.Events[i:])
		for j, e := range s.Events[i : i+n] {
			if left := n - glanceSteps; !all && left > 1 && j >= glanceSteps/2 && j < n-glanceSteps/2 {
				if j == glanceSteps/2 {
					rows = append(rows, []table.Cell{{}, {}, table.Plain(e.Stage), table.Plain(fmt.Sprintf("… %d steps more (--all shows them)", left))})
				}
				continue
			}
			at := table.Cell{}
			if !e.At.Equal(last) {
				at, last = table.Plain(stamp(e.At)), e.At
			}
			rows = append(rows, []table.Cell{at, table.Plain(rollout.Short(e.At.Sub(s.Start))), table.Plain(e.Stage), what(e, all, io)})
		}
		i += n
	}
	return rows
}

// steps is how many events at the beginning only say that clusters of one stage come and go.
func steps(events []Event) int {
	n := 0
	for _, e := range events {
		if e.Kind != EventStarted && e.Kind != EventReady || e.Stage != events[0].Stage {
			break
		}
		n++
	}
	return max(n, 1)
}

func what(e Event, all bool, io *iostreams.IOStreams) table.Cell {
	who := fmt.Sprintf(" %d: %s", len(e.Clusters), names(e.Clusters, all))
	switch e.Kind {
	case EventStarted:
		return table.Plain("sent to" + who)
	case EventDeferred:
		return table.Plain("kept for when they are back," + who)
	case EventReady:
		return table.Painted("ready"+who, io.Green)
	case EventFailed:
		return table.Painted("failed"+who, io.Red)
	case EventReturned:
		return table.Painted("sent back"+who, io.Yellow)
	case EventBack:
		return table.Plain("back" + who)
	case EventApproved:
		return table.Plain("approved")
	case EventPhase:
	}
	return table.Painted(phaseText(e.Phase, e.Message), func(text string) string {
		rest, whole := strings.CutPrefix(text, phase(e.Phase, &iostreams.IOStreams{}))
		if !whole {
			return text // its beginning is all that fits
		}
		return phase(e.Phase, io) + rest
	})
}

func ending(s Simulation, io *iostreams.IOStreams) string {
	took := rollout.Short(s.Ended.Sub(s.Start))
	have := fmt.Sprintf("%d of %s %s the change", s.WithChange, text.Count(s.Clusters, "cluster"), text.Plural(s.WithChange, "has", "have"))
	if s.Deferred > 0 {
		have += fmt.Sprintf(", %d %s", s.Deferred, text.Plural(s.Deferred, "gets it when it is back", "get it when they are back"))
	}
	if s.WithoutChange > 0 {
		have += fmt.Sprintf(", %d %s", s.WithoutChange, text.Plural(s.WithoutChange, "keeps what it had", "keep what they had"))
	}
	switch {
	case s.Endless:
		return fmt.Sprintf("%s within a year: %s; %s.", io.Red("Not ended"), s.Message, have)
	case s.Phase == v1alpha1.RolloutCompleted:
		return fmt.Sprintf("%s after %s: %s.", io.Green("Completed"), took, have)
	case s.Phase == v1alpha1.RolloutHalted:
		return fmt.Sprintf("%s after %s: %s.", io.Red("Halted"), took, have)
	case s.Phase == v1alpha1.RolloutRolledBack:
		return fmt.Sprintf("%s after %s: %s.", io.Red("Rolled back"), took, have)
	}
	return fmt.Sprintf("%s: %s; %s.", io.Red("Stays so"), phaseText(s.Phase, s.Message), have)
}
