package hub

import (
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/fence"
)

// newScheme knows what the hub deals with on its own API server.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, coordinationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("cannot build scheme: %w", err)
		}
	}
	return scheme, nil
}

func newManager(cfg *rest.Config, lease resourcelock.Interface, o Options) (manager.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	grace, yes := controllerGrace, true
	stripped, shared := cache.ByObject{Transform: stripMetadata}, cache.ByObject{Transform: shared()}
	mgr, err := manager.New(cfg, manager.Options{
		Scheme: scheme,
		Logger: o.Log,
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			// Only their metadata is watched; of that, only what tells one version from another is kept.
			ByObject: map[client.Object]cache.ByObject{
				&corev1.Secret{}: stripped, &corev1.ConfigMap{}: stripped,
				&v1alpha1.Cluster{}: shared, &v1alpha1.Assignment{}: shared,
			},
			// The watches deliver every change; a resync would only repeat them.
			SyncPeriod: noResync(),
		},
		Client: client.Options{Cache: &client.CacheOptions{
			// A controller that reads what it has just written must not find what was there before.
			EnableReadYourWritesConsistency: &yes,
		}},
		Metrics:                             metricsserver.Options{BindAddress: o.MetricsAddress},
		HealthProbeBindAddress:              o.HealthAddress,
		PprofBindAddress:                    o.PprofAddress,
		LeaderElection:                      o.LeaderElect,
		LeaderElectionResourceLockInterface: lease,
		LeaderElectionReleaseOnCancel:       true,
		LeaseDuration:                       new(fence.NeverGiveUp + time.Hour), // the lock writes the real one
		RenewDeadline:                       new(fence.NeverGiveUp),
		RetryPeriod:                         new(fence.Retry),
		GracefulShutdownTimeout:             &grace,
		Controller:                          config.Controller{Logger: o.Log},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot reach the hub's own cluster: %w", err)
	}
	return mgr, nil
}

func noResync() *time.Duration {
	d := 1000 * time.Hour
	return &d
}

// stripMetadata keeps of an object's metadata its name and version.
func stripMetadata(o any) (any, error) {
	meta, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return o, nil
	}
	meta.ObjectMeta = metav1.ObjectMeta{
		Namespace: meta.Namespace, Name: meta.Name, UID: meta.UID, ResourceVersion: meta.ResourceVersion,
	}
	return meta, nil
}
