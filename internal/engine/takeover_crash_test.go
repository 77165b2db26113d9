package engine

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// TestACrashAtAnyWriteOfATakeover kills the engine at the k-th write while it adopts an object that
// kubectl had applied, and then recreates one whose field is immutable. A new engine, for which Git has
// dropped the latter, must converge: what kubectl wrote beside Git is gone, and an object of the same
// name that was created meanwhile by someone else stays.
func TestACrashAtAnyWriteOfATakeover(t *testing.T) {
	for _, lost := range []bool{true, false} {
		for k := 1; ; k++ {
			died := false
			t.Run(fmt.Sprintf("lost=%v/write=%d", lost, k), func(t *testing.T) { died = crashOfTakeoverAt(t, k, lost) })
			if !died || t.Failed() {
				break
			}
		}
	}
}

func crashOfTakeoverAt(t *testing.T, k int, lost bool) bool {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	fixed := func(value string) string {
		return strings.Replace(r.configMap("fixed", value), "\ndata:", "\nimmutable: true\ndata:", 1)
	}
	r.as("kubectl-client-side-apply").create(r.namespace() + r.configMap("old", "1"))
	r.as("kubectl-edit").patch("ConfigMap", "old", types.MergePatchType, `{"data":{"beside":"git"}}`)

	var writes atomic.Int32
	var once sync.Once
	dead := make(chan struct{})
	die := func() { once.Do(func() { close(dead) }) }
	r.mu.Lock()
	r.before = func(*http.Request) error {
		n := int(writes.Add(1))
		if n > k || n == k && lost {
			die()
			return errCrash
		}
		return nil
	}
	r.after = func(*http.Request) {
		if int(writes.Load()) >= k {
			die()
		}
	}
	r.mu.Unlock()
	force := func(e *v1alpha1.AssignmentEntry) { e.Force = true }
	bring := func(manifests string) bool {
		r.want("apps", manifests, force)
		digest := r.ks["apps"].Digest
		for {
			list, _ := r.pool.Report(r.key)
			if slices.ContainsFunc(list, func(s v1alpha1.AssignmentEntryStatus) bool {
				return s.Ready == metav1.ConditionTrue && s.AppliedDigest == digest
			}) {
				return false
			}
			select {
			case <-dead:
				return true
			case <-r.changed:
			case <-t.Context().Done():
				return true
			}
		}
	}
	died := bring(r.namespace()+r.configMap("old", "1")+fixed("1")) || bring(r.namespace()+r.configMap("old", "1")+fixed("2"))
	r.pool.Disconnect(r.key)
	r.mu.Lock()
	r.before, r.after = nil, nil
	r.mu.Unlock()

	// Someone else creates what is missing.
	stranger := false
	if r.value("fixed") == "error: NotFound" {
		r.as("someone").create(r.configMap("fixed", "theirs"))
		stranger = true
	}
	r.connect(controlplane.Shared(t).RESTConfig())
	r.want("apps", r.namespace()+r.configMap("old", "1")+r.configMap("last", "1"), force, func(e *v1alpha1.AssignmentEntry) { e.AllowPrune = true })
	r.ready("apps")
	r.eventually("the inventory is what is there", func() bool { return len(r.inventory("apps").Objects) == 3 })
	if got := r.field("ConfigMap", "old", "data"); got != "map[key:1]" {
		t.Errorf("old has %s", got)
	}
	if got := r.value("fixed"); stranger && got != "theirs" || !stranger && got != "error: NotFound" {
		t.Errorf("fixed is %s; of someone else: %v", got, stranger)
	}
	r.remove("apps")
	if err := r.kube.CoreV1().Namespaces().Delete(context.Background(), r.key.Namespace, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	return died
}
