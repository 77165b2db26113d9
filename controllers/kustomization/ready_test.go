package kustomization

import (
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func depends(name, expr string) func(*v1alpha1.Kustomization) {
	return func(ks *v1alpha1.Kustomization) {
		ks.Spec.DependsOn = []v1alpha1.DependencyReference{{Name: name, ReadyExpr: expr}}
	}
}

func TestReadyExprIsEvaluatedForEachCluster(t *testing.T) {
	const applied = "dep.status.conditions.exists(c, c.type == 'Ready' && c.status == 'True')"
	w := newWorld(t, kustomization(allAtOnce, depends("infra", applied)), other("infra", allAtOnce), cluster("edge-1"), cluster("edge-2"))
	w.push("1", "apps/cm.yaml", configMap("one", "x"), "infra/cm.yaml", configMap("two", "x"))
	w.reconcileOf("infra")
	w.reconcile()
	expect(t, "before either cluster is ready", w.revisions(), "")
	w.apply("edge-1")
	w.reconcile()
	expect(t, "where one is", w.revisions(), "edge-1=1")
	if e := w.entry("edge-1"); len(e.DependsOn) > 0 {
		t.Errorf("the engine waits as well: %+v", e)
	}
	if got := w.ready(); !strings.Contains(got, "readyExpr is not true") {
		t.Errorf("ready: %s", got)
	}
	w.apply("edge-1", "edge-2")
	w.reconcile()
	expect(t, "where both are", w.revisions(), "edge-1=1 edge-2=1")
}

func TestReadyExprSeesADependencyOnOtherClustersAsAWhole(t *testing.T) {
	own := func(ks *v1alpha1.Kustomization) { ks.Spec.Clusters = &v1alpha1.ClusterTargets{Names: []string{"hub"}} }
	w := newWorld(t, kustomization(allAtOnce, depends("infra", "dep.status.lastAppliedRevision == 'r1'")), other("infra", own), cluster("hub"), cluster("edge-1"))
	w.push("1", "apps/cm.yaml", configMap("one", "x"), "infra/cm.yaml", configMap("two", "x"))
	w.reconcile()
	expect(t, "before", w.revisions(), "")
	infra := other("infra")
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(infra), infra); err != nil {
		t.Fatal(err)
	}
	infra.Status.LastAppliedRevision = "r1"
	infra.Status.Conditions = nil
	if err := w.client.Status().Update(t.Context(), infra); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	expect(t, "after", w.revisions(), "edge-1=1")
}

func TestAReadyExprThatIsNoneChangesNothing(t *testing.T) {
	w := newWorld(t, kustomization(allAtOnce), cluster("edge-1"))
	w.push("1", "apps/cm.yaml", configMap("one", "x"))
	w.reconcile()
	w.edit(depends("infra", "dep.metadata.name"))
	w.push("2", "apps/cm.yaml", configMap("one", "y"))
	w.reconcile()
	expect(t, "revisions", w.revisions(), "edge-1=1")
	if got := w.ready(); !strings.HasPrefix(got, "False InvalidCELExpression: spec.dependsOn[0].readyExpr: ") {
		t.Errorf("ready: %s", got)
	}
	w.edit(depends("infra", "has(dep.spec)"))
	w.reconcile()
	if got := w.ready(); !strings.Contains(got, "Kustomization infra, which is not there") {
		t.Errorf("ready: %s", got)
	}
}

func TestWhatAReadyExprSeesWakesWhoHasIt(t *testing.T) {
	w := newWorld(t, named("waits", depends("infra", "true")), named("plain", after("infra")), named("infra"))
	h := w.r.readyExprHandler()
	before, labelled, reported := named("infra"), named("infra"), named("infra")
	labelled.Labels = map[string]string{"a": "b"}
	reported.Status.LastAppliedRevision = "r"
	expect(t, "nothing", woken(t, update(h, t, before, before.DeepCopy())), "")
	expect(t, "its labels", woken(t, update(h, t, before, labelled)), "waits")
	expect(t, "its status", woken(t, update(h, t, before, reported)), "waits")
	self, renamed := named("waits", depends("infra", "true")), named("waits", depends("infra", "true"))
	renamed.Labels = map[string]string{"a": "b"}
	expect(t, "labels of its own", woken(t, update(h, t, self, renamed)), "waits")
	expect(t, "a report of a cluster", woken(t, update(w.r.assignmentHandler(), t, edge1(says("infra", "X")), edge1(says("infra", "Y")))), "infra waits")
}

func TestIgnoredAnnotationsAreReportedOnceForEachRevision(t *testing.T) {
	hook := strings.Replace(configMap("one", "x"), "metadata: {", "metadata: {annotations: {helm.sh/hook: pre-install}, ", 1)
	w := newWorld(t, kustomization(allAtOnce), cluster("edge-1"), cluster("edge-2"))
	told := func() (n int) {
		for {
			select {
			case e := <-w.events.Events:
				if strings.Contains(e, "Warning AnnotationIgnored") && strings.Contains(e, "helm.sh/hook (ConfigMap/apps/one)") {
					n++
				}
			default:
				return n
			}
		}
	}
	w.push("1", "apps/cm.yaml", hook)
	w.reconcile()
	w.reconcile()
	if n := told(); n != 1 {
		t.Errorf("told %d times of one revision", n)
	}
	w.push("2", "apps/cm.yaml", hook, "apps/two.yaml", configMap("two", "x"))
	w.reconcile()
	if n := told(); n != 1 {
		t.Errorf("told %d times of the next", n)
	}
}

func TestMarkersOfImagePoliciesAreReportedOnceForEachFile(t *testing.T) {
	marked := configMap("one", "x") + "# {\"$imagepolicy\": \"flux-system:podinfo\"}\n"
	w := newWorld(t, kustomization(allAtOnce), cluster("edge-1"), cluster("edge-2"))
	told := func() (files []string) {
		for {
			select {
			case e := <-w.events.Events:
				if before, names, ok := strings.Cut(e, "can go on setting the values: "); ok && strings.HasPrefix(before, "Warning ImagePolicyIgnored ") {
					files = append(files, names)
				}
			default:
				return files
			}
		}
	}
	w.push("1", "apps/cm.yaml", marked)
	w.reconcile()
	w.reconcile()
	expect(t, "the first revision", strings.Join(told(), "; "), "apps/cm.yaml")
	w.push("2", "apps/cm.yaml", marked, "apps/two.yaml", configMap("two", "x"))
	w.reconcile()
	expect(t, "the next", strings.Join(told(), "; "), "")
	w.push("3", "apps/cm.yaml", marked, "apps/two.yaml", configMap("two", "x")+"# {\"$imagepolicy\": \"flux-system:podinfo:tag\"}\n")
	w.reconcile()
	expect(t, "another file", strings.Join(told(), "; "), "apps/two.yaml")
}
