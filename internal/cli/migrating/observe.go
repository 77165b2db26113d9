package migrating

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/object"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/migrate"
	"github.com/skerry-dev/skerry/internal/text"
)

// takeover is one run of the command.
type takeover struct {
	*ClusterOptions
	hub  *factory.Hub
	plan migrate.Plan
	// before are the objects that Flux keeps, as they were when this run began.
	before map[standing]identity
	// edges are the clusters that were asked, by namespace and Secret of their kubeconfig; nil where that failed.
	edges map[types.NamespacedName]*factory.Edge
}

// fluxKinds are the kinds that are looked at: those that move, and those that may need what moves.
var fluxKinds = []schema.GroupKind{
	{Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization"},
	{Group: "source.toolkit.fluxcd.io", Kind: "GitRepository"},
	{Group: "notification.toolkit.fluxcd.io", Kind: "Receiver"},
	{Group: "source.toolkit.fluxcd.io", Kind: "OCIRepository"},
	{Group: "source.toolkit.fluxcd.io", Kind: "Bucket"},
	{Group: "source.toolkit.fluxcd.io", Kind: "ExternalArtifact"},
	{Group: "source.extensions.fluxcd.io", Kind: "ArtifactGenerator"},
	{Group: "source.toolkit.fluxcd.io", Kind: "HelmRepository"},
	{Group: "source.toolkit.fluxcd.io", Kind: "HelmChart"},
	{Group: "helm.toolkit.fluxcd.io", Kind: "HelmRelease"},
	{Group: "image.toolkit.fluxcd.io", Kind: "ImageRepository"},
	{Group: "image.toolkit.fluxcd.io", Kind: "ImagePolicy"},
	{Group: "image.toolkit.fluxcd.io", Kind: "ImageUpdateAutomation"},
	{Group: "notification.toolkit.fluxcd.io", Kind: "Alert"},
	{Group: "notification.toolkit.fluxcd.io", Kind: "Provider"},
}

// observe reads the objects of Flux and decides what becomes of them. What the API server would refuse stays.
func (t *takeover) observe(ctx context.Context) error {
	var live []migrate.Live
	for _, kind := range fluxKinds {
		found, err := t.list(ctx, kind)
		if err != nil {
			return err
		}
		live = append(live, found...)
	}
	refused := map[migrate.Ref]string{}
	for {
		var err error
		if t.plan, err = migrate.Cluster(live, refused); err != nil {
			return err
		}
		known := len(refused)
		for i := range t.plan.Moves {
			if err := t.try(ctx, &t.plan.Moves[i], refused); err != nil {
				return err
			}
		}
		if len(refused) == known {
			return nil
		}
	}
}

// list returns the objects of one kind of Flux in all namespaces; none where the kind is not there.
func (t *takeover) list(ctx context.Context, kind schema.GroupKind) ([]migrate.Live, error) {
	mapping, err := t.hub.RESTMapper().RESTMapping(kind)
	if apimeta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look up %s: %w", kind, err)
	}
	all := &unstructured.UnstructuredList{}
	all.SetGroupVersionKind(mapping.GroupVersionKind.GroupVersion().WithKind(kind.Kind + "List"))
	if err := t.hub.List(ctx, all); err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", kind, err)
	}
	var out []migrate.Live
	for i := range all.Items {
		o := &all.Items[i]
		settleMark(o)
		if o.GetDeletionTimestamp() != nil && !isSuspended(o) || o.GetLabels()["helm.toolkit.fluxcd.io/name"] != "" && kind.Kind == "HelmChart" {
			continue // a person deletes it with all that it applied; a HelmRelease made it
		}
		out = append(out, migrate.Live{Ref: refOf(o), Object: o.Object, Inventory: inventoryOf(o)})
	}
	return out, nil
}

// inventoryOf returns what a Kustomization of Flux has applied.
func inventoryOf(o *unstructured.Unstructured) []migrate.Ref {
	var out []migrate.Ref
	entries, _, _ := unstructured.NestedSlice(o.Object, "status", "inventory", "entries")
	for _, e := range entries {
		entry, _ := e.(map[string]any)
		id, _ := entry["id"].(string)
		if parsed, err := object.ParseObjMetadata(id); err == nil {
			out = append(out, migrate.Ref{Group: parsed.GroupKind.Group, Kind: parsed.GroupKind.Kind, Namespace: parsed.Namespace, Name: parsed.Name})
		}
	}
	return out
}

func refOf(o *unstructured.Unstructured) migrate.Ref {
	kind := o.GroupVersionKind()
	return migrate.Ref{Group: kind.Group, Kind: kind.Kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// try asks the API server whether it would take what becomes of an object, and whether its place is free.
func (t *takeover) try(ctx context.Context, m *migrate.Move, refused map[migrate.Ref]string) error {
	for _, manifest := range m.Manifests {
		o := created(manifest)
		place, err := t.place(ctx, o)
		if err != nil {
			return err
		}
		if place == occupied {
			refused[m.Ref] = fmt.Sprintf("%s of Skerry is there and was not created by this command, which would write over it: delete it, or give it another name", apply.Name(o))
			continue
		}
		body, err := json.Marshal(o)
		if err != nil {
			return fmt.Errorf("cannot encode %s: %w", m.Ref, err)
		}
		err = t.hub.Patch(ctx, o, client.RawPatch(types.ApplyPatchType, body), client.FieldOwner(apply.FieldManager), client.ForceOwnership, client.DryRunAll)
		switch {
		case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err):
			refused[m.Ref] = "the API server does not take it: " + iostreams.Line(err.Error())
		case err != nil:
			return err
		}
	}
	return nil
}

// created is a manifest with the mark of what this command created.
func created(manifest map[string]any) *unstructured.Unstructured {
	o := (&unstructured.Unstructured{Object: manifest}).DeepCopy()
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[migrate.Annotation] = migrate.Created
	o.SetAnnotations(annotations)
	return o
}

func (t *takeover) export() error {
	var all []*unstructured.Unstructured
	for i := range t.plan.Moves {
		for _, manifest := range t.plan.Moves[i].Manifests {
			all = append(all, &unstructured.Unstructured{Object: manifest})
		}
	}
	data, err := apply.YAML(all)
	if err != nil {
		return err
	}
	_, err = t.IO.Out.Write(data)
	return err
}

// announce prints what is about to happen.
func (t *takeover) announce() {
	for _, n := range t.plan.Notes {
		t.IO.Progressf("%s", paint(t.IO, n))
	}
	for _, general := range t.plan.General {
		t.IO.Progressf("in general: %s", general)
	}
	objects := 0
	kinds := map[string]int{}
	for i := range t.plan.Moves {
		m := &t.plan.Moves[i]
		kinds[m.Kind]++
		objects += len(m.Inventory)
	}
	if len(t.plan.Moves) == 0 {
		t.IO.Progressf("there is nothing of Flux on %s that moves", t.hub.Config.Host)
		return
	}
	var parts []string
	for _, of := range []struct{ kind, noun string }{{v1alpha1.KustomizationKind, "kustomization"}, {v1alpha1.GitRepositoryKind, "source"}, {v1alpha1.ReceiverKind, "receiver"}} {
		if kinds[of.kind] > 0 {
			parts = append(parts, text.Count(kinds[of.kind], of.noun))
		}
	}
	t.IO.Progressf("take over from Flux on %s: %s with %s, which stay as they are", t.hub.Config.Host, strings.Join(parts, ", "), text.Count(objects, "object"))
}
