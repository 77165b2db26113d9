package migrating

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/migrate"
	"github.com/skerry-dev/skerry/internal/object"
)

// errKilled is what ends a run in a test.
var errKilled = errors.New("killed")

// cluster is a cluster with Flux's objects, whose hub makes every Kustomization ready that it sees.
type cluster struct {
	t      *testing.T
	client client.WithWatch
	// writes is how many writes there were, and killAt ends the run at one of them.
	writes, killAt int
	// order is what was done to the kinds of both, as "suspend apps".
	order []string
	// beside is called before each write with what is about to be written, for what another program does meanwhile.
	beside func(verb string, o client.Object)
	// edge is the cluster behind a kubeconfig; nil where it cannot be asked.
	edge client.Client
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, killAt: -1}
	scheme, err := factory.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	versions := []schema.GroupVersion{v1alpha1.GroupVersion, corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion}
	for _, kind := range fluxKinds[:3] {
		versions = append(versions, schema.GroupVersion{Group: kind.Group, Version: "v1"})
	}
	mapper := apimeta.NewDefaultRESTMapper(versions)
	for _, kind := range fluxKinds[:3] {
		mapper.Add(kind.WithVersion("v1"), apimeta.RESTScopeNamespace)
	}
	for _, kind := range []string{v1alpha1.KustomizationKind, v1alpha1.GitRepositoryKind, v1alpha1.ReceiverKind, v1alpha1.ClusterKind} {
		mapper.Add(v1alpha1.GroupVersion.WithKind(kind), apimeta.RESTScopeNamespace)
	}
	for _, kind := range []string{"Secret", "ConfigMap"} {
		mapper.Add(corev1.SchemeGroupVersion.WithKind(kind), apimeta.RESTScopeNamespace)
	}
	mapper.Add(appsv1.SchemeGroupVersion.WithKind("Deployment"), apimeta.RESTScopeNamespace)
	var objects []client.Object
	for doc := range strings.SplitSeq(fluxObjects, "---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	withStatus := &unstructured.Unstructured{}
	withStatus.SetGroupVersionKind(fluxKinds[0].WithVersion("v1"))
	c.client = fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(mapper).WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.Kustomization{}, withStatus).
		WithInterceptorFuncs(c.interceptors()).Build()
	return c
}

