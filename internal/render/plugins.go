package render

import (
	"encoding/json"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/types"
)

// pluginKinds are the generators and transformers that are part of kustomize and only compute.
// HelmChartInflationGenerator is part of it too, and runs helm.
var pluginKinds = map[string]bool{
	"AnnotationsTransformer":         true,
	"ConfigMapGenerator":             true,
	"HashTransformer":                true,
	"IAMPolicyGenerator":             true,
	"ImageTagTransformer":            true,
	"LabelTransformer":               true,
	"NamespaceTransformer":           true,
	"PatchJson6902Transformer":       true,
	"PatchStrategicMergeTransformer": true,
	"PatchTransformer":               true,
	"PrefixSuffixTransformer":        true,
	"PrefixTransformer":              true,
	"ReplacementTransformer":         true,
	"ReplicaCountTransformer":        true,
	"SecretGenerator":                true,
	"SuffixTransformer":              true,
	"ValueAddTransformer":            true,
}

// plugin is what can refer to something in the configuration of any of pluginKinds.
type plugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`

	Path           string                   `json:"path"`
	Paths          []string                 `json:"paths"`
	TargetFilePath string                   `json:"targetFilePath"`
	Patch          string                   `json:"patch"`
	Patches        json.RawMessage          `json:"patches"`
	JSONOp         string                   `json:"jsonOp"`
	Replacements   []types.ReplacementField `json:"replacements"`
	types.KvPairSources
}

// plugins takes what generators, transformers and validators name: files, or YAML in place. A
// directory is refused: what a build of it makes cannot be checked before it is made.
func (s *summer) plugins(field string, entries []string) {
	for i, entry := range entries {
		if s.err != nil {
			return
		}
		text := []byte(entry)
		if isInline(entry) {
			s.fileOrInline(field, i, entry)
		} else {
			text = s.pluginFile(field, i, entry)
		}
		if s.err != nil {
			return
		}
		err := eachDocument(text, func(doc *yaml.Node, _ int) *Error { return s.plugin(field, i, doc) })
		s.add(weight{}, err, field, i, "")
	}
}

func (s *summer) pluginFile(field string, i int, ref string) []byte {
	p, ok := s.path(field, i, "", ref)
	if !ok {
		return nil
	}
	if s.w.tree.IsDir(p) {
		s.add(weight{}, errorf(PluginRefused, "%q is a directory; name the files", p), field, i, "")
		return nil
	}
	s.file(field, i, "", ref)
	return s.w.closure.files[rooted(p)]
}

// plugin checks the configuration of one generator or transformer.
func (s *summer) plugin(field string, i int, doc *yaml.Node) *Error {
	config, err := decodePlugin(doc)
	if err != nil || config == nil {
		return err
	}
	for annotation := range config.Metadata.Annotations {
		if strings.HasPrefix(annotation, "config.kubernetes.io/function") {
			return errorf(PluginRefused, "%s runs a container or a program", config.Kind)
		}
	}
	if config.APIVersion != "builtin" || !pluginKinds[config.Kind] {
		return errorf(PluginRefused, "%s of %q would run a program; only kustomize's own that compute are allowed",
			oneLine(config.Kind), oneLine(config.APIVersion))
	}
	s.file(field, i, "path", config.Path)
	for _, p := range config.Paths {
		s.fileOrInline(field, i, p)
	}
	s.file(field, i, "targetFilePath", config.TargetFilePath)
	s.inline(field, i, "patch", config.Patch)
	s.inline(field, i, "jsonOp", config.JSONOp)
	var patches string
	if json.Unmarshal(config.Patches, &patches) == nil {
		s.inline(field, i, "patches", patches)
	}
	for _, r := range config.Replacements {
		s.file(field, i, "replacements", r.Path)
	}
	s.data(field, i, config.KvPairSources)
	if config.EnvSource != "" {
		s.raw(field, i, "env", config.EnvSource, generated{key: path.Base(config.EnvSource), env: true})
	}
	return nil
}

// decodePlugin reads a configuration exactly as kustomize will, by refusing whatever two readers
// could see differently: aliases, merges, and keys that differ in case alone.
func decodePlugin(doc *yaml.Node) (*plugin, *Error) {
	root := resolveNode(doc)
	if root == nil || root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, errorf(PluginRefused, "is no configuration of a generator or transformer")
	}
	seen := map[string]bool{}
	for i := 0; i < len(root.Content); i += 2 {
		key := strings.ToLower(root.Content[i].Value)
		if seen[key] || root.Content[i].Kind != yaml.ScalarNode || key == "<<" {
			return nil, errorf(PluginRefused, "key %q is merged, or set twice", oneLine(key))
		}
		seen[key] = true
	}
	if hasAlias(root) {
		return nil, errorf(PluginRefused, "a generator or transformer must not use YAML aliases")
	}
	value, err := toValue(root)
	if err != nil {
		return nil, err
	}
	data, jsonErr := json.Marshal(value)
	if jsonErr != nil {
		return nil, errorf(PluginRefused, "cannot be encoded")
	}
	config := &plugin{}
	if err := json.Unmarshal(data, config); err != nil {
		return nil, errorf(PluginRefused, "cannot be read: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return config, nil
}

func hasAlias(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || n.Anchor != "" || slices.ContainsFunc(n.Content, hasAlias)
}

// fieldLine returns the line of a field of a kustomization file, or of the nearest that is there.
func fieldLine(data []byte, field string, i int, sub string) int {
	line := 0
	_ = eachDocument(data, func(doc *yaml.Node, before int) *Error {
		if line > 0 {
			return nil
		}
		n := resolveNode(lookup(resolveNode(doc), field))
		if n == nil {
			return nil
		}
		line = before + n.Line
		if i < 0 || n.Kind != yaml.SequenceNode || i >= len(n.Content) {
			return nil
		}
		line = before + n.Content[i].Line
		if at := lookup(resolveNode(n.Content[i]), sub); at != nil {
			line = before + at.Line
		}
		return nil
	})
	return line
}
