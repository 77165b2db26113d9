package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/internal/edge"
)

// requestTimeout bounds one request of the agent for objects of its own.
const requestTimeout = 5 * time.Second

// kube reads and writes the few objects that the agent has for itself on the edge: a typed client for them
// would cost memory for all kinds.
type kube struct{ rest rest.Interface }

func newKube(cfg *rest.Config) (kube, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1
	cfg.NegotiatedSerializer = edge.Codecs()
	cfg.WarningHandlerWithContext = rest.NoWarnings{}
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return kube{}, fmt.Errorf("cannot set up the client of the cluster: %w", err)
	}
	r, err := rest.UnversionedRESTClientForConfigAndClient(cfg, client)
	if err != nil {
		return kube{}, fmt.Errorf("cannot set up the client of the cluster: %w", err)
	}
	return kube{r}, nil
}

func decode(raw []byte, err error, into any) error {
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// get reads an object.
func (k kube) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	raw, err := k.rest.Get().AbsPath(path).SetHeader("Accept", "application/json").Do(ctx).Raw()
	return decode(raw, err, into)
}

// list reads the objects with a label.
func (k kube) list(ctx context.Context, path, selector string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	raw, err := k.rest.Get().AbsPath(path).Param("labelSelector", selector).SetHeader("Accept", "application/json").Do(ctx).Raw()
	return decode(raw, err, into)
}

// create makes an object, and reads it back.
func (k kube) create(ctx context.Context, path string, o any) error {
	return k.write(ctx, k.rest.Post().AbsPath(path), o)
}

// update replaces an object, if its resourceVersion is that of o, and reads it back.
func (k kube) update(ctx context.Context, path string, o any) error {
	return k.write(ctx, k.rest.Put().AbsPath(path), o)
}

// replace replaces an object, as update does, and returns its resourceVersion: nothing else of the answer is read.
func (k kube) replace(ctx context.Context, path string, o any) (resourceVersion string, err error) {
	body, err := json.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("cannot encode: %w", err)
	}
	raw, err := k.send(ctx, k.rest.Put().AbsPath(path), body)
	var answer struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := decode(raw, err, &answer); err != nil {
		return "", err
	}
	if answer.Metadata.ResourceVersion == "" {
		return "", errors.New("the cluster answers a write without a resourceVersion")
	}
	return answer.Metadata.ResourceVersion, nil
}

func (k kube) write(ctx context.Context, r *rest.Request, o any) error {
	body, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("cannot encode: %w", err)
	}
	raw, err := k.send(ctx, r, body)
	return decode(raw, err, o)
}

func (k kube) send(ctx context.Context, r *rest.Request, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return r.SetHeader("Content-Type", "application/json").SetHeader("Accept", "application/json").Param("fieldManager", agentName).Body(body).Do(ctx).Raw()
}

// patch merges a change into an object.
func (k kube) patch(ctx context.Context, path string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return k.rest.Patch(types.MergePatchType).AbsPath(path).Param("fieldManager", agentName).Body(body).Do(ctx).Error()
}

// delete removes an object, if it is there.
func (k kube) delete(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := k.rest.Delete().AbsPath(path).Param("propagationPolicy", string(metav1.DeletePropagationBackground)).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// clusterUID is what the cluster is known by.
func (k kube) clusterUID(ctx context.Context) (string, error) {
	var ns corev1.Namespace
	if err := k.get(ctx, "/api/v1/namespaces/"+metav1.NamespaceSystem, &ns); err != nil {
		return "", fmt.Errorf("cannot read the namespace %s: %w", metav1.NamespaceSystem, err)
	}
	if ns.UID == "" {
		return "", errors.New("the cluster answers without a uid of its namespace kube-system")
	}
	return string(ns.UID), nil
}
