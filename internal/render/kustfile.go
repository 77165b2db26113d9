package render

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	sigsyaml "sigs.k8s.io/yaml"
)

// kustFile is one kustomization file, read and decoded.
type kustFile struct {
	dir  string // of the tree, after links
	path string
	data []byte
	k    types.Kustomization
	weight
	plain   bool // it lists resources and does nothing else
	changed bool // k is not what data says any more

	customized bool // options were written into it
	// How many resources and components the file itself names under that name: the others are bases,
	// and components of the options.
	resources, components int
}

// load reads the kustomization file of a directory. For the top directory it is made up where there
// is none, and the options are written into it.
func (w *walker) load(dir string) (*kustFile, *Error) {
	f := &kustFile{dir: dir, path: dir}
	name, err := w.find(dir)
	switch {
	case err != nil:
		return nil, err
	case name != "":
		if err := w.read(f, name); err != nil {
			return nil, err
		}
	case dir != w.top:
		return nil, errorf(PathNotFound, "directory %q has no kustomization.yaml%s", dir, w.tree.leavesOut(path.Join(dir, konfig.DefaultKustomizationFileName())))
	default:
		f.path = path.Join(dir, konfig.DefaultKustomizationFileName())
		w.closure.made = rooted(f.path)
		if f.k.Resources, err = w.manifests(dir, "."); err != nil {
			return nil, err
		}
		if len(f.k.Resources) == 0 && w.tree.isEmpty(dir) {
			return nil, errorf(PathNotFound, "path %q does not exist: a .sourceignore, or spec.ignore of the GitRepository, leaves out all of it", dir)
		}
	}
	f.components = len(f.k.Components)
	if dir == w.top {
		f.customized = w.present(dir).customize(&f.k)
		f.changed = f.customized || f.data == nil || isEmpty(f.k)
		w.closure.sorted = f.k.SortOptions != nil
		w.keepBases = len(f.k.BuildMetadata) > 0
	}
	return f, nil
}

// present returns the options without the components that are missing and may be. One that leaves the tree,
// or is a file, is a mistake all the same.
func (w *walker) present(dir string) Options {
	o := w.options
	if o.IgnoreMissingComponents {
		o.Components = slices.DeleteFunc(slices.Clone(o.Components), func(ref string) bool {
			p := path.Join(dir, ref)
			return !looksRemote(ref) && p != ".." && !strings.HasPrefix(p, "../") && !w.tree.IsDir(p) && !w.tree.IsFile(p)
		})
	}
	return o
}

// serve puts a kustomization file into the closure: as it is, or as it was changed to be.
func (w *walker) serve(f *kustFile) (err *Error) {
	served := f.data
	if f.changed {
		if served, err = encode(f.k); err != nil {
			return err.in(f.path)
		}
	}
	w.closure.files[rooted(f.path)] = served
	w.closure.roles[rooted(f.path)] = roleConfig
	return nil
}

// find returns the name of the kustomization file of a directory, or "".
func (w *walker) find(dir string) (string, *Error) {
	var found []string
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		p, err := follow(w.tree.Tree, path.Join(dir, name))
		if err != nil {
			return "", err
		}
		if w.tree.IsFile(p) {
			found = append(found, name)
		}
	}
	if len(found) > 1 {
		return "", errorf(InvalidKustomization, "there is a %s as well", found[0]).in(path.Join(dir, found[1]))
	}
	return strings.Join(found, ""), nil
}

// read fills f from the file of that name.
func (w *walker) read(f *kustFile, name string) *Error {
	f.path = path.Join(f.dir, name)
	data, err := w.tree.ReadFile(f.path)
	if err != nil {
		return errorf(PathNotFound, "cannot be read").in(f.path)
	}
	if err := refusePointer(data); err != nil {
		return err.in(f.path)
	}
	f.data = data
	w.closure.noteMarkers(f.path, data)
	var failed *Error
	if f.weight, failed = scan(data, false); failed != nil {
		return failed.in(f.path)
	}
	f.objects = 0
	if err := f.k.Unmarshal(data); err != nil {
		return unreadable(data, err).in(f.path)
	}
	if f.dir != w.top && isEmpty(f.k) {
		return errorf(InvalidKustomization, "kustomization is empty").in(f.path)
	}
	if field := helm(f.k); field != "" {
		return f.fail(errorf(PluginRefused, "helm charts are not rendered by kustomize here: commit what helm template prints"), field, -1, "")
	}
	f.resources = len(f.k.Resources)
	f.k.FixKustomization()
	f.plain = isPlain(f.k)
	if wrong := f.k.EnforceFields(); len(wrong) > 0 {
		if err := customResource(data); err != nil {
			return err.in(f.path)
		}
		return errorf(InvalidKustomization, "%s", strings.Join(wrong, "; ")).in(f.path)
	}
	return nil
}

