package hub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/internal/bundlestore"
	"github.com/skerry-dev/skerry/internal/sleep"
)

const (
	// storageKeySecret is the Secret, in the hub's namespace, with the key that bundles are sealed with.
	storageKeySecret = "skerry-hub-storage-key" //nolint:gosec // the name of a Secret, not its value
	storageKeyField  = "key"
)

// storageKey returns the key that bundles are sealed with. The first hub, or shard of one, that starts makes
// it; all others find it.
func storageKey(ctx context.Context, api client.Client, namespace string) (*bundlestore.Key, error) {
	secret := &corev1.Secret{}
	name := client.ObjectKey{Namespace: namespace, Name: storageKeySecret}
	err := api.Get(ctx, name, secret)
	if apierrors.IsNotFound(err) {
		if err = createStorageKey(ctx, api, namespace); err == nil || apierrors.IsAlreadyExists(err) {
			err = api.Get(ctx, name, secret)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot get the Secret %s, with which bundles that hold Secrets are sealed on the disk; \"skerry install\" brings the right to make it: %w", name, err)
	}
	key, err := bundlestore.NewKey(secret.Data[storageKeyField])
	if err != nil {
		return nil, fmt.Errorf("the Secret %s is damaged: delete it, and the hub makes another and renders again: %w", name, err)
	}
	return key, nil
}

// awaitStorageKey is storageKey, once there is a namespace to keep the key in: it may be on its way, or about to
// go, when the hub starts. Why it waits is logged once.
func awaitStorageKey(ctx context.Context, api client.Client, namespace string, every time.Duration, log logr.Logger) (*bundlestore.Key, error) {
	reported := ""
	for {
		key, err := storageKey(ctx, api, namespace)
		if err == nil || !isTransient(err) {
			return key, err
		}
		if why := err.Error(); why != reported {
			reported = why
			log.Info("waiting for the hub's namespace, or for its API server", "namespace", namespace, "why", why)
		}
		if stopped := sleep.For(ctx, every); stopped != nil {
			return nil, errors.Join(err, stopped)
		}
	}
}

// isTransient reports whether an error of the API server is one that time, or an install, helps against: there is
// no namespace yet, it is being deleted, or the server does not answer.
func isTransient(err error) bool {
	_, unanswered := errors.AsType[net.Error](err)
	return unanswered || apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || apierrors.IsTimeout(err) ||
		apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err)
}

func createStorageKey(ctx context.Context, api client.Client, namespace string) error {
	key := make([]byte, bundlestore.KeySize)
	if _, err := rand.Read(key); err != nil {
		return fmt.Errorf("cannot make a key: %w", err)
	}
	immutable := true
	return api.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: storageKeySecret},
		Immutable:  &immutable,
		Data:       map[string][]byte{storageKeyField: key},
	})
}
