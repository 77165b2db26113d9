package rig

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Owned lists every object, of any kind, that carries Skerry's owner label, one line each: what it
// is, and a digest of all of it but its status. Two equal lists mean that nothing was written.
func (k *Kube) Owned(ctx context.Context) ([]string, error) {
	k.mu.Lock()
	k.kinds.Reset()
	lists, err := discovery.ServerPreferredResources(k.cached)
	k.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("cannot list kinds: %w", err)
	}
	lists = discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "patch"}}, lists)
	var lines []string
	for _, group := range lists {
		gv, err := schema.ParseGroupVersion(group.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, r := range group.APIResources {
			if gv.Group == "" && r.Name == "events" || gv.Group == "events.k8s.io" {
				continue
			}
			all, err := k.Dynamic.Resource(gv.WithResource(r.Name)).List(ctx, metav1.ListOptions{LabelSelector: v1alpha1.OwnerLabel})
			if err != nil {
				return nil, fmt.Errorf("cannot list %s: %w", r.Name, err)
			}
			for i := range all.Items {
				o := &all.Items[i]
				if r.Name == "endpoints" || metav1.GetControllerOf(o) != nil {
					continue // the cluster's own, with labels copied from ours
				}
				lines = append(lines, fmt.Sprintf("%s/%s/%s %s", r.Name, o.GetNamespace(), o.GetName(), digest(o)))
			}
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// digest is that of an object without its status and what comes with writing that.
func digest(o *unstructured.Unstructured) string {
	o = o.DeepCopy()
	delete(o.Object, "status")
	o.SetResourceVersion("")
	fields := slices.DeleteFunc(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool { return f.Subresource == "status" })
	o.SetManagedFields(fields)
	raw, err := json.Marshal(o.Object)
	if err != nil {
		return err.Error()
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:6])
}
