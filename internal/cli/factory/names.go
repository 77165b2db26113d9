package factory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Names returns the sorted names of the objects of a kind in a namespace.
func Names(ctx context.Context, hub *Hub, list client.ObjectList, namespace string) ([]string, error) {
	if err := hub.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("cannot list what there is: %w", err)
	}
	var names []string
	err := meta.EachListItem(list, func(o runtime.Object) error {
		if named, ok := o.(client.Object); ok {
			names = append(names, named.GetName())
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}

// CompleteName completes one argument with the names of a kind. A hub that does not answer at once
// has no completions: a user does not wait for a key.
func (f *Factory) CompleteName(list func() client.ObjectList) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Second)
		defer cancel()
		hub, err := f.Hub()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names, err := Names(ctx, hub, list(), f.Flags.Namespace)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// CompleteNames is CompleteName for a command that takes several names, each once.
func (f *Factory) CompleteNames(list func() client.ObjectList) cobra.CompletionFunc {
	one := f.CompleteName(list)
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		names, directive := one(cmd, nil, toComplete)
		return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) }), directive
	}
}

// CompleteFlag completes the value of a flag with the names of a kind, whatever arguments there are.
func (f *Factory) CompleteFlag(list func() client.ObjectList) cobra.CompletionFunc {
	one := f.CompleteName(list)
	return func(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return one(cmd, nil, toComplete)
	}
}

// CompleteEach completes the first argument with the names of the first kind, the second with those of the
// second, and so on.
func (f *Factory) CompleteEach(lists ...func() client.ObjectList) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(lists) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f.CompleteName(lists[len(args)])(cmd, nil, toComplete)
	}
}

// GetCluster reads the Cluster "name", or "namespace/name" of another namespace than that of the command line.
func (f *Factory) GetCluster(ctx context.Context, hub *Hub, name string, into *v1alpha1.Cluster) error {
	key := v1alpha1.ResolveName(f.Flags.Namespace, name)
	err := hub.Get(ctx, key, into)
	switch {
	case err == nil:
		return nil
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("cannot read cluster %s: %w", name, err)
	}
	names, err := Names(ctx, hub, &v1alpha1.ClusterList{}, key.Namespace)
	if err != nil {
		return err
	}
	return NotFound("cluster", key.Name, key.Namespace, names)
}

// GetKustomization reads a Kustomization, named as in GetCluster.
func (f *Factory) GetKustomization(ctx context.Context, hub *Hub, name string, into *v1alpha1.Kustomization) error {
	key := v1alpha1.ResolveName(f.Flags.Namespace, name)
	err := hub.Get(ctx, key, into)
	switch {
	case err == nil:
		return nil
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("cannot read kustomization %s: %w", name, err)
	}
	names, err := Names(ctx, hub, &v1alpha1.KustomizationList{}, key.Namespace)
	if err != nil {
		return err
	}
	return NotFound("kustomization", key.Name, key.Namespace, names)
}
