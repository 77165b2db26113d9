package migrate

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// remains returns why the kinds of Flux that Skerry has no counterpart of stay, and what goes on with them. The reason is
// said of each object, the advice once.
func remains(group, kind string) (why, advice string) {
	switch {
	case group == helmGroup, group == sourceGroup && strings.HasPrefix(kind, "Helm"):
		return "Skerry has no Helm", "Helm: Skerry applies HelmReleases and their sources as any other object and waits until they are ready, so leave Flux's helm-controller and source-controller to install the charts; or put what 'helm template' renders into the repository"
	case group == sourceGroup:
		return "a source of Skerry is a Git repository", "OCIRepository and Bucket: keep what is rendered in a Git repository and name its GitRepository; until then leave Flux's source-controller to them, and its kustomize-controller or helm-controller to what uses them"
	case group == watcherGroup:
		return "Skerry makes no artifacts of sources", "ArtifactGenerator and ExternalArtifact: a Kustomization of Skerry names the GitRepository, and the folder in spec.path; leave Flux's source-watcher to them while something uses the artifacts"
	case group == imageGroup:
		return "Skerry writes nothing to Git", "image automation: leave Flux's image-reflector-controller, image-automation-controller and source-controller to it, whose commits are seen as any other"
	case group == notificationGroup:
		return "Skerry sends no notifications", "notifications: config/monitoring has alerts on Skerry's metrics, and 'skerry events' what happened; about what moved, Alerts and Providers have nothing to tell any more"
	case group == operatorGroup && strings.HasPrefix(kind, "ResourceSet"):
		return "Skerry makes no objects from templates", "ResourceSet: the Flux Operator goes on to make objects of its template, and what is of Flux's kinds stays with Flux; to move it, put it into the repository: one Kustomization serves many clusters, each with variables of its own"
	case group == operatorGroup:
		return "it installs Flux", "FluxInstance: take it out when nothing of Flux is left to do, and the Flux Operator with it"
	}
	return "Skerry has no such kind", "other kinds: Skerry applies them as any other object, and they stay with the controllers that they are for"
}

// successor returns what takes the place of the Kustomization by which the Flux Operator keeps a cluster, "" where an object
// asks for none.
func successor(d *document) string {
	at := []string{"spec", "sync"}
	if d.kind == "HelmRelease" { // the chart that makes a FluxInstance
		at = []string{"spec", "values", "instance", "sync"}
	} else if d.kind != "FluxInstance" {
		return ""
	}
	_, sync := child(d.node, at...)
	where := scalar(sync, "path")
	switch kind := scalar(sync, "kind"); {
	case sync == nil:
		return ""
	case kind != "GitRepository":
		return "; what its sync has in an " + kind + " stays with Flux: keep it in a Git repository"
	default:
		return "; 'skerry bootstrap git --path " + folder(where) + "' brings the successor of its sync"
	}
}

// decide settles which objects move. What refers to an object that stays, stays as well.
func (m *migration) decide() {
	for _, d := range m.documents {
		_, sops := child(d.node, "sops")
		switch {
		case !ours(d.group, d.kind):
			why, _ := remains(d.group, d.kind)
			d.cannot(nil, "", "%s%s", why, successor(d))
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

// isSync reports whether a file is the one in which Flux names its own repository.
func isSync(file string) bool { return path.Base(file) == "gotk-sync.yaml" }

// rules finds out what becomes of one object, by itself.
func (m *migration) rules(d *document) {
	c := &conversion{document: d, text: m.texts[d.file], files: m.files, reach: m.reach, appliers: m.appliers[d], artifactOf: m.artifactOf, installsFlux: m.installsFlux}
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
		if d.source != nil {
			out = append(out, *d.source)
			return
		}
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
			if !slices.Contains(d.dropped, n) {
				add(n, "spec.dependsOn", "Kustomization")
			}
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
			otherwise := ""
			if r.field == "spec.dependsOn" {
				otherwise = "; take the reference out if this need not come after it"
			}
			d.cannot(r.node, r.field, "%s stays, and this refers to it%s", target.title(), otherwise)
			return true
		}
	}
	if d.kind != "GitRepository" {
		by := m.applierThatStays(d)
		if by != nil && m.repository {
			d.cannot(nil, "", "%s stays and brings this: when Flux's object left Git, Flux would delete it, with all that it applied", by.title())
		} else if by != nil {
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
	for _, by := range m.appliers[d] {
		if len(by.stays) > 0 {
			return by
		}
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
	m.sourcesElsewhere()
	m.movesNamespace()
}

// sourcesElsewhere names, once each, the GitRepositories that what moved refers to and that no file makes: Flux has them
// from 'flux create source', from its operator or from a cloud.
func (m *migration) sourcesElsewhere() {
	named := map[string]bool{}
	for _, d := range m.documents {
		if d.kind != "Kustomization" || !d.moves() || d.patch {
			continue
		}
		for _, r := range d.references() {
			title := r.namespace + "/" + r.name
			if r.field != "spec.sourceRef" || r.kind != "GitRepository" || named[title] || m.find(r) != nil || m.hasOurs(r) {
				continue
			}
			named[title] = true
			m.note(d.noteAt(r.node, Changed, r.field, "GitRepository "+strings.TrimPrefix(title, "/")+" is in no file: 'skerry migrate cluster' makes Skerry's of the one on the cluster; for other clusters put one into the repository"))
		}
	}
}

// hasOurs reports whether a file has Skerry's object that a reference leads to.
func (m *migration) hasOurs(r reference) bool {
	for name := range m.texts {
		nodes, _ := decode(m.files[name]) // it was read before
		if slices.ContainsFunc(nodes, func(n *yaml.Node) bool {
			return scalar(n, "apiVersion") == v1alpha1 && scalar(n, "kind") == r.kind && scalar(n, "metadata", "name") == r.name
		}) {
			return true
		}
	}
	return false
}

// installsFlux reports whether a reference leads to the Kustomization by which Flux installs itself, from the registry that
// it is released to.
func (m *migration) installsFlux(r reference) bool {
	d := m.find(r)
	if d == nil {
		return false
	}
	for _, of := range d.references() {
		if source := m.find(of); of.kind == "OCIRepository" && source != nil && path.Base(scalar(source.node, "spec", "url")) == "flux-manifests" {
			return true
		}
	}
	return false
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
