package migrating

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/migrate"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// fluxManager is the name under which kustomize-controller applies.
const fluxManager = "kustomize-controller"

// keptKey is the key of the Secret that holds a keptRecord.
const keptKey = "kept.json"

// keptRecord names what a Kustomization of Skerry had on one cluster before it let go of it. Its inventory is gone then,
// so it is written down before: a run that was ended in between still gives everything back.
type keptRecord struct {
	// Namespace, Cluster, Secret and Key lead to the cluster; Secret is empty for the hub's own.
	Namespace string `json:"namespace,omitempty"`
	Cluster   string `json:"cluster"`
	Secret    string `json:"secret,omitempty"`
	Key       string `json:"key,omitempty"`
	// Objects are group, kind, namespace and name of each.
	Objects [][4]string `json:"objects"`
}

func (r keptRecord) cluster() *v1alpha1.Cluster {
	return clusterWith(r.Namespace, r.Cluster, r.Secret, r.Key)
}

// clusterWith is a Cluster of which no more is known than how to reach it.
func clusterWith(namespace, name, secret, key string) *v1alpha1.Cluster {
	c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if secret != "" {
		c.Spec.KubeConfig = &v1alpha1.KubeConfig{SecretRef: meta.SecretKeyReference{Name: secret, Key: key}}
	}
	return c
}

// clusterOf is the cluster that a Kustomization of Flux applies to, named after the Secret of its kubeconfig.
func clusterOf(o map[string]any) *v1alpha1.Cluster {
	namespace, _, _ := unstructured.NestedString(o, "metadata", "namespace")
	secret, _, _ := unstructured.NestedString(o, "spec", "kubeConfig", "secretRef", "name")
	key, _, _ := unstructured.NestedString(o, "spec", "kubeConfig", "secretRef", "key")
	if secret == "" {
		return clusterWith("", v1alpha1.HubCluster, "", "")
	}
	return clusterWith(namespace, migrate.ClusterName(secret), secret, key)
}

// hubEdge is the hub's own cluster as one that is applied to.
func (t *takeover) hubEdge() *factory.Edge {
	return &factory.Edge{Client: t.hub, Mapper: t.hub.RESTMapper()}
}

// reach returns a cluster to ask; nil where it cannot be asked from here, which is said once, with what follows from it.
func (t *takeover) reach(ctx context.Context, c *v1alpha1.Cluster, otherwise string) *factory.Edge {
	if c.Name == v1alpha1.HubCluster && c.Spec.KubeConfig == nil {
		return t.hubEdge()
	}
	key := types.NamespacedName{Namespace: c.Namespace, Name: c.Name}
	if c.Spec.KubeConfig != nil {
		key.Name = c.Spec.KubeConfig.SecretRef.Name + "/" + c.Spec.KubeConfig.SecretRef.Key
	}
	at, asked := t.edges[key]
	if asked {
		return at
	}
	at, err := t.Edge(ctx, t.hub, c)
	if err == nil {
		_, _, err = at.Records(ctx)
	}
	if err != nil {
		t.IO.Progressf("cluster %s cannot be asked from here, so %s: %v", c.Name, otherwise, err)
		at = nil
	}
	if t.edges == nil {
		t.edges = map[types.NamespacedName]*factory.Edge{}
	}
	t.edges[key] = at
	return at
}

// noteKept writes down what Skerry's Kustomizations keep. Some of it may have come from Git since Flux was suspended, so
// Flux's inventories do not name it.
func (t *takeover) noteKept(ctx context.Context, created []*unstructured.Unstructured, s *factory.Step) error {
	n := 0
	for _, o := range created {
		if o.GetKind() != v1alpha1.KustomizationKind {
			continue
		}
		ks := &v1alpha1.Kustomization{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, ks); err != nil {
			return fmt.Errorf("cannot read %s: %w", apply.Name(o), err)
		}
		clusters, err := t.clustersOf(ctx, ks)
		if err != nil {
			return err
		}
		for i := range clusters {
			noted, err := t.noteKeptOn(ctx, ks, &clusters[i])
			if err != nil {
				return err
			}
			n += noted
		}
	}
	s.Donef("%d", n)
	return nil
}

// clustersOf are those that a Kustomization of Skerry selects.
func (t *takeover) clustersOf(ctx context.Context, ks *v1alpha1.Kustomization) ([]v1alpha1.Cluster, error) {
	if ks.Spec.Clusters == nil {
		return []v1alpha1.Cluster{*clusterWith("", v1alpha1.HubCluster, "", "")}, nil
	}
	all, access, err := factory.Selectable(ctx, t.hub, ks)
	if err != nil {
		return nil, err
	}
	selection, err := targeting.Select(ks, all, access)
	if err != nil {
		return nil, fmt.Errorf("cannot tell the clusters of %s/%s: %w", ks.Namespace, ks.Name, err)
	}
	return slices.DeleteFunc(all, func(c v1alpha1.Cluster) bool {
		name := v1alpha1.RelativeName(ks.Namespace, client.ObjectKeyFromObject(&c))
		return !slices.ContainsFunc(selection.Targets, func(target targeting.Target) bool { return target.Name == name })
	}), nil
}

