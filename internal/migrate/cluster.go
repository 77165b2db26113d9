package migrate

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Annotation marks what the migration of a cluster has done to an object.
const Annotation = "skerry.dev/migrate"

// Values of Annotation.
const (
	// Suspended is on an object of Flux that was suspended for its migration, and not by a person.
	Suspended = "suspended"
	// Created is on an object of Skerry that was created in place of one of Flux.
	Created = "created"
	// Backup is, as a label, on a Secret that holds an object of Flux that was removed.
	Backup = "backup"
	// Kept is, as a label, on a Secret that names what a Kustomization of Skerry kept before the way back.
	Kept = "kept"
)

// IsSuspendedBy reports whether an object of Flux is suspended by its migration, which writes as a field manager, and by no
// other. Who has resumed and suspended it since, or applies it suspended, wants it so: another manager has
// spec.suspend then, and the way back leaves it suspended. Without managed fields the annotation alone counts.
func IsSuspendedBy(o map[string]any, manager string) bool {
	metadata, _ := o["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	if annotations[Annotation] != Suspended {
		return false
	}
	entries, _ := metadata["managedFields"].([]any)
	return !slices.ContainsFunc(entries, func(e any) bool {
		entry, _ := e.(map[string]any)
		fields, _ := entry["fieldsV1"].(map[string]any)
		spec, _ := fields["f:spec"].(map[string]any)
		return spec["f:suspend"] != nil && entry["manager"] != manager
	})
}

// Ref names an object of a cluster.
type Ref struct{ Group, Kind, Namespace, Name string }

// String is "Kustomization flux-system/apps".
func (r Ref) String() string {
	return (&document{kind: r.Kind, namespace: r.Namespace, name: r.Name}).title()
}

// Live is an object of Flux as a cluster has it.
type Live struct {
	Ref
	// Object is the whole of it, as JSON is decoded.
	Object map[string]any
	// Inventory are the objects that a Kustomization applied.
	Inventory []Ref
}

// Move is one object of Flux that moves.
type Move struct {
	Live
	// Manifests are what is created of it: its Clusters and itself; none for one that Git brings.
	Manifests []map[string]any
	// FromGit means that it applies other objects that move. It would bring them back as Git has them, so its
	// successor comes from the repository once that is migrated.
	FromGit bool
	// Keep means that Flux's object is not removed: something that stays uses it.
	Keep bool
}

// Plan is what becomes of the objects of Flux on a cluster.
type Plan struct {
	// Moves are in the order in which they are suspended: what applies others comes before these.
	Moves   []Move
	Notes   []Note
	General []string
}

// Cluster converts the objects of Flux on a cluster. refused says for some why what becomes of them cannot be
// created; these stay, and what refers to them.
func Cluster(live []Live, refused map[Ref]string) (Plan, error) {
	live = slices.Clone(live)
	slices.SortFunc(live, func(a, b Live) int {
		return strings.Compare(a.Kind+"/"+a.Namespace+"/"+a.Name, b.Kind+"/"+b.Namespace+"/"+b.Name)
	})
	m := &migration{files: map[string][]byte{}, texts: map[string]*text{}, edits: map[string][]edit{}, changed: map[string][]byte{}}
	byFile := map[string]*Live{}
	for i := range live {
		data, err := yaml.Marshal(manifest(live[i].Object))
		if err != nil {
			return Plan{}, fmt.Errorf("cannot encode %s: %w", live[i].Ref, err)
		}
		name := fmt.Sprintf("%s.%s/%s/%s.yaml", live[i].Kind, live[i].Group, live[i].Namespace, live[i].Name)
		m.files[name], byFile[name] = data, &live[i]
	}
	m.read()
	for _, d := range m.documents {
		d.patch = false
		if why := refused[byFile[d.file].Ref]; why != "" {
			d.cannot(nil, "", "%s", why)
		}
	}
	m.kept(byFile)
	m.decide()
	p := Plan{General: m.general()}
	stays := map[Ref]bool{}
	for _, d := range m.documents {
		stays[byFile[d.file].Ref] = !d.moves()
	}
	clusters := map[clusterKey]bool{}
	for _, d := range m.documents {
		move, err := m.planned(d, byFile[d.file], stays, clusters)
		if err != nil {
			return Plan{}, err
		}
		if move != nil {
			p.Moves = append(p.Moves, *move)
		}
	}
	order(p.Moves)
	for _, n := range m.notes {
		n.File, n.Line = "", 0
		p.Notes = append(p.Notes, n)
	}
	return p, nil
}

