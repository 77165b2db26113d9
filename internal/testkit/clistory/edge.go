package clistory

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/golden"
	"github.com/skerry-dev/skerry/internal/testkit/manifests"
)

// hubID is the identity of the hub in every story.
const hubID = "hub-uid"

var ownerWord = regexp.MustCompile(`OWNER\(([a-z0-9-]+)\)`)

// edges returns how the clusters are reached: edge-NAME.yaml is what the API server of one holds, in which
// OWNER(name) is the owner label of a Kustomization, and edge-NAME.inventory has lines "KUSTOMIZATION OBJECT…".
// A cluster without either does not answer.
func edges(t *testing.T, a *txtar.Archive) func(context.Context, *factory.Hub, *v1alpha1.Cluster) (*factory.Edge, error) {
	t.Helper()
	clients := map[string]*factory.Edge{}
	for _, file := range a.Files {
		name, edge := strings.CutPrefix(file.Name, "edge-")
		name, live := strings.CutSuffix(name, ".yaml")
		name, inventory := strings.CutSuffix(name, ".inventory")
		if !edge || !live && !inventory || clients[name] != nil {
			continue
		}
		scheme, err := factory.Scheme()
		if err != nil {
			t.Fatal(err)
		}
		docs := ownerWord.ReplaceAllStringFunc(golden.Text(a, "edge-"+name+".yaml"), func(word string) string {
			return owner(ownerWord.FindStringSubmatch(word)[1])
		})
		objects := append(Objects(t, scheme, docs), inventories(t, golden.Text(a, "edge-"+name+".inventory"))...)
		c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithReturnManagedFields().Build()
		clients[name] = &factory.Edge{Client: c, Mapper: mapper(scheme)}
	}
	return func(_ context.Context, _ *factory.Hub, c *v1alpha1.Cluster) (*factory.Edge, error) {
		if clients[c.Name] == nil {
			return nil, factory.OtherServer(fmt.Errorf("cannot reach cluster %s: %w", c.Name, errors.New("dial tcp 10.0.0.7:6443: i/o timeout")))
		}
		return clients[c.Name], nil
	}
}

// mapper maps the kinds of a scheme, as discovery would.
func mapper(scheme *runtime.Scheme) meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(scheme.PrioritizedVersionsAllGroups())
	for gvk := range scheme.AllKnownTypes() {
		scope := meta.RESTScopeNamespace
		if gvk.Kind == "Namespace" {
			scope = meta.RESTScopeRoot
		}
		m.Add(gvk, scope)
	}
	return m
}

func owner(kustomization string) string {
	return object.Owner{Hub: hubID, Namespace: v1alpha1.SystemNamespace, Name: kustomization}.Label()
}

func inventories(t *testing.T, text string) []client.Object {
	t.Helper()
	claim := &corev1.ConfigMap{}
	claim.Namespace, claim.Name = v1alpha1.SystemNamespace, v1alpha1.ClaimName
	claim.Labels, claim.Annotations = map[string]string{v1alpha1.PartLabel: "hub"}, map[string]string{"skerry.dev/hub": hubID}
	out := []client.Object{claim}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		inv := inventory.New(owner(words[0]))
		for _, word := range words[1:] {
			inv.Objects[manifests.ID(t, word)] = inventory.Record{Version: "v1", Digest: "sha256:x"}
		}
		shards, err := inventory.Encode(inv, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i, data := range shards {
			cm := &corev1.ConfigMap{BinaryData: map[string][]byte{"inventory.json.gz": data}}
			cm.Namespace, cm.Name = v1alpha1.SystemNamespace, fmt.Sprintf("%s%s-%d-of-%d", v1alpha1.InventoryPrefix, inv.Owner, i, len(shards))
			cm.Labels = map[string]string{v1alpha1.PartLabel: "inventory", v1alpha1.OwnerLabel + "-inventory": inv.Owner}
			cm.Annotations = map[string]string{"skerry.dev/hub": hubID}
			out = append(out, cm)
		}
	}
	return out
}
