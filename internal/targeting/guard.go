package targeting

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Deselection is what an edit of a selector or of labels takes a Kustomization from.
type Deselection struct {
	// Selected are the names of the clusters that are selected now.
	Selected []string
	// Leaving are the names of those that are not and have its objects.
	Leaving []string
	// Assigned is how many have its objects, the leaving ones included.
	Assigned int
}

// Guard refuses a departure from more than half of the clusters, and from more than one, where it
// would delete what stands there: a selector with a typing error looks just like it. It returns why, or
// "" when there is nothing to refuse, or a person has acknowledged this very selection.
func (d Deselection) Guard(ks *v1alpha1.Kustomization) string {
	token := d.token()
	if n := len(d.Leaving); n < 2 || 2*n <= d.Assigned || ks.GetDeletionPolicy() == v1alpha1.DeletionOrphan || ks.Annotations[v1alpha1.AllowPruneAnnotation] == token {
		return ""
	}
	return fmt.Sprintf("%d of %d clusters that have its objects are selected no longer, and all of them would be deleted there (%s); "+
		"no cluster joins or leaves until spec.clusters and the labels are put right, or, if that is meant, the Kustomization is annotated with %s=%s",
		len(d.Leaving), d.Assigned, atMostThree(d.Leaving), v1alpha1.AllowPruneAnnotation, token)
}

// token names the selection, whatever has become of the departure so far: one that was acknowledged
// stays so when the hub is stopped in the middle of it.
func (d Deselection) token() string {
	if len(d.Selected) == 0 {
		return "clusters-none"
	}
	sum := sha256.Sum256([]byte(strings.Join(slices.Sorted(slices.Values(d.Selected)), "\n")))
	return "clusters-" + hex.EncodeToString(sum[:4])
}

func atMostThree(names []string) string {
	names = slices.Sorted(slices.Values(names))
	if more := len(names) - 3; more > 0 {
		names = append(names[:3], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}
