package kustomization

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/tree"
)

// kept returns the names of the objects that a cluster keeps of what apps dropped.
func (w *world) kept(cluster string) string {
	w.t.Helper()
	var names []string
	for _, digest := range entryOf(w.assignment(cluster), "apps").KeepFor {
		b, err := w.store.Get(w.t.Context(), digest)
		if err != nil {
			w.t.Fatal(err)
		}
		for i := range b.Objects {
			names = append(names, b.Objects[i].Name)
		}
	}
	return strings.Join(names, " ")
}

func (w *world) held() string {
	w.t.Helper()
	for _, c := range w.get().Status.Conditions {
		if c.Type == v1alpha1.ReconcilingCondition && c.Reason == v1alpha1.PruneHeldReason {
			return c.Message
		}
	}
	return ""
}

func secretVariables(ks *v1alpha1.Kustomization) {
	ks.Spec.PostBuild = &v1alpha1.PostBuild{SubstituteFrom: []v1alpha1.SubstituteReference{{Kind: "Secret", Name: "tenant"}}}
}

// A neighbour that cannot be rendered for want of something beside the commit holds what the commit names for
// it, and nothing else: two objects left apps, and shared may take none, one or both of them.
func TestAFailingNeighbourHoldsOnlyWhatItMayTake(t *testing.T) {
	takes := configMap("settings", "1")
	encrypted := func(name string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: apps}\ndata: {a: \"ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:str]\"}\nsops: {mac: \"ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:str]\", age: []}\n"
	}
	for name, tt := range map[string]struct {
		spec   func(*v1alpha1.Kustomization)
		shared string
		want   string
	}{
		"a Secret is missing, and it takes nothing":           {secretVariables, configMap("base", "${x}"), ""},
		"a Secret is missing, and it takes one":               {secretVariables, takes, "settings"},
		"a Secret is missing that decides about the name":     {secretVariables, configMap(`"sett${x}"`, "1"), "settings"},
		"a Secret is missing that decides about another name": {secretVariables, configMap(`"${x}-base"`, "1"), ""},
		"a Secret is missing that is all of the name":         {secretVariables, configMap(`"${x}"`, "1"), "more settings"},
		"a variable has no value": {func(ks *v1alpha1.Kustomization) {
			ks.Spec.PostBuild = &v1alpha1.PostBuild{Substitute: map[string]string{"a": "b"}}
		}, configMap("settings", "${x}"), "settings"},
		"a variable has no value, and it takes nothing": {func(ks *v1alpha1.Kustomization) {
			ks.Spec.PostBuild = &v1alpha1.PostBuild{Substitute: map[string]string{"a": "b"}}
		}, configMap("base", "${x}"), ""},
		"the keys are missing": {func(ks *v1alpha1.Kustomization) {
			ks.Spec.Decryption = &v1alpha1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "keys"}}
		}, encrypted("settings"), "settings"},
		"the keys are missing, and it takes nothing": {func(ks *v1alpha1.Kustomization) {
			ks.Spec.Decryption = &v1alpha1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "keys"}}
		}, encrypted("base"), ""},
		"what is encrypted is not looked for":                {func(*v1alpha1.Kustomization) {}, encrypted("settings"), "settings"},
		"it depends on itself":                               {after("shared"), takes, "settings"},
		"it depends on itself, and takes nothing":            {after("shared"), configMap("base", "2"), ""},
		"its health is judged by what cannot be read":        {func(ks *v1alpha1.Kustomization) { ks.Spec.HealthCheckExprs = brokenExpressions() }, takes, "settings"},
		"its prefix makes another name of it":                {func(ks *v1alpha1.Kustomization) { secretVariables(ks); ks.Spec.NamePrefix = "x-" }, takes, ""},
		"its prefix makes this name of another":              {func(ks *v1alpha1.Kustomization) { secretVariables(ks); ks.Spec.NamePrefix = "set" }, configMap("tings", "1"), "settings"},
		"a Secret is missing, and the kind is another's":     {secretVariables, strings.Replace(takes, "v1", "example.com/v1", 1), ""},
		"a Secret is missing, and the kind is a variable":    {secretVariables, strings.Replace(takes, "ConfigMap", "${kind}", 1), "settings"},
		"a Secret is missing, and a generator makes the one": {secretVariables, "kustomization", "settings-4ktf6mcg97"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, cluster("edge-1"), cluster("edge-2"), kustomization(), other("shared", tt.spec))
			dropped := []string{"apps/b.yaml", configMap("settings", "1"), "apps/c.yaml", configMap("more", "1"), "apps/d.yaml", configMap("settings-4ktf6mcg97", "1")}
			if !strings.HasPrefix(tt.want, "settings-") {
				dropped = dropped[:4]
			}
			stays := []string{"apps/a.yaml", configMap("stays", "1"), "apps/e.yaml", configMap("stays-too", "1"), "apps/f.yaml", configMap("stays-as-well", "1")}
			w.push("1", append(append(dropped, stays...), "shared/a.yaml", configMap("base", "1"))...)
			w.reconcileOf("apps", "shared")
			w.apply("edge-1", "edge-2")
			w.reconcileOf("apps", "shared")
			next := append(stays, "shared/a.yaml", tt.shared)
			if tt.shared == "kustomization" {
				next = append(stays, "shared/kustomization.yaml", "resources: [a.yaml]\nconfigMapGenerator: [{name: settings, namespace: apps, literals: [a=1]}]\n", "shared/a.yaml", configMap("base", "${x}"))
			}
			w.push("2", next...)
			check := func(when string) {
				t.Helper()
				w.reconcileOf("shared", "apps")
				for _, edge := range []string{"edge-1", "edge-2"} {
					if e := entryOf(w.assignment(edge), "apps"); e.HoldPrune {
						t.Errorf("%s %s holds everything: %s", when, edge, w.held())
					}
					if got := w.kept(edge); got != tt.want {
						t.Errorf("%s %s keeps %q, want %q", when, edge, got, tt.want)
					}
				}
			}
			check("at once")
			w.restart()
			check("after a restart")
			w.apply("edge-1", "edge-2")
			check("once it is applied")
			if tt.want == "" {
				return
			}
			for _, want := range append(strings.Fields(tt.want), "ConfigMap/apps/", "Kustomization shared cannot be rendered", v1alpha1.AllowPruneAnnotation+"=main@sha1:2") {
				if got := w.held(); !strings.Contains(got, want) {
					t.Errorf("the message %q lacks %q", got, want)
				}
			}
			w.edit(func(ks *v1alpha1.Kustomization) {
				ks.Annotations = map[string]string{v1alpha1.AllowPruneAnnotation: "main@sha1:2"}
			})
			w.reconcileOf("apps")
			w.expectKeeps("apps", "", "")
			if got := w.held(); got != "" {
				t.Errorf("acknowledged, it is held: %s", got)
			}
		})
	}
}

