package rig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/skerry-dev/skerry/internal/sleep"
)

// UserAgent tells the requests of a rig from those of a hub.
const UserAgent = "skerry-rig"

// Kube speaks to one API server in the words that people type: "deploy", "configmaps", "ks". It is
// safe for concurrent use.
type Kube struct {
	Config  *rest.Config
	Dynamic dynamic.Interface

	mu     sync.Mutex
	cached discovery.CachedDiscoveryInterface
	kinds  meta.ResettableRESTMapper
	mapper meta.RESTMapper // kinds, and short names
}

// NewKube returns a client without a rate limit of its own.
func NewKube(config *rest.Config) (*Kube, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst, config.UserAgent = -1, 0, UserAgent
	config.WarningHandler = rest.NoWarnings{}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	disco, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	cached := memory.NewMemCacheClient(disco)
	kinds := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	mapper := restmapper.NewShortcutExpander(kinds, cached, nil)
	return &Kube{Config: config, Dynamic: client, cached: cached, kinds: kinds, mapper: mapper}, nil
}

// Resource returns the client of a kind, by its plural, singular or short name with or without
// ".group". An empty namespace means a cluster-wide kind or all namespaces.
func (k *Kube) Resource(kind, namespace string) (dynamic.ResourceInterface, error) {
	gvr, namespaced, err := k.resolve(kind)
	if err != nil {
		return nil, err
	}
	if namespaced && namespace != "" {
		return k.Dynamic.Resource(gvr).Namespace(namespace), nil
	}
	return k.Dynamic.Resource(gvr), nil
}

// aliases are short forms for tests only. The CRDs' own short names differ from these, because Flux
// has taken "ks" and "gitrepo" on the same cluster.
var aliases = map[string]string{"ks": "kustomizations.skerry.dev", "gitrepo": "gitrepositories.skerry.dev"}

func (k *Kube) resolve(kind string) (schema.GroupVersionResource, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	kind = cmp.Or(aliases[kind], kind)
	partial := schema.ParseGroupResource(kind).WithVersion("")
	gvr, err := k.mapper.ResourceFor(partial)
	if meta.IsNoMatchError(err) {
		k.kinds.Reset() // a CRD may have come since
		gvr, err = k.mapper.ResourceFor(partial)
	}
	if err != nil {
		return gvr, false, err
	}
	gvk, err := k.mapper.KindFor(gvr)
	if err != nil {
		return gvr, false, err
	}
	mapping, err := k.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return gvr, false, err
	}
	return gvr, mapping.Scope.Name() == meta.RESTScopeNameNamespace, nil
}

// Ref names one object.
type Ref struct {
	Kind, Namespace, Name string
}

func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + "/" + r.Name
	}
	return r.Kind + "/" + r.Namespace + "/" + r.Name
}

// Get reads one object.
func (k *Kube) Get(ctx context.Context, ref Ref) (*unstructured.Unstructured, error) {
	client, err := k.Resource(ref.Kind, ref.Namespace)
	if err != nil {
		return nil, err
	}
	return client.Get(ctx, ref.Name, metav1.GetOptions{})
}

// Condition looks at an object, nil when it is not there, and reports whether that was waited for; the
// text says what is there instead.
type Condition func(*unstructured.Unstructured) (bool, string)

// Present holds when the object is there and not being deleted.
func Present(o *unstructured.Unstructured) (bool, string) {
	switch {
	case o == nil:
		return false, "not there"
	case o.GetDeletionTimestamp() != nil:
		return false, "being deleted"
	}
	return true, ""
}

// Absent holds when the object is not there.
func Absent(o *unstructured.Unstructured) (bool, string) { return o == nil, "still there" }

// Await watches one object until the condition holds and returns the object, nil when it is not
// there. It outlives API servers that stop and come back; ctx ends it.
func (k *Kube) Await(ctx context.Context, ref Ref, holds Condition) (*unstructured.Unstructured, error) {
	last := "never seen"
	for {
		o, err := k.watch(ctx, ref, func(o *unstructured.Unstructured) (ok bool) {
			ok, last = holds(o)
			return ok
		})
		if err == nil {
			return o, nil
		}
		if ctx.Err() == nil {
			last = err.Error()
		}
		if sleep.For(ctx, 50*time.Millisecond) != nil {
			return nil, fmt.Errorf("waited in vain for %s: %s", ref, last)
		}
	}
}

// watch lists and watches one object until done says so. Any end of the watch is an error.
func (k *Kube) watch(ctx context.Context, ref Ref, done func(*unstructured.Unstructured) bool) (*unstructured.Unstructured, error) {
	client, err := k.Resource(ref.Kind, ref.Namespace)
	if err != nil {
		return nil, err
	}
	selector := fields.OneTermEqualSelector("metadata.name", ref.Name).String()
	list, err := client.List(ctx, metav1.ListOptions{FieldSelector: selector})
	if err != nil {
		return nil, err
	}
	var current *unstructured.Unstructured
	if len(list.Items) > 0 {
		current = &list.Items[0]
	}
	if done(current) {
		return current, nil
	}
	w, err := client.Watch(ctx, metav1.ListOptions{FieldSelector: selector, ResourceVersion: list.GetResourceVersion()})
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case event, ok := <-w.ResultChan():
			if !ok {
				return nil, fmt.Errorf("the watch ended")
			}
			switch event.Type {
			case watch.Error:
				return nil, fmt.Errorf("the watch failed: %v", event.Object)
			case watch.Bookmark:
				continue
			case watch.Deleted:
				current = nil
			default:
				current, _ = event.Object.(*unstructured.Unstructured)
			}
			if done(current) {
				return current, nil
			}
		}
	}
}

// Patch merges JSON into an object, as `kubectl patch` and `kubectl edit` do. The time is that of the
// API server's answer.
func (k *Kube) Patch(ctx context.Context, ref Ref, merge string) (time.Time, error) {
	client, err := k.Resource(ref.Kind, ref.Namespace)
	if err != nil {
		return time.Time{}, err
	}
	_, err = client.Patch(ctx, ref.Name, types.MergePatchType, []byte(merge), metav1.PatchOptions{FieldManager: "kubectl-edit"})
	return time.Now(), err
}

// Delete deletes an object in the background. The time is that of the API server's answer.
func (k *Kube) Delete(ctx context.Context, ref Ref) (time.Time, error) {
	client, err := k.Resource(ref.Kind, ref.Namespace)
	if err != nil {
		return time.Time{}, err
	}
	err = client.Delete(ctx, ref.Name, metav1.DeleteOptions{})
	return time.Now(), err
}

// Apply applies a YAML stream of objects by server-side apply. A kind that an earlier object of the
// stream defines is found.
func (k *Kube) Apply(ctx context.Context, manifests string) error {
	return k.ApplyAs(ctx, "kubectl", manifests)
}

// ApplyAs applies manifests as a field manager.
func (k *Kube) ApplyAs(ctx context.Context, manager, manifests string) error {
	for decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if len(o.Object) == 0 {
			continue
		}
		group := o.GroupVersionKind().Group
		client, err := k.Resource(strings.TrimSuffix(strings.ToLower(o.GetKind())+"."+group, "."), o.GetNamespace())
		if err != nil {
			return err
		}
		if _, err := client.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: manager, Force: true}); err != nil {
			return fmt.Errorf("cannot apply %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
}
