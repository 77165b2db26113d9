package targeting

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func TestSelectByName(t *testing.T) {
	north := &metav1.LabelSelector{MatchLabels: map[string]string{"region": "north"}}
	clusters := []v1alpha1.Cluster{
		cluster("d", labelled("region", "north")), cluster("c"), cluster("b", going), cluster("hub"),
		cluster("a", labelled("region", "north")), cluster("e", elsewhere),
	}
	tests := map[string]struct {
		targets  v1alpha1.ClusterTargets
		want     string
		notFound string
		message  string
	}{
		"names alone":              {targets: v1alpha1.ClusterTargets{Names: []string{"c", "a"}}, want: "a c"},
		"names and selector":       {targets: v1alpha1.ClusterTargets{Selector: north, Names: []string{"c"}}, want: "a c d"},
		"both pick one":            {targets: v1alpha1.ClusterTargets{Selector: north, Names: []string{"a"}}, want: "a d"},
		"the hub by name":          {targets: v1alpha1.ClusterTargets{Selector: &metav1.LabelSelector{}, Names: []string{"hub"}}, want: "a c d hub"},
		"one that is going":        {targets: v1alpha1.ClusterTargets{Names: []string{"b", "c"}}, want: "c", notFound: "b"},
		"one of another namespace": {targets: v1alpha1.ClusterTargets{Names: []string{"e", "c", "nobody"}}, want: "c", notFound: "e nobody"},
		"none of them": {
			targets: v1alpha1.ClusterTargets{Names: []string{"z", "y"}}, notFound: "y z",
			message: "No Cluster in this namespace has a name in spec.clusters.names",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ks := &v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet"}, Spec: v1alpha1.KustomizationSpec{Clusters: &tt.targets}}
			got, err := Select(ks, clusters, Access{})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, target := range got.Targets {
				names = append(names, target.Name)
			}
			if strings.Join(names, " ") != tt.want || strings.Join(got.NotFound, " ") != tt.notFound || got.Message != tt.message {
				t.Errorf("targets %q, not found %q, message %q", names, got.NotFound, got.Message)
			}
		})
	}
}

func TestPatchesAndImagesAreForSomeClusters(t *testing.T) {
	arm := &metav1.LabelSelector{MatchLabels: map[string]string{"arch": "arm64"}}
	broken := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "arch", Operator: "Near"}}}
	patch := func(name string, s *metav1.LabelSelector) v1alpha1.Patch {
		return v1alpha1.Patch{Patch: kustomize.Patch{Patch: name}, ClusterSelector: s}
	}
	image := func(name string, s *metav1.LabelSelector) v1alpha1.Image {
		return v1alpha1.Image{Image: kustomize.Image{Name: name}, ClusterSelector: s}
	}
	ks := &v1alpha1.Kustomization{Spec: v1alpha1.KustomizationSpec{
		Patches: []v1alpha1.Patch{patch("all", nil), patch("arm", arm), patch("every", &metav1.LabelSelector{})},
		Images:  []v1alpha1.Image{image("arm", arm), image("all", nil)},
	}}
	for arch, want := range map[string]string{"arm64": "all arm every; arm all", "amd64": "all every; all", "": "all every; all"} {
		patches, err := Patches(ks, map[string]string{"arch": arch})
		if err != nil {
			t.Fatal(err)
		}
		images, err := Images(ks, map[string]string{"arch": arch})
		if err != nil {
			t.Fatal(err)
		}
		var p, i []string
		for _, patch := range patches {
			p = append(p, patch.Patch)
		}
		for _, image := range images {
			i = append(i, image.Name)
		}
		if diff := cmp.Diff(want, strings.Join(p, " ")+"; "+strings.Join(i, " ")); diff != "" {
			t.Errorf("arch %q (-want +got):\n%s", arch, diff)
		}
	}
	ks.Spec.Patches = append(ks.Spec.Patches, patch("broken", broken))
	if _, err := Patches(ks, nil); err == nil || err.Error() != `cannot read spec.patches[3].clusterSelector: "Near" is not a valid label selector operator` {
		t.Errorf("a broken selector of a patch: %v", err)
	}
	ks.Spec.Images = append(ks.Spec.Images, image("broken", broken))
	if _, err := Images(ks, nil); err == nil || !strings.HasPrefix(err.Error(), "cannot read spec.images[2].clusterSelector: ") {
		t.Errorf("a broken selector of an image: %v", err)
	}
}
