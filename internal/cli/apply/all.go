package apply

import (
	"context"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/wait"
	"github.com/skerry-dev/skerry/internal/text"
)

// All applies the manifests in their order, waits for the CRDs among them before what comes after
// them, and passes what changed to step.
func All(ctx context.Context, c client.WithWatch, manifests []*unstructured.Unstructured, step *factory.Step) error {
	counts := map[Result]int{}
	var pending []client.Object
	for _, m := range manifests {
		if m.GetKind() == "CustomResourceDefinition" {
			crd := &apiextensionsv1.CustomResourceDefinition{}
			crd.SetName(m.GetName())
			pending = append(pending, crd)
		} else if len(pending) > 0 {
			if err := established(ctx, c, pending); err != nil {
				return err
			}
			pending = nil
		}
		var result Result
		err := wait.Served(ctx, func() (err error) {
			result, err = Object(ctx, c, m)
			return err
		})
		if err != nil {
			return err
		}
		counts[result]++
		if result != Unchanged {
			step.Notef("%s %s", result, Name(m))
		}
	}
	step.Donef("%s", summary(len(manifests), counts))
	return established(ctx, c, pending)
}

func summary(total int, counts map[Result]int) string {
	if counts[Unchanged] == total {
		return "nothing to change in " + text.Count(total, "object")
	}
	return fmt.Sprintf("%s: %d created, %d changed, %d unchanged", text.Count(total, "object"), counts[Created], counts[Changed], counts[Unchanged])
}

// established waits until the API server serves the kinds.
func established(ctx context.Context, c client.WithWatch, crds []client.Object) error {
	if len(crds) == 0 {
		return nil
	}
	err := wait.Until(ctx, c, crds, func() (bool, error) {
		for _, o := range crds {
			crd, ok := o.(*apiextensionsv1.CustomResourceDefinition)
			if !ok || !isEstablished(crd) {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("the kinds are not served: %w", err)
	}
	return nil
}

func isEstablished(crd *apiextensionsv1.CustomResourceDefinition) bool {
	for _, c := range crd.Status.Conditions {
		if c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue {
			return true
		}
	}
	return false
}
