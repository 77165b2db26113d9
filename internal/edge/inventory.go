package edge

import (
	"context"
	"encoding/json"
	"encoding/json/jsontext"
	jsonv2 "encoding/json/v2"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/inventory"
)

const (
	partHub       = "hub"
	partInventory = "inventory"
	ownerLabel    = v1alpha1.OwnerLabel + "-inventory"
	shardKey      = "inventory.json.gz"
)

// OtherHubError means that another hub manages the cluster.
type OtherHubError struct {
	Hub string
	// Shared means that the other one would share it.
	Shared bool
}

func (e *OtherHubError) Error() string {
	if e.Shared {
		return fmt.Sprintf("the cluster is managed by hub %q, which shares it with hubs whose Cluster says sharing: Shared", e.Hub)
	}
	return fmt.Sprintf("the cluster is managed by hub %q", e.Hub)
}

// OtherClusterError means that another Cluster of the hub has the cluster, of which one says that it shares it and the
// other does not.
type OtherClusterError struct{ Cluster string }

func (e *OtherClusterError) Error() string {
	return "the Cluster " + e.Cluster + " has it, and one of the two does not say sharing: Shared"
}

// ErrInventoryChanged means that something else wrote an inventory since it was read.
var ErrInventoryChanged = errors.New("the inventory was written by something else")

// CorruptError means that the inventory of one owner cannot be relied on. What it held is unknown, which
// is not nothing: nothing may be applied or deleted for its owner.
type CorruptError struct {
	// ConfigMap at fault, in SystemNamespace, and what is wrong with it.
	ConfigMap, Why string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("ConfigMap %s/%s %s", v1alpha1.SystemNamespace, e.ConfigMap, e.Why)
}

// Inventories keeps the inventories of one hub on one cluster, as ConfigMaps of skerry-system. All
// are read at once by Load; a write states the version that it replaces.
type Inventories struct {
	client *Client
	holder Holder
	// limit bounds a shard in bytes; 0: inventory.ShardLimit.
	limit int

	mu       sync.Mutex
	shards   map[string]map[string]string // owner → name → resourceVersion
	clusters map[string]string            // Cluster that wrote an inventory last, by owner
	claimed  string                       // resourceVersion of the claim
	writing  int                          // writes under way
	written  uint64                       // writes begun or ended so far
	revision Revision                     // the highest that the cluster has shown
}

// NewInventories returns the inventories that a hub keeps on the cluster of the client.
func NewInventories(c *Client, h Holder) *Inventories {
	return &Inventories{client: c, holder: h, shards: map[string]map[string]string{}, clusters: map[string]string{}}
}

// Load claims the cluster for the hub and returns what it keeps there, in one request where the claim
// stands already. It returns an *OtherHubError where another hub's claim stands, and a *ContestedError
// where that of another hub of the same identity does, which may be working there.
func (s *Inventories) Load(ctx context.Context, q Contest) (*Records, error) {
	for try := 0; ; try++ {
		list, err := s.list(ctx, "")
		if err != nil {
			return nil, fmt.Errorf("cannot read inventories: %w", err)
		}
		records, err := sortOut(s.holder, list)
		if err != nil {
			return nil, err
		}
		err = s.claim(ctx, records.claim, q)
		if errors.Is(err, ErrInventoryChanged) && try < 3 {
			continue // of two hubs that claim it at once, one reads that it was second
		}
		if err != nil {
			return nil, err
		}
		if err := s.settleClaims(ctx, records); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.shards, s.clusters = records.shards, maps.Clone(records.Clusters) // the caller reads its own without a lock
		s.mu.Unlock()
		return records, nil
	}
}

