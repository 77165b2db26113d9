package migrating

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/wait"
	"github.com/skerry-dev/skerry/internal/migrate"
	"github.com/skerry-dev/skerry/internal/text"
)

// run does it, step by step. Flux is suspended before anything of Skerry's is created, so that no object has two
// keepers, and its own objects go when Skerry has everything.
func (t *takeover) run(ctx context.Context) error {
	steps := t.Steps()
	for _, step := range []struct {
		title string
		run   func(context.Context, *factory.Step) error
	}{
		{"suspend Flux's objects", t.suspend},
		{"wait for what Flux has begun", t.quiet},
		{"look at what stands", t.remember},
		{"create Skerry's objects", t.create},
		{"wait until they are ready", t.ready},
		{"compare what stands", t.compare},
		{"remove Flux's objects", t.remove},
	} {
		if err := steps.Do(step.title, func(s *factory.Step) error { return step.run(ctx, s) }); err != nil {
			if _, advised := errors.AsType[*factory.NextError](err); advised || errors.Is(ctx.Err(), context.Canceled) {
				return err
			}
			return factory.Next(err, "Flux is suspended and what it applied runs on; run this again to go on, or 'skerry migrate cluster --undo' to go back")
		}
	}
	t.IO.Progressf("Skerry keeps what Flux kept. Next: %s", strings.Join(t.next(ctx), "; "))
	return nil
}

// next is what is left to a person.
func (t *takeover) next(ctx context.Context) []string {
	out := []string{"push the migrated repository"}
	for i := range t.plan.Moves {
		if m := &t.plan.Moves[i]; m.FromGit {
			p, _, _ := unstructured.NestedString(m.Object, "spec", "path")
			out = append(out, fmt.Sprintf("let Git bring %s again: 'skerry bootstrap git --path %s' and its other flags", m.Ref, iostreams.Line(p)))
		}
	}
	if slices.ContainsFunc(t.plan.Notes, func(n migrate.Note) bool { return n.Outcome == migrate.Stays }) {
		return append(out, "leave Flux the controllers for what stays")
	}
	return append(out, fmt.Sprintf("take Flux's controllers off with 'flux uninstall -n %s --keep-namespace'", t.fluxNamespace(ctx)))
}

// fluxNamespace is where Flux's controllers run; that of 'flux install' where it cannot be seen.
func (t *takeover) fluxNamespace(ctx context.Context) string {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("DeploymentList"))
	if err := t.hub.List(ctx, list, client.MatchingLabels{"app.kubernetes.io/part-of": "flux"}); err != nil || len(list.Items) == 0 {
		return migrate.FluxNamespace
	}
	return list.Items[0].Namespace
}

// flux returns an object of Flux as it is now; nil when it is gone.
func (t *takeover) flux(ctx context.Context, m *migrate.Move) (*unstructured.Unstructured, error) {
	return t.read(ctx, &unstructured.Unstructured{Object: m.Object})
}

// read returns an object as it is now; nil when it is gone.
func (t *takeover) read(ctx context.Context, of *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(of.GroupVersionKind())
	err := t.hub.Get(ctx, client.ObjectKeyFromObject(of), o)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", apply.Name(of), err)
	}
	settleMark(o)
	return o, nil
}

// settleMark takes the mark of this command off an object of Flux as it was read, where another program has suspended it
// since.
func settleMark(o *unstructured.Unstructured) {
	annotations := o.GetAnnotations()
	if annotations[migrate.Annotation] == migrate.Suspended && !migrate.IsSuspendedBy(o.Object, apply.FieldManager) {
		delete(annotations, migrate.Annotation)
		o.SetAnnotations(annotations)
	}
}

func isSuspended(o *unstructured.Unstructured) bool {
	suspended, _, _ := unstructured.NestedBool(o.Object, "spec", "suspend")
	return suspended
}

// suspend suspends what moves, what applies others first: it would resume them.
func (t *takeover) suspend(ctx context.Context, s *factory.Step) error {
	n := 0
	for i := range t.plan.Moves {
		if t.plan.Moves[i].Keep {
			continue
		}
		suspended, err := t.suspendOne(ctx, &t.plan.Moves[i])
		if err != nil {
			return err
		}
		if suspended {
			n++
		}
	}
	s.Donef("%d suspended", n)
	return nil
}

