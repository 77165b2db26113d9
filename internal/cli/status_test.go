package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// BenchmarkStatus shows fleets of a real API server, which shares the processors with it: the figures are to stay below
// 1 s for 1,000 clusters and 3 s for 10,000.
func BenchmarkStatus(b *testing.B) {
	hub := controlplane.New(b, "bench-hub", controlplane.Options{})
	kubeconfig := hub.Kubeconfig()
	if r := runWith(b.Context(), kubeconfig, "", nil, "install", "--crds-only"); r.code != factory.ExitOK {
		b.Fatal(r.errOut)
	}
	c, err := clientFor(hub)
	if err != nil {
		b.Fatal(err)
	}
	made := 0
	for _, size := range []int{1_000, 10_000} {
		if err := addFleet(b, c, made, size); err != nil {
			b.Fatal(err)
		}
		made = size
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				r := runWith(b.Context(), kubeconfig, "", nil, "status")
				if r.code != factory.ExitOK || !strings.Contains(r.out, fmt.Sprint(size)) {
					b.Fatalf("code %d: %s%s", r.code, r.out, r.errOut)
				}
			}
		})
	}
}

// addFleet adds Clusters, each with an Assignment of three Kustomizations, all of which are ready.
func addFleet(b *testing.B, c client.Client, from, to int) error {
	now := metav1.NewTime(time.Now())
	ready := func(kind string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: "True", Reason: "Succeeded", Message: "Kubernetes v1.36.3", LastTransitionTime: now, ObservedGeneration: 1}
	}
	const revision, digest = "main@sha1:89abcdef0189abcdef0189abcdef0189abcdef01", "sha256:89abcdef0189abcdef0189abcdef0189abcdef0189abcdef0189abcdef012345"
	add := func(i int) error {
		in := metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: fmt.Sprintf("shop-%05d", i), Labels: map[string]string{"tier": "shop", "region": "north"}}
		cluster := &v1alpha1.Cluster{ObjectMeta: in, Spec: v1alpha1.ClusterSpec{KubeConfig: &v1alpha1.KubeConfig{SecretRef: meta.SecretKeyReference{Name: in.Name}}}}
		if err := c.Create(b.Context(), cluster); err != nil {
			return err
		}
		cluster.Status = v1alpha1.ClusterStatus{
			ObservedGeneration: 1, Version: "v1.36.3", UID: "9f0e8a4c-3a57-4b0c-9a55-0c5a5c1f0e11", LastSeen: &now,
			Conditions: []metav1.Condition{ready("Ready"), ready("Reachable")},
		}
		if err := c.Status().Update(b.Context(), cluster); err != nil {
			return err
		}
		a := &v1alpha1.Assignment{ObjectMeta: in}
		for _, name := range []string{"apps", "base", "monitoring"} {
			a.Spec.Entries = append(a.Spec.Entries, v1alpha1.AssignmentEntry{
				Name: name, Revision: revision, Digest: digest, Change: "89abcdef01-0189abcdef", AssignedAt: &now, Prune: true, Wait: true,
				Interval: metav1.Duration{Duration: 10 * time.Minute}, Timeout: metav1.Duration{Duration: 10 * time.Minute},
				Fallback: &v1alpha1.Bundle{Revision: revision, Digest: digest},
			})
			a.Status.Entries = append(a.Status.Entries, v1alpha1.AssignmentEntryStatus{
				Name: name, AppliedRevision: revision, AppliedDigest: digest, Ready: "True", Reason: "Succeeded", VerifiedAt: &now,
				Objects: v1alpha1.ObjectCounts{Total: 20, Applied: 20, Ready: 20},
			})
		}
		status := a.Status
		if err := c.Create(b.Context(), a); err != nil {
			return err
		}
		a.Status = status
		return c.Status().Update(b.Context(), a)
	}
	g := errgroup.Group{}
	g.SetLimit(16)
	for i := from; i < to; i++ {
		g.Go(func() error { return add(i) })
	}
	return g.Wait()
}
