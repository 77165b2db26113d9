package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// fleetSize is how many clusters the hub of TestReadingAFleet has. SKERRY_TEST_FLEET=10000 measures a large one.
func fleetSize(t *testing.T) int {
	t.Helper()
	text := os.Getenv("SKERRY_TEST_FLEET")
	if text == "" {
		return 40
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestReadingAFleet reads a hub of generated objects with the commands that read, and watches it change.
func TestReadingAFleet(t *testing.T) {
	c := controlplane.New(t, "fleet", controlplane.Options{})
	run(t, c.Kubeconfig(), "", "install", "--crds-only").want(t, factory.ExitOK)
	cl, n := clientOf(t, c), fleetSize(t)
	const head = "main@sha1:89abcdef0189abcdef0189abcdef0189abcdef01"
	in := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: name, Labels: map[string]string{"tier": "shop"}}
	}
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(16)
	for i := range n {
		group.Go(func() error { return createCluster(ctx, cl, in(fmt.Sprintf("shop-%05d", i)), head) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	source := &v1alpha1.GitRepository{ObjectMeta: in("fleet"), Spec: v1alpha1.GitRepositorySpec{URL: "https://git.example/fleet.git", Interval: metav1.Duration{Duration: time.Minute}}}
	ks := &v1alpha1.Kustomization{ObjectMeta: in("apps"), Spec: v1alpha1.KustomizationSpec{
		SourceRef: v1alpha1.SourceReference{Name: "fleet"}, Path: "./apps", Interval: metav1.Duration{Duration: time.Minute},
		Clusters: &v1alpha1.ClusterTargets{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "shop"}}},
	}}
	for _, o := range []client.Object{source, ks} {
		if err := cl.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	now := metav1.Now()
	source.Status = v1alpha1.GitRepositoryStatus{ObservedGeneration: 1, Artifact: &v1alpha1.Artifact{Revision: head, Digest: "sha1:aa", LastUpdateTime: now}, Conditions: ready(now)}
	ks.Status = v1alpha1.KustomizationStatus{
		ObservedGeneration: 1, LastAppliedRevision: head, LastAttemptedRevision: head, Conditions: ready(now),
		Rendered: []v1alpha1.RenderedRevision{{Revision: head, Digests: []string{"aaaaaaaaaaaa"}}},
		Clusters: v1alpha1.ClusterCounts{Desired: int32(n), Updated: int32(n), Ready: int32(n)},
	}
	for _, o := range []client.Object{source, ks} {
		if err := cl.Status().Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}

	begin := time.Now()
	r := run(t, c.Kubeconfig(), "", "status")
	t.Logf("status of %d clusters took %s", n, time.Since(begin).Round(time.Millisecond))
	r.want(t, factory.ExitOK)
	if want := fmt.Sprintf("1 source, 1 kustomization, %d clusters: all ready", n); !strings.Contains(r.out, want) || strings.Count(r.out, "\n") > 40 {
		t.Errorf("status lacks %q, or is longer than a screen:\n%s", want, r.out)
	}
	if r := run(t, c.Kubeconfig(), "", "cluster", "list", "-o", "name"); strings.Count(r.out, "\n") != n {
		t.Errorf("cluster list has %d lines", strings.Count(r.out, "\n"))
	}
	if r := run(t, c.Kubeconfig(), "", "why", "shop-00003"); r.code != factory.ExitOK || !strings.Contains(r.out, "shop-00003 is at HEAD of Kustomization apps") {
		t.Errorf("why: %d\n%s%s", r.code, r.out, r.errOut)
	}
	if r := run(t, c.Kubeconfig(), "", "drift", "--cluster", "shop-00001"); !strings.Contains(r.out, "ConfigMap/default/app") {
		t.Errorf("drift:\n%s%s", r.out, r.errOut)
	}
	if r := run(t, c.Kubeconfig(), "", "stats", "-o", "json"); !strings.Contains(r.out, fmt.Sprintf(`"objects": %d`, 20*n)) {
		t.Errorf("stats:\n%s%s", r.out, r.errOut)
	}
	if r := run(t, c.Kubeconfig(), "", "export", "ks"); !strings.Contains(r.out, "tier: shop") || strings.Contains(r.out, "status") {
		t.Errorf("export:\n%s%s", r.out, r.errOut)
	}

	t.Run("watch", func(t *testing.T) {
		events, stopEvents := follow(t, c.Kubeconfig(), "events", "--watch")
		lines, stop := follow(t, c.Kubeconfig(), "status", "--watch")
		eventually(t, "status is shown", func() (bool, error) { return strings.Contains(lines(), "all ready"), nil })
		event := &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, GenerateName: "apps."},
			InvolvedObject: corev1.ObjectReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.KustomizationKind, Namespace: v1alpha1.SystemNamespace, Name: "apps"},
			Reason:         "Succeeded", Type: corev1.EventTypeNormal, Message: "shop-00001: all is well", LastTimestamp: metav1.Now(),
		}
		eventually(t, "an event is shown", func() (bool, error) { // one that happens before the watch begins is listed
			e := event.DeepCopy()
			if err := cl.Create(t.Context(), e); err != nil {
				return false, err
			}
			return strings.Contains(events(), "Kustomization/apps  shop-00001: all is well"), nil
		})
		shop := &v1alpha1.Cluster{}
		if err := cl.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "shop-00002"}, shop); err != nil {
			t.Fatal(err)
		}
		shop.Status.Conditions = []metav1.Condition{
			{Type: "Ready", Status: "False", Reason: v1alpha1.UnreachableReason, Message: "i/o timeout", LastTransitionTime: now},
			{Type: "Reachable", Status: "False", Reason: v1alpha1.UnreachableReason, Message: "i/o timeout", LastTransitionTime: now},
		}
		if err := cl.Status().Update(t.Context(), shop); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the change is shown", func() (bool, error) { return strings.Contains(lines(), "1 problem"), nil })
		for _, stop := range []func() int{stop, stopEvents} {
			if code := stop(); code != factory.ExitInterrupted {
				t.Errorf("exit code is %d", code)
			}
		}
	})
}

