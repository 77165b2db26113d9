package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/inventory"
)

const (
	partLabel     = "skerry.dev/part"
	partHub       = "hub"
	partInventory = "inventory"
	hubAnnotation = "skerry.dev/hub"
	markerName    = "skerry-hub"
	shardKey      = "inventory.json.gz"
)

// OtherHubError says that another hub manages the cluster.
type OtherHubError struct{ Hub string }

func (e *OtherHubError) Error() string {
	return fmt.Sprintf("the cluster is managed by hub %q", e.Hub)
}

// ErrInventoryChanged says that somebody else wrote an inventory since it was read.
var ErrInventoryChanged = errors.New("somebody else wrote the inventory")

// Inventories keeps the inventories of one hub on one cluster, as ConfigMaps of skerry-system. All
// are read at once by Load; a write states the version that it replaces.
type Inventories struct {
	client *Client
	hub    string

	mu       sync.Mutex
	shards   map[string]map[string]string // owner → name → resourceVersion
	writing  int                          // writes under way
	written  uint64                       // writes begun or ended so far
	revision Revision                     // the highest that the cluster has shown
}

// NewInventories returns the inventories that a hub keeps on the cluster of the client.
func NewInventories(c *Client, hub string) *Inventories {
	return &Inventories{client: c, hub: hub, shards: map[string]map[string]string{}}
}

// Load claims the cluster for the hub and returns its inventories by owner, in one request where the
// claim stands already. It returns an OtherHubError where another hub's claim stands.
func (s *Inventories) Load(ctx context.Context) (map[string]*inventory.Inventory, error) {
	list, err := s.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot read inventories: %w", err)
	}
	claimed := false
	data := map[string][][]byte{}
	shards := map[string]map[string]string{}
	slices.SortFunc(list, func(a, b corev1.ConfigMap) int { return strings.Compare(a.Name, b.Name) })
	for i := range list {
		cm := &list[i]
		if hub := cm.Annotations[hubAnnotation]; hub != s.hub {
			return nil, &OtherHubError{Hub: hub}
		}
		if cm.Labels[partLabel] == partHub {
			claimed = true
			continue
		}
		owner := cm.Labels[v1alpha1.OwnerLabel+"-inventory"]
		if shards[owner] == nil {
			shards[owner] = map[string]string{}
		}
		shards[owner][cm.Name] = cm.ResourceVersion
		data[owner] = append(data[owner], cm.BinaryData[shardKey])
	}
	if !claimed {
		if err := s.claim(ctx); err != nil {
			return nil, err
		}
	}
	out := make(map[string]*inventory.Inventory, len(data))
	for owner, parts := range data {
		if out[owner], err = inventory.Decode(owner, parts); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	s.shards = shards
	s.mu.Unlock()
	return out, nil
}

// Save records an inventory. Its shards are written before those of an earlier division are deleted,
// so that at no point less is recorded than before or after.
func (s *Inventories) Save(ctx context.Context, inv *inventory.Inventory) error {
	parts, err := inventory.Encode(inv, 0)
	if err != nil {
		return err
	}
	names := make([]string, len(parts))
	for i, data := range parts {
		names[i] = fmt.Sprintf("skerry-inventory-%s-%d-of-%d", inv.Owner, i, len(parts))
		if err := s.write(ctx, inv.Owner, names[i], data); err != nil {
			return fmt.Errorf("cannot write inventory %q: %w", inv.Owner, err)
		}
	}
	return s.deleteExcept(ctx, inv.Owner, names)
}

// Delete strikes the inventory of an owner that has nothing left on the cluster.
func (s *Inventories) Delete(ctx context.Context, owner string) error {
	return s.deleteExcept(ctx, owner, nil)
}

