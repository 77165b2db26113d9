package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/wait"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/text"
)

// answerTime is how long a hub that is at work may take to answer.
const answerTime = 10 * time.Second

// readSync reads the objects by which a hub reads its own folder; one that is missing has no UID.
func (r *run) readSync(ctx context.Context) (*v1alpha1.GitRepository, *v1alpha1.Kustomization, error) {
	source, root := &v1alpha1.GitRepository{}, &v1alpha1.Kustomization{}
	for _, o := range []client.Object{source, root} {
		err := r.hub.Get(ctx, client.ObjectKey{Namespace: name, Name: name}, o)
		if err != nil && !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err) {
			return nil, nil, fmt.Errorf("cannot read whether the hub reads from Git: %w", err)
		}
	}
	source.Namespace, source.Name, root.Namespace, root.Name = name, name, name, name
	return source, root, nil
}

// applyComponents applies the hub's own objects, but for the two that let it read from Git.
//
// A hub that is at work and keeps itself from Git is left to do it: it has what was pushed in a
// moment, and would first put back what it took for drift. Whether it is at work is not read from
// what it once wrote, but asked.
func (r *run) applyComponents(ctx context.Context, s *factory.Step) error {
	var err error
	if r.kept, err = r.atWork(ctx); err != nil {
		return err
	}
	if r.kept {
		s.Donef("left to the hub, which is at work and keeps them from Git")
		return nil
	}
	return apply.All(ctx, r.hub, r.part(false), s)
}

func (r *run) atWork(ctx context.Context) (bool, error) {
	source, root, err := r.readSync(ctx)
	if err != nil || source.UID == "" || root.UID == "" || root.Status.LastAppliedRevision == "" {
		return false, err
	}
	request, err := r.request(ctx, source)
	if err != nil {
		return false, err
	}
	short, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	err = wait.Until(short, r.hub, []client.Object{source}, func() (bool, error) {
		return source.Status.LastHandledReconcileAt == request, nil
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}

// request asks the hub to look at an object now.
func (r *run) request(ctx context.Context, o client.Object) (string, error) {
	value := r.Now().Format(time.RFC3339Nano)
	if err := r.hub.Patch(ctx, o, client.RawPatch(types.MergePatchType, v1alpha1.ReconcileRequestPatch(value)), client.FieldOwner(apply.FieldManager)); err != nil {
		return "", fmt.Errorf("cannot ask the hub to look at %s: %w", o.GetName(), err)
	}
	return value, nil
}

// part returns the two objects that let the hub read from Git, or all others.
func (r *run) part(sync bool) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, m := range r.set.objects {
		if isSync(m) == sync {
			out = append(out, m)
		}
	}
	return out
}

func isSync(m *unstructured.Unstructured) bool {
	return m.GroupVersionKind().Group == v1alpha1.Group && m.GetNamespace() == name && m.GetName() == name
}

// applySync lets the hub read from Git: from here on, all else comes from there.
func (r *run) applySync(ctx context.Context, s *factory.Step) error {
	return apply.All(ctx, r.hub, r.part(true), s)
}

// handOver takes the command line's name off what the hub keeps from now on, so that what goes from
// Git goes from the cluster.
func (r *run) handOver(ctx context.Context, s *factory.Step) error {
	kept := 0
	for _, m := range r.set.objects {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(m.GroupVersionKind())
		if err := r.hub.Get(ctx, client.ObjectKeyFromObject(m), live); err != nil {
			return fmt.Errorf("cannot read %s: %w", apply.Name(m), err)
		}
		label := live.GetLabels()[v1alpha1.OwnerLabel]
		if label == "" {
			s.Notef("%s is not kept by the hub", apply.Name(m))
			continue
		}
		ok, err := apply.HandOver(ctx, r.hub, m, object.FieldManager(label))
		if err != nil {
			return err
		}
		if ok {
			kept++
		}
	}
	s.Donef("%d of %s %s kept by the hub", kept, text.Count(len(r.set.objects), "object"), text.Plural(kept, "is", "are"))
	return nil
}
