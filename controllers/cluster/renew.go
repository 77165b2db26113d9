package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	edgeclient "github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/kubeconfig"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/report"
)

const (
	// renewTimeout bounds the request for a token, to a cluster that answered a moment ago.
	renewTimeout = 5 * time.Second
	// renewRetry is the pause after a renewal that failed, and minRenewPause that after one that did not, whatever
	// the clock of the cluster shows.
	renewRetry, minRenewPause = 5 * time.Minute, time.Minute
	// maxRenewals is how many tokens are renewed at once.
	maxRenewals = 16
)

// renewals are those of the tokens of all Clusters. They run beside the reconciles, as many at once as there are
// slots: one opens a connection of its own, and on a link that is dead it takes all of renewTimeout.
type renewals struct {
	slots   chan struct{}
	running sync.WaitGroup

	mu   sync.Mutex
	last map[engine.Key]*renewal
}

// renewal is the last time that a token was to be renewed. Its fields are guarded by the mutex of renewals.
type renewal struct {
	at      time.Time
	running bool
	failed  bool
	err     error // which is to be reported
}

func newRenewals() *renewals {
	return &renewals{slots: make(chan struct{}, maxRenewals), last: map[engine.Key]*renewal{}}
}

func (r *renewals) forget(key engine.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, key)
}

// renew begins to request another token when a third of the life of the one in use is over. It returns when to look
// again, and once what became of a renewal that failed.
func (r *Reconciler) renew(ctx context.Context, key engine.Key, c *v1alpha1.Cluster, config *rest.Config) report.Renewal {
	token, ok := kubeconfig.ReadToken(config.BearerToken)
	if !ok {
		return report.Renewal{}
	}
	now, due := r.Now(), token.RenewAt()
	r.renewals.mu.Lock()
	defer r.renewals.mu.Unlock()
	last := r.renewals.last[key]
	if last != nil && last.running {
		return report.Renewal{} // its end is followed by a reconcile
	}
	result := report.Renewal{}
	if last != nil {
		if again := last.at.Add(last.pause(token)); again.After(due) {
			due = again
		}
		if result.Err = last.err; result.Err != nil {
			result.Expires, last.err = token.Expires, nil
		}
	}
	if now.Before(due) {
		result.After = due.Sub(now)
		return result
	}
	last = &renewal{at: now, running: true}
	r.renewals.last[key] = last
	r.renewals.running.Add(1)
	go r.renewBeside(context.WithoutCancel(ctx), key, c.DeepCopy(), config, last)
	return result
}

// renewBeside renews a token, and asks for a reconcile when it is done or has failed. It ends renewTimeout after it
// got a slot.
func (r *Reconciler) renewBeside(ctx context.Context, key engine.Key, c *v1alpha1.Cluster, config *rest.Config, this *renewal) {
	defer r.renewals.running.Done()
	r.renewals.slots <- struct{}{}
	err := recovery.Run(func() error { return r.renewToken(ctx, c, config) })
	<-r.renewals.slots
	if p, ok := errors.AsType[*recovery.Panic](err); ok {
		log.FromContext(ctx).Error(p, "recovered from a panic", p.Details()...)
	}
	r.renewals.mu.Lock()
	this.running, this.failed, this.err = false, err != nil, err
	forgotten := r.renewals.last[key] != this
	r.renewals.mu.Unlock()
	if !forgotten {
		r.trigger.Enqueue(key)
	}
}

// pause is how long no other is requested. It is that of the token in use, which may live shorter than the one before.
func (l *renewal) pause(inUse kubeconfig.Token) time.Duration {
	if l.failed {
		return renewRetry
	}
	return max(inUse.Lifetime()/3, minRenewPause)
}

// renewToken requests a token by the one in use, and writes it into the Secret of the kubeconfig, whose watch connects
// the cluster anew.
func (r *Reconciler) renewToken(ctx context.Context, c *v1alpha1.Cluster, config *rest.Config) error {
	old, ok := kubeconfig.ReadToken(config.BearerToken)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	cluster, err := edgeclient.New(config, edgeclient.Options{Timeout: renewTimeout, Inflight: 1})
	if err != nil {
		return err
	}
	defer cluster.Close()
	token, err := cluster.IssueToken(ctx, edgeclient.Account{Namespace: old.Namespace, Name: old.Name}, old.Lifetime())
	if err != nil {
		return fmt.Errorf("cannot renew the token of ServiceAccount %s/%s: %s", old.Namespace, old.Name, apierror.Explain(err, object.ID{}))
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
		return nil // another kubeconfig was written meanwhile, to which the token does not belong
	}
	if data, err = kubeconfig.WithToken(data, token); err != nil {
		return err
	}
	before := secret.DeepCopy()
	secret.Data[field] = data
	// Without the option the client would watch all Secrets, to have this write come back.
	if err := r.Hub.Patch(ctx, secret, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.DisableReadYourWritesConsistency); err != nil {
		return fmt.Errorf("cannot write the renewed token into Secret %s: %w", ref.Name, err)
	}
	return nil
}
