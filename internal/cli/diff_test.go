package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/edgeproxy"
)

// BenchmarkDiff compares 50 objects on 100 clusters, every object of which would change: the figure is to stay below
// 10 s. All clusters are one real API server, which shares the processors with the command; once it is near, and once
// each cluster is behind a link of its own, on which every request takes 50 ms.
//
//	go test -run '^$' -bench BenchmarkDiff -benchtime 3x ./internal/cli
func BenchmarkDiff(b *testing.B) {
	const clusters, objects = 100, 50
	hub, edge := controlplane.New(b, "bench-hub", controlplane.Options{}), controlplane.New(b, "bench-edge", controlplane.Options{})
	if r := runWith(b.Context(), hub.Kubeconfig(), "", nil, "install", "--crds-only"); r.code != factory.ExitOK {
		b.Fatal(r.errOut)
	}
	c, err := clientFor(hub)
	if err != nil {
		b.Fatal(err)
	}
	edges, err := clientFor(edge)
	if err != nil {
		b.Fatal(err)
	}
	for _, fleet := range []struct {
		name string
		link time.Duration
	}{{"near", 0}, {"far", 50 * time.Millisecond}} {
		dir := diffOfEverything(b, edges, fleet.name, objects)
		if err := addDiffFleet(b, c, edge.RESTConfig(), fleet.name, fleet.link, clusters); err != nil {
			b.Fatal(err)
		}
		b.Run(fleet.name, func(b *testing.B) {
			for b.Loop() {
				r := runWith(b.Context(), hub.Kubeconfig(), "", nil, "diff", "ks", fleet.name, "--hub-id", "bench", "--path", dir, "--all")
				if want := fmt.Sprintf("%d to update on %d clusters", clusters*objects, clusters); r.code != factory.ExitFailed || !strings.Contains(r.errOut, want) {
					b.Fatalf("code %d: %s", r.code, r.errOut)
				}
			}
		})
	}
}

// addDiffFleet adds a Kustomization and its Clusters, which are one API server behind links of their own.
func addDiffFleet(b *testing.B, c client.Client, edge *rest.Config, name string, link time.Duration, clusters int) error {
	in := metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Labels: map[string]string{"fleet": name}}
	for i := range clusters {
		cfg := edge
		if link > 0 {
			proxy := edgeproxy.New(b, edge)
			proxy.Delay(link)
			cfg = proxy.Config()
		}
		data, err := controlplane.EncodeKubeconfig(cfg)
		if err != nil {
			return err
		}
		in.Name = fmt.Sprintf("%s-%d", name, i)
		secret := &corev1.Secret{ObjectMeta: in, Data: map[string][]byte{"value": data}}
		cluster := &v1alpha1.Cluster{ObjectMeta: in, Spec: v1alpha1.ClusterSpec{KubeConfig: &v1alpha1.KubeConfig{SecretRef: meta.SecretKeyReference{Name: in.Name}}}}
		if err := errors.Join(c.Create(b.Context(), secret), c.Create(b.Context(), cluster)); err != nil {
			return err
		}
	}
	in.Name = name
	return c.Create(b.Context(), &v1alpha1.Kustomization{ObjectMeta: in, Spec: v1alpha1.KustomizationSpec{
		SourceRef: v1alpha1.SourceReference{Kind: "GitRepository", Name: "none"}, Interval: metav1.Duration{Duration: time.Minute}, Path: "./app",
		Clusters: &v1alpha1.ClusterTargets{Selector: &metav1.LabelSelector{MatchLabels: in.Labels}},
	}})
}

// diffOfEverything makes objects of a Kustomization on a cluster, and a checkout in which all of them differ.
func diffOfEverything(b *testing.B, c client.Client, kustomization string, objects int) string {
	b.Helper()
	dir := b.TempDir()
	owned := map[string]string{v1alpha1.OwnerLabel: object.Owner{Hub: "bench", Namespace: v1alpha1.SystemNamespace, Name: kustomization}.Label()}
	var manifests strings.Builder
	for i := range objects {
		fmt.Fprintf(&manifests, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s-%d, namespace: default}\ndata: {n: new}\n---\n", kustomization, i)
		in := metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("%s-%d", kustomization, i), Labels: owned}
		if err := c.Create(b.Context(), &corev1.ConfigMap{ObjectMeta: in, Data: map[string]string{"n": "old"}}); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "app"), 0o750); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "app", "all.yaml"), []byte(manifests.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	return dir
}
