package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/text"
)

const (
	// maxNames bounds what the message of a summary names, in bytes: beside it the message has to fit into an event.
	maxNames = 400
	// maxAnnotation bounds what its annotation names, in bytes; unnamed is the last of its names where there are more.
	maxAnnotation = 8 << 10
	unnamed       = "*"
)

// Summary is what an event stands for beside what it is about: the same on these clusters, one name for each event.
type Summary []string

// Message is what is added to the message of the event; "" where it stands for no other.
//
// Example: "; and 12 more events like this: shop-11, shop-12 and 9 other clusters".
func (s Summary) Message() string {
	if len(s) == 0 {
		return ""
	}
	names, others := s.names(maxNames, ", ")
	message := "; and " + text.Count(len(s), "more event") + " like this: " + strings.Join(names, ", ")
	if others > 0 {
		message += fmt.Sprintf(" and %d other %s", others, text.Plural(others, "cluster", "clusters"))
	}
	return message
}

// Annotations are those of the event, by which StandsFor finds a cluster; nil where it stands for no other.
func (s Summary) Annotations() map[string]string {
	if len(s) == 0 {
		return nil
	}
	names, others := s.names(maxAnnotation, ",")
	if others > 0 {
		names = append(names, unnamed)
	}
	return map[string]string{v1alpha1.SummarisedClustersAnnotation: strings.Join(names, ",")}
}

// names returns the clusters, sorted and each once, as far as they fit, at least one, and how many others there are.
func (s Summary) names(most int, separator string) (fitting []string, others int) {
	names := slices.Compact(slices.Sorted(slices.Values(s)))
	fit, length := 0, 0
	for fit < len(names) && (fit == 0 || length+len(names[fit]) <= most) {
		length += len(names[fit]) + len(separator)
		fit++
	}
	return names[:fit:fit], len(names) - fit
}

// StandsFor reports whether an event with the annotations may stand for one of a cluster as well: it names the cluster, or
// there are others than those that it names.
func StandsFor(annotations map[string]string, cluster string) bool {
	names := strings.Split(annotations[v1alpha1.SummarisedClustersAnnotation], ",")
	return slices.Contains(names, cluster) || names[len(names)-1] == unnamed
}
