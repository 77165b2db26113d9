package migrate

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// kustomizationNames are the names of the files of kustomize, in the order in which it looks for them.
var kustomizationNames = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// kustomizationOf returns the file of kustomize in a folder, "" when there is none.
func (m *migration) kustomizationOf(dir string) string {
	for _, name := range kustomizationNames {
		if _, ok := m.files[path.Join(dir, name)]; ok {
			return path.Join(dir, name)
		}
	}
	return ""
}

// reach returns the files that a folder renders, sorted: those that its kustomization leads to, or without one all
// YAML below it, as Flux has it. What is fetched from elsewhere is not among them.
func (m *migration) reach(dir string) []string {
	found := map[string]bool{}
	m.follow(dir, found)
	return slices.Sorted(maps.Keys(found))
}

func (m *migration) follow(dir string, found map[string]bool) {
	file := m.kustomizationOf(dir)
	if file == "" {
		for name := range m.files {
			if isYAML(name) && (dir == "." || strings.HasPrefix(name, dir+"/")) {
				found[name] = true
			}
		}
		return
	}
	if found[file] {
		return
	}
	found[file] = true
	nodes, err := decode(m.files[file])
	if err != nil || len(nodes) == 0 {
		return
	}
	for _, field := range []string{"resources", "bases", "components"} {
		for _, n := range items(nodes[0], field) {
			name := path.Join(dir, n.Value)
			if _, ok := m.files[name]; ok {
				found[name] = true
			} else if name != ".." && !strings.HasPrefix(name, "../") && m.kustomizationOf(name) != "" {
				m.follow(name, found)
			}
		}
	}
}

// bringers finds out which Kustomizations bring other objects of Flux from the folder that they render.
func (m *migration) bringers() {
	m.appliers = map[*document][]*document{}
	for _, by := range m.documents {
		if !ours(by.group, by.kind) || by.kind != "Kustomization" || by.patch || !m.isOfThis(by) {
			continue
		}
		files := m.reach(by.dir())
		for _, d := range m.documents {
			if _, found := slices.BinarySearch(files, d.file); found && d != by {
				m.appliers[d] = append(m.appliers[d], by)
			}
		}
	}
}

// isOfThis reports whether a Kustomization renders a folder of this repository: its GitRepository is that of Flux itself,
// or in no file, or has the address of Flux's own. Where no address tells, as with what is pushed into a registry, a
// folder that is here counts.
func (m *migration) isOfThis(d *document) bool {
	var source *document
	for _, r := range d.references() {
		if r.field == "spec.sourceRef" {
			source = m.find(r)
		}
	}
	switch kind := scalar(d.node, "spec", "sourceRef", "kind"); {
	case kind == "ExternalArtifact":
		namespace := scalar(d.node, "spec", "sourceRef", "namespace")
		if namespace == "" {
			namespace = d.namespace
		}
		if a, err := m.artifactOf(d, namespace, scalar(d.node, "spec", "sourceRef", "name")); err == nil {
			d.artifactDir = path.Join(a.dir, d.dir())
		}
	case kind != "GitRepository":
	case source == nil || isSync(source.file):
		return true
	default:
		known := false
		for _, other := range m.documents {
			if other.kind == "GitRepository" && isSync(other.file) {
				if known = true; scalar(other.node, "spec", "url") == scalar(source.node, "spec", "url") {
					return true
				}
			}
		}
		if known {
			return false
		}
	}
	return d.dir() != "."
}

// removeRoot takes Flux's own Kustomization, or its GitRepository, out of its file.
func (m *migration) removeRoot(d *document) {
	why := "nothing but Flux's own Kustomization uses it"
	if d.kind == "Kustomization" {
		why = fmt.Sprintf("'skerry bootstrap git --path %s' brings its successor, the Kustomization skerry-system/skerry-system", folder(scalar(d.node, "spec", "path")))
	}
	m.note(d.noteAt(nil, Removed, "", why))
	t := m.texts[d.file]
	first := d.node.Line
	for n := first - 1; n >= 1; n-- {
		line := strings.TrimSpace(t.line(n))
		if line == "---" {
			first = n
			break
		}
		if line != "" && line[0] != '#' {
			break
		}
	}
	end := t.blockEnd(d.node.Content[len(d.node.Content)-2].Line, 1, true)
	m.edits[d.file] = append(m.edits[d.file], edit{t.start(first), t.start(end), ""})
}

