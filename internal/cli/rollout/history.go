package rollout

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/table"
)

// Past is one change that was, or is, rolled out.
type Past struct {
	Revision string `json:"revision"`
	// Change is its id; empty where only the revision is remembered.
	Change string `json:"change,omitempty"`
	// Current means that it is the last one, Verified that it is the last that went through all stages,
	// Halted that no cluster gets it by itself.
	Current  bool `json:"current,omitempty"`
	Verified bool `json:"verified,omitempty"`
	Halted   bool `json:"halted,omitempty"`
	// ReadyAt is when its revision was ready on every cluster counted as ready.
	ReadyAt *time.Time `json:"readyAt,omitempty"`
}

// NewCmdHistory returns the command, which stands beside the others of rollout as well; runF replaces what it
// runs, for tests.
func NewCmdHistory(f *factory.Factory, runF run) *cobra.Command {
	cmd := newCmdHistory(f, runF)
	cmd.Use, cmd.Example = "history KUSTOMIZATION", strings.ReplaceAll(cmd.Example, "skerry rollout history", "skerry history")
	cmd.Short = "List the last revisions of a kustomization: current, verified, halted, and when they were ready"
	return cmd
}

func newCmdHistory(f *factory.Factory, runF run) *cobra.Command {
	o := &Options{Factory: f}
	cmd := verb(o, runF, runHistory, &cobra.Command{
		Use:   "history NAME",
		Short: "List the last changes: current, verified, halted, and when they were ready",
		Example: `  skerry rollout history apps
  skerry rollout history apps -o json`,
	})
	factory.AddOutputFlag(cmd, &o.Output)
	return cmd
}

func runHistory(ctx context.Context, o *Options) error {
	ctx, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, ks, err := load(ctx, o)
	if err != nil {
		return err
	}
	past := History(ks.Status)
	if o.Output != "" {
		return factory.Print(o.IO.Out, o.Output, past)
	}
	if len(past) == 0 {
		o.IO.Progressf("kustomization %s has rolled nothing out yet", o.Name)
		return nil
	}
	if _, err := io.WriteString(o.IO.Out, historyText(past, o.IO)); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}

// History lists the changes that a status remembers: the current one, those that were halted and the
// verified one, then what else became ready, the newest first.
func History(s v1alpha1.KustomizationStatus) []Past {
	past := []Past{}
	add := func(c v1alpha1.RolloutChange) *Past {
		at := slices.IndexFunc(past, func(p Past) bool { return p.Change == c.ID })
		if at < 0 {
			at = len(past)
			past = append(past, Past{Revision: iostreams.Line(c.Revision), Change: c.ID})
		}
		return &past[at]
	}
	if r := s.Rollout; r != nil {
		add(r.RolloutChange).Current = true
		for _, c := range r.Halted {
			add(c).Halted = true
		}
		if r.Verified != nil {
			add(*r.Verified).Verified = true
		}
	}
	known := len(past)
	for _, h := range s.History {
		at := h.ReadyAt.Time
		revision := iostreams.Line(h.Revision)
		// A revision that was halted in one form may have become ready in another.
		i := slices.IndexFunc(past[:known], func(p Past) bool {
			return p.Revision == revision && p.ReadyAt == nil && (!p.Halted || p.Current && wasDone(s.Rollout))
		})
		if i >= 0 {
			past[i].ReadyAt = &at
			continue
		}
		past = append(past, Past{Revision: revision, ReadyAt: &at})
	}
	return past
}

// wasDone reports whether the change went through all its stages; it may have been undone after that.
func wasDone(r *v1alpha1.RolloutStatus) bool {
	return len(r.Stages) > 0 && !slices.ContainsFunc(r.Stages, func(s v1alpha1.RolloutStageStatus) bool { return !s.Done })
}

func historyText(past []Past, s *iostreams.IOStreams) string {
	rows := [][]table.Cell{table.Header("REVISION", "CHANGE", "STATE", "READY")}
	for _, p := range past {
		var is []string
		paint := func(text string) string { return text }
		if p.Current {
			is = append(is, "current")
		}
		if p.Verified {
			is, paint = append(is, "verified"), s.Green
		}
		if p.Halted {
			is, paint = append(is, "halted"), s.Red
		}
		ready := ""
		if p.ReadyAt != nil {
			ready = stamp(*p.ReadyAt)
		}
		rows = append(rows, []table.Cell{
			table.Plain(factory.ShortRevision(p.Revision)), table.Plain(p.Change), table.Painted(strings.Join(is, ", "), paint), table.Plain(ready),
		})
	}
	var b strings.Builder
	table.WriteWithin(&b, rows, s.Width(), "CHANGE")
	return b.String()
}