// follow runs a command line until it is stopped, and returns what it has written so far.
func follow(t *testing.T, kubeconfig string, args ...string) (written func() string, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	streams, _, _, _ := iostreams.Test()
	out := &shared{}
	streams.Out = out
	f := factory.New("v0.0.0-test", func(string) string { return "" })
	f.IO = streams
	code := make(chan int, 1)
	go func() { code <- Run(ctx, f, append([]string{"--kubeconfig", kubeconfig}, args...)) }() // ends with ctx
	return out.String, func() int { cancel(); return <-code }
}

// shared is a buffer of two goroutines.
type shared struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func ready(at metav1.Time) []metav1.Condition {
	return []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Succeeded", LastTransitionTime: at}}
}

// createCluster creates a Cluster that answers and its Assignment, as a hub would leave them.
func createCluster(ctx context.Context, cl client.Client, meta metav1.ObjectMeta, revision string) error {
	now := metav1.Now()
	c := &v1alpha1.Cluster{ObjectMeta: meta, Spec: v1alpha1.ClusterSpec{KubeConfig: &v1alpha1.KubeConfig{}}}
	c.Spec.KubeConfig.SecretRef.Name = meta.Name
	entry := v1alpha1.AssignmentEntry{Name: "apps", Revision: revision, Digest: "sha256:aaaaaaaaaaaa", AssignedAt: &now, Interval: metav1.Duration{Duration: time.Minute}, Timeout: metav1.Duration{Duration: time.Minute}}
	a := &v1alpha1.Assignment{ObjectMeta: meta, Spec: v1alpha1.AssignmentSpec{Entries: []v1alpha1.AssignmentEntry{entry}}}
	for _, o := range []client.Object{c, a} {
		if err := cl.Create(ctx, o); err != nil {
			return err
		}
	}
	c.Status = v1alpha1.ClusterStatus{ObservedGeneration: 1, Version: "v1.36.3", LastSeen: &now, Conditions: append(ready(now), metav1.Condition{Type: "Reachable", Status: "True", Reason: "Succeeded", LastTransitionTime: now})}
	a.Status.Entries = []v1alpha1.AssignmentEntryStatus{{
		Name: "apps", AppliedRevision: revision, AppliedDigest: entry.Digest, Ready: "True", Reason: "Succeeded", VerifiedAt: &now,
		Objects: v1alpha1.ObjectCounts{Total: 20, Applied: 20, Ready: 20}, Drift: 1,
		Drifts: []v1alpha1.DriftRecord{{Object: "ConfigMap/default/app", Change: v1alpha1.DriftChanged, Paths: []string{".data.a"}, Manager: "kubectl-edit", At: now, Action: v1alpha1.DriftCorrected}},
	}}
	for _, o := range []client.Object{c, a} {
		if err := cl.Status().Update(ctx, o); err != nil {
			return err
		}
	}
	return nil
}
