package trace

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

func sortManagers(list []Manager) {
	slices.SortStableFunc(list, func(a, b Manager) int {
		switch {
		case a.Time == nil || b.Time == nil:
			return 0
		case a.Time.Equal(*b.Time):
			return strings.Compare(a.Name, b.Name)
		}
		return b.Time.Compare(*a.Time)
	})
}

// labelWidth is the width of the longest label and the space behind it.
const labelWidth = len("Kustomization:  ")

// Text writes a trace for a person, a line for each step from the object to its commit. It is pure.
func Text(t Trace, now time.Time, s *iostreams.IOStreams) string {
	var b strings.Builder
	add := func(what, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-*s%s\n", labelWidth, what+":", s.Wrap(iostreams.Line(text), strings.Repeat(" ", labelWidth)))
		}
	}
	add("Object", t.Object)
	add("Cluster", t.Cluster)
	if !t.Managed && len(t.Unknown) == 0 {
		add("Kustomization", "none: no Kustomization of a hub applies it")
	}
	add("Kustomization", t.Kustomization)
	add("Path", t.Path)
	add("Source", strings.TrimSuffix(t.Source+" "+t.URL, " "))
	revision := factory.ShortRevision(t.Revision)
	if t.Revision != "" && t.Head != "" && t.Head != t.Revision {
		revision += ", while HEAD is " + factory.ShortRevision(t.Head) + " ('skerry why " + t.Cluster + "' says why)"
	}
	add("Revision", revision)
	if c := t.Commit; c != nil {
		add("Commit", fmt.Sprintf("%s: %s", c.Hash[:min(12, len(c.Hash))], c.Subject))
		add("Author", fmt.Sprintf("%s, %s", c.Author, when(&c.Time, now)))
	}
	add("Assigned", when(t.AssignedAt, now))
	add("Applied", when(t.AppliedAt, now))
	add("Drift", driftText(t.Drift, now))
	var others []string
	for _, m := range t.Managers {
		others = append(others, strings.TrimSuffix(m.Name+" ("+when(m.Time, now)+")", " ()"))
	}
	add("Also by", strings.Join(others, ", "))
	for _, u := range t.Unknown {
		add("Unknown", factory.ShortRevisions(u))
	}
	return b.String()
}

func driftText(d *Drift, now time.Time) string {
	if d == nil {
		return ""
	}
	text := strings.ToLower(d.Change)
	if len(d.Paths) > 0 {
		text += " " + strings.Join(d.Paths, ", ")
	}
	if d.Manager != "" {
		text += " by " + d.Manager
	}
	text += ", " + when(&d.At, now)
	if d.Action == string(v1alpha1.DriftReported) {
		return text + ", and left as it is"
	}
	return text + ", and put back"
}

func when(t *time.Time, now time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s ago (%s)", duration.HumanDuration(max(0, now.Sub(*t))), t.UTC().Format("2006-01-02 15:04:05 UTC"))
}
