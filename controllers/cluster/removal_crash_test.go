package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
)

var errKilled = errors.New("killed")

// edge is what an engine does with the entries that it is given, and a Kustomization that puts one back.
type edge struct {
	t    *testing.T
	w    *world
	late bool // one entry is put back once all are removed
	done bool // the last of the hub's has gone
}

func (e *edge) retire() error {
	for _, entry := range e.w.assignment().Spec.Entries {
		if !entry.Remove {
			return engine.ErrNotRemoved
		}
	}
	if e.w.gone() {
		e.t.Error("the Cluster went before what it stands for")
	}
	e.done = true
	return nil
}

// work lets the engine report, and the Kustomization come too late.
func (e *edge) work() {
	a := e.w.assignment()
	all := true
	for i := range a.Spec.Entries {
		all = all && a.Spec.Entries[i].Remove
		a.Status.Entries[i].Removed = a.Spec.Entries[i].Remove
	}
	if err := e.w.client.Status().Update(e.t.Context(), a); err != nil {
		e.t.Fatal(err)
	}
	if !all || !e.late {
		return
	}
	e.late = false
	a = e.w.assignment()
	a.Spec.Entries[0].Remove = false
	if err := e.w.client.Update(e.t.Context(), a); err != nil {
		e.t.Fatal(err)
	}
}

// way is how the hub works on the cluster that is removed, and what is known of it once the last was taken away there.
type way struct {
	change func(*v1alpha1.Cluster)
	after  engine.State
	silent bool // the cluster does not say that the last has gone
}

var ways = map[string]way{
	"by an account that goes with it":   {func(*v1alpha1.Cluster) {}, engine.State{Known: true, Reachable: true, Reason: v1alpha1.UnauthorizedReason}, false},
	"by an account that stays":          {func(*v1alpha1.Cluster) {}, well, false},
	"by an agent":                       {byAgent, well, false},
	"by an agent that leaves meanwhile": {byAgent, engine.State{Known: true, Message: "The agent is not connected", UID: "u1"}, true},
}

// TestRemovalIsKilledAtEachWrite kills the hub before and after each write, also the last one on the
// cluster itself, and lets another one go on.
func TestRemovalIsKilledAtEachWrite(t *testing.T) {
	for name, by := range ways {
		for _, late := range []bool{false, true} {
			for n := range 2 * 8 {
				t.Run(fmt.Sprintf("%s, write %d, after %t, late %t", name, n/2, n%2 == 1, late), func(t *testing.T) {
					killAt(t, n/2, n%2 == 1, late, by)
				})
			}
		}
	}
}

func killAt(t *testing.T, n int, after, late bool, by way) {
	w := start(t, cluster(deleted(v1alpha1.ClusterDeletionDelete), by.change), secret("value", testKubeconfig),
		assigned(v1alpha1.AssignmentEntry{Name: "apps"}, v1alpha1.AssignmentEntry{Name: "base"}))
	e := &edge{t: t, w: w, late: late}
	w.pool.state = well
	k := &killer{n: n, after: after}
	w.funcs.Patch = func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
		return k.write(func() error { return c.Patch(ctx, o, p, opts...) })
	}
	w.funcs.SubResourceUpdate = func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
		if _, ours := o.(*v1alpha1.Cluster); !ours { // the engine's side
			return c.SubResource(sub).Update(ctx, o, opts...)
		}
		return k.write(func() error { return c.SubResource(sub).Update(ctx, o, opts...) })
	}
	w.pool.retire = func() error {
		return k.write(func() error {
			err := e.retire()
			if err == nil { // the account may be gone with it
				w.pool.state, w.pool.claimed = by.after, false
			}
			return err
		})
	}
	for range 40 {
		_, err := w.try()
		if k.killed {
			k.killed, w.pool.conn, w.r = false, nil, New(w.r.Options) // another process
		} else if err != nil {
			t.Fatal(err)
		}
		if w.gone() {
			break
		}
		e.work()
		if e.done {
			w.now = w.now.Add(time.Minute) // nobody waits for what has gone for ever
		}
	}
	if !w.gone() || !e.done || w.pool.claimed {
		t.Errorf("after %d writes: gone %t, retired %t, claimed %t", k.writes, w.gone(), e.done, w.pool.claimed)
	}
	for said := w.told(); said != ""; said = w.told() { // a hub that is killed before it tells says nothing
		if strings.HasPrefix(said, "Warning Abandoned") != by.silent && !strings.HasPrefix(said, "Normal") {
			t.Errorf("the end is told as %q", said)
		}
	}
}

// killer kills a hub before or after its nth write.
type killer struct {
	n, writes     int
	after, killed bool
}

func (k *killer) write(do func() error) error {
	if k.killed {
		return errKilled
	}
	hit := k.writes == k.n
	k.writes++
	if hit && !k.after {
		k.killed = true
		return errKilled
	}
	err := do()
	if hit {
		k.killed = true
		return errKilled
	}
	return err
}
