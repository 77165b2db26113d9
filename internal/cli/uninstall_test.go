package cli

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/edgeproxy"
	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
)

// killer lets a command write a few times, and then answers it nothing any more: to the API server, a command that
// was killed.
type killer struct {
	mu            sync.Mutex
	writes, limit int
	dead          bool
	kill          func()
	// wrote is told of each write before it is done.
	wrote func(*http.Request)
}

func (k *killer) answer(_ http.ResponseWriter, r *http.Request) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead = k.dead || k.writes >= k.limit; k.dead {
		k.kill()
		panic(http.ErrAbortHandler)
	}
	if r.Method != http.MethodGet {
		k.writes++
		k.wrote(r)
	}
	return false
}

// TestUninstallGoesOnWhereItWasKilled: it is killed after one, two or three writes, over and over, and in the end
// nothing is left but what was applied.
func TestUninstallGoesOnWhereItWasKilled(t *testing.T) {
	c := controlplane.New(t, "killed", controlplane.Options{})
	h := gitserver.New(t)
	repo, err := h.Repo("fleet")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Commit("main", gitserver.Change{Message: "app", Write: map[string]string{"app/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stays, namespace: default}\n"}}); err != nil {
		t.Fatal(err)
	}
	web, err := h.ServeHTTP(gitserver.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	must := func(args ...string) {
		t.Helper()
		run(t, c.Kubeconfig(), "", args...).want(t, factory.ExitOK)
	}
	must("install", "--image", "example/hub:1", "--hub-id", "main", "--wait=false")
	stop := startHub(t, c, "main")
	must("create", "source", "git", "fleet", "--url", web.URL(repo), "--branch", "main")
	must("create", "kustomization", "apps", "--source", "fleet", "--path", "./app")
	must("create", "cluster", "ship", "--agent") // it never joins

	p := edgeproxy.New(t, c.RESTConfig())
	through := writeKubeconfig(t, p.Config())
	for n := 1; ; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		k := &killer{limit: 1 + n%3, kill: cancel, wrote: func(r *http.Request) {
			if r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/deployments/skerry-hub") {
				go stop() // as its Pods end
			}
		}}
		p.Answer(k.answer)
		r := runWith(ctx, through, "", nil, "uninstall", "--yes")
		cancel()
		if k.mu.Lock(); !k.dead {
			r.want(t, factory.ExitOK)
			t.Logf("took %d runs", n)
			break
		}
		if n > 200 {
			t.Fatalf("no end after %d runs: %s", n, r.errOut)
		}
		k.mu.Unlock()
	}
	cl := clientOf(t, c)
	kinds := &apiextensionsv1.CustomResourceDefinitionList{}
	rights, bindings := &rbacv1.ClusterRoleList{}, &rbacv1.ClusterRoleBindingList{}
	for _, list := range []client.ObjectList{kinds, rights, bindings} {
		if err := cl.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		if names, err := factory.Names(t.Context(), &factory.Hub{WithWatch: withWatch(t, c)}, list, ""); err != nil || strings.Contains(strings.Join(names, " "), "skerry") {
			t.Errorf("%T: %q are left, %v", list, names, err)
		}
	}
	hub := &appsv1.Deployment{}
	if err := cl.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "skerry-hub"}, hub); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the hub's Deployment: %v", err)
	}
	stays := &corev1.ConfigMap{}
	if err := cl.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "stays"}, stays); err != nil || stays.Labels[v1alpha1.OwnerLabel] != "" {
		t.Errorf("what was applied: %v, labels %v", err, stays.Labels)
	}
	p.Answer(nil)
	run(t, through, "", "uninstall", "--yes").want(t, factory.ExitOK, "there is no hub")
}

// withWatch is clientOf with watches.
func withWatch(t *testing.T, c *controlplane.Cluster) client.WithWatch {
	t.Helper()
	scheme, err := factory.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	w, err := client.NewWithWatch(c.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return w
}
