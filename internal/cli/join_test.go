package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/kubeconfig"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

func writeKubeconfig(t *testing.T, cfg *rest.Config) string {
	t.Helper()
	data, err := controlplane.EncodeKubeconfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func sampleFiles(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil || len(names) < 4 {
		t.Fatalf("samples: %q, %v", names, err)
	}
	var files []string
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, string(data))
	}
	return files
}

// storedKubeconfig reads, as the hub does, what join left on the hub.
func storedKubeconfig(t *testing.T, hub client.Client, name string) *rest.Config {
	t.Helper()
	secret := &corev1.Secret{}
	if err := hub.Get(t.Context(), client.ObjectKey{Namespace: "skerry-system", Name: name + "-kubeconfig"}, secret); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := kubeconfig.Parse(secret.Data["value"])
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func whoAmI(t *testing.T, cfg *rest.Config) string {
	t.Helper()
	set, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	review, err := set.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.UserInfo.Username
}

func getCluster(t *testing.T, hub client.Client, name string) *v1alpha1.Cluster {
	t.Helper()
	c := &v1alpha1.Cluster{}
	if err := hub.Get(t.Context(), client.ObjectKey{Namespace: "skerry-system", Name: name}, c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClusterJoin(t *testing.T) {
	hub := controlplane.New(t, "hub", controlplane.Options{})
	edge := controlplane.New(t, "edge", controlplane.Options{ControllerManager: true})
	run(t, hub.Kubeconfig(), "", "install", "--crds-only").want(t, factory.ExitOK)
	hubClient := clientOf(t, hub)
	join := func(args ...string) ran {
		t.Helper()
		return run(t, hub.Kubeconfig(), "", append([]string{"cluster", "join", "shop-1", "--from-kubeconfig", edge.Kubeconfig(), "--wait=false"}, args...)...)
	}

	join("--label", "tier=shop", "--var", "region=north", "--var", "price=a=b").want(t, factory.ExitOK,
		"✔ edge: Kubernetes v", "created clusterrolebinding skerry-hub", "✔ credentials: ServiceAccount skerry-system/skerry-hub on the edge",
		"secret shop-1-kubeconfig created, cluster shop-1 created", "leads to this machine")
	if got := whoAmI(t, storedKubeconfig(t, hubClient, "shop-1")); got != "system:serviceaccount:skerry-system:skerry-hub" {
		t.Errorf("the hub would be %s on the edge", got)
	}
	c := getCluster(t, hubClient, "shop-1")
	wantVars := map[string]v1alpha1.VarValue{"region": "north", "price": "a=b"}
	if diff := cmp.Diff(wantVars, c.Spec.Vars); diff != "" || c.Labels["tier"] != "shop" || c.Spec.KubeConfig.SecretRef.Name != "shop-1-kubeconfig" {
		t.Errorf("cluster is %v %+v", c.Labels, c.Spec)
	}

	t.Run("again changes nothing", func(t *testing.T) {
		version := func() string {
			binding := &rbacv1.ClusterRoleBinding{}
			if err := clientOf(t, edge).Get(t.Context(), client.ObjectKey{Name: "skerry-hub"}, binding); err != nil {
				t.Fatal(err)
			}
			return binding.ResourceVersion
		}
		before := version()
		join("--label", "tier=shop").want(t, factory.ExitOK, "secret shop-1-kubeconfig unchanged, cluster shop-1 unchanged")
		if again := getCluster(t, hubClient, "shop-1"); again.ResourceVersion != c.ResourceVersion {
			t.Error("the Cluster was written")
		}
		if version() != before {
			t.Error("the edge was written")
		}
	})
	t.Run("only what is said changes", func(t *testing.T) {
		join("--label", "ring=1", "--label", "tier-", "--var", "region=south").want(t, factory.ExitOK, "cluster shop-1 changed")
		c := getCluster(t, hubClient, "shop-1")
		if diff := cmp.Diff(map[string]string{"ring": "1"}, c.Labels); diff != "" || c.Spec.Vars["region"] != "south" || c.Spec.Vars["price"] != "a=b" {
			t.Errorf("cluster is %v %v", c.Labels, c.Spec.Vars)
		}
	})
	t.Run("nobody reconciles", func(t *testing.T) {
		r := run(t, hub.Kubeconfig(), "", "cluster", "join", "shop-1", "--from-kubeconfig", edge.Kubeconfig(), "--timeout", "3s")
		r.want(t, factory.ExitFailed, "has joined but is not ready: the hub has not looked at it", "there is no Deployment skerry-hub")
	})
	t.Run("a cluster kept from Git", func(t *testing.T) {
		kept := &v1alpha1.Cluster{
			ObjectMeta: metav1.ObjectMeta{Namespace: "skerry-system", Name: "kept", Labels: map[string]string{v1alpha1.OwnerLabel: "fleet.0123"}},
			Spec:       *getCluster(t, hubClient, "shop-1").Spec.DeepCopy(),
		}
		if err := hubClient.Create(t.Context(), kept); err != nil {
			t.Fatal(err)
		}
		run(t, hub.Kubeconfig(), "", "cluster", "join", "kept", "--from-kubeconfig", edge.Kubeconfig(), "--wait=false", "--label", "x=y").want(t, factory.ExitFailed,
			"the cluster kept is kept from Git by fleet.0123", "next: change its labels, vars and secretRef (kept-kubeconfig) in Git")
	})
	t.Run("the hub itself", func(t *testing.T) {
		run(t, hub.Kubeconfig(), "", "cluster", "join", "me", "--from-kubeconfig", hub.Kubeconfig()).want(t, factory.ExitFailed, "leads to the hub's own cluster")
	})
	t.Run("joined under another name", func(t *testing.T) {
		c := getCluster(t, hubClient, "shop-1")
		ns := &corev1.Namespace{}
		if err := clientOf(t, edge).Get(t.Context(), client.ObjectKey{Name: "kube-system"}, ns); err != nil {
			t.Fatal(err)
		}
		c.Status.UID = string(ns.UID)
		if err := hubClient.Status().Update(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		run(t, hub.Kubeconfig(), "", "cluster", "join", "shop-2", "--from-kubeconfig", edge.Kubeconfig()).want(t, factory.ExitFailed, "this cluster is there already, as shop-1 in namespace skerry-system")
	})
	t.Run("with its own credentials", func(t *testing.T) {
		join("--use-credentials").want(t, factory.ExitOK, "secret shop-1-kubeconfig changed")
		if got := whoAmI(t, storedKubeconfig(t, hubClient, "shop-1")); got != "admin" {
			t.Errorf("the hub would be %s on the edge", got)
		}
	})
	t.Run("export", func(t *testing.T) {
		r := run(t, "", "", "cluster", "join", "shop-3", "--from-kubeconfig", edge.Kubeconfig(), "--export", "--label", "a=b", "-n", "team")
		r.want(t, factory.ExitOK)
		for _, want := range []string{"name: shop-3-kubeconfig", "kind: Cluster", "namespace: team", "a: b"} {
			if !strings.Contains(r.out, want) {
				t.Errorf("export lacks %q:\n%s", want, r.out)
			}
		}
		if strings.Contains(r.errOut, "eyJ") {
			t.Error("the token is on standard error")
		}
	})
	t.Run("without rights on the edge", func(t *testing.T) {
		user, err := edge.User("nobody")
		if err != nil {
			t.Fatal(err)
		}
		run(t, hub.Kubeconfig(), "", "cluster", "join", "x", "--from-kubeconfig", writeKubeconfig(t, user)).want(t, factory.ExitFailed, "the edge cluster: cannot read the namespace kube-system")
	})
}

// TestClusterJoinWithoutTokenController: an edge that issues no tokens is told as such.
func TestClusterJoinWithoutTokenController(t *testing.T) {
	hub := controlplane.New(t, "hub", controlplane.Options{})
	edge := controlplane.New(t, "edge", controlplane.Options{})
	run(t, hub.Kubeconfig(), "", "install", "--crds-only").want(t, factory.ExitOK)
	run(t, hub.Kubeconfig(), "", "cluster", "join", "shop-1", "--from-kubeconfig", edge.Kubeconfig(), "--timeout", "3s").want(t, factory.ExitFailed,
		"the edge issued no token for the ServiceAccount skerry-hub", "--use-credentials")
}
