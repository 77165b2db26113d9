package build

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/targeting"
	"github.com/skerry-dev/skerry/internal/tree"
)

// What a recursive build renders at most. A Kustomization that renders another one under a name with a variable, to
// which each of them adds, would go on for ever.
const (
	maxDepth  = 20
	maxNested = 2000
)

// nesting renders the Kustomizations among what is rendered.
type nesting struct {
	*Options
	first *input
	// found is what was rendered so far of the kinds that a render goes by.
	found *objects
	// local are checkouts by source.
	local map[types.NamespacedName]string
	trees map[types.NamespacedName]*tree.Tree
	// queued are the Kustomizations that were found, each once, by name.
	queued map[types.NamespacedName]bool
}

// makeNested renders what the first one renders of Kustomizations, and what those do, in the order in which they
// are found. One that is found again is the same. What cannot be rendered keeps no other from it.
func makeNested(ctx context.Context, o *Options, first layer) ([]layer, error) {
	local, err := parseLocal(o.LocalSources, first.in.ks.Namespace)
	if err != nil {
		return nil, err
	}
	source := targeting.SourceOf(first.in.ks)
	n := &nesting{
		Options: o, first: first.in, found: newObjects(metav1.NamespaceDefault), local: local,
		trees:  map[types.NamespacedName]*tree.Tree{source: first.in.files},
		queued: map[types.NamespacedName]bool{client.ObjectKeyFromObject(first.in.ks): true},
	}
	layers := []layer{first}
	first.path = []string{nameOf(first.in.ks)}
	todo, err := n.take(ctx, first)
	if err != nil {
		return nil, err
	}
	for len(todo) > 0 {
		next := todo[0]
		todo = todo[1:]
		if err := bounded(len(layers), next.path); err != nil {
			return nil, err
		}
		l := n.render(ctx, &next.ks)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		l.path = next.path
		layers = append(layers, l)
		more, err := n.take(ctx, l)
		if err != nil {
			return nil, err
		}
		todo = append(todo, more...)
	}
	for source := range n.local {
		if n.trees[source] == nil {
			o.IO.Progressf("no Kustomization that is rendered is of GitRepository %s, which --local-sources names", source)
		}
	}
	return layers, nil
}

// parseLocal reads "[GitRepository/][NAMESPACE/]NAME=PATH".
func parseLocal(list []string, namespace string) (map[types.NamespacedName]string, error) {
	local := map[types.NamespacedName]string{}
	for _, text := range list {
		name, path, ok := strings.Cut(text, "=")
		name = strings.TrimPrefix(name, v1alpha1.GitRepositoryKind+"/")
		key := v1alpha1.ResolveName(namespace, name)
		if !ok || path == "" || key.Name == "" || key.Namespace == "" || strings.Contains(key.Name, "/") {
			return nil, factory.Usagef("--local-sources %q must be GitRepository/[NAMESPACE/]NAME=PATH", text)
		}
		local[key] = path
	}
	return local, nil
}

// nameOf names a Kustomization for a person.
func nameOf(ks *v1alpha1.Kustomization) string { return ks.Namespace + "/" + ks.Name }

// bounded refuses to render one more Kustomization behind so many, or one to which such a path leads.
func bounded(rendered int, path []string) error {
	const next = "correct a Kustomization that renders others without end, or build a part: 'skerry build kustomization NAME'"
	switch {
	case len(path) > maxDepth:
		end := path[len(path)-3:]
		return factory.Next(fmt.Errorf("--recursive goes no deeper than %d Kustomizations: %s renders … %s", maxDepth, path[0], strings.Join(end, ", which renders ")), next)
	case rendered >= maxNested:
		return factory.Next(fmt.Errorf("--recursive renders no more than %d Kustomizations, and there are more: %s is one", maxNested, path[len(path)-1]), next)
	}
	return nil
}

// found is a Kustomization among what is rendered, with the path to it, itself the last.
type found struct {
	ks   v1alpha1.Kustomization
	path []string
}