// suspendOne suspends an object at the version at which it was seen to be at work. One that is written meanwhile is
// read again: it may be a person who suspends it, and the way back must not resume it then.
func (t *takeover) suspendOne(ctx context.Context, m *migrate.Move) (bool, error) {
	for {
		o, err := t.flux(ctx, m)
		if err != nil || o == nil {
			return false, err
		}
		if isSuspended(o) {
			return false, keepSuspended(m, o)
		}
		err = t.mergeAt(ctx, o, map[string]any{
			"metadata": map[string]any{"annotations": map[string]any{migrate.Annotation: migrate.Suspended}},
			"spec":     map[string]any{"suspend": true},
		})
		switch {
		case err == nil:
			return true, nil
		case apierrors.IsNotFound(err):
			return false, nil
		case !apierrors.IsConflict(err):
			return false, fmt.Errorf("cannot suspend Flux's %s: %w", m.Ref, err)
		}
	}
}

// keepSuspended lets Skerry's object be suspended where another program than this command has suspended Flux's, which it
// may have done after the plan was made.
func keepSuspended(m *migrate.Move, o *unstructured.Unstructured) error {
	if len(m.Manifests) == 0 || o.GetAnnotations()[migrate.Annotation] == migrate.Suspended {
		return nil
	}
	return unstructured.SetNestedField(m.Manifests[len(m.Manifests)-1], true, "spec", "suspend")
}

func (t *takeover) merge(ctx context.Context, o *unstructured.Unstructured, patch map[string]any) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("cannot encode the change: %w", err)
	}
	return t.hub.Patch(ctx, o, client.RawPatch(types.MergePatchType, body), client.FieldOwner(apply.FieldManager))
}

// mergeAt merges a patch, which has metadata, into an object at the version at which that was read. It is a conflict
// where the object was written meanwhile.
func (t *takeover) mergeAt(ctx context.Context, o *unstructured.Unstructured, patch map[string]any) error {
	metadata, _ := patch["metadata"].(map[string]any)
	metadata["uid"], metadata["resourceVersion"] = o.GetUID(), o.GetResourceVersion()
	return t.merge(ctx, o, patch)
}

