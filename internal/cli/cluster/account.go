package cluster

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	edgeapply "github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/kubeconfig"
)

// rotateAccount makes the hub's account on an edge anew, and gives the hub its token.
func rotateAccount(ctx context.Context, o *Options, steps *factory.Steps, hub *factory.Hub, c *v1alpha1.Cluster) error {
	if o.FromKubeconfig == "" {
		return factory.Usagef("the hub reaches %s: --from-kubeconfig has to name a kubeconfig of an administrator there, to make the hub's account anew", o.Name)
	}
	if err := keepReach(ctx, o, hub, c); err != nil {
		return err
	}
	there, err := loadEdge(o)
	if err != nil {
		return err
	}
	if err := steps.Do("edge", func(s *factory.Step) error {
		if err := there.reach(ctx, s); err != nil {
			return err
		}
		if c.Status.UID != "" && c.Status.UID != there.uid {
			return fmt.Errorf("%s leads to another cluster than %s", o.FromKubeconfig, o.Name)
		}
		if err := mayMakeAccount(ctx, there); err != nil {
			return err
		}
		return there.endTokens(ctx, s)
	}); err != nil {
		return err
	}
	data, err := credentials(ctx, o, steps, there)
	if err != nil {
		return err
	}
	return steps.Do("hub", func(s *factory.Step) error { return join(ctx, o, hub, wanted{}, data, s) })
}

// keepReach takes over what the command line leaves open: the address, the namespaces and whether the token expires.
func keepReach(ctx context.Context, o *Options, hub *factory.Hub, c *v1alpha1.Cluster) error {
	o.Agent.Namespaces, o.Shared = c.Spec.Namespaces, c.Spec.Sharing == v1alpha1.SharingShared
	ref := c.Spec.KubeConfig.SecretRef
	secret := &corev1.Secret{}
	if err := hub.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: ref.Name}, secret); err != nil {
		return fmt.Errorf("cannot read secret %s: %w", ref.Name, err)
	}
	data, err := kubeconfig.Pick(secret.Name, secret.Data, ref.Key)
	if err != nil {
		return err
	}
	config, _, err := kubeconfig.Parse(data)
	if err != nil {
		return fmt.Errorf("cannot read the kubeconfig in secret %s: %w", ref.Name, err)
	}
	if o.Server == "" {
		o.Server = config.Host
	}
	if token, ok := kubeconfig.ReadToken(config.BearerToken); ok && o.TokenLifetime == 0 && secret.Annotations[v1alpha1.RenewTokenAnnotation] == "enabled" {
		o.TokenLifetime = token.Lifetime()
	}
	return checkReach(o)
}

// endTokens ends every token of the account that join made, which the API server binds to its uid.
func (e *edge) endTokens(ctx context.Context, s *factory.Step) error {
	user := &corev1.ServiceAccount{}
	err := e.client.Get(ctx, client.ObjectKey{Namespace: systemNamespace, Name: account}, user)
	if client.IgnoreNotFound(err) != nil {
		return factory.EdgeError(fmt.Errorf("cannot read the hub's account: %w", err))
	}
	if err == nil && user.Labels[edgeapply.PartLabel] != edgeapply.PartAccount {
		return errors.New("the ServiceAccount " + systemNamespace + "/" + account + " of the edge was not made by 'skerry cluster join', and is left alone")
	}
	for _, o := range []client.Object{
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: account + "-token"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: account}},
	} {
		if err := e.client.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
			return factory.EdgeError(fmt.Errorf("cannot end the hub's tokens: %w", err))
		}
	}
	s.Donef("every token of the hub's account has ended")
	return nil
}
