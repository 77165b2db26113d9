package targeting

import (
	"context"
	"errors"
	"testing"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/report"
)

func kustomization() *v1alpha1.Kustomization {
	return &v1alpha1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "apps"},
		Spec: v1alpha1.KustomizationSpec{
			Path: "./apps", NamePrefix: "p-",
			CommonMetadata: &v1alpha1.CommonMetadata{Labels: map[string]string{"team": "a", v1alpha1.OwnerLabel: "forged"}},
			PostBuild: &v1alpha1.PostBuild{
				Substitute:     map[string]string{"own": "x"},
				SubstituteFrom: []v1alpha1.SubstituteReference{{Kind: "ConfigMap", Name: "first"}, {Kind: "Secret", Name: "maybe", Optional: true}, {Kind: "Secret", Name: "last"}},
			},
			Patches: []v1alpha1.Patch{{Patch: kustomize.Patch{Patch: "p"}, ClusterSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"arch": "arm64"}}}},
		},
	}
}

// shelf holds ConfigMaps and Secrets by "Kind/name".
type shelf map[string]Content

func (s shelf) look(kind, name string) (*Content, error) {
	if c, ok := s[kind+"/"+name]; ok {
		return &c, nil
	}
	return nil, nil
}

func TestTheOwnerLabelIsNotForged(t *testing.T) {
	ks := kustomization()
	o := Shared(ks, "hub-1", nil)
	want := map[string]string{"team": "a", v1alpha1.OwnerLabel: object.Owner{Hub: "hub-1", Namespace: "fleet", Name: "apps"}.Label()}
	if diff := cmp.Diff(want, o.CommonMetadata.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if ks.Spec.CommonMetadata.Labels[v1alpha1.OwnerLabel] != "forged" {
		t.Error("the Kustomization was changed, which others share")
	}
}

func TestOnlyWhatDiffersDiffers(t *testing.T) {
	ks := kustomization()
	shared := Shared(ks, "hub-1", nil)
	arm, err := For(shared, ks, Target{Name: "a", Labels: map[string]string{"arch": "arm64"}, Vars: map[string]string{"v": "1"}, Secret: []string{"v"}})
	if err != nil {
		t.Fatal(err)
	}
	amd, err := For(shared, ks, Target{Name: "b", Vars: map[string]string{"v": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(arm.Patches) != 1 || len(amd.Patches) != 0 || arm.Vars["v"] != "1" || amd.Vars["v"] != "2" || len(arm.Secret) != 1 || len(amd.Secret) != 0 {
		t.Errorf("arm64 gets %+v, amd64 %+v", arm, amd)
	}
	arm.Patches, arm.Vars, arm.Secret, amd.Vars = nil, nil, nil, nil
	if diff := cmp.Diff(amd, arm); diff != "" {
		t.Errorf("more than that differs:\n%s", diff)
	}
	ks.Spec.Patches[0].ClusterSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "arch", Operator: "Near"}}
	_, err = For(shared, ks, Target{Name: "b"})
	if stalled, ok := errors.AsType[*report.Stalled](err); !ok || stalled.Reason != v1alpha1.InvalidSelectorReason {
		t.Errorf("a selector that cannot be read: %v", err)
	}
}

// TestEmptyPostBuildSubstitutesNothing: only what names variables does, whether or not they are there.
func TestEmptyPostBuildSubstitutesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		postBuild *v1alpha1.PostBuild
		want      bool
	}{
		"none":             {nil, false},
		"empty":            {&v1alpha1.PostBuild{}, false},
		"always":           {&v1alpha1.PostBuild{SubstituteStrategy: v1alpha1.SubstituteAlways}, true},
		"with variables":   {&v1alpha1.PostBuild{SubstituteStrategy: v1alpha1.SubstituteWithVariables}, false},
		"empty substitute": {&v1alpha1.PostBuild{Substitute: map[string]string{}}, false},
		"substitute":       {&v1alpha1.PostBuild{Substitute: map[string]string{"a": ""}}, true},
		"substituteFrom":   {&v1alpha1.PostBuild{SubstituteFrom: []v1alpha1.SubstituteReference{{Kind: "Secret", Name: "x", Optional: true}}}, true},
	} {
		ks := kustomization()
		ks.Spec.PostBuild = c.postBuild
		if o := Shared(ks, "hub-1", nil); (o.PostBuild != nil) != c.want {
			t.Errorf("%s: PostBuild = %v", name, o.PostBuild)
		}
	}
}

func TestSubstitutes(t *testing.T) {
	objects := shelf{"ConfigMap/first": {Data: map[string]string{"a": "1"}}, "Secret/last": {Data: map[string]string{"a": "2"}, Secret: true}}
	got, err := Substitutes(kustomization(), objects.look)
	if diff := cmp.Diff([]render.Source{{Data: map[string]string{"a": "1"}}, {Data: map[string]string{"a": "2"}, Secret: true}}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	delete(objects, "Secret/last")
	_, err = Substitutes(kustomization(), objects.look)
	if waiting, ok := errors.AsType[*report.Waiting](err); !ok || waiting.Reason != v1alpha1.SubstitutionFailedReason || err.Error() != "there is no Secret last, which substituteFrom names" {
		t.Errorf("one that is missing: %v", err)
	}
	broken := errors.New("the API server is away")
	if _, err := Substitutes(kustomization(), func(string, string) (*Content, error) { return nil, broken }); !errors.Is(err, broken) || report.IsReportable(err) {
		t.Errorf("one that cannot be read: %v", err)
	}
}

func TestExplain(t *testing.T) {
	late := &render.Error{Reason: render.Timeout, Message: "not done in time"}
	wrong := &render.Error{Reason: render.PathNotFound, Path: "apps", Message: "is not there"}
	if transient, ok := errors.AsType[*report.Transient](Explain(late)); !ok || transient.Reason != "Timeout" {
		t.Errorf("late: %v", Explain(late))
	}
	if stalled, ok := errors.AsType[*report.Stalled](Explain(wrong)); !ok || stalled.Reason != "PathNotFound" || stalled.Error() != "apps: is not there" {
		t.Errorf("wrong: %v", Explain(wrong))
	}
	if err := Explain(context.Canceled); report.IsReportable(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