// interceptors count writes, and do to the cluster what the hub does.
func (c *cluster) interceptors() interceptor.Funcs {
	return interceptor.Funcs{
		Create: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return c.write("create", o, func() error { return w.Create(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			c.checkDelete(ctx, w, o)
			return c.write("delete", o, func() error {
				err := w.Delete(ctx, o, opts...)
				if err == nil && o.GetName() == "apps" && o.GetObjectKind().GroupVersionKind().Group == v1alpha1.Group {
					c.release(ctx, w)
				}
				return err
			})
		},
		Patch: func(ctx context.Context, w client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			options := client.PatchOptions{}
			options.ApplyOptions(opts)
			if len(options.DryRun) > 0 {
				return w.Patch(ctx, o, p, opts...)
			}
			return c.write("patch", o, func() error { return w.Patch(ctx, o, p, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, w client.Client, of string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			return c.write("patch", o, func() error { return w.SubResource(of).Patch(ctx, o, p, opts...) })
		},
		List: func(ctx context.Context, w client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if _, ours := list.(*v1alpha1.KustomizationList); ours {
				c.hub(ctx, w)
			}
			return w.List(ctx, list, opts...)
		},
	}
}

// write counts a write, ends the run at one of them, and holds that no object has two keepers.
func (c *cluster) write(verb string, o client.Object, do func() error) error {
	if c.writes == c.killAt {
		return errKilled
	}
	c.writes++
	if c.beside != nil {
		c.beside(verb, o)
	}
	group := o.GetObjectKind().GroupVersionKind().Group
	err := do()
	if strings.HasSuffix(group, "fluxcd.io") || group == v1alpha1.Group {
		c.order = append(c.order, verb+" "+strings.TrimSuffix(group, ".toolkit.fluxcd.io")+" "+o.GetName())
	}
	return err
}

// checkDelete holds that Flux has nothing to delete for an object: it is suspended when it is deleted.
func (c *cluster) checkDelete(ctx context.Context, w client.WithWatch, o client.Object) {
	if o.GetObjectKind().GroupVersionKind().Group != "kustomize.toolkit.fluxcd.io" {
		return
	}
	there := &unstructured.Unstructured{}
	there.SetGroupVersionKind(o.GetObjectKind().GroupVersionKind())
	if err := w.Get(ctx, client.ObjectKeyFromObject(o), there); err == nil && !isSuspended(there) {
		c.t.Errorf("%s is deleted and not suspended: Flux would delete what it applied", o.GetName())
	}
}

// hub makes the Kustomizations ready, and holds that Flux does not work beside them.
func (c *cluster) hub(ctx context.Context, w client.WithWatch) {
	all := &v1alpha1.KustomizationList{}
	if err := w.List(ctx, all); err != nil {
		c.t.Error(err)
	}
	for i := range all.Items {
		ks := &all.Items[i]
		flux := &unstructured.Unstructured{}
		flux.SetGroupVersionKind(fluxKinds[0].WithVersion("v1"))
		if err := w.Get(ctx, client.ObjectKeyFromObject(ks), flux); err == nil && !isSuspended(flux) {
			c.t.Errorf("%s has two keepers", ks.Name)
		}
		ks.Status.ObservedGeneration = ks.Generation
		apimeta.SetStatusCondition(&ks.Status.Conditions, metav1.Condition{Type: v1alpha1.ReadyCondition, Status: metav1.ConditionTrue, Reason: v1alpha1.SucceededReason})
		if err := w.Status().Update(ctx, ks); err != nil {
			c.t.Error(err)
		}
		if ks.Name == "apps" {
			c.own(ctx, w)
		}
	}
}

// appsLabel is the owner label of the Kustomization apps.
var appsLabel = object.Owner{Hub: "home", Namespace: "flux-system", Name: "apps"}.Label()

// own puts what the hub puts onto the cluster for apps: the owner label, its claim and the inventory, which has an
// object that Flux never had.
func (c *cluster) own(ctx context.Context, w client.WithWatch) {
	c.label(ctx, w, appsLabel)
	inv := inventory.New(appsLabel)
	for _, name := range []string{"web", "new"} {
		inv.Objects[object.ID{Kind: "ConfigMap", Namespace: "default", Name: name}] = inventory.Record{Version: "v1"}
	}
	shards, err := inventory.Encode(inv, 1<<20)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, cm := range []*corev1.ConfigMap{
		{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.ClaimName}},
		{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.InventoryPrefix + appsLabel + "-0-of-1"}, BinaryData: map[string][]byte{"inventory.json.gz": shards[0]}},
	} {
		cm.Namespace, cm.Annotations = v1alpha1.SystemNamespace, map[string]string{"skerry.dev/hub": "home"}
		cm.Labels = map[string]string{v1alpha1.PartLabel: "inventory", v1alpha1.OwnerLabel + "-inventory": appsLabel}
		if err := w.Create(ctx, cm); err != nil && !apierrors.IsAlreadyExists(err) {
			c.t.Fatal(err)
		}
	}
}

// release takes it away again.
func (c *cluster) release(ctx context.Context, w client.WithWatch) {
	c.label(ctx, w, "")
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.InventoryPrefix + appsLabel + "-0-of-1"}}
	if err := w.Delete(ctx, cm); client.IgnoreNotFound(err) != nil {
		c.t.Error(err)
	}
}

func (c *cluster) label(ctx context.Context, w client.WithWatch, owner string) {
	web := &corev1.ConfigMap{}
	if err := w.Get(ctx, client.ObjectKey{Namespace: "default", Name: "web"}, web); err != nil {
		c.t.Fatal(err)
	}
	web.Labels = nil
	if owner != "" {
		web.Labels = map[string]string{v1alpha1.OwnerLabel: owner}
	}
	if err := w.Update(ctx, web); err != nil {
		c.t.Error(err)
	}
}

func (c *cluster) run(undo bool) (string, error) {
	io, _, _, stderr := iostreams.Test()
	f := &factory.Factory{
		IO: io, Now: time.Now, Flags: &factory.Flags{Timeout: 20 * time.Second},
		Hub: func() (*factory.Hub, error) {
			return &factory.Hub{WithWatch: c.client, Config: &rest.Config{Host: "hub"}}, nil
		},
		Edge: func(context.Context, *factory.Hub, *v1alpha1.Cluster) (*factory.Edge, error) {
			if c.edge == nil {
				return nil, errors.New("no route to host")
			}
			return &factory.Edge{Client: c.edge, Mapper: c.edge.RESTMapper()}, nil
		},
	}
	err := runCluster(c.t.Context(), &ClusterOptions{Factory: f, Yes: true, Undo: undo, grace: 50 * time.Millisecond})
	return stderr.String(), err
}

// stand is what there is of both, one line each.
func (c *cluster) stand() []string {
	var out []string
	kinds := []schema.GroupVersionKind{v1alpha1.GroupVersion.WithKind(v1alpha1.KustomizationKind), v1alpha1.GroupVersion.WithKind(v1alpha1.GitRepositoryKind)}
	for _, kind := range fluxKinds[:3] {
		kinds = append(kinds, kind.WithVersion("v1"))
	}
	for _, kind := range kinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := c.client.List(c.t.Context(), list); err != nil {
			c.t.Fatal(err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			out = append(out, fmt.Sprintf("%s %s suspended=%v", strings.TrimSuffix(kind.Group, ".toolkit.fluxcd.io"), o.GetName(), isSuspended(o)))
		}
	}
	return out
}

const fluxObjects = `
apiVersion: v1
kind: ConfigMap
metadata: {name: web, namespace: default, uid: "1"}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: fleet, namespace: flux-system, uid: "2", finalizers: [finalizers.fluxcd.io]}
spec: {interval: 1m, url: "https://git.example.com/fleet.git", ref: {branch: main}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: root, namespace: flux-system, uid: "3", finalizers: [finalizers.fluxcd.io]}
spec: {interval: 1m, path: ./clusters/home, prune: true, sourceRef: {kind: GitRepository, name: fleet}}
status:
  inventory:
    entries:
    - {id: flux-system_apps_kustomize.toolkit.fluxcd.io_Kustomization, v: v1}
    - {id: flux-system_later_kustomize.toolkit.fluxcd.io_Kustomization, v: v1}
    - {id: default_base__ConfigMap, v: v1}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps, namespace: flux-system, uid: "4", finalizers: [finalizers.fluxcd.io]}
spec: {interval: 1m, path: ./apps, prune: true, sourceRef: {kind: GitRepository, name: fleet}}
status:
  inventory:
    entries:
    - {id: default_web__ConfigMap, v: v1}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: later, namespace: flux-system, uid: "5"}
spec: {interval: 1m, path: ./later, prune: true, suspend: true, sourceRef: {kind: GitRepository, name: fleet}}
`

var (
	// moved is how a cluster stands after the way over, and original before it. What a person had suspended is
	// suspended in either.
	moved    = []string{"skerry.dev apps suspended=false", "skerry.dev later suspended=true", "skerry.dev fleet suspended=false"}
	original = []string{"kustomize apps suspended=false", "kustomize later suspended=true", "kustomize root suspended=false", "source fleet suspended=false"}
)

func TestFluxIsSuspendedFirstAndRemovedLast(t *testing.T) {
	c := newCluster(t)
	said, err := c.run(false)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if diff := cmp.Diff(moved, c.stand()); diff != "" {
		t.Error(diff)
	}
	got := strings.Join(c.order, "\n")
	for _, pair := range [][2]string{
		{"patch kustomize root", "patch kustomize apps"}, // what applies others first
		{"patch source fleet", "patch skerry.dev fleet"},
		{"patch kustomize apps", "patch skerry.dev apps"},
		{"patch skerry.dev apps", "delete kustomize root"},
		{"delete kustomize root", "delete kustomize apps"},
		{"delete kustomize apps", "delete source fleet"},
	} {
		first, second := strings.Index(got, pair[0]), strings.Index(got, pair[1])
		if first < 0 || second < 0 || first > second {
			t.Errorf("%s is not before %s:\n%s", pair[0], pair[1], got)
		}
	}
	for _, want := range []string{"1 object of Skerry now, 0 changed", "removed: Kustomization flux-system/root", "is suspended, as Flux's was", "skerry bootstrap git --path clusters/home"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said:\n%s", want, said)
		}
	}
	if said, err := c.run(false); err != nil || !strings.Contains(said, "nothing of Flux") {
		t.Errorf("a second run: %v\n%s", err, said)
	}
}