// quiet waits until no Kustomization of Flux is in the middle of a reconciliation, which a suspension does not
// end. What Flux does after the grace, if anything, is to apply once more what stands.
func (t *takeover) quiet(ctx context.Context, s *factory.Step) error {
	list := t.listOf("Kustomization")
	if list == nil {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, t.grace)
	defer cancel()
	err := wait.Changes(bounded, t.hub, []client.ObjectList{list}, func() (bool, error) {
		var busy []string
		for i := range t.plan.Moves {
			m := &t.plan.Moves[i]
			if m.Kind != "Kustomization" {
				continue
			}
			o, err := t.flux(ctx, m)
			if err != nil {
				return false, err
			}
			if o != nil && !isSuspended(o) {
				return false, fmt.Errorf("%s was resumed by another program", m.Ref)
			}
			if o != nil && condition(o, "Reconciling") == "Progressing" {
				busy = append(busy, m.Ref.String())
			}
		}
		if len(busy) > 0 {
			s.Notef("%s", strings.Join(busy, ", "))
		}
		return len(busy) == 0, nil
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		s.Donef("not all of it has ended, or Flux does not run")
		return nil
	}
	return err
}

// condition returns the reason of a condition that is true, "" otherwise.
func condition(o *unstructured.Unstructured, kind string) string {
	all, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range all {
		if c, ok := c.(map[string]any); ok && c["type"] == kind && c["status"] == "True" {
			reason, _ := c["reason"].(string)
			return reason
		}
	}
	return ""
}

// listOf returns a list to watch for a kind of Flux that moves, nil when none does.
func (t *takeover) listOf(kind string) *metav1.PartialObjectMetadataList {
	for i := range t.plan.Moves {
		if m := &t.plan.Moves[i]; m.Kind == kind {
			list := &metav1.PartialObjectMetadataList{}
			gvk := (&unstructured.Unstructured{Object: m.Object}).GroupVersionKind()
			gvk.Kind += "List"
			list.SetGroupVersionKind(gvk)
			return list
		}
	}
	return nil
}

// standing is an object on a cluster, which is named as the Cluster is.
type standing struct {
	cluster string
	migrate.Ref
}

// String is "Deployment shop/web", and for an object elsewhere "Deployment shop/web on cluster ship-1".
func (s standing) String() string {
	if s.cluster == v1alpha1.HubCluster {
		return s.Ref.String()
	}
	return s.Ref.String() + " on cluster " + s.cluster
}

// identity distinguishes an object from one that was created anew, and from one that was changed.
type identity struct {
	uid        types.UID
	generation int64
	owner      string
}

// remember reads what Flux keeps, as it is now.
func (t *takeover) remember(ctx context.Context, s *factory.Step) error {
	var err error
	if t.before, err = t.identities(ctx); err != nil {
		return err
	}
	s.Donef("%s", text.Count(len(t.before), "object"))
	return nil
}

// identities reads the objects in the inventories of what moves onto Skerry, on the clusters that they are for. A
// cluster that cannot be asked from here is named, and what is there is not compared.
func (t *takeover) identities(ctx context.Context) (map[standing]identity, error) {
	out := map[standing]identity{}
	for i := range t.plan.Moves {
		m := &t.plan.Moves[i]
		if m.FromGit || len(m.Inventory) == 0 {
			continue
		}
		cluster := clusterOf(m.Object)
		at := t.reach(ctx, cluster, "its objects are not compared")
		if at == nil {
			continue
		}
		for _, r := range m.Inventory {
			is, err := identityOf(ctx, at, r)
			if err != nil {
				return nil, err
			}
			if is.uid != "" {
				out[standing{cluster.Name, r}] = is
			}
		}
	}
	return out, nil
}

// identityOf is that of one object; that of one that is not there has no uid.
func identityOf(ctx context.Context, at *factory.Edge, r migrate.Ref) (identity, error) {
	o, err := metadata(ctx, at, r)
	if err != nil || o == nil {
		return identity{}, err
	}
	return identity{o.UID, o.Generation, o.Labels[v1alpha1.OwnerLabel]}, nil
}

// metadata reads that of an object; nil when it is not there.
func metadata(ctx context.Context, at *factory.Edge, r migrate.Ref) (*metav1.PartialObjectMetadata, error) {
	o := &metav1.PartialObjectMetadata{}
	mapping, err := at.Mapper.RESTMapping(schema.GroupKind{Group: r.Group, Kind: r.Kind})
	if err == nil {
		o.SetGroupVersionKind(mapping.GroupVersionKind)
		err = at.Get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: r.Name}, o)
	}
	if apimeta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", r, err)
	}
	return o, nil
}

// rank is the order in which objects of Skerry are created.
func rank(kind string) int {
	return slices.Index([]string{v1alpha1.GitRepositoryKind, v1alpha1.ClusterKind, v1alpha1.ReceiverKind, v1alpha1.KustomizationKind}, kind)
}

// place is what stands where an object of Skerry is to be created.
type place int

const (
	// free: nothing, or what an earlier run has created.
	free place = iota
	// settled: what Git keeps, or a Cluster with the very kubeconfig. It stays as it is.
	settled
	// occupied: what a person has created.
	occupied
)

func (t *takeover) place(ctx context.Context, o *unstructured.Unstructured) (place, error) {
	there, err := t.read(ctx, o)
	if err != nil || there == nil || there.GetAnnotations()[migrate.Annotation] == migrate.Created && there.GetLabels()[v1alpha1.OwnerLabel] == "" {
		return free, err
	}
	want, _, _ := unstructured.NestedMap(o.Object, "spec", "kubeConfig", "secretRef")
	has, _, _ := unstructured.NestedMap(there.Object, "spec", "kubeConfig", "secretRef")
	if there.GetLabels()[v1alpha1.OwnerLabel] != "" || o.GetKind() == v1alpha1.ClusterKind && maps.Equal(want, has) {
		return settled, nil
	}
	return occupied, nil
}

