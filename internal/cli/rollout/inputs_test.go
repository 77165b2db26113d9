package rollout

import (
	"testing"

	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// A Kustomization of a file that has fields which there are not is refused with all of their names at once.
func TestSimulateNamesEveryUnknownField(t *testing.T) {
	o := &Options{Factory: &factory.Factory{}, Name: "shops"}
	o.Simulate.File = "shops.yaml"
	o.ReadFile = func(string) ([]byte, error) {
		return []byte("apiVersion: skerry.dev/v1alpha1\nkind: Kustomization\nmetadata: {name: shops}\nspec: {pth: ./a, rollout: {stags: []}, wiat: true}\n"), nil
	}
	_, err := o.kustomization(t.Context())
	const want = `cannot read Kustomization shops in shops.yaml: not as the API server takes it: unknown field "spec.pth", unknown field "spec.rollout.stags", unknown field "spec.wiat"`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}
