package uninstall

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/components"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/wait"
	"github.com/skerry-dev/skerry/internal/text"
)

func served(d *apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(d.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Served && v.Name == v1alpha1.GroupVersion.Version
	})
}

// definitions are the kinds of Skerry, those of other versions among them.
func (t *teardown) definitions(ctx context.Context) ([]apiextensionsv1.CustomResourceDefinition, error) {
	list := &apiextensionsv1.CustomResourceDefinitionList{}
	if err := t.hub.List(ctx, list); err != nil {
		return nil, fmt.Errorf("cannot list the kinds: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(d apiextensionsv1.CustomResourceDefinition) bool { return d.Spec.Group != v1alpha1.Group }), nil
}

// partOf is the label of what belongs to the hub.
const partOf = "app.kubernetes.io/part-of"

// own are the hub's own objects that are there, in the order in which they are deleted: the Deployment before
// its rights.
func (t *teardown) own(ctx context.Context) ([]*unstructured.Unstructured, error) {
	manifests, err := components.Render(components.Options{Extra: components.Extras})
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for _, m := range slices.Backward(manifests) {
		if m.GetKind() == "CustomResourceDefinition" || m.GetKind() == "Namespace" {
			continue
		}
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(m.GroupVersionKind())
		err := t.hub.Get(ctx, client.ObjectKeyFromObject(m), live)
		if gone(err) || err == nil && live.GetLabels()[partOf] != m.GetLabels()[partOf] {
			continue // absent, or something else of that name
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", apply.Name(m), err)
		}
		out = append(out, live)
	}
	slices.SortStableFunc(out, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	return out, nil
}

func rank(o *unstructured.Unstructured) int {
	if o.GetKind() == "Deployment" {
		return 0
	}
	return 1
}

func (t *teardown) components(ctx context.Context, s *factory.Step) error {
	own, err := t.own(ctx)
	if err != nil {
		return err
	}
	for _, o := range own {
		uid := o.GetUID()
		if err := t.hub.Delete(ctx, o, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("cannot delete %s: %w", apply.Name(o), err)
		}
	}
	s.Donef("%s deleted", text.Count(len(own), "object"))
	return nil
}

func (t *teardown) kinds(ctx context.Context, s *factory.Step) error {
	definitions, err := t.definitions(ctx)
	if err != nil {
		return err
	}
	var objects []client.Object
	for i := range definitions {
		d := &definitions[i]
		if err := t.hub.Delete(ctx, d, client.Preconditions{UID: &d.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("cannot delete the kind %s: %w", d.Name, err)
		}
		objects = append(objects, &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: d.Name}})
	}
	s.Donef("%s deleted", text.Count(len(objects), "kind"))
	return wait.Until(ctx, t.hub, objects, func() (bool, error) {
		return !slices.ContainsFunc(objects, func(o client.Object) bool { return o.GetUID() != "" }), nil
	})
}

// namespace deletes the hub's namespace. Its end is not waited for: a finalizer of anything in it may keep it.
func (t *teardown) namespace(ctx context.Context, s *factory.Step) error {
	if t.KeepNamespace {
		s.Donef("stays")
		return nil
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.SystemNamespace}}
	if err := t.hub.Delete(ctx, ns); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot delete the namespace %s: %w", v1alpha1.SystemNamespace, err)
	}
	s.Donef("%s is being deleted", v1alpha1.SystemNamespace)
	return nil
}
