package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/pkg/ssa"
	ssautil "github.com/fluxcd/pkg/ssa/utils"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// fluxModules are those that Flux's kinds come with.
var fluxModules = []string{"github.com/fluxcd/source-controller@v1.10.1", "github.com/fluxcd/kustomize-controller@v1.10.1"}

// fluxGroup is that of its Kustomizations, and the prefix of its labels.
const fluxGroup = "kustomize.toolkit.fluxcd.io"

// fluxTick is the time between two reconciliations, which Flux's intervals are in a test.
const fluxTick = 300 * time.Millisecond

// player does to a cluster what Flux's kustomize-controller does: it applies with Flux's own package, field manager
// and labels, records inventories and finalizers, and deletes what a Kustomization applied when that is deleted
// and not suspended. What it does not do is render: it is given what a Kustomization renders to.
type player struct {
	client client.Client
	stop   context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	rendered map[types.NamespacedName][]*unstructured.Unstructured // guarded by mu
	trouble  error                                                 // of the last tick; guarded by mu
}

// flux plays Flux on the hub's cluster:
//
//	flux start                        install its kinds and begin
//	flux keep NAMESPACE/NAME FOLDER   what a Kustomization renders to
//	flux stop                         end, as when its controllers are scaled to none
func flux(ctx context.Context, c call) error {
	switch {
	case len(c.args) == 1 && c.args[0] == "start":
		return c.startFlux(ctx)
	case len(c.args) == 1 && c.args[0] == "stop":
		c.stopFlux()
		return nil
	case len(c.args) == 3 && c.args[0] == "keep" && c.player != nil:
		files, err := c.folder(c.args[2])
		if err != nil {
			return err
		}
		var objects []*unstructured.Unstructured
		for _, data := range files {
			read, err := ssautil.ReadObjects(strings.NewReader(data))
			if err != nil {
				return err
			}
			objects = append(objects, read...)
		}
		namespace, name, _ := strings.Cut(c.args[1], "/")
		c.player.mu.Lock()
		defer c.player.mu.Unlock()
		c.player.rendered[types.NamespacedName{Namespace: namespace, Name: name}] = objects
		return nil
	}
	return errors.New("wants start, stop, or keep NAMESPACE/NAME FOLDER")
}

func (c *call) startFlux(ctx context.Context) error {
	if c.player == nil {
		for _, module := range fluxModules {
			if err := c.installFluxKinds(ctx, module); err != nil {
				return err
			}
		}
		kube, err := client.New(c.rig.HubKube.Config, client.Options{})
		if err != nil {
			return err
		}
		c.player = &player{client: kube, rendered: map[types.NamespacedName][]*unstructured.Unstructured{}}
		c.t.Cleanup(c.stopFlux)
	}
	running, cancel := context.WithCancel(c.t.Context())
	c.player.stop, c.player.done = cancel, make(chan struct{})
	go c.player.run(running) // ends with stopFlux
	return nil
}

func (c *kase) stopFlux() {
	if c.player == nil || c.player.stop == nil {
		return
	}
	c.player.stop()
	<-c.player.done
	c.player.stop = nil
	if c.t.Failed() {
		c.t.Logf("the last trouble of Flux: %v", c.player.trouble)
	}
}

func (p *player) run(ctx context.Context) {
	defer close(p.done)
	ticker := time.NewTicker(fluxTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := p.tick(ctx); err != nil && ctx.Err() == nil {
			p.mu.Lock()
			p.trouble = err
			p.mu.Unlock()
		}
	}
}

func (p *player) tick(ctx context.Context) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: fluxGroup, Version: "v1", Kind: "KustomizationList"})
	if err := p.client.List(ctx, list); err != nil {
		return err
	}
	var failed error
	for i := range list.Items {
		o := &list.Items[i]
		suspended, _, _ := unstructured.NestedBool(o.Object, "spec", "suspend")
		switch {
		case o.GetDeletionTimestamp() != nil:
			failed = errors.Join(failed, p.finalize(ctx, o, suspended))
		case len(o.GetFinalizers()) == 0:
			failed = errors.Join(failed, p.merge(ctx, o, map[string]any{"metadata": map[string]any{"finalizers": []string{"finalizers.fluxcd.io"}}}))
		case !suspended:
			failed = errors.Join(failed, p.reconcile(ctx, o))
		}
	}
	return failed
}

func (p *player) merge(ctx context.Context, o *unstructured.Unstructured, patch map[string]any) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return client.IgnoreNotFound(p.client.Patch(ctx, o, client.RawPatch(types.MergePatchType, body), client.FieldOwner("gotk-kustomize-controller")))
}

// target is the cluster that a Kustomization applies to: that of its spec.kubeConfig, or Flux's own.
func (p *player) target(ctx context.Context, o *unstructured.Unstructured) (client.Client, error) {
	name, _, _ := unstructured.NestedString(o.Object, "spec", "kubeConfig", "secretRef", "name")
	if name == "" {
		return p.client, nil
	}
	secret := &corev1.Secret{}
	if err := p.client.Get(ctx, types.NamespacedName{Namespace: o.GetNamespace(), Name: name}, secret); err != nil {
		return nil, err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(secret.Data["value"])
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{})
}

