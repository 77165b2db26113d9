package migrating

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/wait"
	"github.com/skerry-dev/skerry/internal/migrate"
	"github.com/skerry-dev/skerry/internal/object"
)

// fluxFinalizer is on every object that a controller of Flux has looked at.
const fluxFinalizer = "finalizers.fluxcd.io"

// backupKey is the key of a backup's Secret.
const backupKey = "object.json"

// remove deletes Flux's own objects. Its kustomize-controller deletes nothing for a Kustomization that is
// suspended, and sees that in the very object that it is to finalize; so each is deleted at the version at which it
// was seen to be suspended.
func (t *takeover) remove(ctx context.Context, s *factory.Step) error {
	n := 0
	for i := range t.plan.Moves {
		m := &t.plan.Moves[i]
		if m.Keep {
			continue
		}
		if err := t.removeOne(ctx, m, s); err != nil {
			return err
		}
		n++
	}
	s.Donef("%d removed; copies are in the Secrets of %s with the label %s=%s", n, v1alpha1.SystemNamespace, migrate.Annotation, migrate.Backup)
	return nil
}

func (t *takeover) removeOne(ctx context.Context, m *migrate.Move, s *factory.Step) error {
	o, err := t.flux(ctx, m)
	if err != nil || o == nil {
		return err
	}
	if !isSuspended(o) {
		return fmt.Errorf("flux's %s is not suspended any more: another program has resumed it", m.Ref)
	}
	if o.GetDeletionTimestamp() == nil {
		if err := t.backUp(ctx, m.Ref, o); err != nil {
			return err
		}
		uid, version := o.GetUID(), o.GetResourceVersion()
		err := t.hub.Delete(ctx, o, client.Preconditions{UID: &uid, ResourceVersion: &version})
		if apierrors.IsConflict(err) {
			return t.removeOne(ctx, m, s) // its status was written meanwhile
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("cannot delete Flux's %s: %w", m.Ref, err)
		}
	}
	return t.awaitGone(ctx, o, s)
}

// awaitGone waits until Flux has let go of an object that is being deleted. When it does not, because it does not
// run any more, its finalizer is taken off: for a suspended object that is all that Flux would do.
func (t *takeover) awaitGone(ctx context.Context, o *unstructured.Unstructured, s *factory.Step) error {
	name := apply.Name(o)
	bounded, cancel := context.WithTimeout(ctx, t.grace)
	defer cancel()
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(o.GroupVersionKind().GroupVersion().WithKind(o.GetKind() + "List"))
	var there *unstructured.Unstructured
	look := func() (gone bool, err error) {
		there, err = t.read(ctx, o)
		if there != nil && len(there.GetFinalizers()) > 0 {
			s.Notef("%s waits for %s", name, strings.Join(there.GetFinalizers(), ", "))
		}
		return there == nil, err
	}
	err := wait.Changes(bounded, t.hub, []client.ObjectList{list}, look)
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return err
	}
	if gone, err := look(); gone || err != nil {
		return err
	}
	t.grace = min(t.grace, time.Second) // it will not do so for the next one either
	rest := slices.DeleteFunc(there.GetFinalizers(), func(f string) bool { return f == fluxFinalizer })
	patch := map[string]any{"metadata": map[string]any{"uid": there.GetUID(), "resourceVersion": there.GetResourceVersion(), "finalizers": rest}}
	if err := t.merge(ctx, there, patch); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot let go of Flux's %s: %w", name, err)
	}
	if len(rest) > 0 {
		return fmt.Errorf("flux's %s waits for the finalizers %s", name, strings.Join(rest, ", "))
	}
	return nil
}

// backUp keeps an object of Flux, its inventory included, before it is deleted. It may hold values of variables, so
// it is a Secret.
func (t *takeover) backUp(ctx context.Context, r migrate.Ref, o *unstructured.Unstructured) error {
	copied := o.DeepCopy()
	copied.SetManagedFields(nil)
	data, err := json.Marshal(copied.Object)
	if err != nil {
		return fmt.Errorf("cannot encode %s: %w", r, err)
	}
	sum := sha256.Sum256([]byte(r.Group + "/" + r.Kind + "/" + r.Namespace + "/" + r.Name))
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: v1alpha1.SystemNamespace, Name: "migrate-" + hex.EncodeToString(sum[:8]),
			Labels: map[string]string{migrate.Annotation: migrate.Backup},
		},
		Data: map[string][]byte{backupKey: data},
	}
	manifest, err := apply.FromTyped(t.hub.Scheme(), secret)
	if err != nil {
		return err
	}
	_, err = apply.Object(ctx, t.hub, manifest)
	return err
}

