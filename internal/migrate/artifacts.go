package migrate

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// artifact is the folder of a GitRepository that an ArtifactGenerator makes an ExternalArtifact of.
type artifact struct {
	// namespace and source are those of the GitRepository.
	namespace, source string
	// dir is the folder of the repository that is the root of the artifact; "." for the whole.
	dir string
}

// artifactOf looks for the artifact that a Kustomization names. A repository may have one of that name for each cluster:
// the one that lies nearest to the Kustomization is meant, and where several do they must be the same. The error says
// why it is no folder of a Git repository.
func (m *migration) artifactOf(of *document, namespace, name string) (artifact, error) {
	found, err := artifact{}, errors.New("what makes it is in no file")
	nearest := -1
	for _, d := range m.documents {
		if d.group != watcherGroup || d.kind != "ArtifactGenerator" || d.patch || d.namespace != namespace && d.namespace != "" && namespace != "" {
			continue
		}
		for _, n := range items(d.node, "spec", "artifacts") {
			near := shared(of.file, d.file)
			if scalar(n, "name") != name || near < nearest {
				continue
			}
			a, why := folderOf(d, n)
			if near == nearest && err == nil && (why != nil || a != found) {
				err = errors.New("several make it, each of other folders")
				continue
			}
			if near > nearest {
				found, err, nearest = a, why, near
			}
		}
	}
	return found, err
}

// shared is how many folders two files have in common, from the root.
func shared(a, b string) int {
	n := 0
	inA, inB := strings.Split(path.Dir(a), "/"), strings.Split(path.Dir(b), "/")
	for n < len(inA) && n < len(inB) && inA[n] == inB[n] {
		n++
	}
	return n
}

// folderOf returns the folder that an artifact is. It is one when everything that is copied into it lies there as in the
// repository: of the copies from apps/base to base and from apps/prod to prod the folder is apps.
func folderOf(d *document, n *yaml.Node) (artifact, error) {
	a := artifact{namespace: d.namespace, dir: "."}
	alias := ""
	copies := items(n, "copy")
	for i, c := range copies {
		of, from, ok := copiedFolder(scalar(c, "from"))
		to, inside := strings.CutPrefix(scalar(c, "to"), "@artifact/")
		strategy := scalar(c, "strategy")
		to = path.Clean("./" + to)
		dir, fits := above(from, to)
		if !ok || !inside || !fits || field(c, "exclude") != nil || strategy != "" && strategy != "Overwrite" || i > 0 && (of != alias || dir != a.dir) {
			return a, fmt.Errorf("%s puts it together: it is no folder of one repository", d.title())
		}
		alias, a.dir = of, dir
	}
	for _, s := range items(d.node, "spec", "sources") {
		if scalar(s, "alias") != alias || len(copies) == 0 {
			continue
		}
		if kind := scalar(s, "kind"); kind != "GitRepository" {
			return a, fmt.Errorf("%s makes it of an %s", d.title(), kind)
		}
		a.source = scalar(s, "name")
		if namespace := scalar(s, "namespace"); namespace != "" {
			a.namespace = namespace
		}
		return a, nil
	}
	return a, fmt.Errorf("%s makes it of no source", d.title())
}

// copiedFolder reads "@alias/folder/**" and "@alias/folder/", which copy a folder as it is.
func copiedFolder(from string) (alias, dir string, ok bool) {
	alias, dir, ok = strings.Cut(strings.TrimPrefix(from, "@"), "/")
	if rest, all := strings.CutSuffix("/"+dir, "/**"); all {
		dir = rest
	} else if !strings.HasSuffix("/"+dir, "/") {
		return "", "", false
	}
	dir = path.Clean("./" + path.Clean("/"+dir))
	return alias, dir, ok && strings.HasPrefix(from, "@") && !strings.ContainsAny(dir, "*?[{")
}

// above returns the folder in which to is what from is in the repository.
func above(from, to string) (string, bool) {
	switch {
	case to == ".":
		return from, true
	case from == to:
		return ".", true
	}
	return strings.CutSuffix(from, "/"+to)
}

// externalArtifact lets a Kustomization name the GitRepository of an artifact, and the folder there.
func (c *conversion) externalArtifact() {
	name, kind := c.field("spec.sourceRef.name"), c.field("spec.sourceRef.kind")
	namespace := scalar(c.node, "spec", "sourceRef", "namespace")
	if namespace == "" {
		namespace = c.namespace
	}
	a, err := c.artifactOf(c.document, namespace, scalar(c.node, "spec", "sourceRef", "name"))
	if err != nil || name == nil {
		c.cannot(kind, "spec.sourceRef.kind", "ExternalArtifact is no source of Skerry, and %v: keep what is rendered in a Git repository and name its GitRepository", err)
		return
	}
	c.artifactDir = path.Join(a.dir, folder(scalar(c.node, "spec", "path")))
	where := "./" + c.artifactDir
	c.change(kind, "spec.sourceRef", "the artifact is a folder of GitRepository %s, which is named, with the folder in spec.path: %s; a commit elsewhere in the repository renders it again, and changes nothing", a.source, where)
	c.setNode(kind, "spec.sourceRef.kind", "GitRepository")
	c.setNode(name, "spec.sourceRef.name", a.source)
	sourceRef := c.field("spec.sourceRef")
	if at := field(sourceRef, "namespace"); at != nil {
		c.setNode(at, "spec.sourceRef.namespace", a.namespace)
	} else if a.namespace != c.namespace && a.namespace != "" {
		e, err := c.text.add(sourceRef, "namespace", a.namespace)
		c.do(sourceRef, "spec.sourceRef.namespace", e, err)
	}
	c.source = &reference{sourceRef, "spec.sourceRef", "GitRepository", a.namespace, a.source}
	if n := c.field("spec.path"); n != nil {
		c.setNode(n, "spec.path", where)
	} else {
		c.add("path", where)
	}
}
