package migrate

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// remains says why the kinds of Flux that Skerry has no counterpart of stay, and what goes on with them.
func remains(group, kind string) string {
	switch {
	case group == helmGroup, group == sourceGroup && strings.HasPrefix(kind, "Helm"):
		return "Skerry has no Helm: it applies this object as any other and waits until it is ready, so leave Flux's helm-controller and source-controller to install the chart; or put what 'helm template' renders into the repository"
	case group == sourceGroup:
		return "a source of Skerry is a Git repository: keep what is rendered in one and name its GitRepository; until then leave Flux's source-controller and kustomize-controller to what uses this"
	case group == imageGroup:
		return "Skerry writes nothing to Git: leave Flux's image-reflector-controller, image-automation-controller and source-controller to it, whose commits are seen as any other"
	case group == notificationGroup:
		return "Skerry sends no notifications: config/monitoring has alerts on its metrics, and 'skerry events' what happened; about what moved this object has nothing to tell any more"
	case group == operatorGroup:
		return "it installs Flux: take it out when nothing of Flux is left to do"
	}
	return "Skerry has no such kind: leave it to the controller of Flux that it is for"
}

// decide settles which objects move. What refers to an object that stays, stays as well.
func (m *migration) decide() {
	for _, d := range m.documents {
		_, sops := child(d.node, "sops")
		switch {
		case !ours(d.group, d.kind):
			d.cannot(nil, "", "%s", remains(d.group, d.kind))
		case sops != nil:
			d.cannot(nil, "", "it is encrypted with SOPS: decrypt it, migrate it, and encrypt it again")
		case path.Ext(d.file) == ".json":
			d.cannot(nil, "", "JSON is not rewritten: write it as YAML, or change it by hand")
		case d.kind == "Kustomization" && isSync(d.file):
			d.root = true
		default:
			m.rules(d)
		}
	}
	for changed := true; changed; {
		changed = false
		for _, d := range m.documents {
			if d.moves() && m.hinder(d) {
				changed = true
			}
		}
	}
	m.markTwice()
	for _, d := range m.documents { // only Flux's own Kustomization uses it
		d.root = d.root || d.kind == "GitRepository" && isSync(d.file) && d.moves() && !slices.ContainsFunc(m.users(d), func(u *document) bool { return !u.root })
	}
}

// isSync says whether a file is the one in which Flux names its own repository.
func isSync(file string) bool { return path.Base(file) == "gotk-sync.yaml" }

// rules finds out what becomes of one object, by itself.
func (m *migration) rules(d *document) {
	c := &conversion{document: d, text: m.texts[d.file], files: m.files, reach: m.reach}
	c.set("apiVersion", v1alpha1)
	switch d.kind {
	case "Kustomization":
		c.kustomization()
	case "GitRepository":
		c.gitRepository()
	case "Receiver":
		c.receiver()
	}
}

// reference is what one object says of another.
type reference struct {
	node                  *yaml.Node
	field                 string
	kind, namespace, name string
}

// references are those of an object to sources and Kustomizations.
func (d *document) references() []reference {
	var out []reference
	add := func(n *yaml.Node, field, kind string) {
		name := scalar(n, "name")
		if name == "" || name == "*" || kind == "" {
			return
		}
		namespace := scalar(n, "namespace")
		if namespace == "" {
			namespace = d.namespace
		}
		out = append(out, reference{n, field, kind, namespace, name})
	}
	one := func(field string, path ...string) {
		if _, n := child(d.node, path...); n != nil {
			add(n, field, scalar(n, "kind"))
		}
	}
	switch d.kind {
	case "HelmRelease":
		one("spec.chart.spec.sourceRef", "spec", "chart", "spec", "sourceRef")
	default:
		one("spec.sourceRef", "spec", "sourceRef")
	}
	if d.kind == "Kustomization" {
		for _, n := range items(d.node, "spec", "dependsOn") {
			add(n, "spec.dependsOn", "Kustomization")
		}
	}
	if d.kind == "Receiver" {
		for _, n := range items(d.node, "spec", "resources") {
			add(n, "spec.resources", scalar(n, "kind"))
		}
	}
	for _, n := range items(d.node, "spec", "sources") { // of an ArtifactGenerator
		add(n, "spec.sources", scalar(n, "kind"))
	}
	for _, n := range items(d.node, "spec", "include") {
		_, repository := child(n, "repository")
		add(repository, "spec.include", "GitRepository")
	}
	return out
}