// TestAMigrationThatWasKilledGoesOn ends a run at each of its writes, and goes on, or back.
func TestAMigrationThatWasKilledGoesOn(t *testing.T) {
	t.Parallel()
	whole := newCluster(t)
	if _, err := whole.run(false); err != nil {
		t.Fatal(err)
	}
	for at := range whole.writes {
		for _, undo := range []bool{false, true} {
			c := newCluster(t)
			c.killAt = at
			if _, err := c.run(false); !errors.Is(err, errKilled) {
				t.Fatalf("write %d: %v", at, err)
			}
			c.killAt = -1
			want := moved
			if undo {
				want = original
			}
			said, err := c.run(undo)
			if diff := cmp.Diff(want, c.stand()); err != nil || diff != "" {
				t.Errorf("killed at write %d, undo=%v: %v\n%s\n%s", at, undo, err, diff, said)
			}
		}
	}
}

// TestAnUndoThatWasKilledGoesOn ends the way back at each of its writes.
func TestAnUndoThatWasKilledGoesOn(t *testing.T) {
	t.Parallel()
	whole := newCluster(t)
	if _, err := whole.run(false); err != nil {
		t.Fatal(err)
	}
	there := whole.writes
	if said, err := whole.run(true); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if diff := cmp.Diff(original, whole.stand()); diff != "" {
		t.Error(diff)
	}
	for at := there; at < whole.writes; at++ {
		c := newCluster(t)
		if _, err := c.run(false); err != nil {
			t.Fatal(err)
		}
		c.killAt = at
		if _, err := c.run(true); !errors.Is(err, errKilled) {
			t.Fatalf("write %d: %v", at, err)
		}
		c.killAt = -1
		said, err := c.run(true)
		if diff := cmp.Diff(original, c.stand()); err != nil || diff != "" {
			t.Errorf("killed at write %d: %v\n%s\n%s", at, err, diff, said)
		}
		if diff := cmp.Diff(map[string]int{"root": 3, "apps": 1, "later": 0}, c.inventories()); diff != "" {
			t.Errorf("killed at write %d, the inventories: %s", at, diff)
		}
	}
}

