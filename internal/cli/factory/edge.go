package factory

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/kubeconfig"
)

// Edge is the API server of one cluster, as the hub's credentials for it reach it.
type Edge struct {
	client.Client
	// Mapper knows the kinds of the cluster, and their short names.
	Mapper meta.RESTMapper
}

// edgeTimeout bounds one request to an edge, which may be cut off.
const edgeTimeout = 10 * time.Second

// connectEdge reaches a cluster with the kubeconfig that the hub uses, which the user must be allowed to read.
func (f *Factory) connectEdge(ctx context.Context, hub *Hub, c *v1alpha1.Cluster) (*Edge, error) {
	cfg, err := edgeConfig(ctx, hub, c)
	if err != nil {
		return nil, err
	}
	to, err := f.Connect(cfg)
	if err != nil {
		return nil, err
	}
	found, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to cluster %s: %w", c.Name, err)
	}
	cached := memory.NewMemCacheClient(found)
	return &Edge{Client: to, Mapper: restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(cached), cached, nil)}, nil
}

func edgeConfig(ctx context.Context, hub *Hub, c *v1alpha1.Cluster) (*rest.Config, error) {
	switch {
	case c.Name == v1alpha1.HubCluster && c.Spec.KubeConfig == nil:
		return rest.CopyConfig(hub.Config), nil
	case c.Spec.KubeConfig == nil:
		return nil, Next(OtherServer(fmt.Errorf("cluster %s has an agent: it reaches the hub, and nothing reaches it", c.Name)),
			"ask the cluster itself with kubectl; 'skerry why %s' has what it reports", c.Name)
	}
	ref, secret := c.Spec.KubeConfig.SecretRef, &corev1.Secret{}
	err := hub.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: ref.Name}, secret)
	switch {
	case apierrors.IsForbidden(err):
		return nil, Next(fmt.Errorf("cannot ask cluster %s: the Secret %s, which holds its kubeconfig, may not be read", c.Name, ref.Name),
			"use credentials that may read it; 'skerry why %s' has what the cluster reports", c.Name)
	case err != nil:
		return nil, fmt.Errorf("cannot read the Secret %s, which holds the kubeconfig of cluster %s: %w", ref.Name, c.Name, err)
	}
	data, err := kubeconfig.Pick(ref.Name, secret.Data, ref.Key)
	if err != nil {
		return nil, fmt.Errorf("cannot use the kubeconfig of cluster %s: %w", c.Name, err)
	}
	cfg, _, err := kubeconfig.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("cannot use the kubeconfig of cluster %s in the Secret %s: %w", c.Name, ref.Name, err)
	}
	cfg.Timeout = edgeTimeout
	return cfg, nil
}

// Records reads what the hub keeps on the cluster: the inventories, and the hub's identity.
func (e *Edge) Records(ctx context.Context) (*edge.Records, string, error) {
	list := &corev1.ConfigMapList{}
	if err := e.List(ctx, list, client.InNamespace(v1alpha1.SystemNamespace), client.HasLabels{v1alpha1.PartLabel}); err != nil {
		return nil, "", OtherServer(fmt.Errorf("cannot read the inventories: %w", err))
	}
	return edge.ReadRecords(list.Items)
}

// Mapping returns the kind that a user names: "deploy", "deployments.apps", "Deployment.apps", "Deployment".
func (e *Edge) Mapping(name string) (*meta.RESTMapping, error) {
	versioned, resource := schema.ParseResourceArg(name)
	if versioned != nil {
		if gvk, err := e.Mapper.KindFor(*versioned); err == nil {
			return e.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		}
	}
	if gvk, err := e.Mapper.KindFor(resource.WithVersion("")); err == nil {
		return e.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	gvk, gk := schema.ParseKindArg(name)
	if gvk != nil {
		if m, err := e.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version); err == nil {
			return m, nil
		}
	}
	m, err := e.Mapper.RESTMapping(gk)
	if err != nil {
		return nil, OtherServer(fmt.Errorf("the cluster has no kind %q: %w", name, err))
	}
	return m, nil
}
