package engine

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

func internalError(s State) bool {
	return s.Known && !s.Usable && s.Reason == v1alpha1.InternalErrorReason
}
func usable(s State) bool { return s.Usable }

func TestAPanicInAPassEndsThatPassAlone(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	before := recovery.Total()
	var broken atomic.Bool
	broken.Store(true)
	r.before = func(req *http.Request) error {
		if broken.Load() && strings.HasSuffix(req.URL.Path, "/configmaps/poison") {
			panic("cannot apply swordfish")
		}
		return nil
	}
	r.want("good", r.namespace()+r.configMap("fine", "1"))
	r.ready("good")
	r.want("bad", r.configMap("before", "1")+r.configMap("poison", "1"), func(e *v1alpha1.AssignmentEntry) { e.RetryInterval = &metav1.Duration{Duration: time.Second} })
	failed := r.failed("bad", v1alpha1.InternalErrorReason)
	if strings.Contains(failed.Message, "swordfish") || !strings.Contains(failed.Message, "in engine.") {
		t.Errorf("message %q", failed.Message)
	}
	if recovery.Total() == before {
		t.Error("it is not counted")
	}
	r.want("good", r.namespace()+r.configMap("fine", "2"))
	r.ready("good")
	broken.Store(false)
	r.ready("bad")
	r.want("bad", r.configMap("before", "1"))
	r.ready("bad")
	r.eventually("what was written before the panic is pruned", func() bool { return r.value("poison") == "error: NotFound" })
}

func TestAPanicOfAConnectionBacksOffThatCluster(t *testing.T) {
	for what, path := range map[string]string{"dial": "/api/v1/namespaces/kube-system", "watch": "/api/v1/configmaps"} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
			var broken atomic.Bool
			r.want("apps", r.namespace()+r.configMap("one", "1"))
			r.ready("apps")
			r.mu.Lock()
			r.hidden = func(req *http.Request) bool {
				if broken.Load() && req.URL.Path == path {
					panic("cannot read")
				}
				return false
			}
			r.mu.Unlock()
			broken.Store(true)
			r.pool.Disconnect(r.key)
			r.connect(controlplane.Shared(t).RESTConfig())
			r.assign()
			r.state("said to be in error", internalError)
			broken.Store(false)
			r.state("usable again", usable)
			r.want("apps", r.namespace()+r.configMap("one", "2"))
			r.ready("apps")
		})
	}
}

func TestAPanicInTheLoopRestartsTheEngineOfThatCluster(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	var left atomic.Int64
	r.options = func(o *PoolOptions) {
		o.OnEvent = func(Event) {
			if left.Add(-1) >= 0 {
				panic("cannot record the event")
			}
		}
	}
	r.pool.Disconnect(r.key)
	r.connect(controlplane.Shared(t).RESTConfig())
	r.want("apps", r.namespace()+r.configMap("one", "1"))
	r.ready("apps")
	left.Store(1)
	if err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Delete(t.Context(), "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.state("said to be in error", internalError)
	r.state("usable again", usable)
	r.ready("apps")
	r.want("apps", r.namespace()+r.configMap("one", "2"))
	r.ready("apps")
	if got := r.value("one"); got != "2" {
		t.Errorf("the object has %s", got)
	}
	stop, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r.pool.Stop(stop)
	if stop.Err() != nil {
		t.Error("the pool does not stop")
	}
}

// brittle is a store that panics on one bundle.
type brittle struct {
	*bundleStore
	digest atomic.Pointer[string]
}

func (b *brittle) Get(ctx context.Context, digest string) (*object.Bundle, error) {
	if d := b.digest.Load(); d != nil && *d == digest {
		panic("cannot decode")
	}
	return b.bundleStore.Get(ctx, digest)
}

func TestABundleThatPanicsHoldsUpItsKustomizationAlone(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	store := &brittle{bundleStore: r.bundleStore}
	r.options = func(o *PoolOptions) { o.Bundles = store }
	r.pool.Disconnect(r.key)
	r.connect(controlplane.Shared(t).RESTConfig())
	r.want("good", r.namespace()+r.configMap("fine", "1"))
	r.ready("good")
	digest := "sha256:" + strings.Repeat("0", 64)
	store.digest.Store(&digest)
	r.want("bad", r.configMap("x", "1"), func(e *v1alpha1.AssignmentEntry) { e.Digest = digest })
	r.failed("bad", v1alpha1.InternalErrorReason)
	r.want("good", r.namespace()+r.configMap("fine", "2"))
	r.ready("good")
}
