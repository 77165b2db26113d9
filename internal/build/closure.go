package build

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/skerry-dev/skerry/internal/tree"
)

// closure is everything that one render reads, found and checked before kustomize starts: kustomize
// is shown these files and no others. So nothing it reads is unchecked, and two trees with an equal
// closure render to the same.
type closure struct {
	root string // the directory to build, as an absolute path: "/apps"
	fileSystem
	roles  map[string]role // what the YAML files are for, by path as in files
	sorted bool            // whether the kustomization says in which order
	made   string          // the kustomization file that is not in the tree, if one had to be made
}

// role says what a YAML file of a closure is for.
type role int

const (
	roleConfig    role = iota // a kustomization, a patch, a plugin's configuration
	roleResources             // Kubernetes objects
)

// key names the content of the closure: equal keys mean equal bytes at equal paths.
func (c *closure) key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", c.root)
	for _, p := range slices.Sorted(maps.Keys(c.dirs)) {
		fmt.Fprintf(h, "dir %q %q\n", p, c.dirs[p])
	}
	for _, p := range slices.Sorted(maps.Keys(c.files)) {
		fmt.Fprintf(h, "file %q %d\n", p, len(c.files[p]))
		h.Write(c.files[p])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// collect returns the closure of the directory that the options name, or why it cannot be rendered.
func collect(t *tree.Tree, o Options, dir string) (*closure, *Error) {
	for i, p := range o.Patches {
		if _, err := scanText(p.Patch); err != nil {
			err.Message = fmt.Sprintf("spec.patches[%d]: %s", i, err.Message)
			return nil, err
		}
	}
	c, err := walk(t, o, dir, false)
	if err != nil && err.Reason == TooLarge {
		// Counting objects without parsing counts too many; only now is it worth being exact.
		c, err = walk(t, o, dir, true)
	}
	return c, err
}

// walker finds a closure.
type walker struct {
	tree    *tree.Tree
	options Options
	exact   bool
	top     string
	closure *closure
	files   map[string]weight  // scanned files, by path in the tree
	visited map[string]*weight // directories; nil while one is being visited
	// plain holds, for directories whose kustomization only lists files, those files; keepBases says
	// that they must be built as bases all the same.
	plain     map[string][]string
	keepBases bool
}

func walk(t *tree.Tree, o Options, dir string, exact bool) (*closure, *Error) {
	top, err := follow(t, dir)
	switch {
	case err != nil:
		return nil, err
	case t.IsFile(top):
		return nil, errorf(PathNotFound, "path %q is a file, not a directory", dir)
	case !t.IsDir(top):
		return nil, errorf(PathNotFound, "path %q does not exist", dir)
	}
	w := &walker{
		tree: t, options: o, exact: exact, top: top,
		closure: &closure{
			root:       rooted(top),
			fileSystem: fileSystem{files: map[string][]byte{}, dirs: map[string]string{}},
			roles:      map[string]role{},
		},
		files:   map[string]weight{},
		visited: map[string]*weight{},
		plain:   map[string][]string{},
	}
	w.closure.dirs[w.closure.root] = w.closure.root
	if _, err := w.directory(top); err != nil {
		return nil, err
	}
	return w.closure, nil
}

// rooted is a path of the tree as kustomize is told it.
func rooted(p string) string { return path.Join("/", p) }

// directory walks a directory that is built as a kustomization. It returns what loading it once
// costs, everything below included.
func (w *walker) directory(dir string) (weight, *Error) {
	if known, ok := w.visited[dir]; ok {
		if known == nil {
			return weight{}, errorf(InvalidKustomization, "%q is reached from itself", dir)
		}
		return *known, nil
	}
	w.visited[dir] = nil
	file, err := w.load(dir)
	if err != nil {
		return weight{}, err
	}
	sum, err := w.kustomization(file)
	if err == nil {
		err = w.serve(file)
	}
	if err != nil {
		return weight{}, err
	}
	sum.loads++
	if err := sum.check(); err != nil {
		return weight{}, err.in(file.path)
	}
	w.visited[dir] = &sum
	return sum, nil
}

// kustFile is one kustomization file, read and decoded.
type kustFile struct {
	dir  string // of the tree, after links
	path string
	data []byte
	k    types.Kustomization
	weight
	plain   bool // it lists resources and does nothing else
	changed bool // k is not what data says any more
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
		return nil, errorf(PathNotFound, "directory %q has no kustomization.yaml", dir)
	default:
		f.path = path.Join(dir, konfig.DefaultKustomizationFileName())
		w.closure.made = rooted(f.path)
		if f.k.Resources, err = w.manifests(dir, "."); err != nil {
			return nil, err
		}
	}
	f.components = len(f.k.Components)
	if dir == w.top {
		f.changed = w.options.customize(&f.k) || f.data == nil || isEmpty(f.k)
		w.closure.sorted = f.k.SortOptions != nil
		w.keepBases = len(f.k.BuildMetadata) > 0
	}
	return f, nil
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
		p, err := follow(w.tree, path.Join(dir, name))
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
	f.data = data
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
		return f.fail(errorf(PluginRefused, "helm charts are not rendered by kustomize here"), field, -1, "")
	}
	f.resources = len(f.k.Resources)
	f.plain = isPlain(f.k)
	f.k.FixKustomization()
	if wrong := f.k.EnforceFields(); len(wrong) > 0 {
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

// isPlain says whether a kustomization lists resources and does nothing else.
func isPlain(k types.Kustomization) bool {
	if k.Kind == types.ComponentKind {
		return false
	}
	k.Resources, k.Bases = nil, nil
	return isEmpty(k)
}

var unknownField = regexp.MustCompile(`unknown field "([^"]+)"`)

// unreadable explains why kustomize cannot read a kustomization file.
func unreadable(data []byte, err error) *Error {
	if _, err := scan(data, true); err != nil {
		return err
	}
	message := strings.TrimPrefix(oneLine(err.Error()), "invalid Kustomization: ")
	out := errorf(InvalidKustomization, "%s", strings.TrimPrefix(message, "json: "))
	if m := unknownField.FindStringSubmatch(message); m != nil {
		out.Line = fieldLine(data, m[1], -1, "")
	}
	return out
}

// isEmpty says whether kustomize would refuse the kustomization as empty.
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

// notManifests are the files and directories that Flux leaves out of every artifact, and that a path
// without a kustomization must not render either.
var notManifests = []string{
	".git", ".github", ".circleci", ".travis.yml", ".gitlab-ci.yml", "appveyor.yml", ".drone.yml",
	"cloudbuild.yaml", "codeship-services.yml", "codeship-steps.yml",
	".goreleaser.yml", ".sops.yaml", ".flux.yaml",
}

// manifests lists what a directory without a kustomization file renders: all YAML files below it,
// and the directories that have one of their own. The paths begin with "./", relative to top.
func (w *walker) manifests(top, below string) ([]string, *Error) {
	names, err := w.tree.ReadDir(path.Join(top, below))
	if err != nil {
		return nil, errorf(PathNotFound, "cannot be read").in(path.Join(top, below))
	}
	var found []string
	for _, name := range names {
		if slices.Contains(notManifests, name) {
			continue
		}
		more, err := w.manifest(top, path.Join(below, name))
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// manifest returns what one entry of a directory adds to manifests.
func (w *walker) manifest(top, name string) ([]string, *Error) {
	p := path.Join(top, name)
	isYAML := path.Ext(p) == ".yaml" || path.Ext(p) == ".yml"
	resolved, err := follow(w.tree, p)
	switch {
	case err != nil && isYAML:
		return nil, err
	case err != nil:
		return nil, nil
	case isYAML && !w.tree.IsDir(resolved):
		return []string{"./" + name}, nil
	case resolved != p || !w.tree.IsDir(resolved):
		return nil, nil // a link to a directory is not descended into: it may lead back up
	}
	own, err := w.find(p)
	switch {
	case err != nil:
		return nil, err
	case own != "":
		return []string{"./" + name}, nil
	}
	return w.manifests(top, name)
}

// addFile adds a file of the tree to the closure, as kustomize will ask for it.
func (w *walker) addFile(p string) ([]byte, *Error) {
	data, err := w.tree.ReadFile(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errorf(PathNotFound, "%q does not exist", p)
	}
	if err != nil {
		return nil, errorf(PathOutsideRoot, "%q cannot be read: it is a symbolic link that leaves the repository or never ends", p)
	}
	w.closure.files[rooted(p)] = data
	return data, nil
}

// addYAML adds a file that kustomize parses as YAML, and scans it.
func (w *walker) addYAML(p string, r role) (weight, *Error) {
	if known, ok := w.files[p]; ok {
		return known, nil
	}
	data, err := w.addFile(p)
	if err != nil {
		return weight{}, err
	}
	found, err := scan(data, w.exact)
	if err != nil {
		return weight{}, err.in(p)
	}
	if r != roleResources {
		found.objects = 0
	}
	found.loads = 1
	w.files[p], w.closure.roles[rooted(p)] = found, r
	return found, nil
}
