package edge

import (
	"context"
	"encoding/json"
	"encoding/json/jsontext"
	jsonv2 "encoding/json/v2"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

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

const configMaps = "/api/v1/namespaces/" + v1alpha1.SystemNamespace + "/configmaps"

// withoutManagedFields skips the managed fields of a ConfigMap, which are not used: to decode them takes as long as all the rest.
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
