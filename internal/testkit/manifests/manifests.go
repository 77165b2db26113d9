// Package manifests makes bundles of YAML, as a render would, and the IDs of objects from how they are shown.
package manifests

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
)

// Bundle holds the objects of the documents, each with the owner's label. A document without anything
// is passed over.
func Bundle(t testing.TB, owner object.Owner, documents string) *object.Bundle {
	t.Helper()
	var objects []object.Object
	for doc := range strings.SplitSeq(documents, "\n---\n") {
		m := map[string]any{}
		if err := yaml.Unmarshal([]byte(doc), &m); err != nil {
			t.Fatal(err)
		}
		if len(m) == 0 {
			continue
		}
		u := &unstructured.Unstructured{Object: m}
		labels := u.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[v1alpha1.OwnerLabel] = owner.Label()
		u.SetLabels(labels)
		o, err := object.FromMap(u.Object)
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	b, err := object.NewBundle(objects)
	if err != nil {
		t.Fatal(err)
	}
	return &b
}

// ID returns what object.ID.String shows as the text: "Kind.group/namespace/name".
func ID(t testing.TB, text string) object.ID {
	t.Helper()
	parts := strings.Split(text, "/")
	id := object.ID{Name: parts[len(parts)-1]}
	id.Kind, id.Group, _ = strings.Cut(parts[0], ".")
	if len(parts) == 3 {
		id.Namespace = parts[1]
	}
	if id.String() != text {
		t.Fatalf("%q is no ID of an object", text)
	}
	return id
}
