package cluster

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/kubeconfig"
	"github.com/skerry-dev/skerry/internal/report"
)

// secrets reads kubeconfigs, each once for each version of its Secret: the cache shows what the
// version is, the API server has the content.
type secrets struct {
	hub    hubapi.Hub
	direct hubapi.Direct

	mu   *sync.Mutex
	read map[engine.Key]parsed
}

type parsed struct {
	secret      types.NamespacedName
	key         string
	version     string // UID and resourceVersion of the Secret
	config      *rest.Config
	fingerprint string
	renews      bool // the hub renews its token
	err         error
}

func newSecrets(hub hubapi.Hub, direct hubapi.Direct) secrets {
	return secrets{hub: hub, direct: direct, mu: &sync.Mutex{}, read: map[engine.Key]parsed{}}
}

// kubeconfig returns the connection that the Secret of a Cluster describes.
func (s secrets) kubeconfig(ctx context.Context, c *v1alpha1.Cluster) (*rest.Config, string, error) {
	ref := c.Spec.KubeConfig.SecretRef
	name := types.NamespacedName{Namespace: c.Namespace, Name: ref.Name}
	version, err := s.version(ctx, name)
	if err != nil {
		return nil, "", err
	}
	key := engine.Key{Namespace: c.Namespace, Name: c.Name}
	s.mu.Lock()
	last := s.read[key]
	s.mu.Unlock()
	if last.secret == name && last.key == ref.Key && last.version == version {
		return last.config, last.fingerprint, last.err
	}
	now, err := s.parse(ctx, name, ref.Key)
	if err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	s.read[key] = now
	s.mu.Unlock()
	return now.config, now.fingerprint, now.err
}

// renews reports whether the hub renews the token of a Cluster's kubeconfig, as it was read last.
func (s secrets) renews(key engine.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read[key].renews
}

func (s secrets) version(ctx context.Context, name types.NamespacedName) (string, error) {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err := s.hub.Get(ctx, name, meta); err != nil {
		return "", missing(err, name.Name)
	}
	return version(meta), nil
}

func version(o metav1.Object) string { return string(o.GetUID()) + "/" + o.GetResourceVersion() }

func (s secrets) parse(ctx context.Context, name types.NamespacedName, key string) (parsed, error) {
	secret := &corev1.Secret{}
	if err := s.direct.Get(ctx, name, secret); err != nil {
		return parsed{}, missing(err, name.Name)
	}
	p := parsed{secret: name, key: key, version: version(secret), renews: secret.Annotations[v1alpha1.RenewTokenAnnotation] == "enabled"}
	data, err := kubeconfig.Pick(secret.Name, secret.Data, key)
	if err == nil {
		p.config, p.fingerprint, err = kubeconfig.Parse(data)
	}
	if err != nil {
		p.err = &report.Stalled{Reason: v1alpha1.InvalidKubeConfigReason, Err: err}
	}
	return p, nil
}

// missing distinguishes a Secret that is not there, which a watch will show, from an error of the API.
func missing(err error, name string) error {
	if apierrors.IsNotFound(err) {
		return &report.Waiting{Reason: v1alpha1.SecretNotFoundReason, Err: fmt.Errorf("there is no Secret %s", name)}
	}
	return fmt.Errorf("cannot read Secret: %w", err)
}

func (s secrets) forget(key engine.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.read, key)
}
