package status

import (
	"fmt"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/bar"
	"github.com/skerry-dev/skerry/internal/cli/drift"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/table"
)

// glance is how many rows of a table still are a glance, where the height of the screen is not known.
const glance = 20

// Glance is how many rows of a table still are a glance at a terminal of so many rows: what is shown of a fleet
// fits onto one screen.
func Glance(rows int) int { return max(3, min(glance, (rows-16)/4)) }

// barWidth is the width of a bar, in characters.
const barWidth = 16

// View is how to write a report.
type View struct {
	// Now is what ages are counted from.
	Now time.Time
	// Namespaces shows the namespace of everything.
	Namespaces bool
	// All lists every cluster, however many there are.
	All bool
	// Glance is how many rows of a table still are a glance; zero: 20.
	Glance int
	// IO paints.
	IO *iostreams.IOStreams
}

// Text writes a report for a person. It is pure: same report and view, same text.
func Text(r Report, v View) string {
	var b strings.Builder
	b.WriteString(v.IO.Wrap(headline(r, v), "  ") + "\n")
	if len(r.Sources)+len(r.Kustomizations)+len(r.Clusters) == 0 {
		b.WriteString(emptyHub)
		return b.String()
	}
	v.section(&b, "SOURCES", sourceRows(r, v), "", "FETCHED")
	v.section(&b, "KUSTOMIZATIONS", kustomizationRows(r, v), "", "PATH", "SOURCE", "ATTEMPTED", "UNREACHABLE", "FAILED", "", "HEAD")
	v.section(&b, "ROLLOUTS", rolloutRows(r, v), "", "STAGE", "REVISION", "SENT")
	rows, rest := clusterRows(r, v)
	v.section(&b, "CLUSTERS", rows, rest, clusterGiveWay...)
	rows, rest = runRows(r, v)
	v.section(&b, "WHAT RUNS WHERE", rows, rest, "VERIFIED", "DRIFT", "OBJECTS", "WANTED")
	writeProblems(&b, r, v)
	rows, rest = driftRows(r, v)
	v.section(&b, "DRIFT, NOW AND IN THE LAST HOUR", rows, rest, drift.GiveWay...)
	return b.String()
}

func (v View) glance() int {
	if v.Glance > 0 {
		return v.Glance
	}
	return glance
}

const emptyHub = `
Nothing is here yet. Next:
  skerry cluster join NAME --from-kubeconfig FILE      adds an edge cluster
  skerry bootstrap git --url URL --path clusters/hub   lets the hub read from Git what to do
or apply a GitRepository and a Kustomization with kubectl.
`

// clusterGiveWay are the columns that a narrow terminal does without.
var clusterGiveWay = []string{"AGENT", "VERSION", "WAS AWAY", "CONNECTED", "SEEN"}

// section writes a table under its title, if it has rows besides its headings, and what the table
// leaves out. giveWay names the columns that a narrow terminal does without, the first one first.
func (v View) section(b *strings.Builder, title string, rows [][]table.Cell, rest string, giveWay ...string) {
	if len(rows) == 1 && rest == "" {
		return
	}
	b.WriteString("\n" + v.IO.Bold(title) + "\n")
	if len(rows) > 1 {
		table.WriteWithin(b, rows, v.IO.Width(), giveWay...)
	}
	if rest != "" {
		b.WriteString(rest + "\n")
	}
}

func headline(r Report, v View) string {
	counts := fmt.Sprintf("%s, %s, %s", number(len(r.Sources), "source"),
		number(len(r.Kustomizations), "kustomization"), number(len(r.Clusters), "cluster"))
	failed, working := 0, 0
	for _, p := range r.Problems {
		if p.State == Working || p.State == Deleting {
			working++
		} else {
			failed++
		}
	}
	overall := v.IO.Green("all ready")
	switch {
	case len(r.Sources)+len(r.Kustomizations)+len(r.Clusters) == 0:
		return fmt.Sprintf("Hub %s: empty", r.Hub.Server)
	case failed > 0:
		overall = v.IO.Red(number(failed, "problem"))
	case working > 0:
		overall = v.IO.Yellow(fmt.Sprintf("nothing failed, %d on the way", working))
	}
	return fmt.Sprintf("Hub %s: %s: %s", r.Hub.Server, counts, overall)
}

