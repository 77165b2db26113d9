package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/wait"
)

// takeUp is how long the hub may take to follow an annotation.
const takeUp = 30 * time.Second

// request is annotations and what is to come of them.
type request struct {
	title string
	// annotations to set; those that are nil are removed.
	annotations map[string]any
	// followed reports whether the hub has followed, and what came of it; an error ends the wait.
	followed func(*v1alpha1.Kustomization) (outcome string, err error)
}

// errNotYet means that the hub has not followed yet.
var errNotYet = errors.New("the hub has not followed yet")

// ask sets the annotations and waits until the hub has followed.
func ask(ctx context.Context, o *Options, hub *factory.Hub, ks *v1alpha1.Kustomization, r request) error {
	waiting, cancel := o.WithTimeout(ctx, takeUp)
	defer cancel()
	return o.Steps().Do(r.title, func(s *factory.Step) error {
		if err := annotate(waiting, hub, ks, r.annotations); err != nil {
			return err
		}
		err := wait.Until(waiting, hub, []client.Object{ks}, func() (bool, error) {
			if ks.UID == "" {
				return false, errors.New("it was deleted")
			}
			outcome, err := r.followed(ks)
			if errors.Is(err, errNotYet) {
				return false, nil
			}
			s.Donef("%s", outcome)
			return err == nil, err
		})
		switch {
		case err == nil:
			return nil
		case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			return o.notFollowed(ctx, hub, r.title)
		}
		return fmt.Errorf("cannot %s: %w", r.title, err)
	})
}

func (o *Options) notFollowed(ctx context.Context, hub *factory.Hub, title string) error {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return factory.Next(
		fmt.Errorf("%s: it is written down, and the hub has not followed within %s; it will once it is at work", title, o.Timeout(takeUp)),
		"'skerry rollout status %s' tells more; %s", o.again(), diagnose.Hub(late, hub))
}

// annotate writes annotations, and nothing else of the object.
func annotate(ctx context.Context, hub *factory.Hub, ks *v1alpha1.Kustomization, annotations map[string]any) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return fmt.Errorf("cannot encode the annotations: %w", err)
	}
	if err := hub.Patch(ctx, ks, client.RawPatch(types.MergePatchType, body), client.FieldOwner("skerry-cli")); err != nil {
		return fmt.Errorf("cannot annotate kustomization %s: %w", ks.Name, err)
	}
	return nil
}

// steerable refuses what the hub would not follow.
func steerable(ks *v1alpha1.Kustomization) error {
	switch {
	case ks.DeletionTimestamp != nil:
		return fmt.Errorf("kustomization %s is being deleted", ks.Name)
	case ks.Spec.Suspend:
		return factory.Next(fmt.Errorf("kustomization %s is suspended, so nothing of it moves", ks.Name), "set its spec.suspend to false")
	case ks.Status.Rollout == nil:
		return factory.Next(fmt.Errorf("kustomization %s has rolled nothing out yet", ks.Name), "'skerry status' says what it waits for")
	}
	return nil
}
