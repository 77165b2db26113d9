package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// inventory reads what is recorded on the edge of a Kustomization.
// The edge is that of the rig.
func (r *rig) inventory(name string) *inventory.Inventory {
	r.t.Helper()
	c, err := edge.New(controlplane.Shared(r.t).RESTConfig(), edge.Options{Timeout: patient, Inflight: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	all, err := edge.NewInventories(c, edge.Holder{Hub: r.hub}).Load(context.Background(), edge.Contest{})
	if err != nil {
		r.t.Fatal(err)
	}
	return all.Inventories[object.Owner{Hub: r.hub, Namespace: r.key.Namespace, Name: name}.Label()]
}

// inventoried says whether an object is recorded, or anything at all when its name is empty.
func (r *rig) inventoried(name, configMap string) bool {
	r.t.Helper()
	inv := r.inventory(name)
	if inv == nil {
		return false
	}
	_, ok := inv.Objects[object.ID{Kind: "ConfigMap", Namespace: r.key.Namespace, Name: configMap}]
	return ok || configMap == ""
}

// owned lists the ConfigMaps on the edge that carry the owner label of a Kustomization.
func (r *rig) owned(name string) []string {
	r.t.Helper()
	label := object.Owner{Hub: r.hub, Namespace: r.key.Namespace, Name: name}.Label()
	list, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).List(context.Background(), metav1.ListOptions{LabelSelector: v1alpha1.OwnerLabel + "=" + label})
	if err != nil {
		r.t.Fatal(err)
	}
	var names []string
	for _, cm := range list.Items {
		names = append(names, cm.Name+"="+cm.Data["key"])
	}
	slices.Sort(names)
	return names
}

var errCrash = errors.New("the process died")

// TestACrashAtAnyWrite kills the engine at the k-th write, for every k, of a first sync and of the
// commit after it, which changes one object, drops one and brings one. Before the write it died with
// may or may not have reached the cluster; both are tried. A new engine, for which Git has moved on to
// a third commit, must then converge: no orphan, nothing recorded that is not there, no stranger
// deleted.
func TestACrashAtAnyWrite(t *testing.T) {
	for _, lost := range []bool{true, false} {
		for k := 1; ; k++ {
			died := false
			t.Run(fmt.Sprintf("lost=%v/write=%d", lost, k), func(t *testing.T) { died = crashAt(t, k, lost) })
			if !died || t.Failed() {
				break
			}
		}
	}
}

// dieAt ends the process at its k-th write, which gets lost or just about reaches the cluster, and closes
// the channel then. Writes are sent side by side, so that several of them may be the last.
func (r *rig) dieAt(k int, lost bool) <-chan struct{} {
	var writes atomic.Int32
	var once sync.Once
	dead := make(chan struct{})
	die := func() { once.Do(func() { close(dead) }) }
	r.mu.Lock()
	defer r.mu.Unlock()
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
	return dead
}

func crashAt(t *testing.T, k int, lost bool) bool {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	dead := r.dieAt(k, lost)
	first := r.namespace() + r.configMap("stays", "1") + r.configMap("edited", "1") + r.configMap("dropped", "1")
	second := r.namespace() + r.configMap("stays", "1") + r.configMap("edited", "2") + r.configMap("brought", "1")
	third := r.namespace() + r.configMap("stays", "1") + r.configMap("edited", "1") + r.configMap("last", "1")
	died := r.untilDeadOrReady(dead, "apps", first) || r.untilDeadOrReady(dead, "apps", second)
	r.pool.Disconnect(r.key)

	// A stranger with the name of an object that the third commit no longer has.
	r.mu.Lock()
	r.before, r.after = nil, nil
	r.mu.Unlock()
	r.connect(controlplane.Shared(t).RESTConfig())
	r.want("apps", third)
	r.ready("apps")
	want := []string{"edited=1", "last=1", "stays=1"}
	r.eventually("only what is desired is left", func() bool { return slices.Equal(r.owned("apps"), want) })
	r.eventually("the inventory is what is there", func() bool { return len(r.inventory("apps").Objects) == 4 })
	if got := r.value("edited"); got != "1" {
		t.Errorf("edited=%s", got)
	}
	r.remove("apps")
	return died
}

func (r *rig) untilDeadOrReady(dead <-chan struct{}, name, manifests string) bool {
	r.want(name, manifests)
	digest := r.ks[name].Digest
	for {
		list, _ := r.pool.Report(r.key)
		for _, s := range list {
			if s.Ready == metav1.ConditionTrue && s.AppliedDigest == digest && (!strings.Contains(manifests, "brought") || !r.inventoried(name, "dropped")) {
				return false
			}
		}
		select {
		case <-dead:
			return true
		case <-r.changed:
		case <-time.After(20 * time.Millisecond): // that the inventory shrinks changes no report
		case <-r.t.Context().Done():
			return true
		}
	}
}

func (r *rig) remove(name string) {
	e := r.ks[name]
	e.Remove, e.DeletionPolicy = true, v1alpha1.DeletionOrphan
	r.ks[name] = e
	r.assign()
	r.until(name, "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed })
}
