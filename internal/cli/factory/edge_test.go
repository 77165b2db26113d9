package factory

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// TestClusterIsReachedByItsOwnKubeconfig, also one that is called as the hub's own is.
func TestClusterIsReachedByItsOwnKubeconfig(t *testing.T) {
	kubeconfig := func(server string) []byte {
		return []byte(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: "` + server + `"}}], users: [{name: u, user: {token: t}}]}`)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "edge"}, Data: map[string][]byte{
		"value.yaml": kubeconfig("https://default.example"), "other": kubeconfig("https://other.example"),
	}}
	hub := &Hub{WithWatch: fake.NewClientBuilder().WithObjects(secret).Build(), Config: &rest.Config{Host: "https://hub.example"}}
	by := func(key string) *v1alpha1.KubeConfig {
		return &v1alpha1.KubeConfig{SecretRef: meta.SecretKeyReference{Name: "edge", Key: key}}
	}
	for name, tt := range map[string]struct {
		cluster    string
		kubeConfig *v1alpha1.KubeConfig
		want, says string
	}{
		"the hub's own":           {"hub", nil, "https://hub.example", ""},
		"a cluster named hub":     {"hub", by(""), "https://default.example", ""},
		"by a key":                {"shop", by("other"), "https://other.example", ""},
		"a key that is not there": {"shop", by("missing"), "", "the Secret edge has no key missing"},
		"with an agent":           {"shop", nil, "", "has an agent"},
	} {
		c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: tt.cluster}, Spec: v1alpha1.ClusterSpec{KubeConfig: tt.kubeConfig}}
		cfg, err := edgeConfig(t.Context(), hub, c)
		switch {
		case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		case tt.says == "" && (err != nil || cfg.Host != tt.want):
			t.Errorf("%s: %v, %v, want %s", name, cfg, err, tt.want)
		}
	}
}
