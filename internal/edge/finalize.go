package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// AccountBinding is the ClusterRoleBinding that `skerry cluster join` makes on an edge; with the label
// below, so that one of that name which something else made is left alone. The account and its token
// have it as their owner and go with it.
const (
	AccountBinding = "skerry-hub"
	PartLabel      = v1alpha1.PartLabel
	PartAccount    = "account"
)

const bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"

// FinalizeOptions describes what to take away.
type FinalizeOptions struct {
	// Own reports whether an inventory is the Cluster's that is retired, by its owner and the Cluster that
	// wrote it last, which is empty for an earlier version's.
	Own func(owner, cluster string) bool
	// KeepClaim leaves the claim: another Cluster leads to the same cluster.
	KeepClaim bool
	// Revoke takes away, as the last act, the account that was made for the hub.
	Revoke bool
}

// Finalize takes away what Skerry keeps on the cluster for one Cluster: its inventories, and the claim of
// the hub unless something else of the hub stays. The namespace stays, as others may have put something
// there. Told twice, it does the rest.
func (s *Inventories) Finalize(ctx context.Context, what FinalizeOptions) error {
	list, err := s.list(ctx, "")
	if err != nil {
		return fmt.Errorf("cannot read inventories: %w", err)
	}
	var claim *corev1.ConfigMap
	slices.SortFunc(list, func(a, b corev1.ConfigMap) int { return strings.Compare(a.Name, b.Name) })
	isAnyClaim := func(name string) bool { is, _ := isClaim(name); return is }
	for i := range list {
		cm := &list[i]
		hub := cm.Annotations[hubAnnotation]
		owner, isInventory := inventoryOwner(cm.Name)
		switch {
		case isAnyClaim(cm.Name) && hub != s.holder.Hub && s.holder.Shared:
			what.Revoke = false // another hub may have the same account
		case isAnyClaim(cm.Name) && hub != s.holder.Hub:
			return &OtherHubError{Hub: hub}
		case isAnyClaim(cm.Name) && cm.Name != s.holder.claimName():
			what.Revoke = false // that of another Cluster of the hub, which may have the same account
		case isAnyClaim(cm.Name):
			claim = cm
		case !isInventory || hub != s.holder.Hub:
		case !what.Own(owner, cm.Annotations[clusterAnnotation]):
			what.KeepClaim = true
			what.Revoke = what.Revoke && !s.holder.Shared // another Cluster of the hub may have the same account
		default:
			if err := s.remove(ctx, configMaps, cm.Name, cm.UID); err != nil {
				return fmt.Errorf("cannot delete %s: %w", cm.Name, err)
			}
		}
	}
	if claim != nil && !what.KeepClaim { // the claim last
		if err := s.remove(ctx, configMaps, claim.Name, claim.UID); err != nil {
			return fmt.Errorf("cannot delete %s: %w", claim.Name, err)
		}
	}
	if !what.Revoke {
		return nil
	}
	return s.revoke(ctx)
}

// revoke ends the hub's own rights on the cluster. A hub that uses other credentials, or may not do it,
// has nothing to revoke.
func (s *Inventories) revoke(ctx context.Context) error {
	var binding metav1.PartialObjectMetadata
	err := s.do(ctx, func(ctx context.Context) error {
		raw, err := s.client.rest.Get().AbsPath(bindings, AccountBinding).SetHeader("Accept", asMetadata).Do(ctx).Raw()
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, &binding)
	})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || err == nil && binding.Labels[PartLabel] != PartAccount {
		return nil
	}
	if err == nil {
		err = s.remove(ctx, bindings, AccountBinding, binding.UID)
	}
	if err != nil && !apierrors.IsForbidden(err) {
		return fmt.Errorf("cannot revoke the hub's account: %w", err)
	}
	return nil
}

func (s *Inventories) remove(ctx context.Context, path, name string, uid types.UID) error {
	body, err := json.Marshal(metav1.DeleteOptions{
		TypeMeta:      metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"},
		Preconditions: &metav1.Preconditions{UID: &uid},
	})
	if err != nil {
		return fmt.Errorf("cannot encode: %w", err)
	}
	err = s.do(ctx, func(ctx context.Context) error {
		return s.client.rest.Delete().AbsPath(path, name).SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
