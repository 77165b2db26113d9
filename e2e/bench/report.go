package main

import (
	"encoding/json"
	"fmt"
	"io"
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
	// Target is the most that Value may be; 0 for a figure that has none.
	Target float64 `json:"target,omitempty"`
	Rule   string  `json:"rule,omitempty"`
	OK     bool    `json:"ok"`
}

// Result is all that was measured for one workload.
type Result struct {
	Edges       int      `json:"edges"`
	Apps        int      `json:"apps"`
	Objects     int      `json:"objectsPerEdge"`
	Repetitions int      `json:"repetitions"`
	Figures     []Figure `json:"figures"`
}

func median(samples []float64) float64 {
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

func seconds(all []time.Duration) []float64 {
	out := make([]float64, len(all))
	for i, d := range all {
		out[i] = d.Seconds()
	}
	return out
}

// add records a figure whose value is the median of the samples.
func (r *Result) add(f Figure) {
	if f.Value == 0 {
		f.Value = median(f.Samples)
	}
	f.OK = f.Target == 0 || f.Value <= f.Target
	r.Figures = append(r.Figures, f)
}

func (r *Result) print(w io.Writer) error {
	_, _ = fmt.Fprintf(w, "\n%d edges, %d apps of 4 objects: %d objects per edge; medians of %d\n\n", r.Edges, r.Apps, r.Objects, r.Repetitions)
	table := tabwriter.NewWriter(w, 0, 4, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, "  figure\tfloor\tskerry\ttarget\trule\tverdict")
	for _, f := range r.Figures {
		floor, target, verdict := "", "", ""
		if f.Floor != 0 {
			floor = format(f.Floor, f.Unit)
		}
		if f.Target != 0 {
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

// writeJSON writes results to a file.
func writeJSON(path string, results []Result) error {
	raw, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}
