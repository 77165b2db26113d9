package logs

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/components"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// runAgent shows what the agent of a cluster logs. Nothing reaches an agent through the hub, so that a hub that is
// broken into reads no logs of edges: the API server of the edge is asked, with the credentials of the user.
func runAgent(ctx context.Context, o *Options) error {
	from, err := factory.FromKubeconfig(o.FromKubeconfig, o.FromContext)
	if err != nil {
		return err
	}
	edge, err := o.Connect(from.Config)
	if err != nil {
		return err
	}
	if err := o.checkEdge(ctx, edge); err != nil {
		return err
	}
	at := place{Reader: edge, config: from.Config, app: components.AgentName}
	pods, err := at.pods(ctx, o)
	if err != nil {
		return factory.EdgeError(err)
	}
	if len(pods) == 0 {
		return factory.Next(factory.OtherServer(fmt.Errorf("there are no Pods of an agent in the namespace %s of the edge cluster", v1alpha1.SystemNamespace)),
			"an agent that runs beside its cluster logs where it runs; 'skerry cluster join %s --agent --from-kubeconfig FILE' installs one", o.Cluster)
	}
	return at.show(ctx, o, pods)
}

// checkEdge refuses to show the log of another cluster's agent as that of the named one. Where the hub does not
// answer that cannot be known, and the log is shown all the same.
func (o *Options) checkEdge(ctx context.Context, edge client.Reader) error {
	ctx, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	c := &v1alpha1.Cluster{}
	hub, err := o.Hub()
	if err == nil {
		err = o.GetCluster(ctx, hub, o.Cluster, c)
	}
	_, advised := errors.AsType[*factory.NextError](err)
	switch {
	case err != nil && ctx.Err() != nil:
		return err
	case apierrors.IsNotFound(err), advised && hub != nil:
		return err
	case err != nil:
		o.IO.Progressf("whether this is cluster %s is not known, since the hub does not say: %s", iostreams.Line(o.Cluster), iostreams.Line(err.Error()))
		return nil
	case c.Spec.Agent == nil:
		return factory.Usagef("cluster %s has no agent, the hub itself keeps it: leave out --from-kubeconfig", o.Cluster)
	}
	ns := &corev1.Namespace{}
	switch err := edge.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, ns); {
	case apierrors.IsForbidden(err):
		o.IO.Progressf("whether this is cluster %s is not known: its namespace kube-system may not be read", iostreams.Line(o.Cluster))
		return nil
	case err != nil:
		return factory.EdgeError(err)
	}
	if joined := c.Spec.Agent.ClusterUID; joined != "" && joined != string(ns.UID) {
		return factory.Next(factory.OtherServer(fmt.Errorf("this is not cluster %s: the uid of its namespace kube-system is %s, and that of the cluster that joined is %s", o.Cluster, ns.UID, joined)),
			"name another context with --from-context")
	}
	return nil
}
