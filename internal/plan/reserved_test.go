package plan

import (
	"testing"

	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/sharding"
)

func TestReserved(t *testing.T) {
	system := func(group, kind, name string) object.ID {
		return object.ID{Group: group, Kind: kind, Namespace: "skerry-system", Name: name}
	}
	for _, id := range []object.ID{
		{Group: "skerry.dev", Kind: "Assignment", Namespace: "tenant", Name: "edge-1"},
		system("", "ConfigMap", "skerry-hub"),
		system("", "ConfigMap", "skerry-inventory-apps.0123456789abcdef-0-of-1"),
		system("", "ConfigMap", "skerry-inventory-x"),
		system("coordination.k8s.io", "Lease", sharding.Shard{Index: 1, Count: 1}.Lease()),
		system("coordination.k8s.io", "Lease", sharding.Shard{Index: 2, Count: 3}.Lease()),
	} {
		if Reserved(id, false) == "" {
			t.Errorf("%s may be applied", id)
		}
	}
	for _, id := range []object.ID{
		{Kind: "ConfigMap", Namespace: "apps", Name: "skerry-hub"},
		{Kind: "ConfigMap", Namespace: "apps", Name: "skerry-inventory-x"},
		{Group: "skerry.dev", Kind: "Kustomization", Namespace: "skerry-system", Name: "apps"},
		{Group: "other.dev", Kind: "Assignment", Namespace: "a", Name: "x"},
		{Kind: "Namespace", Name: "skerry-system"},
		// What the hub keeps of itself in Git.
		system("apps", "Deployment", "skerry-hub"),
		system("", "ServiceAccount", "skerry-hub"),
		system("", "Service", "skerry-hub"),
		system("", "Secret", "skerry-inventory-x"),
		system("", "ConfigMap", "skerry-settings"),
		system("coordination.k8s.io", "Lease", "other"),
	} {
		if why := Reserved(id, false); why != "" {
			t.Errorf("%s %s", id, why)
		}
		if Reserved(id, true) == "" {
			t.Errorf("%s may have the label", id)
		}
	}
}
