package diff

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/skerry-dev/skerry/internal/cli/build"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/text"
)

// shownClusters is how many clusters a line names.
const shownClusters = 5

// Text writes a report for a person.
func Text(s *iostreams.IOStreams, r Report) string {
	w := &writer{s: s}
	for i := range r.Changes {
		w.change(&r.Changes[i])
	}
	for _, p := range r.Refused {
		w.linef("%s %s%s: %s  %s", s.Red("✗"), of(p.Object), p.Reason, iostreams.Line(p.Message), w.on(p.Clusters))
	}
	for _, p := range r.Unknown {
		w.linef("%s not known: %s: %s  %s", s.Yellow("?"), p.Reason, iostreams.Line(p.Message), w.on(p.Clusters))
	}
	return w.String()
}

func of(o *Ref) string {
	if o == nil {
		return ""
	}
	return o.String() + ": "
}

// String is "Deployment/default/web".
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + "/" + r.Name
	}
	return r.Kind + "/" + r.Namespace + "/" + r.Name
}

// Summary is the report in one line.
func Summary(r Report) string {
	counts := map[Action]int{}
	for _, c := range r.Changes {
		counts[c.Action] += len(c.Clusters)
	}
	var parts []string
	for _, a := range []struct {
		action Action
		word   string
	}{{Create, "to create"}, {Update, "to update"}, {Recreate, "to recreate"}, {Delete, "to delete"}, {Release, "to release"}} {
		if n := counts[a.action]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, a.word))
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "no changes")
	}
	line := fmt.Sprintf("%s on %s", strings.Join(parts, ", "), text.Count(r.Clusters, "cluster"))
	if r.Unchanged > 0 && r.Unchanged < r.Clusters {
		line += fmt.Sprintf(", %d unchanged", r.Unchanged)
	}
	if n := concerned(r.Refused); n > 0 {
		line += fmt.Sprintf(", refused on %d", n)
	}
	if n := concerned(r.Unknown); n > 0 {
		line += fmt.Sprintf(", not known of %d", n)
	}
	return line
}

// concerned counts the clusters of problems, each once.
func concerned(all []Problem) int {
	names := map[string]bool{}
	for _, p := range all {
		for _, c := range p.Clusters {
			names[c] = true
		}
	}
	return len(names)
}

type writer struct {
	strings.Builder
	s *iostreams.IOStreams
}

func (w *writer) linef(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

// on names clusters: "on 98 clusters: a, b, c, d, e and 93 more".
func (w *writer) on(clusters []string) string {
	sorted := slices.Sorted(slices.Values(clusters))
	line := "on " + strings.Join(sorted[:min(len(sorted), shownClusters)], ", ")
	if more := len(sorted) - shownClusters; more > 0 {
		line = fmt.Sprintf("on %s: %s and %d more", text.Count(len(sorted), "cluster"), strings.Join(sorted[:shownClusters], ", "), more)
	}
	return line
}

func (w *writer) change(c *Change) {
	note := ""
	if c.Note != "" {
		note = "  (" + iostreams.Line(c.Note) + ")"
	}
	switch c.Action {
	case Create:
		w.linef("%s %s  create %s%s", w.s.Green("+"), w.s.Bold(c.Object.String()), w.on(c.Clusters), note)
	case Delete, Release:
		w.linef("%s %s  %s %s%s", w.s.Red("-"), w.s.Bold(c.Object.String()), c.Action, w.on(c.Clusters), note)
	default:
		w.linef("%s %s  %s %s%s", w.s.Yellow("~"), w.s.Bold(c.Object.String()), c.Action, w.on(c.Clusters), note)
	}
	for _, f := range c.Fields {
		if c.Action == Create && f.Path == "" {
			w.value("    ", w.s.Green, "+ ", f.After)
			continue
		}
		w.linef("    %s", iostreams.Line(f.Path))
		w.field(f)
	}
}

// field writes the values of a field: two short ones one below the other, longer ones as the lines that
// differ.
func (w *writer) field(f Field) {
	before, after := lines(f.Before), lines(f.After)
	if f.Before == nil || f.After == nil || len(before) <= 1 && len(after) <= 1 {
		w.value("      ", w.s.Red, "- ", f.Before)
		w.value("      ", w.s.Green, "+ ", f.After)
		return
	}
	hunks := diff.Diff("before", []byte(strings.Join(before, "\n")+"\n"), "after", []byte(strings.Join(after, "\n")+"\n"))
	for i, line := range strings.Split(strings.TrimSuffix(string(hunks), "\n"), "\n") {
		switch {
		case i < 3: // the names of the two sides
		case strings.HasPrefix(line, "@@"):
			w.linef("      %s", "@@")
		case strings.HasPrefix(line, "+"):
			w.linef("      %s", w.s.Green("+ "+line[1:]))
		case strings.HasPrefix(line, "-"):
			w.linef("      %s", w.s.Red("- "+line[1:]))
		default:
			w.linef("        %s", strings.TrimPrefix(line, " "))
		}
	}
}

func (w *writer) value(indent string, paint func(string) string, mark string, v any) {
	if v == nil {
		return
	}
	for _, line := range lines(v) {
		w.linef("%s%s", indent, paint(mark+line))
	}
}

// lines are a value as YAML, but for a string that is several lines already.
func lines(v any) []string {
	if v == nil {
		return nil
	}
	written := ""
	if s, ok := v.(string); ok && (strings.Contains(s, "\n") || strings.HasPrefix(s, masked)) {
		written = s
	} else if doc, err := build.MarshalYAML(v); err == nil {
		written = string(doc)
	}
	return strings.Split(strings.TrimSuffix(iostreams.Clean(written), "\n"), "\n")
}
