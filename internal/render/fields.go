package render

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/types"
)

// kustomization checks every field of a kustomization that makes kustomize read or run something,
// and adds what it reads to the closure. Fields that are not here refer to nothing; a test holds the
// list against kustomize's own type.
func (w *walker) kustomization(f *kustFile) (weight, *Error) {
	if len(f.k.OpenAPI) > 0 {
		return weight{}, f.fail(errorf(SchemaRefused, "a schema of its own would change every other render"), "openapi", -1, "")
	}
	s := summer{w: w, f: f, sum: f.weight}
	s.resources(f.k.Resources)
	for i, ref := range f.k.Components {
		s.component(i, ref)
	}
	s.files("crds", f.k.Crds)
	s.files("configurations", f.k.Configurations)
	for i, p := range f.k.PatchesStrategicMerge { //nolint:staticcheck // deprecated, and in use
		s.fileOrInline("patchesStrategicMerge", i, string(p))
	}
	s.patches("patches", f.k.Patches)
	s.patches("patchesJson6902", f.k.PatchesJson6902) //nolint:staticcheck // deprecated, and in use
	for i, r := range f.k.Replacements {
		s.file("replacements", i, "path", r.Path)
	}
	for i, g := range f.k.ConfigMapGenerator {
		s.data("configMapGenerator", i, g.KvPairSources, f.k.GeneratorOptions, g.Options)
	}
	for i, g := range f.k.SecretGenerator {
		s.data("secretGenerator", i, g.KvPairSources, f.k.GeneratorOptions, g.Options)
	}
	s.plugins("generators", f.k.Generators)
	s.plugins("transformers", f.k.Transformers)
	s.plugins("validators", f.k.Validators)
	return s.sum, s.err
}

// fail places an error of a field in its file: at the error's own place if it has one.
func (f *kustFile) fail(err *Error, field string, i int, sub string) *Error {
	if err.Path != "" {
		return err
	}
	switch {
	case field == "components" && i >= f.components:
		return &Error{Reason: err.Reason, Message: fmt.Sprintf("spec.components[%d]: %s", i-f.components, err.Message)}
	case field == "resources" && i >= f.resources && f.data != nil:
		field, i = "bases", i-f.resources
	}
	name := field
	if i >= 0 {
		name = fmt.Sprintf("%s[%d]", field, i)
	}
	if sub != "" {
		name += "." + sub
	}
	out := &Error{Reason: err.Reason, Path: f.path, Message: name + ": " + err.Message}
	out.Line = fieldLine(f.data, field, i, sub)
	return out
}

// summer walks the fields of one file and keeps the first error.
type summer struct {
	w   *walker
	f   *kustFile
	sum weight
	err *Error
}

// add counts a part, or keeps its error.
func (s *summer) add(part weight, err *Error, field string, i int, sub string) {
	if s.err != nil {
		return
	}
	if err != nil {
		s.err = s.f.fail(err, field, i, sub)
		return
	}
	s.sum = s.sum.add(part)
	if err := s.sum.check(); err != nil {
		s.err = s.f.fail(err, field, i, sub)
	}
}

// path returns the path in the tree that a reference means, and keeps the error of one that is not
// allowed.
func (s *summer) path(field string, i int, sub, ref string) (string, bool) {
	if s.err != nil {
		return "", false
	}
	p, err := clean(s.f.dir, ref)
	if err == nil {
		_, err = follow(s.w.tree.Tree, p)
	}
	if err != nil {
		s.add(weight{}, err, field, i, sub)
		return "", false
	}
	return p, true
}

// resources takes files of objects, and directories that are built on their own.
//
// A base whose kustomization lists files and does nothing else is replaced by those files, which is
// the same to kustomize, and a third faster where each of many applications is such a base.
func (s *summer) resources(refs []string) {
	var flat []string
	onlyFiles := true
	for i, ref := range refs {
		p, ok := s.path("resources", i, "", ref)
		if !ok {
			return
		}
		if !s.w.tree.IsDir(p) {
			part, err := s.w.addYAML(p, roleResources)
			s.add(part, err, "resources", i, "")
			flat = append(flat, rooted(p))
			continue
		}
		dir := s.directory("resources", i, p)
		if files, ok := s.w.plain[dir]; ok && !s.w.keepBases && !isBelow(s.f.dir, dir) {
			flat = append(flat, files...)
			s.f.changed = true
			continue
		}
		flat = append(flat, ref)
		onlyFiles = false
	}
	if s.f.changed && !s.w.keepBases {
		s.f.k.Resources = flat
	}
	if s.f.plain && onlyFiles {
		s.w.plain[s.f.dir] = flat
	}
}

// isBelow reports whether a directory is another or lies in it. kustomize refuses a base above.
func isBelow(dir, other string) bool {
	return other == "." || dir == other || strings.HasPrefix(dir, other+"/")
}

