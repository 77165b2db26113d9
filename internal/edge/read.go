package edge

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// ReadKept returns what a hub keeps on a cluster, from all ConfigMaps of SystemNamespace that have PartLabel, and
// the identity of the hub: that of the claim, or else of an inventory; "" when there is neither. It claims
// nothing and changes nothing. The order of the list is changed.
func ReadKept(list []corev1.ConfigMap) (*Kept, string, error) {
	claimed, recorded := "", ""
	for i := range list {
		hub := list[i].Annotations[hubAnnotation]
		if list[i].Name == v1alpha1.ClaimName {
			claimed = hub
		} else if _, is := inventoryOwner(list[i].Name); is && recorded == "" {
			recorded = hub
		}
	}
	hub := cmp.Or(claimed, recorded)
	kept, err := sortOut(Holder{Hub: hub}, list)
	return kept, hub, err
}