func brokenExpressions() []v1alpha1.HealthCheckExpressions {
	e := v1alpha1.HealthCheckExpressions{}
	e.APIVersion, e.Kind, e.Current = "v1", "ConfigMap", "status.("
	return []v1alpha1.HealthCheckExpressions{e}
}

// Once the Secret is there, the neighbour takes what it takes, and the rest is pruned.
func TestWhatAFailingNeighbourHeldIsDecidedOnceItIsRendered(t *testing.T) {
	w := movers(t, secretVariables)
	w.push("2", "apps/a.yaml", configMap("stays", "1"), "shared/a.yaml", configMap(`"sett${x}"`, "1"))
	w.reconcileOf("shared", "apps")
	if got := w.kept("edge-1"); got != "settings" {
		t.Fatalf("edge-1 keeps %q: %s", got, w.held())
	}
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "tenant", ResourceVersion: ""}, Data: map[string][]byte{"x": []byte("led")}})
	w.reconcileOf("shared", "apps")
	w.expectKeeps("apps", "", "")
}

// breakShared makes shared fail for a reason of the hub, so that not even its outlines are known.
func (w *world) breakShared() {
	w.r.Build = func(ctx context.Context, files *tree.Tree, o render.Options) (*render.Result, error) {
		if strings.Contains(o.Path, "shared") {
			return nil, render.Transient(render.Timeout, "not done in time")
		}
		return w.cache.Build(ctx, files, o)
	}
	w.r.Outlines = func(context.Context, *tree.Tree, render.Options) ([]render.Outline, error) {
		return nil, errors.New("not done in time")
	}
	w.r.memo(requestFor("shared").NamespacedName).rendered = nil
	_, _ = w.reconcileKey(requestFor("shared").NamespacedName)
}

