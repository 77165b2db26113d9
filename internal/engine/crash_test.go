package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	c, err := edge.New(controlplane.Shared(r.t).RESTConfig(), edge.Options{Timeout: waitTimeout, Inflight: 1})
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

// inventoried reports whether an object is recorded, or anything at all when its name is empty.
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

// atAnyWrite runs a test for every write at which the process may end, until there are no more: the test
// reports whether it did. Before the write it died with may or may not have reached the cluster; both are
// tried.
func atAnyWrite(t *testing.T, test func(t *testing.T, k int, lost bool) (died bool)) {
	for _, lost := range []bool{true, false} {
		for k := 1; ; k++ {
			died := false
			t.Run(fmt.Sprintf("lost=%v/write=%d", lost, k), func(t *testing.T) { died = test(t, k, lost) })
			if !died || t.Failed() {
				break
			}
		}
	}
}

// crashAt ends the process at its k-th write, which gets lost or just about reaches the cluster, and closes the channel
// then. Writes are sent side by side: those before it are answered first. An error would cancel them, and a request that is
// cancelled may reach the cluster later than what the test does when the process has died.
func (r *rig) crashAt(k int, lost bool) <-chan struct{} {
	reach := k
	if lost {
		reach--
	}
	var begun, ended atomic.Int32
	var once sync.Once
	crashed, answered := make(chan struct{}), make(chan struct{})
	die := func() { once.Do(func() { close(crashed) }) }
	if reach == 0 {
		close(answered)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = func(req *http.Request) error {
		if int(begun.Add(1)) <= reach {
			return nil
		}
		select {
		case <-answered:
		case <-req.Context().Done():
		}
		die()
		return errCrash
	}
	r.after = func(*http.Request) {
		if int(ended.Add(1)) != reach {
			return
		}
		close(answered)
		if !lost {
			die()
		}
	}
	return crashed
}

// applyUntil assigns a bundle and waits until it is applied, and what else is asked for is true, or until the
// process has died, which it returns.
func (r *rig) applyUntil(crashed <-chan struct{}, name, manifests string, done func() bool, change ...func(*v1alpha1.AssignmentEntry)) bool {
	r.want(name, manifests, change...)
	digest := r.ks[name].Digest
	for {
		list, _ := r.pool.Report(r.key)
		applied := slices.ContainsFunc(list, func(s v1alpha1.AssignmentEntryStatus) bool {
			return s.Name == name && s.Ready == metav1.ConditionTrue && s.AppliedDigest == digest
		})
		if applied && (done == nil || done()) {
			return false
		}
		select {
		case <-crashed:
			return true
		case <-r.changed:
		case <-time.After(20 * time.Millisecond): // that the inventory shrinks changes no report
		case <-r.t.Context().Done():
			return true
		}
	}
}

// discardPool ends the engine that has died, or is done; the next one writes as it likes.
func (r *rig) discardPool() {
	r.pool.Disconnect(r.key)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before, r.after = nil, nil
}

// strangers are ConfigMaps that are not the engine's to change, by name, as they were created.
type strangers struct {
	*rig
	were map[string]string
}

// create creates a ConfigMap of another Kustomization, or of none, where there is no such object.
func (s *strangers) create(name, owner string) {
	s.t.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.key.Namespace}, Data: map[string]string{"key": "theirs"}}
	if owner != "" {
		cm.Labels = map[string]string{v1alpha1.OwnerLabel: object.Owner{Hub: s.hub, Namespace: s.key.Namespace, Name: owner}.Label()}
	}
	made, err := s.kube.CoreV1().ConfigMaps(s.key.Namespace).Create(context.Background(), cm, metav1.CreateOptions{FieldManager: "stranger"})
	switch {
	case apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err): // it is the engine's, or there is no namespace yet
	case err != nil:
		s.t.Error(err)
	default:
		s.were[name] = string(made.UID) + "/" + made.ResourceVersion
	}
}

// replace puts a ConfigMap of no Kustomization in the place of one that may be there.
func (s *strangers) replace(name string) {
	err := s.kube.CoreV1().ConfigMaps(s.key.Namespace).Delete(context.Background(), name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		s.t.Error(err)
	}
	s.create(name, "")
}

// untouched checks that each of them is the one that was created, in the version that it had then.
func (s *strangers) untouched() {
	s.t.Helper()
	for name, was := range s.were {
		cm, err := s.kube.CoreV1().ConfigMaps(s.key.Namespace).Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			s.t.Errorf("the stranger %s: %v", name, err)
		} else if is := string(cm.UID) + "/" + cm.ResourceVersion; is != was {
			s.t.Errorf("the stranger %s is %s, and was %s", name, is, was)
		}
	}
}