// hinder reports whether something that stays keeps an object from moving, and notes it.
func (m *migration) hinder(d *document) bool {
	for _, other := range m.documents { // an object and its patches go together
		if other.patch != d.patch && len(other.stays) > 0 && other.is(d.kind, d.namespace, d.name) {
			d.cannot(nil, "", "%s:%d stays, which is %s", other.file, other.node.Line, map[bool]string{true: "a patch of it", false: "what it patches"}[other.patch])
			return true
		}
	}
	if d.patch {
		return false
	}
	for _, r := range d.references() {
		if target := m.find(r); target != nil && len(target.stays) > 0 && (d.kind != "Receiver" || r.kind == "GitRepository") {
			d.cannot(r.node, r.field, "%s stays, and this refers to it", target.title())
			return true
		}
	}
	if d.kind != "GitRepository" {
		by := m.applierThatStays(d)
		if by != nil {
			d.cannot(nil, "", "%s stays, applies this, and would bring Flux's object back beside Skerry's", by.title())
		}
		return by != nil
	}
	users := slices.DeleteFunc(m.users(d), func(u *document) bool { return u.root })
	if len(users) > 0 && !slices.ContainsFunc(users, (*document).moves) {
		d.cannot(nil, "", "%s stays, and nothing else uses it", users[0].title())
		return true
	}
	return false
}

// applierThatStays returns the Kustomization of Flux that goes on to apply an object, nil when none does.
func (m *migration) applierThatStays(d *document) *document {
	if by := m.appliers[d]; by != nil && len(by.stays) > 0 {
		return by
	}
	return nil
}

// find returns the object that a reference leads to; one that moves before one that stays.
func (m *migration) find(r reference) *document {
	var found *document
	for _, d := range m.documents {
		if !d.patch && d.is(r.kind, r.namespace, r.name) && (found == nil || !found.moves()) {
			found = d
		}
	}
	return found
}

// users are the objects that need a GitRepository. A Receiver only asks that it be fetched.
func (m *migration) users(of *document) []*document {
	var out []*document
	for _, d := range m.documents {
		if d == of || d.kind == "Receiver" || d.patch {
			continue
		}
		if slices.ContainsFunc(d.references(), func(r reference) bool { return of.is(r.kind, r.namespace, r.name) }) {
			out = append(out, d)
		}
	}
	return out
}

// markTwice keeps Flux's GitRepository beside ours where something that stays uses it, or would bring it back.
func (m *migration) markTwice() {
	for _, d := range m.documents {
		if d.kind != "GitRepository" || !d.moves() || d.patch {
			continue
		}
		if by := m.applierThatStays(d); by != nil {
			d.twice = true
			d.changes = append(d.changes, d.noteAt(nil, Changed, "", fmt.Sprintf("%s stays and applies it: Flux's GitRepository is kept beside the new one", by.title())))
			continue
		}
		for _, user := range m.users(d) {
			if user.moves() || user.root {
				continue
			}
			d.twice = true
			d.changes = append(d.changes, d.noteAt(nil, Changed, "", fmt.Sprintf("%s stays and uses it: Flux's GitRepository is kept beside the new one", user.title())))
			break
		}
	}
}

// convert makes the edits of what moves, and notes what stays.
func (m *migration) convert() {
	clusters := map[clusterKey]bool{}
	for _, d := range m.documents {
		switch {
		case d.root:
			m.removeRoot(d)
		case len(d.stays) > 0:
			m.notes = append(m.notes, d.stays...)
		default:
			m.move(d, clusters)
		}
	}
	m.movesNamespace()
}

// move makes the edits of one object that moves.
func (m *migration) move(d *document, clusters map[clusterKey]bool) {
	moved := d.noteAt(nil, Moved, "", "")
	if d.patch {
		moved.Text = "a patch"
	}
	m.note(moved)
	m.notes = append(m.notes, d.changes...)
	m.edits[d.file] = append(m.edits[d.file], d.edits...)
	t := m.texts[d.file]
	end := t.start(t.blockEnd(d.node.Content[len(d.node.Content)-2].Line, 1, true))
	var behind strings.Builder
	if d.twice {
		behind.WriteString("---\n" + string(t.data[t.offset(d.node):end]))
	}
	for i, doc := range d.added {
		if !clusters[d.clusters[i]] {
			clusters[d.clusters[i]] = true
			behind.WriteString("---\n" + doc)
		}
	}
	if behind.Len() > 0 {
		more := behind.String()
		if end > 0 && t.data[end-1] != '\n' {
			more = "\n" + more
		}
		m.edits[d.file] = append(m.edits[d.file], edit{end, end, more})
	}
}