// noteKeptOn writes down what a Kustomization has on one cluster, and returns how many objects these are. What an
// earlier run has written down stays where the inventory is gone.
func (t *takeover) noteKeptOn(ctx context.Context, ks *v1alpha1.Kustomization, c *v1alpha1.Cluster) (int, error) {
	at := t.reach(ctx, c, "what came new there keeps Skerry as a manager of its fields")
	if at == nil {
		return 0, nil
	}
	kept, hubID, err := at.Records(ctx)
	if err != nil {
		return 0, fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	owner := object.Owner{Hub: hubID, Namespace: ks.Namespace, Name: ks.Name}.Label()
	if corrupt := kept.Corrupt[owner]; corrupt != nil {
		return 0, fmt.Errorf("cannot read what %s/%s keeps on cluster %s: %w", ks.Namespace, ks.Name, c.Name, corrupt)
	}
	inventory := kept.Inventories[owner]
	if inventory == nil || len(inventory.Objects) == 0 {
		return 0, nil
	}
	record := keptRecord{Namespace: c.Namespace, Cluster: c.Name}
	if c.Spec.KubeConfig != nil {
		record.Secret, record.Key = c.Spec.KubeConfig.SecretRef.Name, c.Spec.KubeConfig.SecretRef.Key
	}
	for _, id := range inventory.IDs() {
		record.Objects = append(record.Objects, [4]string{id.Group, id.Kind, id.Namespace, id.Name})
	}
	return len(record.Objects), t.storeKept(ctx, ks, record)
}

func (t *takeover) storeKept(ctx context.Context, ks *v1alpha1.Kustomization, record keptRecord) error {
	data, err := json.Marshal(record) //nolint:gosec // it has the name of a Secret, not what is in it
	if err != nil {
		return fmt.Errorf("cannot encode what %s/%s keeps: %w", ks.Namespace, ks.Name, err)
	}
	sum := sha256.Sum256([]byte("kept\x00" + ks.Namespace + "/" + ks.Name + "\x00" + record.Namespace + "/" + record.Cluster))
	manifest, err := apply.FromTyped(t.hub.Scheme(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: v1alpha1.SystemNamespace, Name: "migrate-" + hex.EncodeToString(sum[:8]),
			Labels: map[string]string{migrate.Annotation: migrate.Kept},
		},
		Data: map[string][]byte{keptKey: data},
	})
	if err != nil {
		return err
	}
	_, err = apply.Object(ctx, t.hub, manifest)
	return err
}

// giveBack names Flux's controller as the manager of what Skerry applied: what Flux had applied before, and what came
// new since. Otherwise what goes from Git later would stay on the objects. Where that fails the way back goes on, and
// says so.
func (t *takeover) giveBack(ctx context.Context, d done, s *factory.Step) error {
	secrets := &corev1.SecretList{}
	labelled := []client.ListOption{client.InNamespace(v1alpha1.SystemNamespace), client.MatchingLabels{migrate.Annotation: migrate.Kept}}
	if err := t.hub.List(ctx, secrets, labelled...); err != nil {
		return fmt.Errorf("cannot list what Skerry kept: %w", err)
	}
	n := 0
	for i := range secrets.Items {
		var record keptRecord
		if err := json.Unmarshal(secrets.Items[i].Data[keptKey], &record); err != nil {
			return fmt.Errorf("cannot read what Skerry kept, in the Secret %s: %w", secrets.Items[i].Name, err)
		}
		refs := make([]migrate.Ref, 0, len(record.Objects))
		for _, o := range record.Objects {
			refs = append(refs, migrate.Ref{Group: o[0], Kind: o[1], Namespace: o[2], Name: o[3]})
		}
		n += t.giveBackOn(ctx, record.cluster(), refs)
	}
	for _, o := range slices.Concat(d.copies, d.suspended) {
		n += t.giveBackOn(ctx, clusterOf(o.Object), inventoryOf(o))
	}
	s.Donef("%d", n)
	return t.hub.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(v1alpha1.SystemNamespace), client.MatchingLabels{migrate.Annotation: migrate.Kept})
}

// giveBackOn gives objects of one cluster back, and returns how many had Skerry as a manager.
func (t *takeover) giveBackOn(ctx context.Context, c *v1alpha1.Cluster, refs []migrate.Ref) int {
	if len(refs) == 0 {
		return 0
	}
	at := t.reach(ctx, c, "what stands there keeps Skerry as a manager of its fields, and what goes from Git stays on it")
	if at == nil {
		return 0
	}
	n := 0
	for _, r := range refs {
		given, err := giveBackOne(ctx, at, r)
		if err != nil {
			t.IO.Progressf("%s keeps Skerry as a manager of its fields, and what goes from Git stays on it: %v", standing{c.Name, r}, err)
		}
		if given {
			n++
		}
	}
	return n
}

// giveBackOne gives one object back, and returns whether it had Skerry as a manager. One that is written meanwhile, as
// the status of a workload is, is read again.
func giveBackOne(ctx context.Context, at *factory.Edge, r migrate.Ref) (bool, error) {
	for attempt := 1; ; attempt++ {
		live, err := metadata(ctx, at, r)
		if err != nil || live == nil {
			return false, err
		}
		version := live.ResourceVersion
		err = apply.GiveBack(ctx, at, live, fluxManager)
		switch {
		case err == nil:
			return live.ResourceVersion != version, nil
		case apierrors.IsNotFound(err):
			return false, nil
		case attempt == 5 || !apierrors.IsInvalid(err) && !apierrors.IsConflict(err):
			return false, err
		}
	}
}