// components decides on the files that hold Flux itself.
func (m *migration) components() {
	var left []string
	for _, d := range m.documents {
		if len(d.stays) > 0 && !slices.Contains(left, d.kind) {
			left = append(left, d.kind)
		}
	}
	slices.Sort(left)
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		data := m.files[name]
		if !isYAML(name) || !isComponents(name, data) {
			continue
		}
		namespace := installedIn(data)
		if len(left) == 0 {
			m.gone(name, "nothing of Flux is left to do; 'flux uninstall -n "+namespace+" --keep-namespace' takes its controllers off the cluster")
			continue
		}
		text := "Flux stays for " + strings.Join(left, ", ") + ": leave only the controllers that these need, with 'flux install -n " + namespace + " --components=… --export'"
		if !slices.Contains(left, "Kustomization") {
			text += "; without a Kustomization of Flux its kustomize-controller has nothing to do"
		}
		m.note(Note{File: name, Line: 1, Outcome: Changed, Text: text})
	}
	for _, name := range slices.Sorted(maps.Keys(m.edits)) {
		if nodes, err := decode(m.texts[name].apply(m.edits[name])); err == nil && len(nodes) == 0 {
			m.gone(name, "nothing is left in it")
		}
	}
}

// installedIn is the namespace of Flux's controllers in the file that installs them.
func installedIn(data []byte) string {
	nodes, _ := decode(data) // what cannot be read has the name that is usual
	for _, n := range nodes {
		if name := scalar(n, "metadata", "name"); scalar(n, "kind") == "Namespace" && name != "" {
			return name
		}
	}
	return FluxNamespace
}

func (m *migration) gone(name, why string) {
	m.changed[name] = nil
	m.note(Note{File: name, Line: 1, Outcome: Removed, Text: why})
}

