package hub

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/text"
)

// shared returns what the cache does to the objects of which there is one for each cluster: it drops their managed fields,
// and keeps what they have in common once. Of two Assignments most texts are the same.
func shared() toolscache.TransformFunc {
	strip := cache.TransformStripManagedFields()
	return func(o any) (any, error) {
		switch o := o.(type) {
		case *v1alpha1.Cluster:
			shareMeta(&o.ObjectMeta)
			text.Share(&o.Status.Version, &o.Status.Shard)
			if o.Status.Agent != nil {
				text.Share(&o.Status.Agent.Version)
			}
			for i := range o.Status.Conditions {
				c := &o.Status.Conditions[i]
				text.Share(&c.Type, &c.Reason, &c.Message)
				text.Share(&c.Status)
			}
		case *v1alpha1.Assignment:
			shareMeta(&o.ObjectMeta)
			for i := range o.Spec.Entries {
				e := &o.Spec.Entries[i]
				text.Share(&e.Name, &e.Revision, &e.Digest, &e.Change, &e.ServiceAccountName)
				if e.Fallback != nil {
					text.Share(&e.Fallback.Digest, &e.Fallback.Revision)
				}
			}
			for i := range o.Status.Entries {
				e := &o.Status.Entries[i]
				text.Share(&e.Name, &e.Revision, &e.Digest, &e.AppliedRevision, &e.AppliedDigest, &e.Reason)
				text.Share(&e.Ready)
			}
		}
		return strip(o)
	}
}

func shareMeta(m *metav1.ObjectMeta) {
	text.Share(&m.Namespace)
	for i := range m.Finalizers {
		text.Share(&m.Finalizers[i])
	}
	for i := range m.OwnerReferences {
		text.Share(&m.OwnerReferences[i].APIVersion, &m.OwnerReferences[i].Kind)
	}
	for _, named := range []map[string]string{m.Labels, m.Annotations} {
		for key, value := range named {
			named[text.Shared(key)] = value // the map takes the new key for the old one; many a value is of one cluster alone
		}
	}
}
