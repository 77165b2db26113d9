package migrate

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// movesNamespace lets Kustomizations that bring Skerry's kinds of other namespaces lie in the hub's namespace:
// from another one the hub refuses them on its own cluster (NotPermitted), since a user who may write a Kustomization
// in one namespace is not to have a say in another.
func (m *migration) movesNamespace() {
	for _, d := range m.documents {
		if d.kind != "Kustomization" || !d.moves() || d.patch || d.namespace == hubNamespace || len(d.clusters) > 0 {
			continue
		}
		brought := m.bringsElsewhere(d)
		if brought == nil {
			continue
		}
		d.hub = true
		_, namespace := child(d.node, "metadata", "namespace")
		text := fmt.Sprintf("it brings %s, which only a Kustomization in %s may do on the hub's own cluster", brought.title(), hubNamespace)
		if namespace == nil {
			m.note(d.noteAt(nil, Changed, "metadata.namespace", text+": let it lie there"))
			continue
		}
		m.note(d.noteAt(namespace, Changed, "metadata.namespace", text+": that is written"+secretsOf(d)))
		m.setAt(d, namespace, hubNamespace)
		for _, r := range d.references() {
			if field(r.node, "namespace") == nil && r.namespace == d.namespace {
				m.addAt(d, r.node, "namespace", d.namespace)
			}
		}
	}
	for _, d := range m.documents {
		if d.kind == "Kustomization" && d.moves() {
			m.followMoved(d)
		}
	}
}

// followMoved adapts the references of a Kustomization to those that lie in another namespace now.
func (m *migration) followMoved(d *document) {
	for _, r := range d.references() {
		target := m.find(r)
		if r.kind != "Kustomization" || target == nil || !target.hub {
			continue
		}
		if n := field(r.node, "namespace"); n != nil {
			m.setAt(d, n, hubNamespace)
		} else if !d.hub {
			m.addAt(d, r.node, "namespace", hubNamespace)
		}
	}
}

// bringsElsewhere returns an object of another namespace that a Kustomization brings and that moves.
func (m *migration) bringsElsewhere(of *document) *document {
	files := m.reach(of.dir())
	var namespaces []string
	for _, name := range files {
		if !isKustomization(name) {
			continue
		}
		if nodes, err := decode(m.files[name]); err == nil && len(nodes) > 0 {
			if namespace := scalar(nodes[0], "namespace"); namespace != "" {
				namespaces = append(namespaces, namespace)
			}
		}
	}
	for _, d := range m.documents {
		if d == of || d.patch || !d.moves() || !slices.Contains(files, d.file) {
			continue
		}
		if d.namespace != "" && d.namespace != of.namespace {
			return d
		}
		if d.namespace == "" && slices.ContainsFunc(namespaces, func(n string) bool { return n != of.namespace }) {
			return d
		}
	}
	return nil
}

// secretsOf names what a Kustomization reads of its own namespace.
func secretsOf(d *document) string {
	var names []string
	if name := scalar(d.node, "spec", "decryption", "secretRef", "name"); name != "" {
		names = append(names, "Secret "+name)
	}
	for _, n := range items(d.node, "spec", "postBuild", "substituteFrom") {
		names = append(names, scalar(n, "kind")+" "+scalar(n, "name"))
	}
	if len(names) == 0 {
		return ""
	}
	return "; copy what it reads there: " + strings.Join(names, ", ")
}

func (m *migration) setAt(d *document, n *yaml.Node, value string) {
	if e, err := m.texts[d.file].set(n, value); err == nil {
		m.edits[d.file] = append(m.edits[d.file], e)
	}
}

func (m *migration) addAt(d *document, to *yaml.Node, key, value string) {
	if e, err := m.texts[d.file].add(to, key, value); err == nil {
		m.edits[d.file] = append(m.edits[d.file], e)
	}
}