// kustomizations brings the files of kustomize up to date: what is gone is not named any more, and patches of
// kinds that moved are for those of Skerry.
func (m *migration) kustomizations() {
	for again := true; again; {
		again = false
		for _, name := range slices.Sorted(maps.Keys(m.files)) {
			if _, gone := m.changed[name]; isKustomization(name) && !gone && m.unname(name) {
				again = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		if _, gone := m.changed[name]; isKustomization(name) && !gone {
			m.retarget(name)
		}
	}
}

// unname takes what is gone out of a kustomization. It returns true when nothing is left in it.
func (m *migration) unname(name string) bool {
	nodes, err := decode(m.files[name])
	if err != nil || len(nodes) != 1 {
		return false
	}
	_, list := child(nodes[0], "resources")
	var edits []edit
	t := newText(m.files[name])
	for _, n := range items(nodes[0], "resources") {
		target := path.Join(path.Dir(name), n.Value)
		_, gone := m.changed[target]
		if file := m.kustomizationOf(target); file != "" {
			_, gone = m.changed[file]
		}
		if !gone {
			continue
		}
		e, err := t.removeItem(list, n)
		if err != nil {
			m.note(Note{File: name, Line: n.Line, Outcome: Stays, Field: "resources", Text: n.Value + " is gone: " + err.Error()})
			return false
		}
		edits = append(edits, e)
	}
	if len(edits) == 0 {
		return false
	}
	if len(edits) == len(list.Content) {
		delete(m.edits, name)
		m.gone(name, "nothing is left in it")
		return true
	}
	edits = append(edits, m.unpatch(name, t, nodes[0])...)
	m.texts[name], m.edits[name] = t, edits
	return false
}

// unpatch takes out what patched Flux's controllers: kustomize refuses a patch without a target.
func (m *migration) unpatch(name string, t *text, root *yaml.Node) []edit {
	var edits []edit
	for _, field := range []string{"patches", "patchesStrategicMerge", "patchesJson6902", "images"} {
		key, list := child(root, field)
		if key == nil || hasFlux(list) {
			continue
		}
		if e, err := t.remove(root, key); err == nil {
			edits = append(edits, e)
			m.note(Note{File: name, Line: key.Line, Outcome: Removed, Field: field, Text: "it changed Flux's controllers; those of the hub are changed in skerry-system/kustomization.yaml"})
		}
	}
	return edits
}

// hasFlux reports whether a scalar somewhere in a node names a kind of Flux.
func hasFlux(n *yaml.Node) bool {
	if n.Kind == yaml.ScalarNode {
		return strings.Contains(n.Value, ".toolkit.fluxcd.io") || n.Value == "GitRepository"
	}
	return n.Kind != yaml.AliasNode && slices.ContainsFunc(n.Content, hasFlux)
}

// retarget lets the patches of a kustomization apply to the kinds of Skerry.
func (m *migration) retarget(name string) {
	if m.texts[name] == nil {
		m.texts[name] = newText(m.files[name])
	}
	nodes, err := decode(m.files[name])
	if err != nil || len(nodes) == 0 {
		return
	}
	for _, field := range []string{"patches", "patchesJson6902", "patchesStrategicMerge"} {
		for _, n := range items(nodes[0], field) {
			edits, err := retargetPatch(m.texts[name], n)
			switch {
			case err != nil:
				m.note(Note{File: name, Line: n.Line, Outcome: Stays, Field: field, Text: "it is for a kind that moved: " + err.Error()})
			case len(edits) > 0:
				m.edits[name] = append(m.edits[name], edits...)
				m.note(Note{File: name, Line: n.Line, Outcome: Changed, Field: field, Text: "it is for the kind of Skerry now" + m.unreached()})
			}
		}
	}
}

// unreached names an object that a patch does not reach any more, because it stays.
func (m *migration) unreached() string {
	for _, d := range m.documents {
		if ours(d.group, d.kind) && len(d.stays) > 0 {
			return fmt.Sprintf("; %s stays, and a patch that is for it needs a copy for Flux's kind", d.title())
		}
	}
	return ""
}

// patches lets the patches of a Kustomization apply to the kinds of Skerry.
func (c *conversion) patches(of *yaml.Node, field string, at ...string) {
	for _, n := range items(of, at...) {
		edits, err := retargetPatch(c.text, n)
		if err != nil {
			c.cannot(n, field, "it is for a kind that moves: %v", err)
			return
		}
		if len(edits) > 0 {
			c.edits = append(c.edits, edits...)
			c.change(n, field, "it is for the kind of Skerry now")
		}
	}
}

var fluxVersion = regexp.MustCompile(`(kustomize|source|notification)\.toolkit\.fluxcd\.io/v[0-9a-z]+`)

// retargetPatch returns the edits of one patch: of its target, and of the kind that its text names.
func retargetPatch(t *text, n *yaml.Node) ([]edit, error) {
	var edits []edit
	if group, version := field(n, "target", "group"), field(n, "target", "version"); group != nil && ours(group.Value, kindOf(n, group.Value)) {
		e, err := t.set(group, "skerry.dev")
		if err != nil {
			return nil, err
		}
		edits = append(edits, e)
		if version != nil {
			if e, err = t.set(version, "v1alpha1"); err != nil {
				return nil, err
			}
			edits = append(edits, e)
		}
	}
	body := n
	if n.Kind == yaml.MappingNode {
		body = field(n, "patch")
	}
	if body == nil || body.Kind != yaml.ScalarNode || !strings.Contains(body.Value, "fluxcd.io") {
		return edits, nil
	}
	docs, err := decode([]byte(body.Value))
	if err != nil || len(docs) == 0 {
		return edits, nil //nolint:nilerr // a list of JSON operations has no kind
	}
	for _, d := range docs {
		if group, _, _ := strings.Cut(scalar(d, "apiVersion"), "/"); !ours(group, scalar(d, "kind")) {
			return edits, nil
		}
	}
	from, to := t.offset(body), t.start(t.blockEnd(body.Line, max(1, indentOf(t.line(body.Line))+1), false))
	for _, at := range fluxVersion.FindAllIndex(t.data[from:to], -1) {
		edits = append(edits, edit{from + at[0], from + at[1], v1alpha1})
	}
	return edits, nil
}

// kindOf is the kind of a target; that of the group when it names none.
func kindOf(n *yaml.Node, group string) string {
	if kind := scalar(n, "target", "kind"); kind != "" {
		return kind
	}
	return map[string]string{kustomizeGroup: "Kustomization"}[group]
}

func field(n *yaml.Node, path ...string) *yaml.Node {
	_, v := child(n, path...)
	return v
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }
