package targeting_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	fluxkustomize "github.com/fluxcd/pkg/kustomize"
	"github.com/fluxcd/pkg/sourceignore"
	"github.com/fluxcd/pkg/ssa/normalize"
	ssautils "github.com/fluxcd/pkg/ssa/utils"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/targeting"
	"github.com/skerry-dev/skerry/internal/testkit/golden"
	"github.com/skerry-dev/skerry/internal/tree"
)

// TestRendersAsFlux renders each testdata/flux/*.txtar with the packages of Flux's kustomize-controller and
// with ours, and compares the objects. A file holds
//
//	spec.yaml         the spec of the Kustomization; its fields have the same names in both
//	ignore            spec.ignore of the GitRepository
//	substitutes.yaml  the ConfigMaps and Secrets that substituteFrom names
//	because           the names of the rows of COMPATIBILITY.md that explain the differences
//	difference        the differences: what Flux has, and what is here
//
// and everything else is the repository. The result of substitution, and of what has no other effect than on the
// rendered objects, is so held against Flux itself, and not against what is known of it.
func TestRendersAsFlux(t *testing.T) {
	explained := compatibility(t)
	golden.Run(t, "testdata/flux/*.txtar", func(t *testing.T, archive *txtar.Archive) map[string]string {
		p := peered{files: map[string][]byte{}, ignore: golden.Text(archive, "ignore")}
		for _, f := range archive.Files {
			switch f.Name {
			case "ignore", "because", "difference":
			case "spec.yaml":
				if err := yaml.UnmarshalStrict(f.Data, &p.ks.Spec); err != nil {
					t.Fatal(err)
				}
			case "substitutes.yaml":
				p.substitutes = objectsOf(t, f.Data)
			default:
				p.files[f.Name] = f.Data
			}
		}
		differences := p.differences(t)
		because := strings.FieldsFunc(golden.Text(archive, "because"), func(r rune) bool { return r == '\n' })
		if (len(because) > 0) != (differences != "") {
			t.Errorf("%d rows explain these differences:\n%s", len(because), differences)
		}
		for _, name := range because {
			if verdict := explained[name]; verdict != "better" && verdict != "different" {
				t.Errorf("COMPATIBILITY.md does not explain it: %s is %q", name, verdict)
			}
		}
		return map[string]string{"difference": differences}
	})
}

// compatibility returns the verdicts of COMPATIBILITY.md by name.
func compatibility(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile("../../config/COMPATIBILITY.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if cells := strings.Split(line, "|"); len(cells) > 3 {
			found[strings.Trim(cells[1], " `")] = strings.TrimSpace(cells[2])
		}
	}
	return found
}