// backups are the objects of Flux that were removed.
func (t *takeover) backups(ctx context.Context) ([]*unstructured.Unstructured, error) {
	secrets := &corev1.SecretList{}
	if err := t.hub.List(ctx, secrets, client.InNamespace(v1alpha1.SystemNamespace), client.MatchingLabels{migrate.Annotation: migrate.Backup}); err != nil {
		return nil, fmt.Errorf("cannot list the copies of Flux's objects: %w", err)
	}
	var out []*unstructured.Unstructured
	for i := range secrets.Items {
		o := &unstructured.Unstructured{}
		if err := json.Unmarshal(secrets.Items[i].Data[backupKey], &o.Object); err != nil || o.GetName() == "" {
			return nil, fmt.Errorf("cannot read the copy in the Secret %s", secrets.Items[i].Name)
		}
		out = append(out, o)
	}
	return out, nil
}

// done is what an earlier run has done.
type done struct {
	// created are Skerry's objects, Kustomizations first; copies those of Flux that were removed; suspended those
	// that are there still, some of them being deleted.
	created, copies, suspended []*unstructured.Unstructured
}

func (t *takeover) done(ctx context.Context) (d done, err error) {
	if d.created, err = t.createdObjects(ctx); err != nil {
		return d, err
	}
	if d.copies, err = t.backups(ctx); err != nil {
		return d, err
	}
	for _, kind := range fluxKinds[:3] {
		live, err := t.list(ctx, kind)
		if err != nil {
			return d, err
		}
		for i := range live {
			o := &unstructured.Unstructured{Object: live[i].Object}
			if o.GetAnnotations()[migrate.Annotation] == migrate.Suspended || o.GetDeletionTimestamp() != nil {
				d.suspended = append(d.suspended, o)
			}
		}
	}
	return d, nil
}

// undo goes back to Flux: Skerry's objects let go of what they keep, and then Flux's are put back and resumed, so
// that no object has two keepers.
func (t *takeover) undo(ctx context.Context) error {
	d, err := t.done(ctx)
	if err != nil {
		return err
	}
	if err := t.leads(ctx, d); err != nil {
		return err
	}
	for _, o := range d.created {
		t.IO.Progressf("delete %s, and leave what it keeps", apply.Name(o))
	}
	for _, o := range d.copies {
		t.IO.Progressf("put Flux's %s back", apply.Name(o))
	}
	for _, o := range d.suspended {
		t.IO.Progressf("resume Flux's %s", apply.Name(o))
	}
	if len(d.created)+len(d.copies)+len(d.suspended) == 0 {
		t.IO.Progressf("there is nothing to undo on %s", t.hub.Config.Host)
		return nil
	}
	if t.DryRun {
		return nil
	}
	if err := t.confirm(ctx, "Go back to Flux on "+t.hub.Config.Host+"?"); err != nil {
		return err
	}
	steps := t.Steps()
	for _, step := range []struct {
		title string
		run   func(*factory.Step) error
	}{
		{"note what Skerry keeps", func(s *factory.Step) error { return t.noteKept(ctx, d.created, s) }},
		{"let go of what Skerry keeps", func(*factory.Step) error { return t.deleteOrphaning(ctx, d.created) }},
		{"give the fields back", func(s *factory.Step) error { return t.giveBack(ctx, d, s) }},
		{"resume Flux", func(s *factory.Step) error {
			s.Donef("%d put back, %d resumed", len(d.copies), len(d.suspended))
			return t.resumeFlux(ctx, d, s)
		}},
	} {
		if err := steps.Do(step.title, step.run); err != nil {
			return err
		}
	}
	return nil
}

// resumeFlux puts back what was removed, and resumes what was suspended.
func (t *takeover) resumeFlux(ctx context.Context, d done, s *factory.Step) error {
	for _, o := range d.suspended { // those that an earlier run was about to remove
		if o.GetDeletionTimestamp() == nil {
			continue
		}
		if err := t.awaitGone(ctx, o, s); err != nil {
			return err
		}
	}
	if err := t.putBack(ctx, d.copies); err != nil {
		return err
	}
	return t.resume(ctx, d.suspended)
}

// createdObjects are Skerry's objects that this command created, Kustomizations first. What Git keeps would come
// back, so it is refused.
func (t *takeover) createdObjects(ctx context.Context) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, kind := range []string{v1alpha1.KustomizationKind, v1alpha1.ReceiverKind, v1alpha1.GitRepositoryKind, v1alpha1.ClusterKind} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
		if err := t.hub.List(ctx, list); err != nil {
			return nil, err
		}
		for i := range list.Items {
			o := &list.Items[i]
			if o.GetAnnotations()[migrate.Annotation] != migrate.Created {
				continue
			}
			if o.GetLabels()[v1alpha1.OwnerLabel] != "" {
				return nil, gitLeads(apply.Name(o))
			}
			out = append(out, o)
		}
	}
	return out, nil
}

