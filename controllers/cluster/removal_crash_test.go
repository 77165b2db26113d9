package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"

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

// TestRemovalIsKilledAtEachWrite kills the hub before and after each write, also the last one on the
// cluster itself, and lets another one go on.
func TestRemovalIsKilledAtEachWrite(t *testing.T) {
	for _, late := range []bool{false, true} {
		for n := range 2 * 8 {
			t.Run(fmt.Sprintf("write %d, after %t, late %t", n/2, n%2 == 1, late), func(t *testing.T) {
				killAt(t, n/2, n%2 == 1, late)
			})
		}
	}
}

func killAt(t *testing.T, n int, after, late bool) {
	w := start(t, cluster(deleted(v1alpha1.ClusterDeletionDelete)), secret("value", testKubeconfig),
		assigned(v1alpha1.AssignmentEntry{Name: "apps"}, v1alpha1.AssignmentEntry{Name: "base"}))
	e := &edge{t: t, w: w, late: late}
	w.pool.state = well
	writes, killed := 0, false
	write := func(do func() error) error {
		if killed {
			return errKilled
		}
		hit := writes == n
		writes++
		if hit && !after {
			killed = true
			return errKilled
		}
		err := do()
		if hit {
			killed = true
			return errKilled
		}
		return err
	}
	w.funcs.Patch = func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
		return write(func() error { return c.Patch(ctx, o, p, opts...) })
	}
	w.funcs.SubResourceUpdate = func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
		if _, ours := o.(*v1alpha1.Cluster); !ours { // the engine's side
			return c.SubResource(sub).Update(ctx, o, opts...)
		}
		return write(func() error { return c.SubResource(sub).Update(ctx, o, opts...) })
	}
	w.pool.retire = func() error {
		return write(func() error {
			err := e.retire()
			if err == nil { // the account is gone with it
				w.pool.state = engine.State{Known: true, Reachable: true, Reason: v1alpha1.UnauthorizedReason}
			}
			return err
		})
	}
	for range 30 {
		_, err := w.try()
		if killed {
			killed, w.pool.conn, w.r = false, nil, New(w.r.Options) // another process
		} else if err != nil {
			t.Fatal(err)
		}
		if w.gone() {
			break
		}
		e.work()
	}
	if !w.gone() || !e.done {
		t.Errorf("after %d writes: gone %t, retired %t: %s", writes, w.gone(), e.done, w.says("Ready"))
	}
}