// kept finds out who keeps the objects of Flux themselves, and would bring them back.
func (m *migration) kept(byFile map[string]*Live) {
	documents := map[Ref]*document{}
	for _, d := range m.documents {
		documents[byFile[d.file].Ref] = d
		labels, _ := manifest(byFile[d.file].Object)["metadata"].(map[string]any)["labels"].(map[string]any)
		for name := range labels {
			if prefix, _, _ := strings.Cut(name, "/"); ours(d.group, d.kind) && (prefix == operatorGroup || strings.HasSuffix(prefix, "."+operatorGroup)) {
				d.operator = true
			}
		}
	}
	m.appliers = map[*document][]*document{}
	for _, by := range m.documents {
		for _, r := range byFile[by.file].Inventory {
			if d := documents[r]; d != nil && d != by {
				m.appliers[d] = append(m.appliers[d], by)
			}
		}
	}
}

// planned is what becomes of one object, nil when it stays.
func (m *migration) planned(d *document, l *Live, stays map[Ref]bool, clusters map[clusterKey]bool) (*Move, error) {
	if !d.moves() {
		m.notes = append(m.notes, d.stays...)
		return nil, nil
	}
	move := &Move{Live: *l, Keep: d.twice}
	if d.operator {
		m.note(d.noteAt(nil, Changed, "", "the Flux Operator would bring it back, and it would work beside Skerry: stop that first, with the annotation "+operatorGroup+"/reconcile: disabled on the FluxInstance or ResourceSet"))
	}
	for _, r := range l.Inventory {
		// One that is gone has moved in an earlier run, and Git still has it as an object of Flux.
		move.FromGit = move.FromGit || ours(r.Group, r.Kind) && !stays[r]
	}
	if move.FromGit {
		m.note(d.noteAt(nil, Removed, "", fmt.Sprintf("it applies objects that move: %s, and brings their successors from the migrated repository with 'skerry bootstrap git --path %s'; until then its other objects stand and belong to nobody",
			"Flux's is suspended and removed", folder(scalar(d.node, "spec", "path")))))
		return move, nil
	}
	d.twice = false // of a file, not of a cluster
	m.move(d, clusters)
	docs, err := decode(m.texts[d.file].apply(m.edits[d.file]))
	if err != nil {
		return nil, fmt.Errorf("cannot convert %s: %w", l.Ref, err)
	}
	for _, doc := range docs {
		var o map[string]any
		if err := doc.Decode(&o); err != nil {
			return nil, fmt.Errorf("cannot convert %s: %w", l.Ref, err)
		}
		move.Manifests = append(move.Manifests, o)
	}
	slices.Reverse(move.Manifests) // a Cluster before what is for it
	return move, nil
}

// order puts what applies other objects before these.
func order(moves []Move) {
	depth := map[Ref]int{}
	for range moves { // as deep as they can be nested
		for i := range moves {
			for _, r := range moves[i].Inventory {
				if depth[r] <= depth[moves[i].Ref] && r != moves[i].Ref {
					depth[r] = min(depth[moves[i].Ref]+1, len(moves))
				}
			}
		}
	}
	rank := map[string]int{"Kustomization": 0, "Receiver": 1, "GitRepository": 2}
	slices.SortStableFunc(moves, func(a, b Move) int {
		if rank[a.Kind] != rank[b.Kind] {
			return rank[a.Kind] - rank[b.Kind]
		}
		return depth[a.Ref] - depth[b.Ref]
	})
}

// manifest is an object as a person would write it: without what the API server, Flux and this migration put into
// it.
func manifest(o map[string]any) map[string]any {
	out := map[string]any{"apiVersion": o["apiVersion"], "kind": o["kind"]}
	metadata, _ := o["metadata"].(map[string]any)
	clean := map[string]any{}
	for _, key := range []string{"name", "namespace"} {
		if v, ok := metadata[key]; ok {
			clean[key] = v
		}
	}
	marked := false
	for _, key := range []string{"labels", "annotations"} {
		kept := map[string]any{}
		values, _ := metadata[key].(map[string]any)
		for name, v := range values {
			marked = marked || name == Annotation
			if name != Annotation && name != "kubectl.kubernetes.io/last-applied-configuration" && !isOfFlux(name) {
				kept[name] = v
			}
		}
		if len(kept) > 0 {
			clean[key] = kept
		}
	}
	out["metadata"] = clean
	spec, _ := o["spec"].(map[string]any)
	kept := map[string]any{}
	for name, v := range spec {
		if name != "suspend" || !marked {
			kept[name] = v
		}
	}
	out["spec"] = kept
	return out
}

// isOfFlux reports whether a label or annotation is Flux's own mark, and not an option of a person.
func isOfFlux(name string) bool {
	return slices.Contains([]string{
		kustomizeGroup + "/name", kustomizeGroup + "/namespace", kustomizeGroup + "/checksum",
		"reconcile.fluxcd.io/requestedAt", "reconcile.fluxcd.io/forceAt", "reconcile.fluxcd.io/resetAt",
	}, name)
}
