package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// BenchmarkDiff compares 50 objects on 100 clusters, all of which are one real API server: the figure is to
// stay below 10 s.
func BenchmarkDiff(b *testing.B) {
	hub, edge := controlplane.New(b, "bench-hub", controlplane.Options{}), controlplane.New(b, "bench-edge", controlplane.Options{})
	const clusters, objects = 100, 50
	kubeconfig := hub.Kubeconfig()
	if r := runWith(b.Context(), kubeconfig, "", nil, "install", "--crds-only"); r.code != factory.ExitOK {
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
	data, err := controlplane.EncodeKubeconfig(edge.RESTConfig())
	if err != nil {
		b.Fatal(err)
	}
	in := metav1.ObjectMeta{Namespace: "skerry-system", Name: "edge"}
	if err := c.Create(b.Context(), &corev1.Secret{ObjectMeta: in, Data: map[string][]byte{"value": data}}); err != nil {
		b.Fatal(err)
	}
	for i := range clusters {
		in.Name = fmt.Sprintf("edge-%d", i)
		if err := c.Create(b.Context(), &v1alpha1.Cluster{ObjectMeta: in, Spec: v1alpha1.ClusterSpec{KubeConfig: &v1alpha1.KubeConfig{SecretRef: meta.SecretKeyReference{Name: "edge"}}}}); err != nil {
			b.Fatal(err)
		}
	}
	in.Name = "app"
	if err := c.Create(b.Context(), &v1alpha1.Kustomization{ObjectMeta: in, Spec: v1alpha1.KustomizationSpec{
		SourceRef: v1alpha1.SourceReference{Kind: "GitRepository", Name: "none"}, Interval: metav1.Duration{Duration: time.Minute}, Path: "./app",
		Clusters: &v1alpha1.ClusterTargets{Selector: &metav1.LabelSelector{}},
	}}); err != nil {
		b.Fatal(err)
	}
	owner := object.Owner{Hub: "bench", Namespace: "skerry-system", Name: "app"}.Label()
	dir := b.TempDir()
	var manifests strings.Builder
	for i := range objects {
		fmt.Fprintf(&manifests, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d, namespace: default}\ndata: {n: new}\n---\n", i)
		// What stands there differs, so that each object is tried.
		if err := edges.Create(b.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("c%d", i), Labels: map[string]string{v1alpha1.OwnerLabel: owner}}, Data: map[string]string{"n": "old"}}); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "app"), 0o750); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "app", "all.yaml"), []byte(manifests.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r := runWith(b.Context(), kubeconfig, "", nil, "diff", "ks", "app", "--hub-id", "bench", "--path", dir, "--all")
		if want := fmt.Sprintf("%d to update on %d clusters", clusters*objects, clusters); r.code != factory.ExitFailed || !strings.Contains(r.errOut, want) {
			b.Fatalf("code %d: %s", r.code, r.errOut)
		}
	}
}
