// Package figures is how the benchmarks tell what they measured: numbers beside their targets, and
// beside what the floor took in the same run.
package figures

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Figure is one measured number beside its target.
type Figure struct {
	Name string `json:"name"`
	// Floor is what the floor took, where there is one, in the unit of Value.
	Floor float64 `json:"floor,omitempty"`
	// Value is the median over Samples, or their worst where the name says so.
	Value   float64   `json:"value"`
	Samples []float64 `json:"samples"`
	Unit    string    `json:"unit"`
	// Target is the most that Value may be; 0 for a figure that has none, unless Zero is set.
	Target float64 `json:"target,omitempty"`
	// Zero says that Value has to be 0.
	Zero bool   `json:"zero,omitempty"`
	Rule string `json:"rule,omitempty"`
	OK   bool   `json:"ok"`
}

// Table is a list of figures under one title.
type Table struct {
	Title   string   `json:"title"`
	Figures []Figure `json:"figures"`
}

// Add records a figure whose value is the median of the samples, unless it has one already.
func (t *Table) Add(f Figure) {
	if f.Value == 0 {
		f.Value = Median(f.Samples)
	}
	f.OK = f.Target == 0 && !f.Zero || f.Value <= f.Target
	t.Figures = append(t.Figures, f)
}

// Missed returns how many figures missed their target.
func (t *Table) Missed() int {
	n := 0
	for _, f := range t.Figures {
		if !f.OK {
			n++
		}
	}
	return n
}

// Print writes the table for people.
func (t *Table) Print(w io.Writer) error {
	_, _ = fmt.Fprintf(w, "\n%s\n\n", t.Title)
	table := tabwriter.NewWriter(w, 0, 4, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, "  figure\tfloor\tskerry\ttarget\trule\tverdict")
	for _, f := range t.Figures {
		floor, target, verdict := "", "", ""
		if f.Floor != 0 {
			floor = format(f.Floor, f.Unit)
		}
		if f.Target != 0 || f.Zero {
			target, verdict = "≤ "+format(f.Target, f.Unit), "ok"
			if !f.OK {
				verdict = "MISSED"
			}
		}
		_, _ = fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%s\t%s\n", f.Name, floor, format(f.Value, f.Unit), target, f.Rule, verdict)
	}
	return table.Flush()
}

func format(v float64, unit string) string {
	text := fmt.Sprintf("%.2f", v)
	if v >= 100 {
		text = fmt.Sprintf("%.0f", v)
	}
	return strings.TrimSpace(text + " " + unit)
}

// WriteJSON writes a value to a file.
func WriteJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}

// Median returns the middle of the samples, 0 of none.
func Median(samples []float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	switch n := len(s); {
	case n == 0:
		return 0
	case n%2 == 1:
		return s[n/2]
	default:
		return (s[n/2-1] + s[n/2]) / 2
	}
}

// Percentile returns the smallest sample that p percent of all samples do not exceed, 0 of none.
func Percentile(samples []float64, p float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	if len(s) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(s))))
	return s[min(max(rank, 1), len(s))-1]
}

// Seconds turns durations into samples.
func Seconds(all []time.Duration) []float64 {
	out := make([]float64, len(all))
	for i, d := range all {
		out[i] = d.Seconds()
	}
	return out
}
