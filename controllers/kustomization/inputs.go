package kustomization

import (
	"hash/maphash"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// seed is one of this process: outcomes are kept in memory only, and no tenant can find two sets of variables
// with one digest.
var seed = maphash.MakeSeed()

// inputOf digests what a render for a cluster depends on beside the commit and the Kustomization: the variables
// and labels of the Cluster. It is zero, not known, where some of them stand in other objects.
func inputOf(ks *v1alpha1.Kustomization, c *v1alpha1.Cluster, t targeting.Target) uint64 {
	if c == nil || len(c.Spec.VarsFrom) > 0 || ks.Spec.PostBuild != nil && len(ks.Spec.PostBuild.SubstituteFrom) > 0 {
		return 0
	}
	return max(digestOfMap("variable", t.Vars)+digestOfMap("label", t.Labels), 1)
}

// digestOfMap is the same for equal maps, whatever the order of their keys.
func digestOfMap(kind string, m map[string]string) (sum uint64) {
	for k, v := range m {
		sum += maphash.Comparable(seed, [3]string{kind, k, v})
	}
	return sum
}

// digestOfInputs digests those of all clusters.
func digestOfInputs(inputs map[string]uint64) (sum uint64) {
	for cluster, input := range inputs {
		sum += maphash.Comparable(seed, struct {
			cluster string
			input   uint64
		}{cluster, input})
	}
	return sum
}
