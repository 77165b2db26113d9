package edge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/text"
)

// Mapping describes where the objects of a kind live.
type Mapping struct {
	GVK        schema.GroupVersionKind
	Resource   string
	Namespaced bool
	// Own means that it is not a kind but what Skerry keeps on the cluster for itself.
	Own bool
	// Supported means that the cluster keeps the objects: they can be applied, listed, watched and deleted.
	Supported bool
}

// requiredVerbs are what a kind has to offer for its objects to be kept in the state of Git.
var requiredVerbs = []string{"patch", "list", "watch", "delete"}

// isSupported reports whether a resource offers all that is needed. A resource without a list of verbs does.
func isSupported(r metav1.APIResource) bool {
	for _, verb := range requiredVerbs {
		if len(r.Verbs) > 0 && !slices.Contains(r.Verbs, verb) {
			return false
		}
	}
	return true
}

// OwnMapping is what Skerry keeps on the cluster for itself: the ConfigMaps of SystemNamespace with the
// part label, under a group that no API server has. Watched, it shows what another hub writes there.
var OwnMapping = Mapping{GVK: v1alpha1.GroupVersion.WithKind("ConfigMap"), Resource: "configmaps", Namespaced: true, Own: true}

// mappings remembers the kinds that were found. What was not found is asked for again: a definition
// may have come with the same commit. A group and version whose resources are in doubt is read by itself,
// so a broken aggregated API fails the lookup of its own kinds only, and only what is used takes memory.
type mappings struct {
	mu    sync.Mutex
	known map[schema.GroupVersionKind]Mapping
	// aggregatedFor holds the groups and versions that were looked for in a document of all groups.
	aggregatedFor map[schema.GroupVersion]bool
	// unconfirmed are kinds that only such a document has.
	unconfirmed map[schema.GroupVersionKind]bool
	// asking are the groups and versions of which the resources are being asked for; closed with the answer.
	asking map[schema.GroupVersion]chan struct{}
}

// add remembers the kind of a resource, unless it has a name that no API server takes, or the cluster has shown
// more kinds than any has. The lock is held.
func (m *mappings) add(gv schema.GroupVersion, r metav1.APIResource) {
	if strings.Contains(r.Name, "/") {
		return // a subresource
	}
	if !text.IsPrintable(r.Name, maxName) || !text.IsPrintable(r.Kind, maxName) || len(m.known) >= maxDefinitions {
		return
	}
	if m.known == nil {
		m.known = map[schema.GroupVersionKind]Mapping{}
	}
	k := gv.WithKind(r.Kind)
	delete(m.unconfirmed, k)
	m.known[k] = Mapping{GVK: k, Resource: r.Name, Namespaced: r.Namespaced, Supported: isSupported(r)}
}

// Mapping returns where the objects of a kind live, asking the cluster at the first time. The error
// is a KindNotFoundError when the cluster answers that it has no such kind.
func (c *Client) Mapping(ctx context.Context, gvk schema.GroupVersionKind) (Mapping, error) {
	m, ok, answered, err := c.mappings.ask(ctx, gvk)
	if ok || err != nil {
		return m, err
	}
	defer answered()
	list, err := c.resources(ctx, gvk.GroupVersion())
	if apierrors.IsNotFound(err) {
		return Mapping{}, &apierror.KindNotFoundError{GVK: gvk}
	}
	if err != nil {
		return Mapping{}, fmt.Errorf("cannot discover %s: %w", gvk.GroupVersion(), err)
	}
	return c.mappings.take(gvk, list)
}

// take remembers the resources of a group and version, and returns where the objects of one of its kinds live.
func (m *mappings) take(gvk schema.GroupVersionKind, list *metav1.APIResourceList) (Mapping, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range list.APIResources {
		m.add(gvk.GroupVersion(), r)
	}
	if found, ok := m.known[gvk]; ok {
		return found, nil
	}
	if len(m.known) >= maxDefinitions { // the kind may be among those that were not remembered
		return Mapping{}, fmt.Errorf("cannot discover %s: %w: it shows more than %d kinds", gvk.GroupVersion(), ErrTooLarge, maxDefinitions)
	}
	return Mapping{}, &apierror.KindNotFoundError{GVK: gvk}
}

// ask returns where the objects of a kind live, if that was found before or by who asks for its group and version already:
// the Kustomizations of a cluster begin at the same time. Else it is to be asked for now, and answered to be called with the
// answer. What another's answer does not have may have been defined since that one asked.
func (m *mappings) ask(ctx context.Context, gvk schema.GroupVersionKind) (known Mapping, ok bool, answered func(), err error) {
	gv := gvk.GroupVersion()
	for {
		m.mu.Lock()
		if known, ok = m.known[gvk]; ok {
			m.mu.Unlock()
			return known, true, nil, nil
		}
		asked := m.asking[gv]
		if asked == nil {
			if m.asking == nil {
				m.asking = map[schema.GroupVersion]chan struct{}{}
			}
			m.asking[gv] = make(chan struct{})
			m.mu.Unlock()
			return Mapping{}, false, func() { m.answered(gv) }, nil
		}
		m.mu.Unlock()
		select {
		case <-asked:
		case <-ctx.Done():
			return Mapping{}, false, nil, context.Cause(ctx)
		}
	}
}

// answered lets those go on who wait for the resources of a group and version.
func (m *mappings) answered(gv schema.GroupVersion) {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.asking[gv])
	delete(m.asking, gv)
}

// KnownMapping returns where the objects of a kind live, if that was found before. It asks nothing.
func (c *Client) KnownMapping(gvk schema.GroupVersionKind) (Mapping, bool) {
	c.mappings.mu.Lock()
	defer c.mappings.mu.Unlock()
	m, ok := c.mappings.known[gvk]
	return m, ok
}

// ForgetMapping lets the next look at a kind ask the cluster again.
func (c *Client) ForgetMapping(gvk schema.GroupVersionKind) {
	c.mappings.mu.Lock()
	defer c.mappings.mu.Unlock()
	delete(c.mappings.known, gvk)
}

func (c *Client) resources(ctx context.Context, gv schema.GroupVersion) (*metav1.APIResourceList, error) {
	list := &metav1.APIResourceList{}
	if err := c.discovery(ctx, c.rest.Get().AbsPath(root(gv)).SetHeader("Accept", "application/json"), list); err != nil {
		return nil, err
	}
	return list, nil
}

func root(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.Group + "/" + gv.Version
}

// path of an object, or of its collection when name is empty.
func (m Mapping) path(namespace, name string) []string {
	p := []string{root(m.GVK.GroupVersion())}
	if m.Namespaced {
		p = append(p, "namespaces", namespace)
	}
	p = append(p, m.Resource)
	if name != "" {
		p = append(p, name)
	}
	return p
}

// within is the path of the collection in one namespace, or in all of them when namespace is empty.
func (m Mapping) within(namespace string) []string {
	m.Namespaced = m.Namespaced && namespace != ""
	return m.path(namespace, "")
}
