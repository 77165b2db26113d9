package hub

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/sleep"
)

// probeInterval is the pause between two looks at an API server that is starting.
const probeInterval = 250 * time.Millisecond

// awaitAPI waits until the hub's own API server answers and knows the kinds of skerry.dev: both may
// be on their way when the hub starts. It returns what the cluster is known by.
func awaitAPI(ctx context.Context, cfg *rest.Config, timeout time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	api, err := client.New(cfg, client.Options{})
	if err != nil {
		return "", fmt.Errorf("cannot reach the hub's own cluster: %w", err)
	}
	for {
		uid, err := clusterUID(ctx, api)
		if err == nil {
			err = knownKinds(api.RESTMapper())
		}
		if err == nil || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			return uid, err
		}
		if stopped := sleep.For(ctx, probeInterval); stopped != nil {
			return "", errors.Join(err, stopped)
		}
	}
}

// clusterUID returns the uid of kube-system.
func clusterUID(ctx context.Context, reader client.Reader) (string, error) {
	system := &corev1.Namespace{}
	if err := reader.Get(ctx, types.NamespacedName{Name: "kube-system"}, system); err != nil {
		return "", fmt.Errorf("cannot read the namespace kube-system of the hub's own cluster: %w", err)
	}
	return string(system.UID), nil
}

func knownKinds(mapper meta.RESTMapper) error {
	for _, kind := range []string{v1alpha1.GitRepositoryKind, v1alpha1.ReceiverKind, v1alpha1.KustomizationKind, v1alpha1.ClusterKind, v1alpha1.AssignmentKind} {
		_, err := mapper.RESTMapping(v1alpha1.GroupVersion.WithKind(kind).GroupKind(), v1alpha1.GroupVersion.Version)
		if meta.IsNoMatchError(err) {
			return fmt.Errorf("the hub's own cluster does not know the kind %s; \"skerry install\" installs it: %w", kind, err)
		}
		if err != nil {
			return fmt.Errorf("cannot ask the hub's own cluster for its kinds: %w", err)
		}
	}
	return nil
}
