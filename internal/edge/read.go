package edge

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
)

// ReadRecords returns what a hub keeps on a cluster, from all ConfigMaps of SystemNamespace that have PartLabel, and
// the identity of the hub: that of the claim, or else of an inventory; "" when there is neither. It claims
// nothing and changes nothing. The order of the list is changed.
func ReadRecords(list []corev1.ConfigMap) (*Records, string, error) {
	claimed, recorded, sharing := "", "", false
	for i := range list {
		hub := list[i].Annotations[hubAnnotation]
		if is, shared := isClaim(list[i].Name); is {
			if claimed == "" || !shared {
				claimed, sharing = hub, shared
			}
		} else if _, is := inventoryOwner(list[i].Name); is && recorded == "" {
			recorded = hub
		}
	}
	hub := cmp.Or(claimed, recorded)
	records, err := sortOut(Holder{Hub: hub, Shared: sharing}, list)
	return records, hub, err
}
