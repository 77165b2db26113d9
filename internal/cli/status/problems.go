package status

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// problems lists what is not ready: the hub, sources and clusters, which are causes, before the
// Kustomizations, which suffer from them.
func problems(r Report, now time.Time) []Problem {
	out := []Problem{}
	add := func(p Problem) {
		if p.State != Ready && p.State != Suspended {
			p.Next = Next(p)
			out = append(out, p)
		}
	}
	// Without a lease nothing is known of the hub, which is no problem in itself.
	if r.Hub.State == NotReady {
		add(Problem{Kind: "Hub", Name: v1alpha1.SystemNamespace, State: NotReady, Reason: v1alpha1.NotRunningReason,
			Message: r.Hub.Reason + ": all else is what it knew then"})
	}
	for _, s := range r.Sources {
		add(Problem{Kind: v1alpha1.GitRepositoryKind, Namespace: s.Namespace, Name: s.Name, State: s.State, Reason: s.Reason, Message: s.Message})
	}
	for _, c := range r.Clusters {
		message := c.Message
		if c.Reachable == NotReady && c.LastSeen != nil {
			message += fmt.Sprintf(" (last heard from %s ago)", Age(c.LastSeen, now))
		}
		add(Problem{Kind: v1alpha1.ClusterKind, Namespace: c.Namespace, Name: c.Name, State: c.State, Reason: c.Reason, Message: message})
	}
	for _, k := range r.Kustomizations {
		add(Problem{Kind: v1alpha1.KustomizationKind, Namespace: k.Namespace, Name: k.Name, State: k.State, Reason: k.Reason, Message: k.Message})
		if k.Rollout != nil && k.Rollout.Failed && k.State == Ready {
			add(Problem{
				Kind: v1alpha1.KustomizationKind, Namespace: k.Namespace, Name: k.Name, State: NotReady,
				Reason: v1alpha1.RolloutHaltedReason, Message: k.Rollout.Message,
			})
		}
		for _, p := range onClusters(r, k) {
			add(p)
		}
	}
	return out
}

// onClusters lists the clusters on which a Kustomization is not ready for a reason of its own: one
// that is not reachable or not usable has a problem of its own already.
func onClusters(r Report, k Kustomization) []Problem {
	var out []Problem
	for _, c := range r.Clusters {
		if c.Reachable != Ready || c.State != Ready {
			continue
		}
		name := v1alpha1.RelativeName(c.Namespace, types.NamespacedName{Namespace: k.Namespace, Name: k.Name})
		for _, run := range c.Runs {
			if run.Kustomization != name || run.State == Deleting && k.State == Deleting {
				continue
			}
			out = append(out, Problem{
				Kind: v1alpha1.KustomizationKind, Namespace: k.Namespace, Name: k.Name, Cluster: v1alpha1.RelativeName(k.Namespace, types.NamespacedName{Namespace: c.Namespace, Name: c.Name}),
				State: run.State, Reason: run.Reason, Message: run.Message,
			})
		}
	}
	return out
}

// Next returns what to do about a problem, for the reasons where that is the same each time.
func Next(p Problem) string {
	flag := ""
	if p.Namespace != "" && p.Namespace != v1alpha1.SystemNamespace {
		flag = " -n " + p.Namespace
	}
	switch p.Reason {
	case v1alpha1.NotRunningReason:
		return "skerry logs; kubectl -n " + v1alpha1.SystemNamespace + " get pods"
	case v1alpha1.AuthenticationFailedReason, v1alpha1.InvalidSecretReason, v1alpha1.SecretNotFoundReason:
		if p.Kind == v1alpha1.GitRepositoryKind {
			return "put valid credentials into the Secret that its secretRef names"
		}
		return "skerry cluster join " + p.Name + " --from-kubeconfig FILE" + flag + ", which writes the Secret again"
	case v1alpha1.HostKeyRefusedReason:
		return "compare the server's host key with known_hosts in the Secret that its secretRef names"
	case v1alpha1.ReferenceNotFoundReason:
		return "push that branch or tag, or change spec.ref"
	case v1alpha1.NoClustersMatchedReason:
		return "label a Cluster so that spec.clusters.selector picks it, or change the selector"
	case v1alpha1.EmptyBuildReason, v1alpha1.PruneLimitExceededReason:
		if p.Cluster == "" && !strings.Contains(p.Message, v1alpha1.AllowPruneAnnotation) {
			return "put the objects back in Git, or, if they are to go, annotate the Kustomization with " +
				v1alpha1.AllowPruneAnnotation + "=<the revision>"
		}
	case v1alpha1.InvalidKubeConfigReason, v1alpha1.UnauthorizedReason:
		if p.Kind == v1alpha1.ClusterKind {
			return "skerry cluster join " + p.Name + " --from-kubeconfig FILE" + flag
		}
	case v1alpha1.RolloutHaltedReason:
		return "push what corrects it; 'skerry rollout status " + p.Name + flag + "' shows where it stands"
	case v1alpha1.OwnershipConflictReason:
		return "let one Kustomization have the object: take it out of the other's path"
	case v1alpha1.ImmutableFieldReason:
		return "spec.force: true lets the object be deleted and created again"
	}
	return ""
}

// Age is how long ago a time is, as kubectl writes it.
func Age(t *time.Time, now time.Time) string {
	if t == nil {
		return "never"
	}
	return duration.HumanDuration(max(0, now.Sub(*t)))
}