// inventories are how many objects Flux knows of each of its Kustomizations.
func (c *cluster) inventories() map[string]int {
	out := map[string]int{}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(fluxKinds[0].WithVersion("v1"))
	if err := c.client.List(c.t.Context(), list); err != nil {
		c.t.Fatal(err)
	}
	for i := range list.Items {
		out[list.Items[i].GetName()] = len(inventoryOf(&list.Items[i]))
	}
	return out
}

// put creates an object beside the command.
func (c *cluster) put(manifest string) {
	c.t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &o.Object); err != nil {
		c.t.Fatal(err)
	}
	if err := c.client.Create(c.t.Context(), o); err != nil {
		c.t.Fatal(err)
	}
}

func TestWhatAPersonCreatedIsNotWrittenOver(t *testing.T) {
	c := newCluster(t)
	c.put("{apiVersion: skerry.dev/v1alpha1, kind: Kustomization, metadata: {name: later, namespace: flux-system}, spec: {interval: 1m, path: ./mine, sourceRef: {name: fleet}}}")
	said, err := c.run(false)
	if err != nil || !strings.Contains(said, "stays: Kustomization flux-system/later: kustomization flux-system/later of Skerry is there and was not created by this command") {
		t.Errorf("%v\n%s", err, said)
	}
	mine := &v1alpha1.Kustomization{}
	if err := c.client.Get(t.Context(), client.ObjectKey{Namespace: "flux-system", Name: "later"}, mine); err != nil || mine.Spec.Path != "./mine" {
		t.Errorf("%v: %s", err, mine.Spec.Path)
	}
}

