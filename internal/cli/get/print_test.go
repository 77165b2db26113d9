package get

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

func object(name string, fields map[string]any) unstructured.Unstructured {
	fields["metadata"] = map[string]any{"name": name}
	return unstructured.Unstructured{Object: fields}
}

func TestCustomColumnsAreThoseThatAreAskedFor(t *testing.T) {
	objects := &unstructured.UnstructuredList{Object: map[string]any{"kind": "List"}, Items: []unstructured.Unstructured{
		object("shop-1", map[string]any{"spec": map[string]any{"n": int64(3), "list": []any{"a", "b"}}}),
		object("shop-\x1b[2J2", map[string]any{"spec": map[string]any{"n": nil}}),
	}}
	for spec, want := range map[string]string{
		"=N:.metadata.name,X:spec.n,L:{.spec.list[*]}": "N             X        L\nshop-1        3        a,b\nshop-^[[2J2   <none>   <none>\n",
		"-file=columns": "NAME          N\nshop-1        3\nshop-^[[2J2   <none>\n",
		"":              `-o custom-columns wants columns`,
		"=":             `-o custom-columns wants columns`,
		"=NAME":         `"NAME" is no column`,
		"=N:{.a[}":      `is no JSONPath expression`,
		"-file=none":    `cannot read the columns`,
		"-file=uneven":  `uneven: the file has to have`,
	} {
		streams, _, _, _ := iostreams.Test()
		f := &factory.Factory{IO: streams, Flags: &factory.Flags{}, ReadFile: func(name string) ([]byte, error) {
			text, known := map[string]string{"columns": "NAME  N\n.metadata.name  .spec.n\n", "uneven": "A B\n.a\n"}[name]
			if !known {
				return nil, os.ErrNotExist
			}
			return []byte(text), nil
		}}
		o := &Options{Factory: f}
		o.Print = genericclioptions.NewPrintFlags("")
		p, err := o.customColumns(spec)
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", spec, err, want)
			}
			continue
		}
		var text bytes.Buffer
		if err := p.PrintObj(objects, &text); err != nil {
			t.Errorf("%q: %v", spec, err)
		}
		if diff := cmp.Diff(want, text.String()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", spec, diff)
		}
	}
}

func TestObjectsAreSortedAsAPersonCounts(t *testing.T) {
	objects := func() []unstructured.Unstructured {
		return []unstructured.Unstructured{
			object("shop-10", map[string]any{"n": int64(9), "at": "2026-01-02T00:00:00Z"}),
			object("shop-2", map[string]any{"n": int64(10), "at": "2026-01-01T00:00:00Z"}),
			object("bakery", map[string]any{"n": 9.5}),
		}
	}
	for by, want := range map[string][]string{
		".metadata.name": {"bakery", "shop-2", "shop-10"}, "metadata.name": {"bakery", "shop-2", "shop-10"},
		"{.n}": {"shop-10", "bakery", "shop-2"}, ".at": {"bakery", "shop-2", "shop-10"}, ".none": {"shop-10", "shop-2", "bakery"},
	} {
		list := objects()
		if err := sortObjects(list, by); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, u := range list {
			got = append(got, u.GetName())
		}
		if !slices.Equal(got, want) {
			t.Errorf("by %s: %v, want %v", by, got, want)
		}
	}
	if err := sortObjects(objects(), ".a["); err == nil {
		t.Error("what is no path is accepted")
	}
}
