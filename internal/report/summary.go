package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/internal/text"
)

const (
	likeThis = " like this: "
	others   = " and "
	// maxNames bounds what a summary names, in bytes: beside it the message has to fit into an event.
	maxNames = 400
)

// Summary is what is added to the message of an event that stands for more of them, those of these clusters: one name
// for each. It is empty where there are none.
//
// Example: "; and 12 more events like this: shop-11, shop-12 and 9 other clusters".
func Summary(clusters []string) string {
	if len(clusters) == 0 {
		return ""
	}
	names := slices.Compact(slices.Sorted(slices.Values(clusters)))
	fit, length := 0, 0
	for fit < len(names) && (fit == 0 || length+len(names[fit]) <= maxNames) {
		length += len(names[fit]) + len(", ")
		fit++
	}
	s := "; and " + text.Count(len(clusters), "more event") + likeThis + strings.Join(names[:fit], ", ")
	if left := len(names) - fit; left > 0 {
		s += others + fmt.Sprintf("%d other %s", left, text.Plural(left, "cluster", "clusters"))
	}
	return s
}

// SumsUp reports whether the message of an event may stand for one of a cluster as well: it names the cluster, or says
// that there are others than those that it names.
func SumsUp(message, cluster string) bool {
	_, list, is := strings.CutLast(message, likeThis)
	if !is {
		return false
	}
	names, _, more := strings.Cut(list, others)
	return more || slices.Contains(strings.Split(names, ", "), cluster)
}
