package render

import (
	"encoding/json"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/kustomize"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
)

// Options is what a Kustomization says about a render, for one cluster.
type Options struct {
	// Path of the directory, relative to the root of the tree; empty is the root. It may hold ${name}
	// for any of Vars, each of which must have a value.
	Path string
	// Ignore holds patterns in the format of .gitignore, for files that are treated as absent. They come
	// after those of the tree's own .sourceignore files.
	Ignore string `json:",omitempty"`
	// Vars are the variables of the cluster: its vars, cluster_name and cluster_namespace. Path,
	// PostBuild and the values of PostBuild.Substitute see them.
	Vars map[string]string
	// Secret names those of Vars that come from a Secret. Path cannot hold them: paths are shown.
	Secret []string
	// Decryption decrypts files; nil refuses those that are encrypted.
	Decryption *Decryption `json:",omitempty"`
	// PostBuild asks for substitution of variables in the objects; nil leaves ${...} as it stands.
	PostBuild *PostBuild
	// TargetNamespace, NamePrefix and NameSuffix take the place of what the kustomization file says.
	TargetNamespace, NamePrefix, NameSuffix string
	// CommonMetadata is set on every object, over what it has.
	CommonMetadata CommonMetadata
	// Patches, Images and Components are added to those of the kustomization file. An image of the
	// same name is overridden. Components are relative to Path.
	Patches    []kustomize.Patch
	Images     []kustomize.Image
	Components []string
	// IgnoreMissingComponents leaves out those of Components that are not in the tree.
	IgnoreMissingComponents bool `json:",omitempty"`
	// BuildMetadata takes the place of that of the kustomization file: originAnnotations, transformerAnnotations.
	BuildMetadata []string `json:",omitempty"`
}

// PostBuild describes which variables are substituted once the objects are built. A variable named in
// several places has the value of Substitute, else of the last SubstituteFrom that names it, else of
// Options.Vars. A variable that has neither value nor default is an error.
type PostBuild struct {
	// Substitute maps names to values, in which ${name} stands for a variable of Options.Vars.
	Substitute map[string]string
	// SubstituteFrom holds the data of ConfigMaps and Secrets, in the order in which they are named.
	SubstituteFrom []Source
}

// Source is the data of a ConfigMap or Secret.
type Source struct {
	Data map[string]string
	// Secret means that no value may be shown.
	Secret bool
}

// CommonMetadata is labels and annotations that all objects of a render get.
type CommonMetadata struct {
	Labels, Annotations map[string]string
}

