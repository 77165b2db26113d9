// Package stats is the command that counts what a hub has.
package stats

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/status"
	"github.com/skerry-dev/skerry/internal/cli/table"
)

// Options of the command.
type Options struct {
	*factory.Factory
	AllNamespaces bool
	Output        string
}

// NewCmdStats returns the command; runF replaces what it runs, for tests.
func NewCmdStats(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runStats
	}
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count sources, kustomizations, clusters and objects by state",
		Long: `Count sources, kustomizations and clusters by state, what runs on the clusters, how many objects
that is, how much was put back since the hub started, and how much the hub keeps of the
repositories.`,
		Example: `  skerry stats -A
  skerry stats -o json | jq .corrections`,
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), o) },
	}
	cmd.Flags().BoolVarP(&o.AllNamespaces, "all-namespaces", "A", false, "of all namespaces")
	factory.AddOutputFlag(cmd, &o.Output)
	return cmd
}

// Counts counts things by state.
type Counts struct {
	Total     int `json:"total"`
	Ready     int `json:"ready"`
	NotReady  int `json:"notReady"`
	Working   int `json:"working"`
	Suspended int `json:"suspended"`
	Unknown   int `json:"unknown"`
}

func (c *Counts) add(s status.State) {
	c.Total++
	switch s {
	case status.Ready:
		c.Ready++
	case status.NotReady:
		c.NotReady++
	case status.Working, status.Deleting:
		c.Working++
	case status.Suspended:
		c.Suspended++
	case status.Unknown:
		c.Unknown++
	}
}

// Stats is what is counted. Assigned counts Kustomizations on clusters, each pair once.
type Stats struct {
	Sources        Counts `json:"sources"`
	Kustomizations Counts `json:"kustomizations"`
	Clusters       Counts `json:"clusters"`
	Assigned       Counts `json:"assigned"`
	// Objects are those that are wanted on all clusters, Applied those of them that stand as wanted.
	Objects int64 `json:"objects"`
	Applied int64 `json:"applied"`
	// Corrections of drift since the hub started.
	Corrections int64 `json:"corrections"`
	// Drifted counts objects that differ from Git and are left as they are.
	Drifted int64 `json:"drifted"`
	// Stored is how many bytes the hub keeps of the repositories.
	Stored int64 `json:"stored"`
}

func runStats(ctx context.Context, o *Options) error {
	ctx, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	namespace := o.Flags.Namespace
	if o.AllNamespaces {
		namespace = ""
	}
	facts, err := status.Gather(ctx, hub, namespace, o.Now)
	if err != nil {
		return err
	}
	stats := Count(facts)
	if o.Output != "" {
		return factory.Print(o.IO.Out, o.Output, stats)
	}
	if _, err := io.WriteString(o.IO.Out, Text(stats, o.IO)); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}

// Count counts. It is pure.
func Count(f status.Facts) Stats {
	var s Stats
	r := status.Summarize(f)
	for _, one := range r.Sources {
		s.Sources.add(one.State)
	}
	for _, one := range r.Kustomizations {
		s.Kustomizations.add(one.State)
	}
	for _, c := range r.Clusters {
		state := c.State
		if c.Reachable == status.Unknown && state == status.Ready {
			state = status.Unknown // it does not report to the hub
		}
		s.Clusters.add(state)
		for _, run := range c.Runs {
			s.Assigned.add(run.State)
			s.Objects, s.Applied = s.Objects+int64(run.Total), s.Applied+int64(run.Applied)
			s.Corrections += run.Drift
		}
	}
	for i := range f.Assignments {
		for _, e := range f.Assignments[i].Status.Entries {
			s.Drifted += int64(e.Drifted)
		}
	}
	for i := range f.Sources {
		if a := f.Sources[i].Status.Artifact; a != nil {
			s.Stored += a.Size
		}
	}
	return s
}

// Text writes the counts for a person. It is pure.
func Text(s Stats, io *iostreams.IOStreams) string {
	rows := [][]table.Cell{table.Header("KIND", "TOTAL", "READY", "NOT READY", "WORKING", "SUSPENDED", "UNKNOWN")}
	for _, line := range []struct {
		name string
		c    Counts
	}{{"sources", s.Sources}, {"kustomizations", s.Kustomizations}, {"clusters", s.Clusters}, {"kustomizations on clusters", s.Assigned}} {
		row := []table.Cell{table.Plain(line.name)}
		for _, n := range []int{line.c.Total, line.c.Ready, line.c.NotReady, line.c.Working, line.c.Suspended, line.c.Unknown} {
			row = append(row, table.Plain(fmt.Sprint(n)))
		}
		rows = append(rows, row)
	}
	var b strings.Builder
	table.WriteWithin(&b, rows, io.Width())
	objects := fmt.Sprintf("objects: %d of %d stand as wanted", s.Applied, s.Objects)
	if s.Drifted > 0 {
		objects += fmt.Sprintf(", %d differ and are left so", s.Drifted)
	}
	objects += fmt.Sprintf("; %d corrections since the hub started", s.Corrections)
	b.WriteString("\n" + io.Wrap(objects, "  ") + "\n")
	fmt.Fprintf(&b, "repositories: %s kept by the hub\n", resource.NewQuantity(s.Stored, resource.BinarySI))
	return b.String()
}