// reconcile applies, and records the inventory that the API server has answered for.
func (p *player) reconcile(ctx context.Context, o *unstructured.Unstructured) error {
	key := client.ObjectKeyFromObject(o)
	p.mu.Lock()
	var objects []*unstructured.Unstructured
	for _, rendered := range p.rendered[key] {
		objects = append(objects, rendered.DeepCopy())
	}
	p.mu.Unlock()
	if len(objects) == 0 {
		return nil
	}
	at, err := p.target(ctx, o)
	if err != nil {
		return err
	}
	manager := ssa.NewResourceManager(at, nil, ssa.Owner{Field: "kustomize-controller", Group: fluxGroup})
	manager.SetOwnerLabels(objects, o.GetName(), o.GetNamespace())
	changes, err := manager.ApplyAll(ctx, objects, ssa.DefaultApplyOptions())
	if err != nil {
		return err
	}
	var entries []any
	for _, e := range changes.Entries {
		entries = append(entries, map[string]any{"id": e.ObjMetadata.String(), "v": e.GroupVersion})
	}
	status, err := json.Marshal(map[string]any{"status": map[string]any{
		"observedGeneration": o.GetGeneration(), "lastAppliedRevision": "main@sha1:0", "inventory": map[string]any{"entries": entries},
		"conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": "Applied", "lastTransitionTime": metav1.Now()}},
	}})
	if err != nil {
		return err
	}
	return client.IgnoreNotFound(p.client.Status().Patch(ctx, o, client.RawPatch(types.MergePatchType, status), client.FieldOwner("gotk-kustomize-controller")))
}

// finalize deletes what is in the inventory, unless the Kustomization is suspended or does not prune, and lets
// go: the rule of kustomize-controller's finalizerShouldDeleteResources.
func (p *player) finalize(ctx context.Context, o *unstructured.Unstructured, suspended bool) error {
	prune, _, _ := unstructured.NestedBool(o.Object, "spec", "prune")
	entries, _, _ := unstructured.NestedSlice(o.Object, "status", "inventory", "entries")
	if !suspended && prune {
		at, err := p.target(ctx, o)
		if err != nil {
			return err
		}
		for _, e := range entries {
			entry, _ := e.(map[string]any)
			parts := strings.Split(fmt.Sprint(entry["id"]), "_")
			if len(parts) != 4 {
				return fmt.Errorf("unexpected inventory entry %v", entry)
			}
			object := &unstructured.Unstructured{}
			object.SetGroupVersionKind(schema.GroupVersionKind{Group: parts[2], Version: fmt.Sprint(entry["v"]), Kind: parts[3]})
			object.SetNamespace(parts[0])
			object.SetName(parts[1])
			if err := at.Delete(ctx, object); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
	}
	return p.merge(ctx, o, map[string]any{"metadata": map[string]any{"finalizers": []string{}}})
}

// installFluxKinds applies the definitions that come with a controller's module.
func (c *call) installFluxKinds(ctx context.Context, module string) error {
	out, err := exec.CommandContext(ctx, "go", "mod", "download", "-json", module).Output()
	if err != nil {
		return fmt.Errorf("cannot fetch the source of %s: %w", module, err)
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(out, &found); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(found.Dir, "config", "crd", "bases", "*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("%s has no definitions: %w", module, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := c.rig.HubKube.Apply(ctx, string(data)); err != nil {
			return err
		}
	}
	return nil
}

// repository unpacks one of the repositories that migrate is tested with into a folder of the script, with $URL
// as the address of each GitRepository:
//
//	repository NAME FOLDER
func repository(_ context.Context, c call) error {
	if len(c.args) != 2 {
		return errors.New("wants NAME FOLDER")
	}
	root, err := rig.Root()
	if err != nil {
		return err
	}
	archive, err := txtar.ParseFile(filepath.Join(root, "internal", "migrate", "testdata", c.args[0]+".txtar"))
	if err != nil {
		return err
	}
	for _, f := range archive.Files {
		name, ok := strings.CutPrefix(f.Name, "before/")
		if !ok {
			continue
		}
		to := filepath.Join(c.ts.MkAbs(c.args[1]), filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, f.Data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// identities writes uid and generation of objects of a cluster, the hub's unless another is named, into a file, to be
// compared with cmp; those of all objects of a kind and namespace for the name *:
//
//	identities [-on CLUSTER] FILE KIND/[NAMESPACE/]NAME...
func identities(ctx context.Context, c call) error {
	on := "hub"
	if name, ok := c.option("on"); ok {
		on = name
	}
	if len(c.args) < 2 {
		return errors.New("wants FILE OBJECT...")
	}
	kube, err := c.kube(on)
	if err != nil {
		return err
	}
	var lines []string
	for _, name := range c.args[1:] {
		words := strings.Split(name, "/")
		if len(words) != 3 {
			return fmt.Errorf("%s is not KIND/NAMESPACE/NAME", name)
		}
		client, err := kube.Resource(words[0], words[1])
		if err != nil {
			return err
		}
		var objects []unstructured.Unstructured
		if words[2] == "*" {
			list, err := client.List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			objects = list.Items
		} else {
			o, err := client.Get(ctx, words[2], metav1.GetOptions{})
			if err != nil {
				return err
			}
			objects = append(objects, *o)
		}
		for i := range objects {
			o := &objects[i]
			lines = append(lines, fmt.Sprintf("%s/%s/%s %s %d\n", words[0], o.GetNamespace(), o.GetName(), o.GetUID(), o.GetGeneration()))
		}
	}
	slices.Sort(lines)
	return os.WriteFile(c.ts.MkAbs(c.args[0]), []byte(strings.Join(lines, "")), 0o644)
}
