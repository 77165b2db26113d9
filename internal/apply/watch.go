package apply

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/object"
)

// Seen is what a watch says of one object: a few strings, whatever its size.
type Seen struct {
	ID              object.ID
	Owner           string
	UID             string
	ResourceVersion string
	Fields          string
	Terminating     bool
	Health          health.Status
}

// Sink takes what a watch sees. Its methods are called one after the other.
type Sink interface {
	// Listing is called before the cluster is asked for all objects of the kind.
	Listing()
	// Listed replaces all that was seen of the kind.
	Listed(all []Seen)
	// Changed is called for an object that was added or changed.
	Changed(Seen)
	// Deleted is called for an object that is gone, or has lost its owner label.
	Deleted(Seen)
}

// Watch tells the sink of all objects of a kind that carry an owner label, until ctx is done:
// metadata only, unless the kind has a status that says whether its objects are healthy.
func (c *Client) Watch(ctx context.Context, m Mapping, sink Sink) {
	lw, client, example := c.metadataWatch(m, sink)
	if health.HasStatus(m.GVK.GroupKind()) {
		lw, client, example = c.fullWatch(m, sink)
	}
	log := logr.Discard() // failures show as reachability and conditions; the reflector's own log is noise
	r := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(lw, client), example, &store{mapping: m, sink: sink},
		cache.ReflectorOptions{
			Name: m.GVK.String(), TypeDescription: m.GVK.String(), Logger: &log,
			Backoff: &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 8, Cap: 20 * time.Second},
		})
	r.RunWithContext(klog.NewContext(ctx, log))
}

func (c *Client) metadataWatch(m Mapping, sink Sink) (*cache.ListWatch, any, runtime.Object) {
	r := c.meta.Resource(m.resource())
	list := func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return r.List(ctx, o) }
	return owned(sink, list, r.Watch), c.meta, &metav1.PartialObjectMetadata{}
}

func (c *Client) fullWatch(m Mapping, sink Sink) (*cache.ListWatch, any, runtime.Object) {
	r := c.full.Resource(m.resource())
	list := func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return r.List(ctx, o) }
	return owned(sink, list, r.Watch), c.full, &unstructured.Unstructured{}
}

// owned lists and watches what carries an owner label. A list is asked for as of now: by itself a
// reflector takes one that is as old as the API server's cache, or as its own last event, and then
// what was applied since would look deleted.
func owned(
	sink Sink,
	list func(context.Context, metav1.ListOptions) (runtime.Object, error),
	watchFrom func(context.Context, metav1.ListOptions) (watch.Interface, error),
) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			sink.Listing()
			o.LabelSelector, o.ResourceVersion, o.ResourceVersionMatch = v1alpha1.OwnerLabel, "", ""
			return list(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = v1alpha1.OwnerLabel
			if o.SendInitialEvents != nil && *o.SendInitialEvents {
				sink.Listing()
				o.ResourceVersion = ""
			}
			return watchFrom(ctx, o)
		},
	}
}

// store keeps nothing: it turns what the reflector brings into Seen and hands it on.
type store struct {
	mapping Mapping
	sink    Sink
}

func (s *store) Add(obj any) error    { return s.changed(obj) }
func (s *store) Update(obj any) error { return s.changed(obj) }
func (s *store) Resync() error        { return nil }

func (s *store) changed(obj any) error {
	if seen, ok := s.see(obj); ok {
		s.sink.Changed(seen)
	}
	return nil
}

func (s *store) Delete(obj any) error {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if seen, ok := s.see(obj); ok {
		s.sink.Deleted(seen)
	}
	return nil
}

func (s *store) Replace(list []any, _ string) error {
	all := make([]Seen, 0, len(list))
	for _, obj := range list {
		if seen, ok := s.see(obj); ok {
			all = append(all, seen)
		}
	}
	s.sink.Listed(all)
	return nil
}

func (s *store) see(obj any) (Seen, bool) {
	o, ok := obj.(metav1.Object)
	if !ok {
		return Seen{}, false
	}
	owner := o.GetLabels()[v1alpha1.OwnerLabel]
	manager := object.FieldManager(owner)
	seen := Seen{
		ID:              object.ID{Group: s.mapping.GVK.Group, Kind: s.mapping.GVK.Kind, Namespace: o.GetNamespace(), Name: o.GetName()},
		Owner:           owner,
		UID:             string(o.GetUID()),
		ResourceVersion: o.GetResourceVersion(),
		Fields:          OwnedFields(o.GetManagedFields(), manager),
		Terminating:     o.GetDeletionTimestamp() != nil,
		Health:          health.Status{Phase: health.Current},
	}
	switch u := obj.(type) {
	case *unstructured.Unstructured:
		seen.Health = health.Of(u)
	default:
		if seen.Terminating {
			seen.Health = health.Status{Phase: health.Terminating, Message: "is being deleted"}
		}
	}
	return seen, true
}
