package reconcile

import (
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/text"
)

// reconcilable is what can be asked to be reconciled now.
type reconcilable interface {
	client.Object
	v1alpha1.Conditioned
}

// kind is how the command treats one kind.
type kind struct {
	// name is the subcommand, and what a person calls it.
	name    string
	aliases []string
	newOne  func() reconcilable
	newList func() client.ObjectList
	// known returns what of the object is not in its conditions.
	known func(reconcilable) known
}

type known struct {
	handled   string
	observed  int64
	suspended bool
	// complete means that everything is at the revision that was last tried.
	complete bool
	// outcome is what came of it, once it is ready.
	outcome string
}

func sourceKind() kind {
	return kind{
		name: "source", aliases: []string{"gitrepository", "gitrepo"},
		newOne:  func() reconcilable { return &v1alpha1.GitRepository{} },
		newList: func() client.ObjectList { return &v1alpha1.GitRepositoryList{} },
		known: func(o reconcilable) known {
			r, ok := o.(*v1alpha1.GitRepository)
			if !ok {
				return known{}
			}
			k := known{handled: r.Status.LastHandledReconcileAt, observed: r.Status.ObservedGeneration, suspended: r.Spec.Suspend}
			if r.Status.Artifact != nil {
				k.outcome = "at " + r.Status.Artifact.Revision
			}
			return k
		},
	}
}

func kustomizationKind() kind {
	return kind{
		name: "kustomization", aliases: []string{"ks"},
		newOne:  func() reconcilable { return &v1alpha1.Kustomization{} },
		newList: func() client.ObjectList { return &v1alpha1.KustomizationList{} },
		known: func(o reconcilable) known {
			k, ok := o.(*v1alpha1.Kustomization)
			if !ok {
				return known{}
			}
			c := k.Status.Clusters
			is := known{
				handled: k.Status.LastHandledReconcileAt, observed: k.Status.ObservedGeneration, suspended: k.Spec.Suspend,
				complete: k.Status.LastAppliedRevision != "" && k.Status.LastAppliedRevision == k.Status.LastAttemptedRevision,
				outcome:  fmt.Sprintf("at %s, ready on %d of %s", k.Status.LastAppliedRevision, c.Ready, text.Count(int(c.Desired), "cluster")),
			}
			if k.IsSuspended() { // clusters report nothing of it
				is.outcome = fmt.Sprintf("at %s, and suspended as before", k.Status.LastAppliedRevision)
			}
			return is
		},
	}
}

func clusterKind() kind {
	return kind{
		name: "cluster", aliases: []string{"cl"},
		newOne:  func() reconcilable { return &v1alpha1.Cluster{} },
		newList: func() client.ObjectList { return &v1alpha1.ClusterList{} },
		known: func(o reconcilable) known {
			c, ok := o.(*v1alpha1.Cluster)
			if !ok {
				return known{}
			}
			return known{
				handled: c.Status.LastHandledReconcileAt, observed: c.Status.ObservedGeneration, suspended: c.Spec.Suspend,
				outcome: "Kubernetes " + c.Status.Version,
			}
		},
	}
}
