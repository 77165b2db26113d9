package engine

import (
	"testing"

	"github.com/skerry-dev/skerry/internal/object"
)

// TestABundleKnowsItsDigests: what it remembers of a digest that is not an object's own is of that digest alone.
func TestABundleKnowsItsDigests(t *testing.T) {
	o, err := object.FromMap(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}})
	if err != nil {
		t.Fatal(err)
	}
	seal := object.NewSeal([]byte("a key of the hub"))
	plain, confidential := o.WithSeal(seal, false), o.WithSeal(seal, true)
	b := newBundle("digest", []object.Object{plain, confidential})
	for _, step := range []struct {
		recorded string
		want     bool
	}{
		{"", false}, {"earlier", false}, {"earlier", false}, {plain.Digest, true}, {"earlier", false}, {confidential.Digest, true}, {"", false}, {"another", false}, {plain.Digest, true},
	} {
		for i := range b.Objects {
			if got := b.hasDigest(i, step.recorded); got != step.want {
				t.Errorf("object %d has the digest %q: %v", i, step.recorded, got)
			}
		}
	}
}
