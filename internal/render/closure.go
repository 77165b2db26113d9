package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/skerry-dev/skerry/internal/tree"
)

// closure is everything that one render reads, found and checked before kustomize starts: kustomize
// is shown these files and no others. So nothing it reads is unchecked, and two trees with an equal
// closure render to the same.
type closure struct {
	root string // the directory to build, as an absolute path: "/apps"
	fileSystem
	roles  map[string]role    // what the YAML files are for, by path as in files
	sorted bool               // whether the kustomization says in which order
	weight weight             // of all of it
	made   string             // the kustomization file that is not in the tree, if one had to be made
	opened map[string]*opened // the files that were decrypted, by path as in files
	// skipEncrypted lets encrypted objects stay as they are.
	skipEncrypted bool
	marked        []string // the files with a marker of an image policy, by path in the tree
}

// role describes what a YAML file of a closure is for.
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
		data := c.files[p]
		if o := c.opened[p]; o != nil {
			data = o.ciphertext
		}
		fmt.Fprintf(h, "file %q %t %d\n", p, c.opened[p] != nil, len(data))
		h.Write(data)
	}
	for _, p := range c.marked { // a comment may be in no file that kustomize is shown
		fmt.Fprintf(h, "marked %q\n", p)
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
	t = t.Reopen()
	c, err := walk(t, o, dir, false)
	if err != nil && err.Reason == TooLarge {
		// Counting objects without parsing counts too many; only now is it worth being exact.
		c, err = walk(t, o, dir, true)
	}
	if failed := t.Err(); failed != nil {
		// What could not be read looks as if it were not there: nothing that was found holds.
		return nil, &Error{Reason: BuildFailed, Message: failed.Error(), Cause: failed}
	}
	return c, err
}

// Files returns the paths, in the tree, of all files that a directory is rendered from, sorted. What is encrypted
// stays so. The error is an *Error: why it could not be rendered.
func Files(t *tree.Tree, dir string) ([]string, error) {
	c, err := collect(t, Options{Decryption: &Decryption{Skip: true}}, dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range c.files {
		if name != c.made {
			names = append(names, strings.TrimPrefix(name, "/"))
		}
	}
	slices.Sort(names)
	return names, nil
}

// walker finds a closure.
type walker struct {
	tree    *view
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
		return nil, errorf(PathNotFound, "path %q does not exist%s", dir, inSubmodule(t, dir))
	}
	w := &walker{
		tree: newView(t, o.Ignore), options: o, exact: exact, top: top,
		closure: &closure{
			root:       rooted(top),
			fileSystem: fileSystem{files: map[string][]byte{}, dirs: map[string]string{}},
			roles:      map[string]role{},
			opened:     map[string]*opened{},
		},
		files:   map[string]weight{},
		visited: map[string]*weight{},
		plain:   map[string][]string{},
	}
	w.closure.dirs[w.closure.root] = w.closure.root
	w.closure.skipEncrypted = w.skips()
	var failed *Error
	if w.closure.weight, failed = w.directory(top); failed != nil {
		return nil, failed
	}
	slices.Sort(w.closure.marked)
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
	sum = sum.add(w.changes(file))
	if err := sum.check(); err != nil {
		return weight{}, err.in(file.path)
	}
	w.visited[dir] = &sum
	return sum, nil
}

// changes is what a kustomization adds to the objects, beyond the files that it names.
func (w *walker) changes(f *kustFile) weight {
	if f.plain && !f.customized {
		return weight{}
	}
	listed := 0
	for _, ref := range f.k.Resources {
		listed += len(ref) + 4
	}
	k, served := &f.k, w.closure.files[rooted(f.path)]
	return weight{
		config:     int64(max(0, len(served)-listed)),
		multiplies: len(k.Replacements)+len(k.Vars)+len(k.Generators)+len(k.Transformers)+len(k.Configurations) > 0 || mayCopy(served), //nolint:staticcheck // vars are deprecated, and in use
	}
}

// mayCopy reports whether a text may hold a JSON patch that copies a value, which may double an object
// with each operation. An escape may spell the word.
func mayCopy(data []byte) bool {
	for _, mark := range []string{"copy", `\u`, `\x`, `\U`, "\\\n", "\\\r"} {
		if bytes.Contains(data, []byte(mark)) {
			return true
		}
	}
	return false
}

// addFile adds a file of the tree to the closure, as kustomize will ask for it.
func (w *walker) addFile(p string) ([]byte, *Error) {
	data, err := w.tree.ReadFile(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errorf(PathNotFound, "%q does not exist%s", p, w.tree.leavesOut(p))
	}
	if err != nil {
		return nil, errorf(PathOutsideRoot, "%q cannot be read: it is a symbolic link that leaves the repository or never ends", p)
	}
	if err := refusePointer(data); err != nil {
		return nil, err.in(p)
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
	w.closure.noteMarkers(p, data)
	found, err := scan(data, w.exact)
	if err == nil && holdsCiphertext(data) && !w.skips() {
		var plain []byte
		if plain, err = w.decryptManifests(p, data); err == nil && plain != nil {
			data, w.closure.files[rooted(p)] = plain, plain
			found, err = scan(data, w.exact)
		}
	}
	if err != nil {
		return weight{}, err.in(p)
	}
	if r != roleResources {
		found.objects, found.config = 0, found.bytes
		found.multiplies = mayCopy(data)
	}
	found.loads = 1
	w.files[p], w.closure.roles[rooted(p)] = found, r
	return found, nil
}