// create applies what becomes of the objects. One that a Kustomization of Skerry keeps from Git is left to that.
func (t *takeover) create(ctx context.Context, s *factory.Step) error {
	var all []*unstructured.Unstructured
	for i := range t.plan.Moves {
		for _, manifest := range t.plan.Moves[i].Manifests {
			all = append(all, created(manifest))
		}
	}
	slices.SortStableFunc(all, func(a, b *unstructured.Unstructured) int { return rank(a.GetKind()) - rank(b.GetKind()) })
	counts := map[apply.Result]int{}
	for _, o := range all {
		place, err := t.place(ctx, o)
		switch {
		case err != nil:
			return err
		case place == occupied:
			return fmt.Errorf("%s was created by another program meanwhile", apply.Name(o))
		case place == settled:
			counts[apply.Unchanged]++
			continue
		}
		result, err := apply.Object(ctx, t.hub, o)
		if err != nil {
			return err
		}
		counts[result]++
	}
	s.Donef("%d created, %d changed, %d unchanged", counts[apply.Created], counts[apply.Changed], counts[apply.Unchanged])
	return nil
}

// ready waits until what was created is ready, but for what is suspended.
func (t *takeover) ready(ctx context.Context, s *factory.Step) error {
	wanted := map[types.NamespacedName]bool{}
	for i := range t.plan.Moves {
		m := &t.plan.Moves[i]
		if m.Kind != v1alpha1.KustomizationKind || m.FromGit {
			continue
		}
		if suspended, _, _ := unstructured.NestedBool(m.Manifests[len(m.Manifests)-1], "spec", "suspend"); suspended {
			t.IO.Progressf("%s is suspended, as Flux's was: it takes nothing over until it is resumed", m.Ref)
			continue
		}
		wanted[types.NamespacedName{Namespace: m.Namespace, Name: m.Name}] = true
	}
	stand := ""
	err := wait.Changes(ctx, t.hub, []client.ObjectList{&v1alpha1.KustomizationList{}}, func() (bool, error) {
		all := &v1alpha1.KustomizationList{}
		if err := t.hub.List(ctx, all); err != nil {
			return false, fmt.Errorf("cannot list Kustomizations: %w", err)
		}
		ready, left := 0, []string{}
		for i := range all.Items {
			ks := &all.Items[i]
			if !wanted[client.ObjectKeyFromObject(ks)] {
				continue
			}
			c := apimeta.FindStatusCondition(ks.Status.Conditions, v1alpha1.ReadyCondition)
			switch {
			case c != nil && c.Status == metav1.ConditionTrue && ks.Status.ObservedGeneration == ks.Generation:
				ready++
			case c == nil || ks.Status.ObservedGeneration != ks.Generation:
				left = append(left, fmt.Sprintf("%s/%s: the hub has not looked at it", ks.Namespace, ks.Name))
			default:
				left = append(left, fmt.Sprintf("%s/%s: %s: %s", ks.Namespace, ks.Name, c.Reason, c.Message))
			}
		}
		s.Donef("%d of %d", ready, len(wanted))
		if slices.Sort(left); len(left) > 0 {
			stand = left[0]
			s.Notef("%d of %d ready; %s", ready, len(wanted), stand)
		}
		return ready == len(wanted), nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if strings.HasSuffix(stand, "not looked at it") {
			stand += "; " + diagnose.Hub(late, t.hub)
		}
		return fmt.Errorf("not all of them are ready: %s", stand)
	}
	return err
}

// compare holds what stands against what stood. An object that is another one now is an error; one that Skerry
// does not keep is named.
func (t *takeover) compare(ctx context.Context, s *factory.Step) error {
	after, err := t.identities(ctx)
	if err != nil {
		return err
	}
	var lost, changed []string
	kept := 0
	for _, r := range slices.SortedFunc(maps.Keys(t.before), func(a, b standing) int { return strings.Compare(a.String(), b.String()) }) {
		was, is := t.before[r], after[r]
		switch {
		case is.uid != was.uid:
			lost = append(lost, r.String())
		case is.owner == "":
			t.IO.Progressf("%s stands, and no Kustomization of Skerry has it: Git does not name it at the commit that is ready, or leaves it alone by an annotation", r)
		case is.generation != was.generation:
			changed = append(changed, r.String())
			kept++
		default:
			kept++
		}
	}
	for _, name := range changed {
		t.IO.Progressf("%s was changed: Git has something else for it than Flux had applied", name)
	}
	if len(lost) > 0 {
		return fmt.Errorf("gone, or created anew: %s", strings.Join(lost, ", "))
	}
	s.Donef("%s of Skerry now, %d changed", text.Count(kept, "object"), len(changed))
	return nil
}