func objectsOf(t *testing.T, data []byte) []client.Object {
	t.Helper()
	read, err := ssautils.ReadObjects(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var out []client.Object
	for _, u := range read {
		into := client.Object(&corev1.ConfigMap{})
		if u.GetKind() == "Secret" {
			into = &corev1.Secret{}
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, into); err != nil {
			t.Fatal(err)
		}
		into.SetNamespace(namespace)
		if secret, ok := into.(*corev1.Secret); ok { // as the API server keeps it
			secret.Data = map[string][]byte{}
			for k, v := range secret.StringData {
				secret.Data[k] = []byte(v)
			}
		}
		out = append(out, into)
	}
	return out
}

const namespace = "flux-system"

// peered is an input that is rendered by both.
type peered struct {
	ks          v1alpha1.Kustomization
	files       map[string][]byte
	ignore      string // of the GitRepository
	substitutes []client.Object
}

// differences renders by both and tells what is not the same, sorted; "" when all is.
func (p *peered) differences(t *testing.T) string {
	t.Helper()
	p.ks.Namespace, p.ks.Name = namespace, "apps"
	theirs, theirErr := p.flux(t)
	ours, ourErr := p.skerry(t)
	switch {
	case theirErr != nil && ourErr != nil:
		return ""
	case theirErr != nil:
		return "Flux refuses it, and it is rendered here\n"
	case ourErr != nil:
		return fmt.Sprintf("Flux renders it, and it is refused here: %s\n", ourErr)
	}
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(theirs)) {
		if ours[id] == nil {
			fmt.Fprintf(&b, "%s: only with Flux\n", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(ours)) {
		if theirs[id] == nil {
			fmt.Fprintf(&b, "%s: only here\n", id)
			continue
		}
		for _, path := range slices.Sorted(maps.Keys(merged(theirs[id], ours[id]))) {
			if a, b2 := theirs[id][path], ours[id][path]; a != b2 {
				fmt.Fprintf(&b, "%s %s: Flux %s, here %s\n", id, path, a, b2)
			}
		}
	}
	return b.String()
}

func merged(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// flux does what kustomize-controller does with a commit, up to the objects that it applies.
func (p *peered) flux(t *testing.T) (map[string]map[string]string, error) {
	t.Helper()
	root := t.TempDir()
	p.write(t, root)
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&p.ks)
	if err != nil {
		t.Fatal(err)
	}
	u := unstructured.Unstructured{Object: object}
	dir := filepath.Join(root, p.ks.Spec.Path)
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	if _, err := fluxkustomize.NewGenerator(root, u).WriteFile(dir); err != nil {
		return nil, err
	}
	made, err := fluxkustomize.SecureBuild(root, dir, false)
	if err != nil {
		return nil, err
	}
	if post := p.ks.Spec.PostBuild; post != nil {
		kube := fake.NewClientBuilder().WithObjects(p.substitutes...).Build()
		for _, res := range made.Resources() {
			out, err := fluxkustomize.SubstituteVariables(t.Context(), kube, u, res, fluxkustomize.SubstituteWithAlways(post.SubstituteStrategy == v1alpha1.SubstituteAlways))
			if err != nil {
				return nil, err
			}
			if out != nil {
				if _, err := made.Replace(res); err != nil {
					return nil, err
				}
			}
		}
	}
	text, err := made.AsYaml()
	if err != nil {
		return nil, err
	}
	objects, err := ssautils.ReadObjects(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if err := normalize.UnstructuredList(objects); err != nil {
		return nil, err
	}
	if c := p.ks.Spec.CommonMetadata; c != nil {
		ssautils.SetCommonMetadata(objects, c.Labels, c.Annotations)
	}
	return flattened(objects), nil
}

// write writes the files of an artifact: what source-controller leaves out is not there.
func (p *peered) write(t *testing.T, root string) {
	t.Helper()
	for name, data := range p.files {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	patterns, err := sourceignore.LoadIgnorePatterns(root, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.ignore != "" {
		patterns = append(patterns, sourceignore.ReadPatterns(strings.NewReader(p.ignore), nil)...)
	}
	leftOut := sourceignore.NewDefaultMatcher(patterns, nil)
	err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err == nil && leftOut.Match(strings.Split(rel, string(filepath.Separator)), false) {
			if err = os.Remove(file); err == nil {
				removeEmpty(filepath.Dir(file))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// removeEmpty removes a directory, and those above it, as long as nothing is in them.
func removeEmpty(dir string) {
	for os.Remove(dir) == nil {
		dir = filepath.Dir(dir)
	}
}

// skerry renders as the hub does for its own cluster.
func (p *peered) skerry(t *testing.T) (map[string]map[string]string, error) {
	t.Helper()
	files := map[string]tree.File{}
	for name, data := range p.files {
		files[name] = tree.File{Data: data}
	}
	repo, err := tree.New("sha1:"+t.Name(), files)
	if err != nil {
		t.Fatal(err)
	}
	from, err := targeting.Substitutes(&p.ks, p.look)
	if err != nil {
		return nil, err
	}
	options, err := targeting.For(targeting.Shared(&p.ks, "hub", from), &p.ks, targeting.Target{Name: v1alpha1.HubCluster, Vars: map[string]string{}})
	if err != nil {
		return nil, err
	}
	options.Ignore = p.ignore
	options.Decryption = &render.Decryption{Skip: true}
	made, err := render.Build(t.Context(), repo, options)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, o := range made.Bundle.Objects {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(o.Body); err != nil {
			t.Fatal(err)
		}
		labels := u.GetLabels()
		delete(labels, v1alpha1.OwnerLabel)
		if u.SetLabels(labels); len(labels) == 0 {
			unstructured.RemoveNestedField(u.Object, "metadata", "labels")
		}
		objects = append(objects, u)
	}
	if err := normalize.UnstructuredList(objects); err != nil {
		return nil, err
	}
	return flattened(objects), nil
}

func (p *peered) look(kind, name string) (*targeting.Content, error) {
	for _, o := range p.substitutes {
		if o.GetName() != name {
			continue
		}
		switch o := o.(type) {
		case *corev1.ConfigMap:
			if kind == "ConfigMap" {
				return &targeting.Content{Data: o.Data}, nil
			}
		case *corev1.Secret:
			if kind == "Secret" {
				content := targeting.Content{Data: map[string]string{}, Secret: true}
				for k, v := range o.Data {
					content.Data[k] = string(v)
				}
				return &content, nil
			}
		}
	}
	return nil, nil
}

// flattened returns the scalars of objects by path, by object.
func flattened(objects []*unstructured.Unstructured) map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, o := range objects {
		fields := map[string]string{}
		flatten(o.Object, "", fields)
		id := o.GroupVersionKind().GroupKind().String() + " " + strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/")
		all[id] = fields
	}
	return all
}

func flatten(v any, path string, into map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			flatten(value, strings.TrimPrefix(path+"."+key, "."), into)
		}
		if len(v) > 0 {
			return
		}
	case []any:
		for i, value := range v {
			flatten(value, fmt.Sprintf("%s[%d]", path, i), into)
		}
		if len(v) > 0 {
			return
		}
	}
	text, err := json.Marshal(v)
	if err != nil {
		text = []byte(err.Error())
	}
	into[path] = string(text)
}