// settleClaims brings the claims in order once the holder has its own. That of the other form, from before sharing
// was changed, goes. One who shares looks again: a hub, or another Cluster of this one, that wants the cluster to itself
// may have claimed it at the same moment, under the other name, and the one that shares gives way.
func (s *Inventories) settleClaims(ctx context.Context, records *Records) error {
	if records.former != nil {
		if err := s.remove(ctx, configMaps, records.former.Name, records.former.UID); err != nil {
			return fmt.Errorf("cannot delete the former claim: %w", err)
		}
	}
	if !s.holder.Shared || records.claim != nil {
		return nil
	}
	list, err := s.list(ctx, "")
	if err != nil {
		return fmt.Errorf("cannot read inventories: %w", err)
	}
	_, refused := sortOut(s.holder, list)
	for i := range list {
		if refused != nil && list[i].Name == s.holder.claimName() {
			return errors.Join(refused, s.remove(ctx, configMaps, list[i].Name, list[i].UID))
		}
	}
	return refused
}

// Writer returns the Cluster that wrote the inventory of an owner last, "namespace/name"; "" where that is not known.
func (s *Inventories) Writer(owner string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clusters[owner]
}

// Rival reports whether a ConfigMap of SystemNamespace is the claim of a hub that wants to itself what this one shares.
func (s *Inventories) Rival(name string) bool { return s.holder.Shared && name == v1alpha1.ClaimName }

// IsClaim reports whether a ConfigMap has the name of this hub's claim.
func (s *Inventories) IsClaim(name string) bool { return name == s.holder.claimName() }

// ClaimName is the name of the ConfigMap of this hub's claim.
func (s *Inventories) ClaimName() string { return s.holder.claimName() }

// Reload reads the inventory of one owner, which was corrupt, again.
func (s *Inventories) Reload(ctx context.Context, owner string) (*inventory.Inventory, error) {
	list, err := s.list(ctx, owner)
	if err != nil {
		return nil, fmt.Errorf("cannot read the inventory %q: %w", owner, err)
	}
	records, err := sortOut(s.holder, list)
	if err != nil {
		return nil, err
	}
	if corrupt := records.Corrupt[owner]; corrupt != nil {
		return nil, corrupt
	}
	s.mu.Lock()
	s.shards[owner] = records.shards[owner]
	s.mu.Unlock()
	if inv := records.Inventories[owner]; inv != nil {
		return inv, nil
	}
	return inventory.New(owner), nil
}