// What a neighbour came to at this very commit, and with these variables and labels, counts while the commit
// cannot be built for a reason of the hub.
func TestTheLastGoodBundleAtTheSameCommitCounts(t *testing.T) {
	for name, tt := range map[string]struct {
		shared string
		change func(*v1alpha1.Cluster)
		want   string
		first  string // on edge-1, which is changed
	}{
		"it takes it":           {configMap("settings", "1"), nil, "for 1", "for 1"},
		"it takes nothing":      {configMap("base", "2"), nil, "", ""},
		"with another variable": {configMap("base", "2"), func(c *v1alpha1.Cluster) { c.Spec.Vars = map[string]v1alpha1.VarValue{"region": "north"} }, "", "held"},
		"with another label":    {configMap("base", "2"), func(c *v1alpha1.Cluster) { c.Labels = map[string]string{"region": "north"} }, "", "held"},
		"with variables from a Secret": {configMap("base", "2"), func(c *v1alpha1.Cluster) {
			c.Spec.VarsFrom = []v1alpha1.SubstituteReference{{Kind: "Secret", Name: "tenant", Optional: true}}
		}, "", "held"},
		"with another annotation": {configMap("base", "2"), func(c *v1alpha1.Cluster) { c.Annotations = map[string]string{"region": "north"} }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := movers(t, staged)
			w.push("2", "apps/a.yaml", configMap("stays", "1"), "shared/a.yaml", tt.shared)
			w.reconcileOf("shared")
			if tt.change != nil {
				w.editCluster("edge-1", tt.change)
			}
			w.breakShared()
			w.reconcileOf("apps")
			w.expectKeeps("apps", tt.first, tt.want)
		})
	}
}

func (w *world) editCluster(name string, change func(*v1alpha1.Cluster)) {
	w.t.Helper()
	c := &v1alpha1.Cluster{}
	if err := w.client.Get(w.t.Context(), types.NamespacedName{Namespace: key.Namespace, Name: name}, c); err != nil {
		w.t.Fatal(err)
	}
	change(c)
	if err := w.client.Update(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
}

// A change of a cluster's variables moves an object as a commit does: apps, which is reconciled first, does not
// take what shared came to before for what it comes to now.
func TestAMoveByVariablesIsHeldUntilTheReceiverIsRenderedWithThem(t *testing.T) {
	apps, shared := kustomization(), other("shared")
	apps.Spec.Path, shared.Spec.Path = "./apps/${region}", "./shared/${region}"
	region := func(name string) func(*v1alpha1.Cluster) {
		return func(c *v1alpha1.Cluster) {
			c.Spec.Vars = map[string]v1alpha1.VarValue{"region": v1alpha1.VarValue(name)}
		}
	}
	w := newWorld(t, cluster("edge-1", region("south")), cluster("edge-2", region("south")), apps, shared)
	w.push("1", "apps/south/a.yaml", configMap("stays", "1"), "apps/south/b.yaml", configMap("settings", "1"), "shared/south/a.yaml", configMap("base", "1"),
		"apps/north/a.yaml", configMap("stays", "1"), "shared/north/a.yaml", configMap("settings", "1"))
	w.reconcileOf("apps", "shared")
	w.apply("edge-1", "edge-2")
	w.reconcileOf("apps", "shared", "apps")
	w.editCluster("edge-1", region("north"))
	w.reconcileOf("apps")
	w.expectKeeps("apps", "held", "")
	digest := w.r.outcomes.published[requestFor("shared").NamespacedName]
	w.reconcileOf("shared")
	if w.r.outcomes.published[requestFor("shared").NamespacedName] == digest {
		t.Error("apps, which waits, is not woken")
	}
	w.reconcileOf("apps")
	w.expectKeeps("apps", "for 1", "")
}

// A Kustomization that its source does not admit gets nothing of it, and holds nothing.
func TestANeighbourThatIsNotAdmittedHoldsNothing(t *testing.T) {
	shared := func(ks *v1alpha1.Kustomization) { ks.Spec.SourceRef.Namespace = key.Namespace }
	intruder := in("north", other("intruder", shared, fromNamespaces(key.Namespace)))
	w := newWorld(t, space("fleet", nil), space("north", map[string]string{"tier": "web"}), kustomization(), intruder,
		cluster("edge-1", func(c *v1alpha1.Cluster) { c.Spec.AccessFrom = web("web") }))
	w.r.NoCrossNamespaceRefs = true
	w.push("1", "apps/a.yaml", configMap("stays", "1"), "apps/b.yaml", configMap("settings", "1"))
	w.reconcileOf("apps")
	w.apply("edge-1")
	w.push("2", "apps/a.yaml", configMap("stays", "1"), "intruder/a.yaml", configMap("settings", "1"))
	w.reconcileOf("apps")
	w.expectKeeps("apps", "")
}