// helm returns the field by which a kustomization asks for helm, or "".
func helm(k types.Kustomization) string {
	switch {
	case len(k.HelmCharts) > 0:
		return "helmCharts"
	case k.HelmGlobals != nil:
		return "helmGlobals"
	case len(k.HelmChartInflationGenerator) > 0:
		return "helmChartInflationGenerator"
	}
	return ""
}

// isPlain reports whether a kustomization lists resources and does nothing else.
func isPlain(k types.Kustomization) bool {
	if k.Kind == types.ComponentKind {
		return false
	}
	k.Resources = nil
	return isEmpty(k)
}

// customResource returns the error of an object of another API that has the name of a kustomization
// file, such as a Kustomization of Flux or of Skerry; nil when it is none.
func customResource(data []byte) *Error {
	return eachDocument(data, func(doc *yaml.Node, before int) *Error {
		root := resolveNode(doc)
		version, kind := oneLine(scalar(root, "apiVersion")), oneLine(scalar(root, "kind"))
		group, _, _ := strings.Cut(version, "/")
		if version == "" || kind == "" || group == "kustomize.config.k8s.io" {
			return nil
		}
		err := errorf(InvalidKustomization, "is a custom resource, %s of %s, and not a file of kustomize: give it another name, and list it under resources", kind, version)
		err.Line = before + root.Line
		return err
	})
}

// notString matches what encoding/json has to complain of; the name of the Go type is left out.
var notString = regexp.MustCompile(`cannot unmarshal (number|bool) into Go struct field \w+\.(\S+) of type string`)

var unknownField = regexp.MustCompile(`unknown field "([^"]+)"`)

// unreadable explains why kustomize cannot read a kustomization file. It names every unknown field.
func unreadable(data []byte, err error) *Error {
	if _, err := scan(data, true); err != nil {
		return err
	}
	if failed := customResource(data); failed != nil {
		return failed
	}
	message := strings.TrimPrefix(oneLine(err.Error()), "invalid Kustomization: ")
	if m := notString.FindStringSubmatch(message); m != nil {
		out := errorf(InvalidKustomization, "%s is not a string but a %s: quote it", m[2], m[1])
		top, _, _ := strings.Cut(m[2], ".")
		out.Line = fieldLine(data, top, -1, "")
		return out
	}
	out := errorf(InvalidKustomization, "%s", strings.TrimPrefix(message, "json: "))
	if m := unknownField.FindStringSubmatch(message); m != nil {
		out.Line = fieldLine(data, m[1], -1, "")
		if all := unknownFields(data); len(all) > 1 {
			out.Message = strings.Join(all, ", ")
		}
	}
	return out
}

func unknownFields(data []byte) []string {
	asJSON, err := sigsyaml.YAMLToJSON(data)
	if err != nil {
		return nil
	}
	unknown, err := kjson.UnmarshalStrict(asJSON, &types.Kustomization{})
	if err != nil {
		return nil
	}
	var all []string
	for _, err := range unknown {
		if unknownField.MatchString(err.Error()) {
			all = append(all, oneLine(err.Error()))
		}
	}
	return all
}

// isEmpty reports whether kustomize would refuse the kustomization as empty.
func isEmpty(k types.Kustomization) bool { return k.CheckEmpty() != nil }

// encode returns the kustomization as kustomize reads it. An empty one gets empty metadata, with
// which kustomize takes it and renders nothing: whether nothing is wanted is for the caller to judge.
func encode(k types.Kustomization) ([]byte, *Error) {
	k.FixKustomization()
	if k.MetaData == nil {
		k.MetaData = &types.ObjectMeta{}
	}
	data, err := json.Marshal(k)
	if err != nil {
		return nil, errorf(InvalidKustomization, "cannot be encoded")
	}
	return data, nil
}
