package render

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFilesWithMarkersOfImagePoliciesAreNamed(t *testing.T) {
	files := map[string]string{
		"apps/kustomization.yaml": "namespace: shop\nresources: [web.yaml, plain.yaml, text.yaml]\nimages:\n- name: web\n  newTag: 1.0.0 # {\"$imagepolicy\": \"flux-system:web:tag\"}\n",
		"apps/web.yaml":           "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata:\n  image: web:1.0.0 #{ \"$imagepolicy\": \"flux-system:web\"}\n",
		"apps/plain.yaml":         "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain} # imagepolicy\n",
		"apps/text.yaml":          "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: text}\ndata: {how: '{\"$imagepolicy\": \"is no comment\"}'}\n",
		"other/marked.yaml":       "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\ndata: {a: b} # {\"$imagepolicy\": \"flux-system:web\"}\n",
	}
	cache := NewCache(1 << 20)
	options := Options{Path: "apps", NamePrefix: "p-"} // the kustomization is written anew, and loses its comments
	marked := func() []string {
		t.Helper()
		made, err := cache.Build(t.Context(), repo(t, files), options)
		if err != nil {
			t.Fatal(err)
		}
		return made.Marked
	}
	if diff := cmp.Diff([]string{"apps/kustomization.yaml", "apps/web.yaml"}, marked()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	files["apps/kustomization.yaml"] = strings.Replace(files["apps/kustomization.yaml"], " # {\"$imagepolicy\": \"flux-system:web:tag\"}", "", 1)
	if diff := cmp.Diff([]string{"apps/web.yaml"}, marked()); diff != "" {
		t.Errorf("without the marker of the kustomization (-want +got):\n%s", diff)
	}
}

func TestIgnoredMarkersNamesFewFiles(t *testing.T) {
	if got := IgnoredMarkers(nil); got != "" {
		t.Errorf("no files: %q", got)
	}
	if got := IgnoredMarkers([]string{"a", "b", "c", "d", "e"}); !strings.HasSuffix(got, ": a, b, c and 2 more files") {
		t.Errorf("five files: %q", got)
	}
	if got := IgnoredMarkers([]string{"a", "b", "c", "d"}); !strings.HasSuffix(got, ": a, b, c and 1 more file") {
		t.Errorf("four files: %q", got)
	}
}
