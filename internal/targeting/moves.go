package targeting

import (
	"fmt"
	"slices"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// maxKeepFor bounds what an entry of an Assignment names in keepFor: it stays below 1 KiB.
const maxKeepFor = 8

// Neighbour is another Kustomization that selects a cluster from which one drops objects.
type Neighbour struct {
	Name string
	// Unknown is the reason why it is not known what it desires there at the revision; "" when it is.
	Unknown string
	// Digest of what it renders for the cluster.
	Digest string
	// Takes says that this holds some of what is dropped.
	Takes bool
	// Arrived says that the cluster has applied it.
	Arrived bool
}

// Retention is what a cluster is not to delete although a Kustomization drops it.
type Retention struct {
	// KeepFor are the digests of bundles that are to arrive there, sorted.
	KeepFor []string
	// Hold says why nothing at all is deleted; "" when that is not so.
	Hold string
	// Waits names the Kustomizations that are to arrive, sorted.
	Waits []string
}

// Retain decides what a cluster keeps of the objects that a Kustomization drops there. An object that a
// neighbour takes stays until the neighbour has applied it, in whatever stage that comes; and while it is
// not known what a neighbour desires, everything stays.
//
// One commit moves a ConfigMap from apps to shared. On edge-1 shared has been applied: nothing is kept,
// for apps has released it. On edge-2 shared is a stage behind: its bundle is in KeepFor. Before shared is
// rendered at that commit, Hold says so on both.
func Retain(neighbours []Neighbour) Retention {
	var r Retention
	unknown := 0
	for _, n := range neighbours {
		switch {
		case n.Unknown != "":
			if unknown++; unknown == 1 {
				r.Hold = fmt.Sprintf("Kustomization %s %s", n.Name, n.Unknown)
			}
		case n.Takes && !n.Arrived:
			r.KeepFor, r.Waits = append(r.KeepFor, n.Digest), append(r.Waits, n.Name)
		}
	}
	if unknown > 1 {
		r.Hold += fmt.Sprintf(" (and %d more)", unknown-1)
	}
	slices.Sort(r.KeepFor)
	slices.Sort(r.Waits)
	if r.KeepFor = slices.Compact(r.KeepFor); len(r.KeepFor) > maxKeepFor {
		r.KeepFor = nil
		r.Hold = fmt.Sprintf("%d Kustomizations that take some of them have not arrived", len(r.Waits))
	}
	return r
}

// Held is the message of a prune that waits, with what helps.
func (r Retention) Held(cluster, revision string) string {
	return fmt.Sprintf("%s keeps what was dropped, because it may have moved: %s; to delete it now, annotate the Kustomization with %s=%s",
		cluster, r.Hold, v1alpha1.AllowPruneAnnotation, revision)
}