func (s *Inventories) deleteExcept(ctx context.Context, owner string, keep []string) error {
	s.mu.Lock()
	var names []string
	for name := range s.shards[owner] {
		if !slices.Contains(keep, name) {
			names = append(names, name)
		}
	}
	s.mu.Unlock()
	slices.Sort(names)
	defer s.begin()()
	for _, name := range names {
		err := s.do(ctx, func(ctx context.Context) error {
			return s.client.rest.Delete().AbsPath(configMaps, name).Do(ctx).Error()
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("cannot delete inventory %q: %w", owner, err)
		}
		s.mu.Lock()
		delete(s.shards[owner], name)
		s.mu.Unlock()
	}
	return nil
}

func (s *Inventories) write(ctx context.Context, owner, name string, data []byte) error {
	defer s.begin()()
	s.mu.Lock()
	version := s.shards[owner][name]
	s.mu.Unlock()
	cm := s.configMap(name, map[string]string{partLabel: partInventory, v1alpha1.OwnerLabel + "-inventory": owner})
	cm.ResourceVersion = version
	cm.BinaryData = map[string][]byte{shardKey: data}
	written, err := s.put(ctx, cm)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shards[owner] == nil {
		s.shards[owner] = map[string]string{}
	}
	s.shards[owner][name] = written
	s.revision.Saw(written)
	return nil
}

// claim writes the marker that keeps other hubs away. Of two hubs that do so at once, one is told
// that it was second.
func (s *Inventories) claim(ctx context.Context) error {
	ns := &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
	ns.Name = v1alpha1.SystemNamespace
	body, err := json.Marshal(ns)
	if err != nil {
		return fmt.Errorf("cannot encode namespace: %w", err)
	}
	err = s.do(ctx, func(ctx context.Context) error {
		return s.client.rest.Post().AbsPath("/api/v1/namespaces").SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create namespace %s: %w", v1alpha1.SystemNamespace, err)
	}
	_, err = s.put(ctx, s.configMap(markerName, map[string]string{partLabel: partHub}))
	if errors.Is(err, ErrInventoryChanged) {
		return s.checkClaim(ctx)
	}
	if err != nil {
		return fmt.Errorf("cannot claim the cluster: %w", err)
	}
	return nil
}

func (s *Inventories) checkClaim(ctx context.Context) error {
	list, err := s.list(ctx)
	if err != nil {
		return fmt.Errorf("cannot read inventories: %w", err)
	}
	for i := range list {
		if hub := list[i].Annotations[hubAnnotation]; hub != s.hub {
			return &OtherHubError{Hub: hub}
		}
	}
	return nil
}

const configMaps = "/api/v1/namespaces/" + v1alpha1.SystemNamespace + "/configmaps"

func (s *Inventories) list(ctx context.Context) ([]corev1.ConfigMap, error) {
	var list corev1.ConfigMapList
	err := s.do(ctx, func(ctx context.Context) error {
		raw, err := s.client.rest.Get().AbsPath(configMaps).Param("labelSelector", partLabel).
			SetHeader("Accept", "application/json").Do(ctx).Raw()
		if err != nil {
			return err
		}
		if err := json.Unmarshal(raw, &list); err != nil {
			return fmt.Errorf("the answer is not a list of ConfigMaps: %w", err)
		}
		if list.Kind != "ConfigMapList" {
			return fmt.Errorf("the answer is a %q, not a list of ConfigMaps", list.Kind)
		}
		s.revision.Saw(list.ResourceVersion)
		return nil
	})
	return list.Items, err
}

// put creates a ConfigMap without resourceVersion and replaces one with, and returns the new one.
func (s *Inventories) put(ctx context.Context, cm *corev1.ConfigMap) (string, error) {
	body, err := json.Marshal(cm)
	if err != nil {
		return "", fmt.Errorf("cannot encode: %w", err)
	}
	var written metav1.PartialObjectMetadata
	err = s.do(ctx, func(ctx context.Context) error {
		req := s.client.rest.Post().AbsPath(configMaps)
		if cm.ResourceVersion != "" {
			req = s.client.rest.Put().AbsPath(configMaps, cm.Name)
		}
		raw, err := req.Param("fieldManager", "skerry").SetHeader("Content-Type", "application/json").
			SetHeader("Accept", asMetadata).Body(body).Do(ctx).Raw()
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, &written)
	})
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || cm.ResourceVersion != "" && apierrors.IsNotFound(err) {
		return "", ErrInventoryChanged
	}
	return written.ResourceVersion, err
}

func (s *Inventories) configMap(name string, labels map[string]string) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}}
	cm.Name, cm.Namespace = name, v1alpha1.SystemNamespace
	cm.Labels = labels
	cm.Annotations = map[string]string{hubAnnotation: s.hub}
	return cm
}

func (s *Inventories) do(ctx context.Context, request func(context.Context) error) error {
	ctx, done, err := s.client.slot(ctx)
	if err != nil {
		return err
	}
	defer done()
	return request(ctx)
}
