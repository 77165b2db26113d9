package targeting

import (
	"fmt"

	"github.com/fluxcd/pkg/apis/kustomize"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Patches returns the patches of ks that are for a cluster with these labels, in their order. The
// error names which selector is invalid.
func Patches(ks *v1alpha1.Kustomization, of map[string]string) ([]kustomize.Patch, error) {
	var out []kustomize.Patch
	for i := range ks.Spec.Patches {
		p := &ks.Spec.Patches[i]
		ok, err := matches(p.ClusterSelector, of)
		if err != nil {
			return nil, fmt.Errorf("cannot read spec.patches[%d].clusterSelector: %w", i, err)
		}
		if ok {
			out = append(out, p.Patch)
		}
	}
	return out, nil
}

// Images returns the image replacements of ks that are for a cluster with these labels, in their
// order. The error names the selector that is invalid.
func Images(ks *v1alpha1.Kustomization, of map[string]string) ([]kustomize.Image, error) {
	var out []kustomize.Image
	for i := range ks.Spec.Images {
		image := &ks.Spec.Images[i]
		ok, err := matches(image.ClusterSelector, of)
		if err != nil {
			return nil, fmt.Errorf("cannot read spec.images[%d].clusterSelector: %w", i, err)
		}
		if ok {
			out = append(out, image.Image)
		}
	}
	return out, nil
}

// matches reports whether a selector picks the labels; one that is absent picks everything.
func matches(selector *metav1.LabelSelector, of map[string]string) (bool, error) {
	if selector == nil {
		return true, nil
	}
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return false, err
	}
	return s.Matches(labels.Set(of)), nil
}