func number(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func sourceRows(r Report, v View) [][]table.Cell {
	rows := [][]table.Cell{table.Header("NAMESPACE", "NAME", "READY", "REVISION", "FETCHED", "URL")}
	for _, s := range r.Sources {
		rows = append(rows, []table.Cell{
			v.Namespace(s.Namespace), table.Plain(s.Name), v.State(s.State), table.Plain(factory.ShortRevision(s.Revision)), table.Plain(v.ago(s.Fetched)), table.Plain(s.URL),
		})
	}
	return rows
}

func kustomizationRows(r Report, v View) [][]table.Cell {
	rows := [][]table.Cell{table.Header("NAMESPACE", "NAME", "READY", "REVISION", "ATTEMPTED", "HEAD", "CLUSTERS", "FAILED", "UNREACHABLE", "", "SOURCE", "PATH")}
	for _, k := range r.Kustomizations {
		attempted := ""
		if k.Attempted != k.Revision {
			attempted = factory.ShortRevision(k.Attempted)
		}
		head := ""
		if k.Head != k.Revision && k.Head != k.Attempted {
			head = factory.ShortRevision(k.Head)
		}
		rows = append(rows, []table.Cell{
			v.Namespace(k.Namespace), table.Plain(k.Name), v.State(k.State), table.Plain(factory.ShortRevision(k.Revision)), table.Plain(attempted), table.Plain(head),
			table.Plain(fmt.Sprintf("%d/%d", k.Clusters.Ready, k.Clusters.Desired)),
			v.count(k.Clusters.Failed), v.count(k.Clusters.Unreachable), v.bar(k.Clusters), table.Plain(k.Source), table.Plain(k.Path),
		})
	}
	return rows
}

// bar draws the clusters of a Kustomization by state: ready, failed, on their way, unreachable. It is for a person
// at a terminal.
func (v View) bar(c Counts) table.Cell {
	if v.IO.Width() == 0 || c.Desired < 2 {
		return table.Cell{}
	}
	draw := func(io *iostreams.IOStreams, width int) string {
		return bar.Draw([]bar.Part{
			{N: c.Ready, Mark: "█", Paint: io.Green}, {N: c.Failed, Mark: "✗", Paint: io.Red},
			{N: c.Progressing, Mark: "▒", Paint: io.Yellow}, {N: c.Unreachable, Mark: "·"},
		}, width)
	}
	// The bar is measured without its colours, and drawn again in what is left of it.
	return table.Painted(draw(&iostreams.IOStreams{}, barWidth), func(left string) string { return draw(v.IO, iostreams.Width(left)) })
}

// driftRows are what differs now and what was put back.
func driftRows(r Report, v View) (rows [][]table.Cell, rest string) {
	rows = [][]table.Cell{table.Header("NAMESPACE", "CLUSTER", "KUSTOMIZATION", "OBJECT", "BY", "AGE", "NOW", "FIELDS")}
	shown := r.Drift
	if most := v.glance() / 2; !v.All && len(shown) > most {
		shown = shown[:most]
	}
	for _, d := range shown {
		rows = append(rows, append([]table.Cell{v.Namespace(d.Namespace)}, drift.Row(d, v.Now, v.IO)...))
	}
	if more := len(r.Drift) - len(shown) + r.MoreDrift; more > 0 {
		rest = fmt.Sprintf("… %d more ('skerry drift --since 1h' lists every one)", more)
	}
	return rows, rest
}

// clusterRows returns the rows, and what they leave out: of a fleet that is more than a glance, the
// clusters that are ready.
func clusterRows(r Report, v View) (rows [][]table.Cell, rest string) {
	rows = [][]table.Cell{table.Header(append([]string{"NAMESPACE", "NAME", "READY", "REACHABLE", "SEEN", "VERSION"}, AgentHeader()...)...)}
	ready, left := 0, 0
	for _, c := range r.Clusters {
		if !v.All && len(r.Clusters) > v.glance() && (c.State == Ready || len(rows) > v.glance()) {
			left++
			if c.State == Ready {
				ready++
			}
			continue
		}
		rows = append(rows, append([]table.Cell{
			v.Namespace(c.Namespace), table.Plain(c.Name), v.State(c.State), v.Reachable(c.Reachable), table.Plain(v.Known(c.Reachable, c.LastSeen)), table.Plain(c.Version),
		}, v.AgentCells(c.Agent)...))
	}
	switch left {
	case 0:
	case ready:
		rest = fmt.Sprintf("… %d more, all ready (--all lists every one)", left)
	default:
		rest = fmt.Sprintf("… %d more, %d of them ready (--all lists every one)", left, ready)
	}
	return rows, rest
}

// Known is how old what is known of a cluster is. The hub writes LastSeen every few minutes only, so
// of a cluster that it hears from it is no measure.
func (v View) Known(reachable State, seen *time.Time) string {
	if reachable == Ready {
		return "now"
	}
	return v.ago(seen)
}

// Namespace is a cell that is empty, and so left out, where only one namespace is shown.
func (v View) Namespace(name string) table.Cell {
	if !v.Namespaces {
		return table.Cell{}
	}
	return table.Plain(name)
}

func (v View) ago(t *time.Time) string {
	if t == nil {
		return ""
	}
	return Age(t, v.Now) + " ago"
}

// State is a state in a column that asks whether it is ready.
func (v View) State(s State) table.Cell {
	switch s {
	case Ready:
		return table.Painted("yes", v.IO.Green)
	case NotReady:
		return table.Painted("no", v.IO.Red)
	case Working, Deleting, Suspended, Unknown:
	}
	return table.Painted(string(s), v.IO.Yellow)
}

// Reachable is a state in a column that asks whether a cluster is reachable.
func (v View) Reachable(s State) table.Cell {
	if s == Unknown {
		return table.Painted("unknown", v.IO.Yellow)
	}
	return v.State(s)
}

func (v View) count(n int32) table.Cell {
	if n == 0 {
		return table.Cell{}
	}
	return table.Painted(fmt.Sprint(n), v.IO.Red)
}

func writeProblems(b *strings.Builder, r Report, v View) {
	if len(r.Problems) == 0 {
		return
	}
	b.WriteString("\n" + v.IO.Bold("NOT READY") + "\n")
	shown := r.Problems
	if !v.All && len(shown) > v.glance() {
		shown = shown[:v.glance()]
	}
	for i, p := range shown {
		b.WriteString(v.problem(p, i+1 < len(r.Problems) && sameCause(p, r.Problems[i+1])) + "\n")
		if p.Next != "" {
			b.WriteString("      next: " + iostreams.Line(p.Next) + "\n")
		}
	}
	if left := len(r.Problems) - len(shown); left > 0 {
		fmt.Fprintf(b, "  … %d more (--all lists every one)\n", left)
	}
}

// sameCause reports whether the second problem, on a cluster, is the cause of the first, which only sums it up.
func sameCause(sum, one Problem) bool {
	return sum.Cluster == "" && one.Cluster != "" && one.Kind == sum.Kind && one.Namespace == sum.Namespace &&
		one.Name == sum.Name && one.Message != "" && (one.Reason == sum.Reason || sum.Reason == v1alpha1.FailedReason)
}

func (v View) problem(p Problem, followed bool) string {
	name := p.Name
	if v.Namespaces && p.Namespace != "" {
		name = p.Namespace + "/" + name
	}
	what := "  " + p.Kind + " " + name
	if p.Cluster != "" {
		what = "    " + name + " on " + p.Cluster
	}
	paint := v.IO.Red
	if p.State != NotReady {
		paint = v.IO.Yellow
	}
	parts := []string{what, string(p.State)}
	if p.Reason != "" {
		parts = append(parts, p.Reason)
	}
	if p.Message != "" && !followed {
		parts = append(parts, factory.ShortRevisions(p.Message))
	}
	// Painted when it is wrapped: colours take no room.
	state := ": " + string(p.State)
	return strings.Replace(v.IO.Wrap(strings.Join(parts, ": "), "      "), state, ": "+paint(string(p.State)), 1)
}
