package kustomization

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"weak"

	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// reference names a ConfigMap or Secret.
type reference struct {
	kind string
	name types.NamespacedName
}

// content is what a ConfigMap or Secret holds at a version. It is shared and not changed.
type content struct {
	targeting.Content
	version string
}

// contents are what any Kustomization holds at the moment, so that a thousand clusters, and all the
// Kustomizations on them, that take variables from one object read it once for each version. What
// nothing holds any more is not kept.
type contents struct {
	reads singleflight.Group

	mu   sync.Mutex
	held map[reference]weak.Pointer[content]
	most int // how many there may be before those that are gone are struck off
}

func (c *contents) get(ref reference, version string) *content {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.held[ref].Value(); found != nil && found.version == version {
		return found
	}
	return nil
}

func (c *contents) put(ref reference, made *content) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.held) >= c.most {
		for r, p := range c.held {
			if p.Value() == nil {
				delete(c.held, r)
			}
		}
		c.most = max(64, 2*len(c.held))
	}
	if c.held == nil {
		c.held = map[reference]weak.Pointer[content]{}
	}
	c.held[ref] = weak.Make(made)
}

// content returns what an object holds; nil when it is not there. One reconcile looks once.
func (r *Reconciler) content(ctx context.Context, o *observed, ref reference) (*content, error) {
	if found, looked := o.contents[ref]; looked {
		return found, nil
	}
	found, err := r.look(ctx, ref)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("cannot read %s %s: %w", ref.kind, ref.name.Name, err)
	}
	if found == nil {
		if err := r.missed(ctx, o, ref); err != nil {
			return nil, err
		}
	}
	o.contents[ref] = found
	return found, nil
}

// errTornDown means that the namespace goes, and with it what a render needs.
var errTornDown = errors.New("the namespace or the hub is being torn down")

// missed looks why an object is not there, when that is news. A namespace that is deleted loses its
// Secrets and ConfigMaps before its Kustomizations, and a render without those that are optional would
// change what stands on clusters.
func (r *Reconciler) missed(ctx context.Context, o *observed, ref reference) error {
	if before, looked := o.earlier[ref]; looked && before == nil {
		return nil
	}
	why, err := r.TearDown(ctx, subject(ref.name.Namespace, o.ks.CreationTimestamp.Time))
	if err == nil && why != "" {
		err = errTornDown
	}
	return err
}

// look asks the cache for the version, and the API server for what it has not seen.
func (r *Reconciler) look(ctx context.Context, ref reference) (*content, error) {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(ref.kind))
	if err := r.Hub.Get(ctx, ref.name, meta); err != nil {
		return nil, err
	}
	wanted := version(meta)
	if found := r.contents.get(ref, wanted); found != nil {
		return found, nil
	}
	read, err, _ := r.contents.reads.Do(ref.kind+" "+ref.name.String()+" "+wanted, func() (any, error) {
		if found := r.contents.get(ref, wanted); found != nil {
			return found, nil
		}
		made, err := r.read(context.WithoutCancel(ctx), ref)
		if err != nil {
			return nil, err
		}
		r.contents.put(ref, made)
		return made, nil
	})
	if err != nil {
		return nil, err
	}
	return read.(*content), nil
}

func (r *Reconciler) read(ctx context.Context, ref reference) (*content, error) {
	if ref.kind == "ConfigMap" {
		config := &corev1.ConfigMap{}
		if err := r.Direct.Get(ctx, ref.name, config); err != nil {
			return nil, err
		}
		return &content{targeting.Content{Data: config.Data}, version(config)}, nil
	}
	secret := &corev1.Secret{}
	if err := r.Direct.Get(ctx, ref.name, secret); err != nil {
		return nil, err
	}
	data := make(map[string]string, len(secret.Data))
	for k, v := range secret.Data {
		data[k] = string(v)
	}
	return &content{targeting.Content{Data: data, Secret: true}, version(secret)}, nil
}

func version(o metav1.Object) string { return string(o.GetUID()) + "/" + o.GetResourceVersion() }

// observeSubstitutes reads the ConfigMaps and Secrets of substituteFrom.
func (r *Reconciler) observeSubstitutes(ctx context.Context, o *observed) error {
	// What this reconcile looks up is held until the next one has looked it up again.
	o.contents = map[reference]*content{}
	o.memo.contents, o.earlier = o.contents, o.memo.contents
	var err error
	if o.from, err = targeting.Substitutes(o.ks, r.lookup(ctx, o, o.key.Namespace)); report.IsReportable(err) {
		o.missing, err = err, nil
	}
	return err
}

// setVars gives a target the variables of varsFrom, or explains why it cannot: that is the affair of its
// cluster alone. Its own error is one of the hub's API.
func (r *Reconciler) setVars(ctx context.Context, o *observed, t *target) error {
	err := targeting.SetVars(&t.Target, o.byName[t.Name], r.lookup(ctx, o, t.Namespace))
	if report.IsReportable(err) {
		t.err, err = err, nil
	}
	return err
}

func (r *Reconciler) lookup(ctx context.Context, o *observed, namespace string) targeting.Lookup {
	return func(kind, name string) (*targeting.Content, error) {
		found, err := r.content(ctx, o, reference{kind, types.NamespacedName{Namespace: namespace, Name: name}})
		if err != nil || found == nil {
			return nil, err
		}
		return &found.Content, nil
	}
}
