package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/targeting"
	"github.com/skerry-dev/skerry/internal/tree"
)

// input is all that a render goes by.
type input struct {
	ks       *v1alpha1.Kustomization
	clusters []v1alpha1.Cluster
	access   targeting.Access
	lookup   func(kind, namespace, name string) (*targeting.Content, error)
	files    *tree.Tree
	remove   func() // removes what files are read from
	ignore   string // of the GitRepository
	hubID    string
	origin   origin
	// assigned is what each cluster is assigned by the hub, where that is known.
	assigned map[string]v1alpha1.Bundle
	mu       sync.Mutex
	// secrets are the contents of Secrets that were looked up, and of files that were decrypted; guarded by mu.
	secrets []targeting.Content
	masked  int // how many encrypted files are shown with their values masked; guarded by mu
}

// origin is where what a render goes by comes from: a hub, or files.
type origin interface {
	// input returns all that a Kustomization goes by, but for the files.
	input(ctx context.Context, ks *v1alpha1.Kustomization) (*input, error)
	// files puts in the files of the source.
	files(ctx context.Context, in *input) error
}

// rendered is what clusters get that get the same.
type rendered struct {
	clusters []string
	result   *render.Result
	err      error // why they get nothing
}

// renderTargets renders for clusters. One that cannot be rendered for does not keep the others from it.
func renderTargets(ctx context.Context, o *Options, in *input, targets []targeting.Target) ([]*rendered, error) {
	from, err := targeting.Substitutes(in.ks, in.remember(in.ks.Namespace))
	if err != nil {
		return nil, err
	}
	shared, cache := targeting.Shared(in.ks, in.hubID, from), render.NewCache(64<<20)
	shared.Ignore = in.ignore
	if shared.Decryption, err = in.decryption(ctx, o); err != nil {
		return nil, err
	}
	var all []*rendered
	same := map[string]*rendered{}
	for _, t := range targets {
		made, err := one(ctx, in, cache, shared, t)
		key := ""
		if err != nil {
			key = "error: " + err.Error()
		} else {
			key = made.Digest
		}
		if same[key] == nil {
			same[key] = &rendered{result: made, err: err}
			all = append(all, same[key])
		}
		same[key].clusters = append(same[key].clusters, t.Name)
	}
	return all, ctx.Err()
}

func one(ctx context.Context, in *input, cache *render.Cache, shared render.Options, t targeting.Target) (*render.Result, error) {
	for i := range in.clusters {
		if in.nameOf(&in.clusters[i]) != t.Name {
			continue
		}
		if err := targeting.SetVars(&t, &in.clusters[i], in.remember(t.Namespace)); err != nil {
			return nil, err
		}
	}
	options, err := targeting.For(shared, in.ks, t)
	if err != nil {
		return nil, err
	}
	made, err := cache.Build(ctx, in.files, options)
	if err != nil {
		return nil, targeting.Explain(err)
	}
	return made, nil
}

// remember looks up in a namespace, and keeps what it was that must not be shown.
func (in *input) remember(namespace string) targeting.Lookup {
	return func(kind, name string) (*targeting.Content, error) {
		found, err := in.lookup(kind, namespace, name)
		if found != nil && found.Secret {
			in.mu.Lock()
			defer in.mu.Unlock()
			in.secrets = append(in.secrets, *found)
		}
		return found, err
	}
}

// nameOf is the name of a Cluster as seen from the Kustomization.
func (in *input) nameOf(c *v1alpha1.Cluster) string {
	return v1alpha1.RelativeName(in.ks.Namespace, types.NamespacedName{Namespace: c.Namespace, Name: c.Name})
}

// selectClusters returns those that the Kustomization selects.
func (in *input) selectClusters() (targeting.Selection, error) {
	selection, err := targeting.Select(in.ks, in.clusters, in.access)
	if err != nil || !selection.MissingHub {
		return selection, err
	}
	// The hub makes that Cluster when it is wanted.
	in.clusters = append(in.clusters, v1alpha1.Cluster{})
	hub := &in.clusters[len(in.clusters)-1]
	hub.Namespace, hub.Name = in.ks.Namespace, v1alpha1.HubCluster
	return targeting.Select(in.ks, in.clusters, in.access)
}

// choose returns the clusters to render for.
func choose(o *Options, in *input) ([]targeting.Target, error) {
	selection, err := in.selectClusters()
	if err != nil {
		return nil, err
	}
	var names []string
	byName := map[string]targeting.Target{}
	for _, t := range selection.Targets {
		names = append(names, t.Name)
		byName[t.Name] = t
	}
	for _, name := range selection.NotFound {
		o.IO.Progressf("there is no Cluster %s, which spec.clusters.names names", name)
	}
	if n := len(selection.Denied); n > 0 {
		o.IO.Progressf("%d selected clusters of other namespaces do not admit namespace %s (spec.accessFrom)", n, in.ks.Namespace)
	}
	switch {
	case len(names) == 0:
		return nil, factory.Next(errors.New(selection.Message), "'skerry cluster list' shows the clusters and their labels; spec.clusters of the Kustomization selects among them")
	case o.Recursive && in.ks.Spec.Clusters == nil: // --cluster and -l are for those in it
		return selection.Targets, nil
	case o.Selector != "":
		return labelled(o, selection.Targets)
	case o.AllClusters || len(o.Clusters) == 0 && len(names) == 1:
		return selection.Targets, nil
	case len(o.Clusters) == 0:
		return nil, factory.Next(factory.Usagef("%s is for %d clusters: choose one with --cluster, or --%s", in.ks.Name, len(names), cmp.Or(o.allFlag, "all-clusters")),
			"it is for %s", few(names))
	}
	var chosen []targeting.Target
	for _, name := range o.Clusters {
		t, ok := byName[name]
		if !ok {
			return nil, notSelected(in, name, names)
		}
		chosen = append(chosen, t)
	}
	return chosen, nil
}

// labelled returns the targets whose labels match -l.
func labelled(o *Options, targets []targeting.Target) ([]targeting.Target, error) {
	selector, err := labels.Parse(o.Selector)
	if err != nil {
		return nil, factory.Usagef("-l: %s", err)
	}
	var chosen []targeting.Target
	for _, t := range targets {
		if selector.Matches(labels.Set(t.Labels)) {
			chosen = append(chosen, t)
		}
	}
	if len(chosen) == 0 {
		return nil, factory.Next(fmt.Errorf("none of the %d clusters that are selected has labels that match %s", len(targets), o.Selector), "'skerry get clusters --show-labels' shows the labels")
	}
	return chosen, nil
}

func notSelected(in *input, name string, names []string) error {
	for i := range in.clusters {
		if in.nameOf(&in.clusters[i]) == name && in.clusters[i].DeletionTimestamp.IsZero() {
			return factory.Next(fmt.Errorf("the kustomization %s does not select the cluster %s", in.ks.Name, name), "it is for %s", few(names))
		}
	}
	err := fmt.Errorf("there is no cluster %s in namespace %s", name, in.ks.Namespace)
	if near := factory.Nearest(name, names); len(near) > 0 {
		return factory.Next(err, "did you mean %s?", near[0])
	}
	return err
}

func few(names []string) string {
	text := strings.Join(names[:min(len(names), 10)], ", ")
	if more := len(names) - 10; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
