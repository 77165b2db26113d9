// Package receiver keeps the server of webhooks at what the Receivers and their Secrets hold.
//
// A webhook has one effect, that a source is looked at again. It is asked for within the hub and written
// nowhere: a hub that dies before the check makes one of every source when it starts again.
package receiver

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/receiver"
	"github.com/skerry-dev/skerry/internal/report"
)

// Keys of the Secret, as in Flux.
const (
	tokenKey    = "token"
	emailKey    = "email"
	audienceKey = "audience"
)

// Options are what a Reconciler works with.
type Options struct {
	Hub      hubapi.Hub
	Direct   hubapi.Direct
	Recorder hubapi.Recorder
	// Off explains why the hub accepts no webhooks; "" where it does.
	Off string
	// Server answers the webhooks.
	Server *receiver.Server
	// Keys fetches what OIDC issuers sign with.
	Keys *receiver.Keys
	// Enqueue asks for a check of a GitRepository after a while. It does not block.
	Enqueue func(types.NamespacedName, time.Duration)
	// NoCrossNamespaceRefs refuses sources of other namespaces whose accessFrom does not admit the Receiver's.
	NoCrossNamespaceRefs bool
	Now                  func() time.Time
}

// Reconciler reconciles Receivers.
type Reconciler struct {
	Options
	trigger  hubapi.Trigger
	statuses *hubapi.Committer[v1alpha1.Receiver, *v1alpha1.Receiver]
	pace     receiver.Pace
}

// New returns a Reconciler.
func New(o Options) *Reconciler {
	r := &Reconciler{Options: o}
	r.statuses = hubapi.NewCommitter(o.Hub, &r.trigger, o.Now, func(r *v1alpha1.Receiver) any { return &r.Status })
	return r
}

// Reconcile puts one Receiver at its path, or takes it off. It waits for no write.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	return r.statuses.Reconcile(ctx, req, r.begin)
}

// begin reconciles up to the write of the status.
func (r *Reconciler) begin(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	before := &v1alpha1.Receiver{}
	if err := r.Hub.Get(ctx, req.NamespacedName, before); err != nil {
		if apierrors.IsNotFound(err) {
			r.Server.Remove(req.NamespacedName)
			r.statuses.Forget(req.NamespacedName)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("cannot read Receiver: %w", err)
	}
	path, err := r.open(ctx, before)
	if err != nil {
		if !report.IsReportable(err) {
			return reconcile.Result{}, err // what was accepted until now still is
		}
		r.Server.Remove(req.NamespacedName)
	}
	found := report.Receiver(report.ReceiverFacts{
		Object: before, Now: r.Now(), Path: path, Err: err,
		IgnoresEvents: len(before.Spec.Events) > 0 && !receiver.HasEvents(before.Spec.Type),
	})
	after := before.DeepCopy()
	after.Status = found.Status
	return r.statuses.CommitThen(ctx, before, after, func() (reconcile.Result, error) {
		hubapi.Record(r.Recorder, after, "Receive", found.Events)
		return reconcile.Result{RequeueAfter: found.Requeue}, nil
	})
}

// open puts a Receiver at the path of its token, and returns the path.
func (r *Reconciler) open(ctx context.Context, object *v1alpha1.Receiver) (string, error) {
	if r.Off != "" {
		return "", stalled(v1alpha1.ReceiversDisabledReason, "%s", r.Off)
	}
	sender, err := r.sender(ctx, object)
	if err != nil {
		return "", err
	}
	resources, err := compile(object)
	if err != nil {
		return "", err
	}
	key, path := client.ObjectKeyFromObject(object), object.WebhookPathFor(string(sender.Token))
	free := r.Server.Set(path, &receiver.Hook{
		Receiver: key, Suspended: object.Spec.Suspend,
		Sender: sender,
		Fetch: func(ctx context.Context, evaluation *receiver.Evaluation) error {
			return r.fetch(ctx, key.Namespace, resources, evaluation)
		},
	})
	if !free {
		return "", stalled(v1alpha1.InvalidSecretReason, "another Receiver has the same path: give each a token of its own in %s", object.Spec.SecretRef.Name)
	}
	return path, nil
}

// sender is who may send to the Receiver.
func (r *Reconciler) sender(ctx context.Context, object *v1alpha1.Receiver) (receiver.Sender, error) {
	sender := receiver.Sender{Type: object.Spec.Type, Events: object.Spec.Events, Keys: r.Keys}
	for i, p := range object.Spec.OIDCProviders {
		if err := r.Keys.Allow(p.IssuerURL); err != nil {
			return sender, stalled(v1alpha1.InvalidProviderConfigurationReason, "spec.oidcProviders[%d].issuerURL: %w", i, err)
		}
		provider, err := receiver.NewProvider(p)
		if err != nil {
			return sender, stalled(v1alpha1.InvalidCELExpressionReason, "spec.oidcProviders[%d]: %w", i, err)
		}
		sender.Providers = append(sender.Providers, provider)
	}
	if receiver.HasClaims(object.Spec.Type) {
		return sender, nil
	}
	secret, name := &corev1.Secret{}, object.Spec.SecretRef.Name
	err := r.Direct.Get(ctx, types.NamespacedName{Namespace: object.Namespace, Name: name}, secret)
	sender.Token = secret.Data[tokenKey]
	switch {
	case apierrors.IsNotFound(err):
		return sender, &report.Waiting{Reason: v1alpha1.SecretNotFoundReason, Err: fmt.Errorf("the Secret %s is not there; \"skerry create secret receiver %s\" makes one", name, name)}
	case err != nil:
		return sender, fmt.Errorf("cannot read the Secret %s: %w", name, err)
	case len(sender.Token) == 0:
		return sender, stalled(v1alpha1.InvalidSecretReason, "the Secret %s has no key %s", name, tokenKey)
	case receiver.IsPathOnly(object.Spec.Type) && len(sender.Token) < receiver.MinPathToken:
		return sender, stalled(v1alpha1.InvalidSecretReason, "the token of the Secret %s is shorter than %d bytes: with the type %s nothing but the path, which is made of it, authenticates a webhook", name, receiver.MinPathToken, object.Spec.Type)
	case object.Spec.Type == v1alpha1.GCRReceiver:
		email, audience := string(secret.Data[emailKey]), string(secret.Data[audienceKey])
		if email == "" || audience == "" {
			return sender, stalled(v1alpha1.InvalidSecretReason, "the Secret %s has no key %s or no key %s, those of the Pub/Sub subscription", name, emailKey, audienceKey)
		}
		sender.Providers = []*receiver.Provider{receiver.GoogleProvider(email, audience)}
	}
	return sender, nil
}

func stalled(reason, format string, args ...any) error {
	return &report.Stalled{Reason: reason, Err: fmt.Errorf(format, args...)}
}
