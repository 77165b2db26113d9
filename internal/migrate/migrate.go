// Package migrate decides what becomes of the objects of Flux: which are kinds of Skerry under another name,
// what means something else there, and what has no counterpart and why.
//
// It takes the files of a repository, or objects of a cluster, and returns files, manifests and notes: it reads
// nothing by itself, and the same input gives the same output. An object moves as a whole or stays as it is, for
// one that moved without some of its fields would do something else under the same name. Files are edited as
// text: what does not change stays byte for byte.
package migrate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Groups of Flux's kinds.
const (
	kustomizeGroup    = "kustomize.toolkit.fluxcd.io"
	sourceGroup       = "source.toolkit.fluxcd.io"
	notificationGroup = "notification.toolkit.fluxcd.io"
	helmGroup         = "helm.toolkit.fluxcd.io"
	imageGroup        = "image.toolkit.fluxcd.io"
	watcherGroup      = "source.extensions.fluxcd.io"
	operatorGroup     = "fluxcd.controlplane.io"
)

// FluxNamespace is where Flux's controllers run unless another is chosen.
const FluxNamespace = "flux-system"

// Outcome is what became of an object that a note is on.
type Outcome string

// Outcomes.
const (
	// Moved is an object that is a kind of Skerry now.
	Moved Outcome = "moved"
	// Changed is a field that means something else in Skerry, or a reference that was adapted.
	Changed Outcome = "changed"
	// Stays is an object that cannot move, and stays as it is.
	Stays Outcome = "stays"
	// Removed is what has nothing to do any more.
	Removed Outcome = "removed"
)

// Note is what becomes of one object, field or file, and why.
type Note struct {
	// File and Line are where it stands; empty and 0 for an object of a cluster.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Outcome of the object.
	Outcome Outcome `json:"verdict"`
	// Object is "Kustomization flux-system/apps"; empty for a file.
	Object string `json:"object,omitempty"`
	// Field is the path of the field, as "spec.wait"; empty for the object as a whole.
	Field string `json:"field,omitempty"`
	// Text is what changes or hinders, and what to do about it.
	Text string `json:"text,omitempty"`
}

// String is "clusters/prod/apps.yaml:12: changed: Kustomization flux-system/apps: spec.wait: …".
func (n Note) String() string {
	var parts []string
	if n.File != "" {
		parts = append(parts, fmt.Sprintf("%s:%d", n.File, n.Line))
	}
	parts = append(parts, string(n.Outcome))
	for _, p := range []string{n.Object, n.Field, n.Text} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ": ")
}

// Result is what becomes of a repository.
type Result struct {
	// Files are those that change, by path; nil data for one that goes.
	Files map[string][]byte
	// Notes are in the order of files and lines.
	Notes []Note
	// General is what holds for every object of a kind and no file says anything about.
	General []string
}

// Count returns how many notes have an outcome.
func (r *Result) Count(v Outcome) int {
	n := 0
	for i := range r.Notes {
		if r.Notes[i].Outcome == v {
			n++
		}
	}
	return n
}

// Repository converts the files of a repository, by path from its root. Files that hold nothing of Flux are left
// alone, whatever is in them.
func Repository(files map[string][]byte) Result {
	m := &migration{files: files, texts: map[string]*text{}, edits: map[string][]edit{}, changed: map[string][]byte{}, repository: true}
	m.read()
	m.bringers()
	m.decide()
	m.convert()
	m.components()
	m.kustomizations()
	return m.result()
}

// migration is one run over a repository or over the objects of a cluster.
type migration struct {
	files     map[string][]byte
	texts     map[string]*text
	documents []*document
	edits     map[string][]edit // by file
	changed   map[string][]byte // files that go, or that are new
	notes     []Note
	// appliers are the Kustomizations that apply other objects of Flux, by these.
	appliers map[*document][]*document
	// repository means that the objects are those of a repository, and not of a cluster.
	repository bool
}

func (m *migration) result() Result {
	r := Result{Files: m.changed, General: m.general()}
	for _, name := range slices.Sorted(maps.Keys(m.edits)) {
		if _, gone := r.Files[name]; gone || len(m.edits[name]) == 0 {
			continue
		}
		data := m.texts[name].apply(m.edits[name])
		if _, err := decode(data); err != nil {
			m.note(Note{File: name, Line: 1, Outcome: Stays, Text: "it would not be YAML any more: " + errNotPlain.Error()})
			continue
		}
		r.Files[name] = data
	}
	slices.SortStableFunc(m.notes, func(a, b Note) int { return cmp.Or(cmp.Compare(a.File, b.File), a.Line-b.Line) })
	r.Notes = slices.Compact(m.notes)
	return r
}

// general returns what differs for every object of the kinds that moved.
func (m *migration) general() []string {
	var out []string
	add := func(kind string, texts ...string) {
		if slices.ContainsFunc(m.documents, func(d *document) bool { return d.kind == kind && d.moves() }) {
			out = append(out, texts...)
		}
	}
	add("Kustomization",
		"spec.serviceAccountName of a Kustomization outside of skerry-system is required on the hub's own cluster, unless the hub runs with --require-service-account=false",
		"spec.wait of a Kustomization is true where it is absent, which is false in Flux: wait: false is written",
		"spec.prune of a Kustomization is guarded: a commit that would delete more than half of its objects waits for a person (PruneLimitExceeded); spec.maxPrune sets another limit",
		"spec.interval of a Kustomization asks the cluster whether its watches have told everything; drift is put back as it is seen, fields written by kubectl and other tools included",
		"spec.timeout of a Kustomization is the interval where it is absent, without the 30s that Flux takes off",
		"spec.force of a Kustomization never deletes a Namespace or CustomResourceDefinition, and what holds data only with the annotation skerry.dev/force: enabled of its own",
		"the annotations kustomize.toolkit.fluxcd.io/prune, ssa, force, reconcile, substitute and decrypt of your manifests are read as they are",
	)
	for _, d := range m.documents {
		if ours(d.group, d.kind) {
			continue
		}
		if _, advice := remains(d.group, d.kind); !slices.Contains(out, advice) {
			out = append(out, advice)
		}
	}
	add("GitRepository",
		"files that Flux leaves out of an artifact by default (images, archives, files of CI) are left out only where a folder without a kustomization is rendered",
	)
	return out
}

func (m *migration) note(n Note) { m.notes = append(m.notes, n) }
