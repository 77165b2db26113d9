package hub

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/program"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// buffer collects a log.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

const namesFromSecrets = `apiVersion: v1
kind: Namespace
metadata: {name: "${tenant}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web, namespace: "${tenant}"}
data: {value: "1"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: "${domain/./-}-tls", namespace: default}
data: {value: "1"}
`

// A name that comes from a Secret, of the Kustomization or of the Cluster, is applied as it is and shown as
// its manifest writes it: when the object is refused, adopted, corrected, deleted, and missing a namespace.
func TestNamesFromSecretsAreShownNowhere(t *testing.T) {
	w := newWorld(t)
	log := &buffer{}
	var err error
	if w.options.Log, err = program.NewLog(log, "debug"); err != nil {
		t.Fatal(err)
	}
	w.options.MetricsAddress = freeAddress(t)
	_, edge := w.edge("edge-1")
	vars := secretNamed("vars")
	vars.Data = map[string][]byte{"domain": []byte("canary.example"), "lost": []byte("canary-lost"), "bad": []byte("Canary_bad")}
	own := secretNamed("own")
	own.Data = map[string][]byte{"tenant": []byte("canary-tenant")}
	w.create(vars, own)
	c := clusterNamed("edge-1")
	if err := w.client.Get(t.Context(), keyOf(c), c); err != nil {
		t.Fatal(err)
	}
	c.Spec.VarsFrom = []v1alpha1.SubstituteReference{{Kind: "Secret", Name: "own"}}
	if err := w.client.Update(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	adopted := onEdge("canary-example-tls")
	if err := edge.Create(t.Context(), adopted); err != nil {
		t.Fatal(err)
	}
	held := "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"${domain}\", namespace: default, finalizers: [example.com/held]}\n"
	r1 := w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": namesFromSecrets + held}})
	w.source()
	apps := w.kustomization("apps", "./apps", func(k *v1alpha1.Kustomization) {
		k.Spec.PostBuild = &v1alpha1.PostBuild{SubstituteFrom: []v1alpha1.SubstituteReference{{Kind: "Secret", Name: "vars"}}}
	})
	w.start()
	w.says(apps, "True Succeeded", r1)

	var shown strings.Builder
	look := func(after string) {
		t.Helper()
		lists := []client.ObjectList{&v1alpha1.KustomizationList{}, &v1alpha1.AssignmentList{}, &v1alpha1.ClusterList{}}
		for _, list := range lists {
			if err := w.client.List(t.Context(), list); err != nil {
				t.Fatal(err)
			}
		}
		events, err := kubernetes.NewForConfigOrDie(w.cluster.RESTConfig()).EventsV1().Events("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range append(lists, events) {
			text, err := yaml.Marshal(list)
			if err != nil {
				t.Fatal(err)
			}
			shown.Write(text)
			for line := range strings.Lines(string(text)) {
				if strings.Contains(strings.ToLower(line), "canary") {
					t.Errorf("after %s: %T shows %s", after, list, line)
				}
			}
		}
		for what, text := range map[string]string{"the log": log.String(), "the metrics": fetch(t, "http://"+w.options.MetricsAddress+"/metrics")} {
			if strings.Contains(strings.ToLower(text), "canary") {
				t.Errorf("after %s: %s shows a name", after, what)
			}
		}
	}
	drifted := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "canary-tenant", Name: "web"}}
	if err := edge.Delete(t.Context(), drifted); err != nil {
		t.Fatal(err)
	}
	await(t, edge, drifted, "put back", func(*corev1.ConfigMap) bool { return true })
	look("a correction")

	// Drift that is left is named in a record, a condition and an event; here its path holds a name too.
	drift := func(spec string) {
		t.Helper()
		if err := w.client.Patch(t.Context(), apps.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"drift":`+spec+`}}`))); err != nil {
			t.Fatal(err)
		}
	}
	drift(`{"mode":"Report"}`)
	w.says(apps, "True Succeeded", r1)
	if err := edge.Patch(t.Context(), drifted, client.RawPatch(types.MergePatchType, []byte(`{"data":{"canary-tenant":"2"}}`)), client.FieldOwner("kubectl-edit")); err != nil {
		t.Fatal(err)
	}
	await(t, w.client, apps, "reporting the drift", func(k *v1alpha1.Kustomization) bool {
		c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.DriftedCondition)
		return c != nil && strings.Contains(c.Message, "ConfigMap/${tenant}/web changed: .data.")
	})
	look("a report of drift")
	drift("null")

	// What is refused for its name, and what has no namespace, is named in the condition.
	w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": namesFromSecrets + held + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"${bad}\", namespace: default}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: \"${lost}\"}\n"}})
	w.says(apps, "False ApplyFailed")
	look("a refusal")

	// What waits for a finalizer is named in the condition and in an event.
	w.push(gitserver.Change{Write: map[string]string{"apps/web.yaml": namesFromSecrets}})
	await(t, w.client, apps, "waiting for a deletion", func(k *v1alpha1.Kustomization) bool {
		text, _ := yaml.Marshal(k.Status)
		return strings.Contains(string(text), v1alpha1.DeletionPendingReason)
	})
	look("a deletion")
	for _, want := range []string{"ConfigMap/${tenant}/web was deleted", "ConfigMap/${tenant}/web was changed and is left as it is", "- .data.${tenant}\n", "ConfigMap/default/${domain}-tls was there", "ConfigMap/default/${bad}: ", `namespace "${lost}" does not exist`, "ConfigMap/default/${domain} "} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("nothing shows %q", want)
		}
	}
	release := onEdge("canary.example")
	if err := edge.Patch(t.Context(), release, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
		t.Fatal(err)
	}
}
