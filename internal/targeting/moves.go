package targeting

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// maxKeepFor bounds what an entry of an Assignment names in keepFor: it stays below 1 KiB.
const maxKeepFor = 8

// Neighbour is another Kustomization that selects a cluster from which one drops objects.
type Neighbour struct {
	Name string
	// Unknown is the reason why it is not known what it desires there at the revision; "" when it is.
	Unknown string
	// Digest of what it renders for the cluster; with Unknown, that of a bundle of all that it may desire of
	// what is dropped, or "" where that may be anything.
	Digest string
	// Objects are named by messages, with Unknown and Digest.
	Objects []string
	// Takes means that this holds some of what is dropped.
	Takes bool
	// Arrived means that the cluster has applied it.
	Arrived bool
}

// Retention is what a cluster is not to delete although a Kustomization drops it.
type Retention struct {
	// KeepFor are the digests of bundles that are to arrive there, sorted.
	KeepFor []string
	// Hold explains why nothing at all is deleted; "" when that is not so.
	Hold string
	// Unknown explains why Objects are not deleted, and nothing else; "" when there are none.
	Unknown string
	Objects []string
	// Waits names the Kustomizations that are to arrive, sorted.
	Waits []string
}

// Retain decides what a cluster keeps of the objects that a Kustomization drops there. An object that a
// neighbour takes stays until the neighbour has applied it, in whatever stage that comes; and while it is
// not known what a neighbour desires, all stays that it may desire, which may be everything.
//
// One commit moves a ConfigMap from apps to shared. On edge-1 shared has been applied: nothing is kept,
// for apps has released it. On edge-2 shared is a stage behind: its bundle is in KeepFor. Before shared is
// rendered at that commit, Hold names it on both.
func Retain(neighbours []Neighbour) Retention {
	var r Retention
	var unknown, partly []string
	for _, n := range neighbours {
		switch {
		case n.Unknown != "" && n.Digest != "":
			partly = append(partly, fmt.Sprintf("Kustomization %s %s", n.Name, n.Unknown))
			r.KeepFor, r.Objects = append(r.KeepFor, n.Digest), append(r.Objects, n.Objects...)
		case n.Unknown != "":
			unknown = append(unknown, fmt.Sprintf("Kustomization %s %s", n.Name, n.Unknown))
		case n.Takes && !n.Arrived:
			r.KeepFor, r.Waits = append(r.KeepFor, n.Digest), append(r.Waits, n.Name)
		}
	}
	r.Hold, r.Unknown = firstOf(unknown), firstOf(partly)
	slices.Sort(r.Objects)
	r.Objects = slices.Compact(r.Objects)
	slices.Sort(r.KeepFor)
	slices.Sort(r.Waits)
	if r.KeepFor = slices.Compact(r.KeepFor); len(r.KeepFor) > maxKeepFor {
		r.KeepFor = nil
		r.Hold = fmt.Sprintf("%d Kustomizations that take some of them have not arrived", len(r.Waits)+len(partly))
	}
	return r
}

// firstOf names the first of some reasons, and how many more there are.
func firstOf(reasons []string) string {
	switch len(reasons) {
	case 0:
		return ""
	case 1:
		return reasons[0]
	}
	return fmt.Sprintf("%s (and %d more)", reasons[0], len(reasons)-1)
}

// maxHeldNames bounds how many objects a message names.
const maxHeldNames = 3

// Held is the message of a prune that waits, with what helps; "" when none waits for what is not known.
func (r Retention) Held(cluster, revision string) string {
	what, why := "what was dropped", r.Hold
	switch {
	case r.Hold != "":
	case r.Unknown != "":
		what, why = strings.Join(r.Objects[:min(len(r.Objects), maxHeldNames)], ", "), r.Unknown
		if more := len(r.Objects) - maxHeldNames; more > 0 {
			what += fmt.Sprintf(" and %d more", more)
		}
	default:
		return ""
	}
	return fmt.Sprintf("%s keeps %s, because it may have moved: %s; to delete it now, annotate the Kustomization with %s=%s",
		cluster, what, why, v1alpha1.AllowPruneAnnotation, revision)
}
