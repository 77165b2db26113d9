package cluster

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	edgeclient "github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/kubeconfig"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/report"
)

const (
	// renewTimeout bounds the request for a token, to a cluster that answered a moment ago.
	renewTimeout = 5 * time.Second
	// renewRetry is the pause after a renewal that failed, and minRenewPause that after one that did not, whatever
	// the clock of the cluster says.
	renewRetry, minRenewPause = 5 * time.Minute, time.Minute
)

// renew requests another token when a third of the life of the one in use is over, and writes it into the Secret of
// the kubeconfig, whose watch connects the cluster anew. It returns when to look again.
func (r *Reconciler) renew(ctx context.Context, key engine.Key, c *v1alpha1.Cluster, config *rest.Config) report.Renewal {
	token, ok := kubeconfig.ReadToken(config.BearerToken)
	if !ok {
		return report.Renewal{}
	}
	now, due := r.Now(), token.RenewAt()
	r.mu.Lock()
	last, tried := r.renewals[key]
	r.mu.Unlock()
	if again := last.at.Add(last.pause(token)); tried && again.After(due) {
		due = again
	}
	if now.Before(due) {
		return report.Renewal{After: due.Sub(now)}
	}
	err := r.renewToken(ctx, c, config, token)
	last = renewal{at: now, failed: err != nil}
	r.mu.Lock()
	r.renewals[key] = last
	r.mu.Unlock()
	return report.Renewal{After: last.pause(token), Err: err, Expires: token.Expires}
}

// renewal is the last time that a token was to be renewed.
type renewal struct {
	at     time.Time
	failed bool
}

// pause is how long no other is requested. It is that of the token in use, which may live shorter than the one before.
func (l renewal) pause(inUse kubeconfig.Token) time.Duration {
	if l.failed {
		return renewRetry
	}
	return max(inUse.Lifetime()/3, minRenewPause)
}

func (r *Reconciler) renewToken(ctx context.Context, c *v1alpha1.Cluster, config *rest.Config, old kubeconfig.Token) error {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	cluster, err := edgeclient.New(config, edgeclient.Options{Timeout: renewTimeout, Inflight: 1})
	if err != nil {
		return err
	}
	defer cluster.Close()
	token, err := cluster.IssueToken(ctx, edgeclient.Account{Namespace: old.Namespace, Name: old.Name}, old.Lifetime())
	if err != nil {
		return fmt.Errorf("cannot renew the token of ServiceAccount %s/%s: %s", old.Namespace, old.Name, edgeclient.Explain(err, object.ID{}))
	}
	secret := &corev1.Secret{}
	ref := c.Spec.KubeConfig.SecretRef
	if err := r.Direct.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: ref.Name}, secret); err != nil {
		return fmt.Errorf("cannot read Secret %s: %w", ref.Name, err)
	}
	field, data, err := kubeconfig.Find(secret.Name, secret.Data, ref.Key)
	if err != nil {
		return err
	}
	if now, _, err := kubeconfig.Parse(data); err != nil || now.Host != config.Host || now.BearerToken != config.BearerToken {
		return nil // somebody has written another kubeconfig meanwhile, to which the token does not belong
	}
	if data, err = kubeconfig.WithToken(data, token); err != nil {
		return err
	}
	before := secret.DeepCopy()
	secret.Data[field] = data
	if err := r.Hub.Patch(ctx, secret, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("cannot write the renewed token into Secret %s: %w", ref.Name, err)
	}
	return nil
}
