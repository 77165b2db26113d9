package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// document is one object of Flux in a file.
type document struct {
	file            string
	node            *yaml.Node // its mapping
	group, version  string
	kind            string
	namespace, name string
	// patch means that it is a patch of a kustomization, or has only some of the fields.
	patch bool
	// stays is why it cannot move.
	stays []Note
	// twice means that Flux's object has users that stay, so that it stays beside ours.
	twice bool
	// root means that it is Flux's own, which 'skerry bootstrap' replaces.
	root bool
	// operator means that the Flux Operator keeps it on a cluster.
	operator bool
	// hub means that it moves into the hub's namespace.
	hub bool
	// edits and changes are what becomes of it when it moves, and added what is put behind it.
	edits   []edit
	changes []Note
	added   []string
	// dropped are references that are taken out when it moves.
	dropped []*yaml.Node
	// source is the GitRepository that it names when it moves, where that is another than it names now.
	source *reference
	// artifactDir is the folder that a Kustomization of an ExternalArtifact renders; "" for others.
	artifactDir string
	// clusters are the Clusters that it is for, by the Secrets of their kubeconfigs.
	clusters []clusterKey
}

func (d *document) moves() bool { return ours(d.group, d.kind) && len(d.stays) == 0 && !d.root }

// dir is the folder of the repository that a Kustomization renders.
func (d *document) dir() string {
	if d.artifactDir != "" {
		return d.artifactDir
	}
	return folder(scalar(d.node, "spec", "path"))
}

// title is "Kustomization flux-system/apps".
func (d *document) title() string {
	if d.namespace == "" {
		return d.kind + " " + d.name
	}
	return d.kind + " " + d.namespace + "/" + d.name
}

// is reports whether a reference from a namespace leads to the document. A manifest without a namespace gets that of
// the Kustomization or kustomization that brings it, so it may be meant.
func (d *document) is(kind, namespace, name string) bool {
	return d.kind == kind && d.name == name && (d.namespace == namespace || d.namespace == "" || namespace == "")
}

func (d *document) noteAt(n *yaml.Node, v Outcome, field, text string) Note {
	if n == nil {
		n = d.node
	}
	note := Note{File: d.file, Line: n.Line, Outcome: v, Object: d.title(), Field: field, Text: text}
	if d.file == "" {
		note.Line = 0
	}
	return note
}

func (d *document) cannot(n *yaml.Node, field, format string, args ...any) {
	d.stays = append(d.stays, d.noteAt(n, Stays, field, fmt.Sprintf(format, args...)))
}

// ours reports whether a kind of Flux is one of Skerry.
func ours(group, kind string) bool {
	switch group {
	case kustomizeGroup:
		return kind == "Kustomization"
	case sourceGroup:
		return kind == "GitRepository"
	case notificationGroup:
		return kind == "Receiver"
	}
	return false
}

// isFlux reports whether a group is one of Flux, its extensions and its operator.
func isFlux(group string) bool {
	return strings.HasSuffix(group, ".fluxcd.io") || group == operatorGroup
}

// isYAML reports whether a file is read.
func isYAML(name string) bool { return path.Ext(name) == ".yaml" || path.Ext(name) == ".yml" }

// read finds the documents of Flux in the files.
func (m *migration) read() {
	patches := m.patchFiles()
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		data := m.files[name]
		if !bytes.Contains(data, []byte("fluxcd.")) || !isYAML(name) && path.Ext(name) != ".json" {
			continue
		}
		if isComponents(name, data) {
			continue
		}
		nodes, err := decode(data)
		if err != nil {
			m.note(Note{File: name, Line: 1, Outcome: Stays, Text: "cannot be read as YAML, and names a kind of Flux: look at it by hand"})
			continue
		}
		m.texts[name] = newText(data)
		for _, n := range nodes {
			d := newDocument(name, n)
			switch {
			case d == nil:
			case hasTwin(d, nodes):
				m.note(d.noteAt(nil, Stays, "", "Skerry's is beside it, from an earlier run"))
			default:
				d.patch = patches[name] || d.isPartial()
				m.documents = append(m.documents, d)
			}
		}
	}
}

// hasTwin reports whether a file has Skerry's GitRepository beside that of Flux, which was kept for what stays.
func hasTwin(d *document, nodes []*yaml.Node) bool {
	return d.kind == "GitRepository" && slices.ContainsFunc(nodes, func(n *yaml.Node) bool {
		return scalar(n, "apiVersion") == v1alpha1 && scalar(n, "kind") == d.kind && scalar(n, "metadata", "name") == d.name && scalar(n, "metadata", "namespace") == d.namespace
	})
}

// decode reads the documents of a file. Aliases stay what they are, so nothing is expanded.
func decode(data []byte) (nodes []*yaml.Node, err error) {
	defer func() { // the parser is another's
		if r := recover(); r != nil {
			err = errors.New("the parser failed")
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		n := &yaml.Node{}
		if err := dec.Decode(n); err != nil {
			if errors.Is(err, io.EOF) {
				return nodes, nil
			}
			return nil, err
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 && n.Content[0].Kind == yaml.MappingNode {
			nodes = append(nodes, n.Content[0])
		}
	}
}

// newDocument returns nil for what is not Flux's.
func newDocument(file string, n *yaml.Node) *document {
	group, version, ok := strings.Cut(scalar(n, "apiVersion"), "/")
	if !ok || !isFlux(group) {
		return nil
	}
	d := &document{
		file: file, node: n, group: group, version: version, kind: scalar(n, "kind"),
		namespace: scalar(n, "metadata", "namespace"), name: scalar(n, "metadata", "name"),
	}
	if d.kind == "" || d.name == "" && !ours(group, d.kind) {
		return nil // a file of a tool, and no object
	}
	return d
}

// isPartial reports whether a field is missing without which no API server takes the object.
func (d *document) isPartial() bool {
	switch d.kind {
	case "Kustomization":
		return scalar(d.node, "spec", "interval") == "" || scalar(d.node, "spec", "sourceRef", "name") == ""
	case "GitRepository":
		return scalar(d.node, "spec", "url") == ""
	case "Receiver":
		return scalar(d.node, "spec", "type") == ""
	}
	return false
}

// isComponents reports whether a file holds Flux itself, as 'flux install --export' writes it.
func isComponents(name string, data []byte) bool {
	return path.Base(name) == "gotk-components.yaml" ||
		bytes.Contains(data, []byte("kind: CustomResourceDefinition")) && bytes.Contains(data, []byte("name: kustomizations."+kustomizeGroup))
}

// isKustomization reports whether a file is one of kustomize's own.
func isKustomization(name string) bool {
	return slices.Contains(kustomizationNames, path.Base(name))
}

// patchFiles are the files that kustomizations name as patches.
func (m *migration) patchFiles() map[string]bool {
	found := map[string]bool{}
	for name, data := range m.files {
		if !isKustomization(name) {
			continue
		}
		nodes, err := decode(data)
		if err != nil || len(nodes) == 0 {
			continue
		}
		for _, item := range items(nodes[0], "patches") {
			if p := scalar(item, "path"); p != "" {
				found[path.Join(path.Dir(name), p)] = true
			}
		}
		for _, item := range items(nodes[0], "patchesStrategicMerge") {
			if item.Kind == yaml.ScalarNode && !strings.Contains(item.Value, "\n") {
				found[path.Join(path.Dir(name), item.Value)] = true
			}
		}
	}
	return found
}
