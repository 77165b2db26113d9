package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// OwnedFields digests the set of fields that a manager applied and still owns.
//
// Drift shows there and nowhere else needs to be looked: the API server takes a field out of the set
// as soon as somebody else changes its value, and leaves the set alone when somebody changes what is
// not ours (a status, a replica count that an autoscaler owns, a label beside ours). So metadata is
// enough to see drift in any kind, Secrets included. It returns "" when the manager owns nothing.
func OwnedFields(managed []metav1.ManagedFieldsEntry, manager string) string {
	var sets []string
	for _, e := range managed {
		if e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "" && e.FieldsV1 != nil {
			sets = append(sets, e.APIVersion+"\x00"+e.FieldsV1.GetRawString())
		}
	}
	if len(sets) == 0 {
		return ""
	}
	slices.Sort(sets)
	h := sha256.New()
	for _, s := range sets {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}
