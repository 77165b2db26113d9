package engine

import (
	"context"
	"os"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// TestOnKine runs the engine against an API server whose store is kine on SQLite, as in k3s: with kine's
// defaults, and as an older kine that offers no progress requests, where the initial events of a watch end
// in an error. `make e2e-kine` builds kine and runs it.
func TestOnKine(t *testing.T) {
	binary := os.Getenv("SKERRY_KINE")
	if binary == "" {
		t.Skip("SKERRY_KINE is not set: make e2e-kine")
	}
	for name, flags := range map[string][]string{
		"defaults":                  nil,
		"without progress requests": {"--emulated-etcd-version", "3.5.11"},
	} {
		t.Run(name, func(t *testing.T) { onKine(t, binary, flags) })
	}
}

func onKine(t *testing.T, binary string, flags []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	store, err := controlplane.StartKine(ctx, t.TempDir(), binary, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Stop)
	c, err := controlplane.Start(ctx, store, "edge", controlplane.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	r := newRig(t, testHub, c.RESTConfig())
	r.want("apps", r.namespace()+r.configMap("a", "1")+r.configMap("b", "1"))
	r.ready("apps")

	if got, want := r.listsAndWatches(), len(flags) > 0; got != want {
		t.Errorf("the engine lists before it watches: %v; want %v", got, want)
	}
	drift := func(after string) {
		t.Helper()
		begin := time.Now()
		if _, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Patch(ctx, "a", types.MergePatchType, []byte(`{"data":{"key":"by hand"}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		r.eventually("drift is put back after "+after, func() bool { return r.value("a") == "1" })
		t.Logf("after %s: drift was put back within %s", after, time.Since(begin).Round(time.Millisecond))
	}
	drift("the first sync")
	if err := c.StartServer(ctx); err != nil {
		t.Fatal(err)
	}
	r.want("apps", r.namespace()+r.configMap("a", "1")+r.configMap("c", "1")+r.configMap("d", "1"))
	r.ready("apps")
	r.eventually("what a commit drops is pruned", func() bool { return r.value("b") == "error: NotFound" })
	drift("a restart of the API server")
	if err := store.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	r.eventually("the API server serves again", func() bool { return r.value("a") == "1" })
	drift("a kill of kine")
	r.want("apps", r.namespace()+r.configMap("a", "2")+r.configMap("c", "1")+r.configMap("d", "1"))
	r.ready("apps")
}

// listsAndWatches reports whether the engine has learnt that the API server cannot begin a watch with what is
// there.
func (r *rig) listsAndWatches() bool {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	return r.pool.engines[r.key].engine.noWatchList.Load()
}