// take takes in what a layer renders, and returns the Kustomizations that are new.
func (n *nesting) take(ctx context.Context, l layer) ([]found, error) {
	for _, r := range l.made {
		if r.err != nil {
			continue
		}
		for i := range r.result.Bundle.Objects {
			if err := n.found.take(ctx, r.result.Bundle.Objects[i].Body); err != nil {
				return nil, fmt.Errorf("cannot read what %s renders, %s: %w", l.in.ks.Name, r.result.Bundle.Objects[i].ID, err)
			}
		}
	}
	var fresh []found
	for _, ks := range n.found.kustomizations {
		if key := client.ObjectKeyFromObject(&ks); !n.queued[key] {
			n.queued[key] = true
			fresh = append(fresh, found{ks, append(slices.Clone(l.path), nameOf(&ks))})
		}
	}
	n.found.kustomizations = nil
	return fresh, nil
}

// render renders one Kustomization for the clusters that it selects, of those that the command line leaves.
func (n *nesting) render(ctx context.Context, ks *v1alpha1.Kustomization) layer {
	l := layer{in: &input{ks: ks}, nested: true}
	in, err := n.first.origin.input(ctx, ks)
	if err != nil {
		l.err = err
		return l
	}
	l.in = in
	n.overlay(in)
	selection, err := in.selectClusters()
	if err != nil {
		l.err = err
		return l
	}
	targets, err := n.chosen(ks, selection.Targets)
	if err != nil {
		l.err = err
		return l
	}
	if len(targets) == 0 {
		why := selection.Message
		if why == "" {
			why = "it selects none of the clusters that are asked for"
		}
		n.IO.Progressf("Kustomization %s/%s: nothing is rendered: %s", ks.Namespace, ks.Name, why)
		return l
	}
	if l.err = n.files(ctx, in); l.err != nil {
		return l
	}
	l.made, l.err = renderTargets(ctx, n.Options, in, targets)
	return l
}

// overlay puts what was rendered in place of what the hub has.
func (n *nesting) overlay(in *input) {
	for _, c := range n.found.clusters {
		if !targeting.SelectsNamespaces(in.ks) && c.Namespace != in.ks.Namespace {
			continue
		}
		at := slices.IndexFunc(in.clusters, func(have v1alpha1.Cluster) bool { return have.Namespace == c.Namespace && have.Name == c.Name })
		if at >= 0 {
			in.clusters[at].Labels, in.clusters[at].Spec = c.Labels, c.Spec
		} else {
			in.clusters = append(in.clusters, c)
		}
	}
	if ignore, ok := n.found.ignores[targeting.SourceOf(in.ks).String()]; ok {
		in.ignore = ignore
	}
	before := in.lookup
	in.lookup = func(kind, namespace, name string) (*targeting.Content, error) {
		if found := n.found.content(kind, namespace, name); found != nil {
			return found, nil
		}
		return before(kind, namespace, name)
	}
}

// chosen are the targets that --cluster and -l leave.
func (n *nesting) chosen(ks *v1alpha1.Kustomization, targets []targeting.Target) ([]targeting.Target, error) {
	selector, err := labels.Parse(n.Selector)
	if err != nil {
		return nil, factory.Usagef("-l: %s", err)
	}
	return slices.DeleteFunc(slices.Clone(targets), func(t targeting.Target) bool {
		is := func(name string) bool {
			return v1alpha1.ResolveName(n.first.ks.Namespace, name) == v1alpha1.ResolveName(ks.Namespace, t.Name)
		}
		named := len(n.Clusters) == 0 || slices.ContainsFunc(n.Clusters, is)
		return !named || !selector.Matches(labels.Set(t.Labels))
	}), nil
}

// files puts in those of a local checkout, of a source that was read before, or of the hub's.
func (n *nesting) files(ctx context.Context, in *input) error {
	source := targeting.SourceOf(in.ks)
	if path := n.local[source]; path != "" && n.trees[source] == nil {
		files, err := Checkout(path)
		if err != nil {
			return fmt.Errorf("--local-sources %s: %w", source, err)
		}
		n.trees[source] = files
	}
	if in.files = n.trees[source]; in.files != nil {
		return nil
	}
	if err := in.origin.files(ctx, in); err != nil {
		return err
	}
	n.trees[source] = in.files
	// The folder that the files are read from stays as long as the first one's.
	first, own := n.first.remove, in.remove
	n.first.remove = func() { own(); first() }
	return nil
}
