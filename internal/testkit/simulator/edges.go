package simulator

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Edge is one simulated cluster of a test. What goes wrong ends the test.
type Edge struct {
	Name string

	t     testing.TB
	fleet *Fleet
	index string // at the control endpoint
	dir   string
}

// ForTest starts a fleet that ends with the test. The simulator is compiled first, which takes some
// seconds, and half a minute when nothing of it is in the build cache.
func ForTest(t testing.TB, edges int) (*Fleet, []*Edge) {
	t.Helper()
	program, err := Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "edges")
	f, err := Start(t.Context(), program, dir, edges)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Err(context.Background()); err != nil {
			t.Error(err)
		}
		if err := f.Stop(); err != nil {
			t.Error(err)
		}
	})
	list := make([]*Edge, edges)
	for i := range list {
		list[i] = &Edge{Name: fmt.Sprintf("edge-%04d", i), t: t, fleet: f, index: fmt.Sprint(i), dir: dir}
	}
	return f, list
}

// Kubeconfig returns a kubeconfig with everything inline and a bearer token.
func (e *Edge) Kubeconfig() []byte {
	e.t.Helper()
	raw, err := os.ReadFile(filepath.Join(e.dir, e.Name+".kubeconfig"))
	if err != nil {
		e.t.Fatal(err)
	}
	return raw
}

// Writes returns the writes since they were forgotten, the last 1,024 at most, in their order.
func (e *Edge) Writes() []Write {
	e.t.Helper()
	all, err := e.fleet.Writes(e.t.Context(), e.index)
	if err != nil {
		e.t.Fatal(err)
	}
	return all[e.Name]
}

// ForgetWrites empties the list that Writes returns.
func (e *Edge) ForgetWrites() {
	e.t.Helper()
	if err := e.fleet.ForgetWrites(e.t.Context(), e.index); err != nil {
		e.t.Fatal(err)
	}
}