// TestNothingIsSuspendedForAHubThatWouldRefuseIt: one that 'skerry install' has set up lends its rights to nobody.
func TestNothingIsSuspendedForAHubThatWouldRefuseIt(t *testing.T) {
	for args, refused := range map[string]bool{
		"[--leader-elect=true, --require-service-account=true]":              true,
		"[--require-service-account]":                                        true,
		"[--require-service-account=true, --require-service-account=false]":  false,
		"[--require-service-account=true, --default-service-account=deploy]": false,
		"[--leader-elect=true]":                                              false,
	} {
		c := newCluster(t)
		c.put("{apiVersion: apps/v1, kind: Deployment, metadata: {name: skerry-hub, namespace: skerry-system}, spec: {template: {spec: {containers: [{name: hub, args: " + args + "}]}}}}")
		before, writes := c.stand(), c.writes
		_, err := c.run(false)
		if !refused {
			if err != nil {
				t.Errorf("%s: %v", args, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "the hub would refuse 2 kustomizations, Kustomization flux-system/apps among them") || c.writes != writes {
			t.Errorf("%s: %v", args, err)
		}
		if diff := cmp.Diff(before, c.stand()); diff != "" {
			t.Errorf("%s: %s", args, diff)
		}
	}
}

// TestAPersonWhoSuspendsMeanwhileIsNotResumed: between the read and the write of this command, and after it.
func TestAPersonWhoSuspendsMeanwhileIsNotResumed(t *testing.T) {
	c := newCluster(t)
	suspended := false
	c.beside = func(verb string, o client.Object) {
		if verb != "patch" || o.GetName() != "apps" || suspended {
			return
		}
		suspended = true
		c.person(`{"spec":{"suspend":true}}`)
	}
	if said, err := c.run(false); err != nil || !suspended || !strings.Contains(said, "Kustomization flux-system/apps is suspended, as Flux's was") {
		t.Fatalf("%v\n%s", err, said)
	}
	if said, err := c.run(true); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	want := slices.Clone(original)
	want[0] = "kustomize apps suspended=true"
	if diff := cmp.Diff(want, c.stand()); diff != "" {
		t.Error(diff)
	}
}

// person changes Flux's apps, past what the test counts.
func (c *cluster) person(patch string) {
	c.t.Helper()
	apps := &unstructured.Unstructured{}
	apps.SetGroupVersionKind(fluxKinds[0].WithVersion("v1"))
	apps.SetNamespace("flux-system")
	apps.SetName("apps")
	beside := c.beside
	c.beside = nil
	if err := c.client.Patch(c.t.Context(), apps, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner("kubectl-edit")); err != nil {
		c.t.Error(err)
	}
	c.beside = beside
}

// TestWhatCameNewIsWrittenDownBeforeItIsLetGo: its inventory is gone afterwards, and a run may end in between.
func TestWhatCameNewIsWrittenDownBeforeItIsLetGo(t *testing.T) {
	c := newCluster(t)
	if _, err := c.run(false); err != nil {
		t.Fatal(err)
	}
	records := func() string {
		secrets := &corev1.SecretList{}
		if err := c.client.List(t.Context(), secrets, client.MatchingLabels{migrate.Annotation: migrate.Kept}); err != nil {
			t.Fatal(err)
		}
		text := ""
		for i := range secrets.Items {
			text += string(secrets.Items[i].Data[keptKey])
		}
		return text
	}
	noted := ""
	c.beside = func(verb string, o client.Object) {
		if _, is := o.(*unstructured.Unstructured); is && verb == "delete" && o.GetName() == "apps" {
			noted = records()
			c.killAt = c.writes
		}
	}
	if _, err := c.run(true); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	if want := `["","ConfigMap","default","new"]`; !strings.Contains(noted, want) || records() != noted {
		t.Errorf("%s is not noted: %s, and later %s", want, noted, records())
	}
	c.beside, c.killAt = nil, -1
	if said, err := c.run(true); err != nil || records() != "" {
		t.Errorf("%v: left %s\n%s", err, records(), said)
	}
}

// TestAnUndoIsRefusedWhereAnotherKustomizationHasWhatFluxKept, be it of another name or namespace than Flux's.
func TestAnUndoIsRefusedWhereAnotherKustomizationHasWhatFluxKept(t *testing.T) {
	c := newCluster(t)
	if _, err := c.run(false); err != nil {
		t.Fatal(err)
	}
	c.label(t.Context(), c.client, object.Owner{Hub: "home", Namespace: v1alpha1.SystemNamespace, Name: "apps"}.Label())
	if _, err := c.run(true); err == nil || !strings.Contains(err.Error(), "ConfigMap default/web is kept from Git by now") {
		t.Error(err)
	}
}

// TestAnUndoIsRefusedOnceGitLeads has an object of the Kustomization that applies others kept by its successor.
func TestAnUndoIsRefusedOnceGitLeads(t *testing.T) {
	c := newCluster(t)
	if _, err := c.run(false); err != nil {
		t.Fatal(err)
	}
	c.put("{apiVersion: v1, kind: ConfigMap, metadata: {name: base, namespace: default, uid: \"9\", labels: {skerry.dev/owner: skerry-system.x}}}")
	stood, writes := c.stand(), c.writes
	_, err := c.run(true)
	if err == nil || !strings.Contains(err.Error(), "ConfigMap default/base is kept from Git by now") {
		t.Error(err)
	}
	if diff := cmp.Diff(stood, c.stand()); diff != "" || c.writes != writes {
		t.Errorf("%d writes\n%s", c.writes-writes, diff)
	}
}

func TestAnObjectThatIsAnotherOneNowKeepsFluxThere(t *testing.T) {
	c := newCluster(t)
	hub := &takeover{ClusterOptions: &ClusterOptions{Factory: &factory.Factory{IO: discard()}}}
	web := migrate.Ref{Kind: "ConfigMap", Namespace: "default", Name: "web"}
	hub.before = map[standing]identity{{v1alpha1.HubCluster, web}: {uid: "other"}}
	hub.hub = &factory.Hub{WithWatch: c.client}
	hub.plan.Moves = []migrate.Move{{Live: migrate.Live{Object: map[string]any{}, Inventory: []migrate.Ref{web}}}}
	if err := hub.compare(t.Context(), &factory.Step{}); err == nil || !strings.Contains(err.Error(), "created anew: ConfigMap default/web") {
		t.Error(err)
	}
}

func discard() *iostreams.IOStreams {
	io, _, _, _ := iostreams.Test()
	return io
}