func (s *summer) component(i int, ref string) {
	p, ok := s.path("components", i, "", ref)
	if !ok {
		return
	}
	if !s.w.tree.IsDir(p) {
		s.add(weight{}, errorf(PathNotFound, "%q is not a directory%s", p, inSubmodule(s.w.tree.Tree, p)), "components", i, "")
		return
	}
	s.directory("components", i, p)
}

// directory takes a directory that is built on its own, and returns it after links.
func (s *summer) directory(field string, i int, p string) string {
	if s.err != nil {
		return ""
	}
	resolved, err := follow(s.w.tree.Tree, p)
	var part weight
	if err == nil {
		s.w.closure.dirs[rooted(p)] = rooted(resolved)
		s.w.closure.dirs[rooted(resolved)] = rooted(resolved)
		part, err = s.w.directory(resolved)
	}
	s.add(part, err, field, i, "")
	return resolved
}

// file takes a YAML file that configures something; an empty reference is none.
func (s *summer) file(field string, i int, sub, ref string) {
	if ref == "" {
		return
	}
	p, ok := s.path(field, i, sub, ref)
	if !ok {
		return
	}
	part, err := s.w.addYAML(p, roleConfig)
	s.add(part, err, field, i, sub)
}

func (s *summer) files(field string, refs []string) {
	for i, ref := range refs {
		if ref == "" {
			s.add(weight{}, errorf(InvalidKustomization, "empty path"), field, i, "")
		}
		s.file(field, i, "", ref)
	}
}

func (s *summer) patches(field string, patches []types.Patch) {
	for i, p := range patches {
		s.file(field, i, "path", p.Path)
		s.inline(field, i, "patch", p.Patch)
	}
}

// inline scans YAML that stands inside the file.
func (s *summer) inline(field string, i int, sub, text string) {
	if text == "" || s.err != nil {
		return
	}
	part, err := scanText(text)
	s.add(part, err, field, i, sub)
}

// scanText scans YAML that stands inside other YAML. The error says in the message where.
func scanText(text string) (weight, *Error) {
	part, err := scan([]byte(text), false)
	part.objects = 0
	if err != nil && err.Line > 0 {
		err.Message = fmt.Sprintf("%s (line %d of the text)", err.Message, err.Line)
		err.Line = 0
	}
	return part, err
}

// fileOrInline takes text that kustomize tries as YAML first and as a path then. Remote is refused
// either way: it is only by a file's being malformed that kustomize would come to that.
func (s *summer) fileOrInline(field string, i int, text string) {
	if isInline(text) {
		if looksRemote(text) {
			s.add(weight{}, errorf(RemoteReference, "looks remote"), field, i, "")
		}
		s.inline(field, i, "", text)
		return
	}
	if text == "" {
		s.add(weight{}, errorf(InvalidKustomization, "empty path"), field, i, "")
	}
	s.file(field, i, "", text)
}

// isInline reports whether text is YAML of its own rather than a path.
func isInline(text string) bool {
	return strings.ContainsAny(text, "\n{") || strings.Contains(text, ": ")
}

// data takes the files of a ConfigMap or Secret generator, whose content kustomize does not parse. Those
// that are encrypted are decrypted, unless the generator sets the annotation that leaves them.
func (s *summer) data(field string, i int, sources types.KvPairSources, options ...*types.GeneratorOptions) {
	left := slices.ContainsFunc(options, func(o *types.GeneratorOptions) bool {
		return o != nil && isDisabledDecryption(func(key string) string { return o.Annotations[key] })
	})
	for _, source := range sources.FileSources {
		// "key=path", or "path"; kustomize refuses what has more of "=".
		key, ref, ok := strings.Cut(source, "=")
		if !ok {
			key, ref = path.Base(source), source
		}
		s.raw(field, i, "files", ref, generated{key: key, left: left})
	}
	for _, ref := range sources.EnvSources {
		s.raw(field, i, "envs", ref, generated{key: path.Base(ref), left: left, env: true})
	}
}

// generated describes how a generator reads a file.
type generated struct {
	key  string // of the value
	env  bool   // it holds a key and a value in each line
	left bool   // it stays encrypted
}

func (s *summer) raw(field string, i int, sub, ref string, as generated) {
	p, ok := s.path(field, i, sub, ref)
	if !ok {
		return
	}
	data, err := s.w.addFile(p)
	if err == nil && !as.left && !s.w.skips() && holdsCiphertext(data) {
		if data, err = s.w.decryptData(p, as.key, data, as.env); err != nil {
			err = err.in(p)
		}
	}
	s.add(weight{bytes: int64(len(data)), loads: 1}, err, field, i, sub)
}