// leads refuses to go back where Git has Skerry's objects in place of Flux's: put back, Flux's Kustomizations would
// delete what has left Git, Flux itself among it. Git leads where an object of Flux's inventories is kept by a
// Kustomization of Skerry that this command did not create, whichever that is and wherever it lies. createdObjects
// sees to those that Git has taken over from this command.
func (t *takeover) leads(ctx context.Context, d done) error {
	hub := t.hubEdge()
	_, hubID, err := hub.Records(ctx)
	if err != nil {
		return fmt.Errorf("cannot tell what Skerry keeps on the hub's cluster: %w", err)
	}
	created := map[string]bool{"": true}
	for _, o := range d.created {
		created[object.Owner{Hub: hubID, Namespace: o.GetNamespace(), Name: o.GetName()}.Label()] = true
	}
	for _, o := range slices.Concat(d.copies, d.suspended) {
		cluster := clusterOf(o.Object)
		at := t.reach(ctx, cluster, "whether Git has it by now is not known")
		if at == nil {
			continue
		}
		for _, r := range inventoryOf(o) {
			is, err := identityOf(ctx, at, r)
			if err != nil {
				return err
			}
			if !created[is.owner] {
				return gitLeads(standing{cluster.Name, r}.String())
			}
		}
	}
	return nil
}

func gitLeads(kept string) error {
	return factory.Next(fmt.Errorf("%s is kept from Git by now", kept),
		"'skerry uninstall' first, which leaves everything that it applied as it is; then put Flux's objects back into Git, and 'flux bootstrap'")
}

// deleteOrphaning deletes Skerry's objects, and leaves what they apply as it is.
func (t *takeover) deleteOrphaning(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		if o.GetKind() == v1alpha1.KustomizationKind {
			if err := t.merge(ctx, o, map[string]any{"spec": map[string]any{"deletionPolicy": string(v1alpha1.DeletionOrphan)}}); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("cannot set deletionPolicy of %s: %w", apply.Name(o), err)
			}
		}
		uid := o.GetUID()
		if err := t.hub.Delete(ctx, o, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("cannot delete %s: %w", apply.Name(o), err)
		}
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(o.GetKind() + "List"))
		err := wait.Changes(ctx, t.hub, []client.ObjectList{list}, func() (bool, error) {
			there := &metav1.PartialObjectMetadata{}
			there.SetGroupVersionKind(o.GroupVersionKind())
			err := t.hub.Get(ctx, client.ObjectKeyFromObject(o), there)
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		})
		if err != nil {
			return fmt.Errorf("cannot wait until %s is gone: %w", apply.Name(o), err)
		}
	}
	return nil
}

// putBack creates the objects of Flux that were removed, as they were before they were suspended, sources first.
// They are created suspended, so that their inventories are there before Flux looks at them.
func (t *takeover) putBack(ctx context.Context, copies []*unstructured.Unstructured) error {
	slices.SortStableFunc(copies, func(a, b *unstructured.Unstructured) int { return rank(a.GetKind()) - rank(b.GetKind()) })
	var back []*unstructured.Unstructured
	for _, saved := range copies {
		o := saved.DeepCopy()
		o.SetResourceVersion("")
		o.SetUID("")
		o.SetGeneration(0)
		o.SetDeletionTimestamp(nil)
		unstructured.RemoveNestedField(o.Object, "metadata", "creationTimestamp")
		unstructured.RemoveNestedField(o.Object, "status")
		err := t.hub.Create(ctx, o, client.FieldOwner(apply.FieldManager))
		if apierrors.IsAlreadyExists(err) {
			// An earlier run may have been ended before it put the inventory back.
			if o, err = t.read(ctx, saved); err == nil && (o == nil || !isSuspended(o) || len(inventoryOf(o)) > 0) {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("cannot put Flux's %s back: %w", apply.Name(saved), err)
		}
		if inventory, ok, _ := unstructured.NestedMap(saved.Object, "status", "inventory"); ok {
			body, err := json.Marshal(map[string]any{"status": map[string]any{"inventory": inventory}})
			if err != nil {
				return fmt.Errorf("cannot encode the inventory of %s: %w", apply.Name(saved), err)
			}
			if err := t.hub.Status().Patch(ctx, o, client.RawPatch(types.MergePatchType, body)); err != nil {
				return fmt.Errorf("cannot put the inventory of Flux's %s back: %w", apply.Name(saved), err)
			}
		}
		back = append(back, o)
	}
	if err := t.resume(ctx, back); err != nil {
		return err
	}
	return t.hub.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(v1alpha1.SystemNamespace), client.MatchingLabels{migrate.Annotation: migrate.Backup})
}

// resume resumes what this command suspended; what a person suspended stays suspended.
func (t *takeover) resume(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		if err := t.resumeOne(ctx, o); err != nil {
			return fmt.Errorf("cannot resume Flux's %s: %w", apply.Name(o), err)
		}
	}
	return nil
}

// resumeOne resumes an object at the version at which it was seen to be suspended by this command alone.
func (t *takeover) resumeOne(ctx context.Context, of *unstructured.Unstructured) error {
	for {
		o, err := t.read(ctx, of)
		if err != nil || o == nil || o.GetAnnotations()[migrate.Annotation] != migrate.Suspended {
			return err
		}
		err = t.mergeAt(ctx, o, map[string]any{
			"metadata": map[string]any{"annotations": map[string]any{migrate.Annotation: nil}},
			"spec":     map[string]any{"suspend": nil},
		})
		if !apierrors.IsConflict(err) {
			return client.IgnoreNotFound(err)
		}
	}
}