var (
	pathVariable = regexp.MustCompile(`\$\{([a-zA-Z_][a-zA-Z0-9_]*)\}`)
	variableName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

// directory returns the path after its variables, clean and inside the root: "." or "apps/eu".
func (o Options) directory() (string, *Error) {
	var failed *Error
	p := pathVariable.ReplaceAllStringFunc(o.Path, func(ref string) string {
		name := ref[2 : len(ref)-1]
		if slices.Contains(o.Secret, name) && failed == nil {
			failed = errorf(SubstitutionFailed, "path %q: variable %q comes from a Secret and cannot be part of a path", o.Path, name)
			return ""
		}
		// An empty value would quietly render the directory above.
		if o.Vars[name] == "" && failed == nil {
			failed = errorf(SubstitutionFailed, "path %q: variable %q has no value", o.Path, name)
		}
		return o.Vars[name]
	})
	switch {
	case failed != nil:
		return "", failed
	case strings.Contains(o.Path, "${") && strings.Contains(p, "${"):
		return "", errorf(SubstitutionFailed, "path %q: only ${name} is substituted in a path", o.Path)
	case path.IsAbs(p):
		return "", errorf(PathOutsideRoot, "path %q is absolute; it is relative to the root of the repository", p)
	}
	p = path.Clean(p)
	if p == ".." || strings.HasPrefix(p, "../") {
		return "", errorf(PathOutsideRoot, "path %q leaves the repository", p)
	}
	return p, nil
}

// variables returns the variables to substitute, or nil where nothing is, and those of them whose value
// is, or holds, that of a Secret.
func (o Options) variables() (vars map[string]string, secret map[string]bool, _ *Error) {
	if o.PostBuild == nil {
		return nil, nil, nil
	}
	vars, secret = maps.Clone(o.Vars), map[string]bool{}
	if vars == nil {
		vars = map[string]string{}
	}
	for _, name := range o.Secret {
		secret[name] = true
	}
	for _, from := range o.PostBuild.SubstituteFrom {
		maps.Copy(vars, from.Data)
		for name := range from.Data {
			secret[name] = from.Secret
		}
	}
	for name, value := range o.PostBuild.Substitute {
		secret[name] = false
		vars[name] = pathVariable.ReplaceAllStringFunc(value, func(ref string) string {
			of := ref[2 : len(ref)-1]
			if v, ok := o.Vars[of]; ok {
				secret[name] = secret[name] || slices.Contains(o.Secret, of)
				return v
			}
			return ref
		})
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if !variableName.MatchString(name) {
			return nil, nil, errorf(SubstitutionFailed, "variable name %q is not letters, digits and underscores", name)
		}
	}
	return vars, secret, nil
}

// kustomizeKey is all that decides the render of a tree before substitution, as stable bytes.
func (o Options) kustomizeKey(dir string) []byte {
	o.Path, o.Vars, o.Secret, o.PostBuild = dir, nil, nil, nil
	key, err := json.Marshal(o) //nolint:gosec // a key in memory, and Secret is not in it
	if err != nil {
		panic(err) // strings and maps of strings always encode
	}
	return key
}

// customize writes the options into the kustomization of the directory itself, as Flux does, and
// reports whether they changed it. A kustomization on top of it would see other names and namespaces.
func (o Options) customize(k *types.Kustomization) bool {
	if o.TargetNamespace != "" {
		k.Namespace = o.TargetNamespace
	}
	if o.NamePrefix != "" {
		k.NamePrefix = o.NamePrefix
	}
	if o.NameSuffix != "" {
		k.NameSuffix = o.NameSuffix
	}
	for _, p := range o.Patches {
		k.Patches = append(k.Patches, types.Patch{Patch: p.Patch, Target: selector(p.Target)})
	}
	for _, image := range o.Images {
		setImage(k, image)
	}
	k.Components = append(k.Components, o.Components...)
	if len(o.BuildMetadata) > 0 {
		k.BuildMetadata = o.BuildMetadata
	}
	return o.TargetNamespace != "" || o.NamePrefix != "" || o.NameSuffix != "" ||
		len(o.Patches)+len(o.Images)+len(o.Components)+len(o.BuildMetadata) > 0
}

// setImage overrides those fields of the image that are set. Tag and digest are one: a digest kept
// beside a new tag would win over it when the image is pulled.
func setImage(k *types.Kustomization, image kustomize.Image) {
	i := slices.IndexFunc(k.Images, func(have types.Image) bool { return have.Name == image.Name })
	if i < 0 {
		k.Images = append(k.Images, types.Image{Name: image.Name})
		i = len(k.Images) - 1
	}
	have := &k.Images[i]
	if image.NewName != "" {
		have.NewName = image.NewName
	}
	if image.NewTag != "" || image.Digest != "" {
		have.NewTag, have.Digest = image.NewTag, image.Digest
	}
}

func selector(s *kustomize.Selector) *types.Selector {
	if s == nil {
		return nil
	}
	return &types.Selector{
		ResId: resid.ResId{
			Gvk:       resid.Gvk{Group: s.Group, Version: s.Version, Kind: s.Kind},
			Name:      s.Name,
			Namespace: s.Namespace,
		},
		LabelSelector:      s.LabelSelector,
		AnnotationSelector: s.AnnotationSelector,
	}
}
