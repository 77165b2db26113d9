package factory

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
)

// AgentImage returns the image of the agent that goes with the hub, by what it has written down; "" where it does not
// know one.
func AgentImage(ctx context.Context, hub *Hub) (string, error) {
	cm := &corev1.ConfigMap{}
	err := hub.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.GatewayConfigMap}, cm)
	if client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("cannot read which agent goes with the hub: %w", err)
	}
	return cm.Data["agentImage"], nil
}

// Gateway returns how the hub's gateway is reached and known, by what it has written down, for a Cluster
// ("namespace/name"). The URL, where it is not empty, is used in place of the one that is written down.
func Gateway(ctx context.Context, hub *Hub, cluster, url string) (link.Enrollment, error) {
	cm := &corev1.ConfigMap{}
	err := hub.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.GatewayConfigMap}, cm)
	if apierrors.IsNotFound(err) {
		return link.Enrollment{}, Next(errors.New("the hub has no gateway for agents"), "run 'skerry install' of this version, or start skerry-hub with --gateway-bind-address")
	}
	if err != nil {
		return link.Enrollment{}, fmt.Errorf("cannot read how agents reach the hub: %w", err)
	}
	e := link.Enrollment{Gateway: cm.Data["url"], CA: cm.Data["ca.crt"], HubID: cm.Data["hubID"], HubKey: link.DecodeKey(cm.Data["hubKey"]), Cluster: cluster}
	if url != "" {
		e.Gateway = url
	}
	switch {
	case e.HubID == "" || len(e.HubKey) == 0:
		return e, Next(fmt.Errorf("the ConfigMap %s/%s is damaged", cm.Namespace, cm.Name), "restart the hub, which writes it anew")
	case e.Gateway == "":
		return e, Next(errors.New("the hub does not know at which address agents reach its gateway"), "name it with --gateway https://..., or start the hub with --gateway-url")
	}
	return e, nil
}