// ForeignWrite reports whether a sight of a ConfigMap of SystemNamespace shows that something else wrote or
// deleted an inventory of one of the owners. It is not certain while a write of our own is under way:
// then the second result is false, and the sight is to be judged again.
func (s *Inventories) ForeignWrite(name string, there bool, version string, ours func(owner string) bool) (byOther, certain bool) {
	owner, ok := inventoryOwner(name)
	if !ok || !ours(owner) {
		return false, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known, recorded := s.shards[owner][name]
	switch {
	case there && recorded:
		byOther = newer(version, known)
	case there != recorded:
		byOther = true
	}
	return byOther, !byOther || s.writing == 0
}

// newer compares resourceVersions, which are ordered numbers.
func newer(a, b string) bool {
	x, err := strconv.ParseUint(a, 10, 64)
	y, err2 := strconv.ParseUint(b, 10, 64)
	return err == nil && err2 == nil && x > y
}

// Save records an inventory. Its shards are written before those of an earlier division are deleted,
// so that at no point less is recorded than before or after.
func (s *Inventories) Save(ctx context.Context, inv *inventory.Inventory) error {
	parts, err := inventory.Encode(inv, s.limit)
	if err != nil {
		return err
	}
	names := make([]string, len(parts))
	for i, data := range parts {
		names[i] = inventoryName(inv.Owner, i, len(parts))
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
	cm := systemConfigMap(name, partInventory)
	cm.Labels[ownerLabel] = owner
	cm.Annotations = map[string]string{hubAnnotation: s.holder.Hub}
	if s.holder.Cluster != "" {
		cm.Annotations[clusterAnnotation] = s.holder.Cluster
	}
	cm.ResourceVersion = version
	cm.BinaryData = map[string][]byte{shardKey: data}
	written, err := s.put(ctx, cm)
	if errors.Is(err, ErrInventoryChanged) && version == "" {
		return s.explainNameTaken(ctx, owner, name)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shards[owner] == nil {
		s.shards[owner] = map[string]string{}
	}
	s.shards[owner][name] = written
	if s.holder.Cluster != "" {
		s.clusters[owner] = s.holder.Cluster
	}
	s.revision.Observe(written)
	return nil
}

// explainNameTaken describes what a ConfigMap is that was not found as an inventory, and yet has the name of one.
func (s *Inventories) explainNameTaken(ctx context.Context, owner, name string) error {
	cm, err := s.get(ctx, name)
	switch {
	case apierrors.IsNotFound(err):
		return ErrInventoryChanged
	case err != nil:
		return err
	case cm.Labels[v1alpha1.PartLabel] == partInventory && cm.Labels[ownerLabel] == owner:
		return ErrInventoryChanged
	}
	return &CorruptError{name, "has the name of an inventory and not its labels; delete it, or restore them"}
}

// claim writes the ConfigMap that keeps other hubs away, where it does not stand yet. It returns
// ErrInventoryChanged when another hub was faster.
func (s *Inventories) claim(ctx context.Context, c *claim, q Contest) error {
	h, contested := s.holder, &ContestedError{Suspect: q.Suspect}
	if c != nil {
		contested.Holder, contested.Nonce = c.instance, c.challenge.Nonce
	}
	switch h.decide(c, q) {
	case claimKeep:
		return s.hold(ctx, c)
	case claimTake:
		return s.takeClaim(ctx, c, q.Suspect)
	case claimChallenge:
		asks := *c
		asks.challenge = Challenge{Nonce: fmt.Sprintf("%s-%d", h.Process, q.Now.UnixNano()), Instance: h.Instance, Process: h.Process, Since: h.Since.Unix()}
		contested.Nonce, contested.Waiting = asks.challenge.Nonce, true
		if err := s.putClaim(ctx, &asks); err != nil {
			return err
		}
	case claimWait:
		contested.Waiting = true
	case claimRefuse:
		if c.by != "" && q.Suspect {
			contested.Holder = c.by
		}
	}
	return contested
}

// hold keeps a claim that stands: it answers another process that asks, and takes back a question of its
// own that nothing has answered.
func (s *Inventories) hold(ctx context.Context, c *claim) error {
	s.mu.Lock()
	s.claimed = c.version
	s.mu.Unlock()
	if s.holder.Instance == "" || !c.pending() {
		return nil
	}
	held := *c
	if _, answers := s.holder.answer(c); answers {
		held.answered, held.by = c.challenge.Nonce, s.holder.Process
	} else {
		held.challenge = Challenge{}
	}
	return s.putClaim(ctx, &held)
}

// takeClaim writes a claim of this hub's. Where it is taken from another process of the same instance,
// it names the process.
func (s *Inventories) takeClaim(ctx context.Context, c *claim, suspect bool) error {
	taken := &claim{name: s.holder.claimName(), hub: s.holder.Hub, instance: s.holder.Instance, cluster: s.holder.Cluster}
	if suspect && c != nil {
		taken.instance += "." + s.holder.Process
	}
	if c != nil {
		taken.version = c.version
		return s.putClaim(ctx, taken)
	}
	if err := s.createNamespace(ctx); err != nil {
		return err
	}
	err := s.putClaim(ctx, taken)
	if !errors.Is(err, ErrInventoryChanged) {
		return err
	}
	// Another hub was faster, or what has the name of the claim has lost its label: in Skerry's own
	// namespace, under Skerry's own name, it is made what it must be.
	cm, err := s.get(ctx, taken.name)
	if apierrors.IsNotFound(err) || err == nil && cm.Labels[v1alpha1.PartLabel] == partHub {
		return ErrInventoryChanged
	}
	if err != nil {
		return fmt.Errorf("cannot read the claim: %w", err)
	}
	if hub := cm.Annotations[hubAnnotation]; hub != "" && hub != s.holder.Hub {
		return &OtherHubError{Hub: hub}
	}
	taken.version = cm.ResourceVersion
	return s.putClaim(ctx, taken)
}

func (s *Inventories) createNamespace(ctx context.Context) error {
	ns := &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
	ns.Name = v1alpha1.SystemNamespace
	body, err := json.Marshal(ns)
	if err != nil {
		return fmt.Errorf("cannot encode namespace: %w", err)
	}
	err = s.do(ctx, func(ctx context.Context) error {
		return s.client.rest.Post().AbsPath("/api/v1/namespaces").SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
	})
	// Credentials that reach some namespaces only may not create one; whether it is there, the claim shows.
	if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsForbidden(err) {
		return fmt.Errorf("cannot create namespace %s: %w", v1alpha1.SystemNamespace, err)
	}
	return nil
}

func (s *Inventories) putClaim(ctx context.Context, c *claim) error {
	version, err := s.put(ctx, c.configMap())
	if errors.Is(err, ErrInventoryChanged) {
		return err
	}
	if err != nil {
		return fmt.Errorf("cannot claim the cluster: %w", err)
	}
	s.mu.Lock()
	s.claimed = version
	s.mu.Unlock()
	return nil
}

// ClaimKnown reports whether a version of the claim is the one that was read or written last.
func (s *Inventories) ClaimKnown(version string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return version == s.claimed
}

// CheckClaim looks at the claim, which has changed, and answers where another hub asks whether this one works.
func (s *Inventories) CheckClaim(ctx context.Context) (ClaimState, error) {
	for try := 0; ; try++ {
		var c *claim
		cm, err := s.get(ctx, s.holder.claimName())
		if err != nil && !apierrors.IsNotFound(err) {
			return ClaimStands, fmt.Errorf("cannot read the claim: %w", err)
		}
		if err == nil {
			c = readClaim(cm)
		}
		state, answers := s.holder.answer(c)
		if !answers {
			if c != nil {
				s.mu.Lock()
				s.claimed = c.version
				s.mu.Unlock()
			}
			return state, nil
		}
		c.answered, c.by = c.challenge.Nonce, s.holder.Process
		if err := s.putClaim(ctx, c); !errors.Is(err, ErrInventoryChanged) || try >= 3 {
			return state, err
		}
	}
}

const configMaps = "/api/v1/namespaces/" + v1alpha1.SystemNamespace + "/configmaps"

// withoutManagedFields passes over what nobody reads of a ConfigMap: to decode it takes as long as all the rest.
var withoutManagedFields = jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(func(d *jsontext.Decoder, _ *[]metav1.ManagedFieldsEntry) error {
	return d.SkipValue()
}))

// list returns the ConfigMaps that are Skerry's own, without their managed fields: all, or the inventory of one owner.
func (s *Inventories) list(ctx context.Context, owner string) ([]corev1.ConfigMap, error) {
	selector := v1alpha1.PartLabel
	if owner != "" {
		selector += "," + ownerLabel + "=" + owner
	}
	var list corev1.ConfigMapList
	err := s.do(ctx, func(ctx context.Context) error {
		raw, err := s.client.rest.Get().AbsPath(configMaps).Param("labelSelector", selector).
			SetHeader("Accept", "application/json").Do(ctx).Raw()
		if err != nil {
			return err
		}
		if err := jsonv2.Unmarshal(raw, &list, json.DefaultOptionsV1(), withoutManagedFields); err != nil {
			return fmt.Errorf("the answer is not a list of ConfigMaps: %w", err)
		}
		if list.Kind != "ConfigMapList" {
			return fmt.Errorf("the answer is a %q, not a list of ConfigMaps", list.Kind)
		}
		s.revision.Observe(list.ResourceVersion)
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

func (s *Inventories) get(ctx context.Context, name string) (*corev1.ConfigMap, error) {
	cm := &corev1.ConfigMap{}
	err := s.do(ctx, func(ctx context.Context) error {
		raw, err := s.client.rest.Get().AbsPath(configMaps, name).SetHeader("Accept", asMetadata).Do(ctx).Raw()
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, cm)
	})
	return cm, err
}

func systemConfigMap(name, part string) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}}
	cm.Name, cm.Namespace = name, v1alpha1.SystemNamespace
	cm.Labels = map[string]string{v1alpha1.PartLabel: part}
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
