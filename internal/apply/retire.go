package apply

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
)

// AccountBinding is the ClusterRoleBinding that `skerry cluster join` makes on an edge; with the label
// below, so that one of that name which somebody else made is left alone. The account and its token
// have it as their owner and go with it.
const (
	AccountBinding = "skerry-hub"
	PartLabel      = partLabel
	PartAccount    = "account"
)

const bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"

// Retire takes away what Skerry keeps on the cluster for itself: the inventories, the claim of the hub,
// and with revoke, as the last act, the account that was made for the hub. The namespace stays, as
// others may have put something there. Told twice, it does the rest.
func (s *Inventories) Retire(ctx context.Context, revoke bool) error {
	list, err := s.list(ctx)
	if err != nil {
		return fmt.Errorf("cannot read inventories: %w", err)
	}
	for i := range list {
		if hub := list[i].Annotations[hubAnnotation]; hub != s.hub {
			return &OtherHubError{Hub: hub}
		}
	}
	slices.SortFunc(list, func(a, b corev1.ConfigMap) int { // the claim last
		if x, y := a.Labels[partLabel] == partHub, b.Labels[partLabel] == partHub; x != y {
			return map[bool]int{true: 1, false: -1}[x]
		}
		return strings.Compare(a.Name, b.Name)
	})
	for i := range list {
		if err := s.remove(ctx, configMaps, list[i].Name, list[i].UID); err != nil {
			return fmt.Errorf("cannot delete %s: %w", list[i].Name, err)
		}
	}
	if !revoke {
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