// commits are three bundles: the second changes one object, drops one and brings one; the third takes that
// back, and brings another one.
func (r *rig) commits() (first, second, third string) {
	first = r.namespace() + r.configMap("stays", "1") + r.configMap("edited", "1") + r.configMap("dropped", "1")
	second = r.namespace() + r.configMap("stays", "1") + r.configMap("edited", "2") + r.configMap("brought", "1")
	third = r.namespace() + r.configMap("stays", "1") + r.configMap("edited", "1") + r.configMap("last", "1")
	return first, second, third
}

// TestACrashAtAnyWrite kills the engine at the k-th write, for every k, of a first sync and of the
// commit after it. Meanwhile others create what is missing: an object of no Kustomization, and one of
// another. A new engine, for which Git has moved on to a third commit, must then converge: no orphan,
// nothing recorded that is not there, no stranger changed or deleted.
func TestACrashAtAnyWrite(t *testing.T) {
	atAnyWrite(t, func(t *testing.T, k int, lost bool) bool {
		r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
		crashed := r.crashAt(k, lost)
		first, second, third := r.commits()
		shrunk := func() bool { return !r.inventoried("apps", "dropped") }
		died := r.applyUntil(crashed, "apps", first, nil) || r.applyUntil(crashed, "apps", second, shrunk)
		r.discardPool()
		s := &strangers{r, map[string]string{}}
		s.create("dropped", "")
		s.create("brought", "another")

		r.connect(controlplane.Shared(t).RESTConfig())
		r.want("apps", third)
		r.ready("apps")
		want := []string{"edited=1", "last=1", "stays=1"}
		r.eventually("only what is desired is left", func() bool { return slices.Equal(r.owned("apps"), want) })
		r.eventually("the inventory is what is there", func() bool { return len(r.inventory("apps").Objects) == 4 })
		if got := r.value("edited"); got != "1" {
			t.Errorf("edited=%s", got)
		}
		s.untouched()
		r.remove("apps")
		s.untouched()
		return died
	})
}

// TestAStrangerBetweenAnyTwoWrites lets another client's object take the place of the one that a commit
// drops, before the k-th write of that commit, for every k. It is not the object that the engine applied,
// and must stay as it is, whatever the engine had read of the other one.
func TestAStrangerBetweenAnyTwoWrites(t *testing.T) {
	for k := 1; ; k++ {
		came := false
		t.Run(fmt.Sprintf("write=%d", k), func(t *testing.T) {
			r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
			first, second, third := r.commits()
			r.want("apps", first)
			r.ready("apps")
			s := &strangers{r, map[string]string{}}
			var writes atomic.Int32
			r.mu.Lock()
			r.before = func(*http.Request) error {
				if int(writes.Add(1)) == k {
					s.replace("dropped")
				}
				return nil
			}
			r.mu.Unlock()
			r.applyUntil(nil, "apps", second, func() bool { return !r.inventoried("apps", "dropped") })
			came = int(writes.Load()) >= k
			s.untouched()
			r.want("apps", third)
			r.ready("apps")
			s.untouched()
			r.remove("apps")
		})
		if !came || t.Failed() {
			break
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

// TestACrashAtAnyWriteOfWaves kills the engine at the k-th write of a commit that changes, brings and drops objects
// of three waves, for every k, and lets a new one go on: it converges, with no orphan and nothing deleted that is
// desired, and no object of a later wave is changed before those of the earlier ones.
func TestACrashAtAnyWriteOfWaves(t *testing.T) {
	atAnyWrite(t, func(t *testing.T, k int, lost bool) bool {
		r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
		all := func(v string, names ...string) string {
			text := inWave(r.namespace(), -1)
			for i, name := range names {
				text += inWave(r.configMap(name, v), i)
			}
			return text
		}
		r.want("apps", all("1", "zero", "one", "two")+inWave(r.configMap("old-0", "1"), 0)+inWave(r.configMap("old-2", "1"), 2))
		r.ready("apps")
		crashed := r.crashAt(k, lost)
		second := all("2", "zero", "one", "two") + inWave(r.configMap("new-1", "2"), 1)
		died := r.applyUntil(crashed, "apps", second, func() bool { return !r.inventoried("apps", "old-0") })
		r.discardPool()
		if zero, one, two := r.value("zero"), r.value("one"), r.value("two"); two > one || one > zero {
			t.Errorf("zero is %s, one %s and two %s", zero, one, two)
		}
		if r.value("old-0") == "error: NotFound" && r.value("old-2") != "error: NotFound" {
			t.Error("an object of an earlier wave was deleted before one of a later")
		}
		r.connect(controlplane.Shared(t).RESTConfig())
		r.assign()
		r.ready("apps")
		want := []string{"new-1=2", "one=2", "two=2", "zero=2"}
		r.eventually("only what is desired is left", func() bool { return slices.Equal(r.owned("apps"), want) })
		r.eventually("the inventory is what is there", func() bool { return len(r.inventory("apps").Objects) == 5 })
		return died
	})
}
