package tree

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
)

// Words for the health of an object, beside those of internal/health.
const (
	healthy = "healthy"
	exists  = "exists" // of a kind that has no health
	missing = "missing"
	denied  = "unknown"
)

// objects reads the inventory of a Kustomization on a cluster, and the health of what is in it.
func objects(ctx context.Context, o *Options, hub *factory.Hub, ks *v1alpha1.Kustomization, c *v1alpha1.Cluster) ([]Object, error) {
	at, err := o.Edge(ctx, hub, c)
	if err != nil {
		return nil, err
	}
	kept, hubID, err := at.Records(ctx)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	owner := object.Owner{Hub: hubID, Namespace: ks.Namespace, Name: ks.Name}.Label()
	if corrupt := kept.Corrupt[owner]; corrupt != nil {
		return nil, factory.OtherServer(fmt.Errorf("cluster %s: %w", c.Name, corrupt))
	}
	inv := kept.Inventories[owner]
	if inv == nil {
		return nil, nil
	}
	found, err := look(ctx, at, owner, inv)
	if err != nil {
		return nil, factory.OtherServer(fmt.Errorf("cluster %s: %w", c.Name, err))
	}
	out := make([]Object, 0, len(inv.Objects))
	for _, id := range inv.IDs() {
		one := found[id]
		one.Object = iostreams.Line(id.String())
		if shown := inv.Objects[id].ManifestName; shown != "" { // its name has the value of a Secret in it
			one.Object = iostreams.Line(schema.GroupKind{Group: id.Group, Kind: id.Kind}.String() + "/" + shown)
		}
		one.Health = cmp.Or(one.Health, missing)
		out = append(out, one)
	}
	slices.SortStableFunc(out, func(a, b Object) int { return cmp.Compare(a.Object, b.Object) })
	return out, nil
}

// look lists each kind of an inventory by its owner label: one request a kind, and of kinds that have no health
// the metadata alone, so that no Secret is read. What has lost the label is looked at by itself.
func look(ctx context.Context, at *factory.Edge, owner string, inv *inventory.Inventory) (map[object.ID]Object, error) {
	kinds := map[schema.GroupKind][]object.ID{}
	for _, id := range inv.IDs() {
		gk := schema.GroupKind{Group: id.Group, Kind: id.Kind}
		kinds[gk] = append(kinds[gk], id)
	}
	results := make(chan map[object.ID]Object, len(kinds))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for gk, ids := range kinds {
		group.Go(func() error {
			found, err := lookAtKind(ctx, at, owner, gk, ids)
			results <- found
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	close(results)
	all := map[object.ID]Object{}
	for found := range results {
		maps.Copy(all, found)
	}
	return all, nil
}

func lookAtKind(ctx context.Context, at *factory.Edge, owner string, gk schema.GroupKind, ids []object.ID) (map[object.ID]Object, error) {
	found := map[object.ID]Object{}
	all := func(health, message string) map[object.ID]Object {
		for _, id := range ids {
			found[id] = Object{Health: health, Message: message}
		}
		return found
	}
	mapping, err := at.Mapper.RESTMapping(gk)
	if meta.IsNoMatchError(err) {
		return all(missing, "the cluster does not serve the kind"), nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look up %s: %w", gk, err)
	}
	list := listOf(mapping.GroupVersionKind)
	if err := at.List(ctx, list, client.MatchingLabels{v1alpha1.OwnerLabel: owner}); apierrors.IsForbidden(err) {
		return all(denied, "it may not be read"), nil
	} else if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", gk, err)
	}
	switch l := list.(type) {
	case *unstructured.UnstructuredList:
		for i := range l.Items {
			found[idOf(gk, &l.Items[i])] = healthOf(&l.Items[i])
		}
	case *metav1.PartialObjectMetadataList:
		for i := range l.Items {
			found[idOf(gk, &l.Items[i])] = Object{Health: exists}
		}
	}
	for _, id := range ids {
		if _, is := found[id]; is {
			continue
		}
		one := &metav1.PartialObjectMetadata{}
		one.SetGroupVersionKind(mapping.GroupVersionKind)
		err := at.Get(ctx, client.ObjectKey{Namespace: id.Namespace, Name: id.Name}, one)
		switch {
		case err == nil:
			found[id] = Object{Health: denied, Message: "it is there, without the label of its owner"}
		case !apierrors.IsNotFound(err):
			return nil, fmt.Errorf("cannot read %s: %w", id, err)
		}
	}
	return found, nil
}

func listOf(gvk schema.GroupVersionKind) client.ObjectList {
	gk := gvk.GroupKind()
	gvk.Kind += "List"
	if health.HasStatus(gk) {
		l := &unstructured.UnstructuredList{}
		l.SetGroupVersionKind(gvk)
		return l
	}
	l := &metav1.PartialObjectMetadataList{}
	l.SetGroupVersionKind(gvk)
	return l
}

func idOf(gk schema.GroupKind, o client.Object) object.ID {
	return object.ID{Group: gk.Group, Kind: gk.Kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

func healthOf(u *unstructured.Unstructured) Object {
	s := health.Of(u)
	o := Object{Health: s.Phase.String(), Message: iostreams.Line(s.Message)}
	if s.Phase == health.Current {
		o.Health = healthy
	}
	return o
}
