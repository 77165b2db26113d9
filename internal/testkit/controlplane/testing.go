package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// startTimeout bounds the start of one program, on a machine with other work.
const startTimeout = 2 * time.Minute

// suite is what the tests of one binary share; Main sets it up.
var suite struct {
	sync.Mutex
	dir     string
	options Options
	etcd    *Etcd
	shared  *Cluster
	err     error // of the first start, which every later test gets as well
}

// Main is the TestMain of a package that uses Shared or New:
//
//	func TestMain(m *testing.M) { os.Exit(controlplane.Main(m, controlplane.Options{})) }
//
// It runs the tests, stops what they started and removes the files. With -short,
// tests that ask for a cluster are skipped. The options
// are those of the Shared cluster. Nothing is started before a test asks.
func Main(m *testing.M, o Options) int {
	dir, err := os.MkdirTemp("", "skerry-controlplane-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	suite.dir, suite.options = dir, o
	defer stopSuite()
	return m.Run()
}

// Shared returns the one cluster that all tests of the binary have in common,
// so they should each use a namespace of their own. It is started by the first
// test that asks. If that fails, so does every test that asks.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	etcd := sharedEtcd(t)
	suite.Lock()
	defer suite.Unlock()
	if suite.shared == nil && suite.err == nil {
		suite.shared, suite.err = start(t, etcd, "shared", suite.options)
	}
	if suite.err != nil {
		t.Fatalf("controlplane: %v", suite.err)
	}
	return suite.shared
}

// New returns a cluster for this test alone, on the etcd that all share. It is
// stopped at the end of the test.
func New(t testing.TB, name string, o Options) *Cluster {
	t.Helper()
	etcd := sharedEtcd(t)
	// The name is the prefix in etcd, where earlier tests may have left data.
	dir, err := os.MkdirTemp(suite.dir, name+"-") //nolint:usetesting // its name must be one that no other test had
	if err != nil {
		t.Fatalf("controlplane: %v", err)
	}
	if o.Dir == "" {
		o.Dir = dir
	}
	c, err := start(t, etcd, filepath.Base(dir), o)
	if err != nil {
		t.Fatalf("controlplane: %v", err)
	}
	t.Cleanup(c.Stop)
	return c
}

func start(t testing.TB, etcd *Etcd, name string, o Options) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	return Start(ctx, etcd, name, o)
}

func sharedEtcd(t testing.TB) *Etcd {
	t.Helper()
	if testing.Short() {
		t.Skip("needs an API server, and -short asks for tests that need none")
	}
	suite.Lock()
	defer suite.Unlock()
	if suite.dir == "" {
		t.Fatal("controlplane: the package's TestMain must call controlplane.Main")
	}
	if suite.etcd == nil && suite.err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
		defer cancel()
		suite.etcd, suite.err = StartEtcd(ctx, suite.dir)
	}
	if err := suite.err; err != nil {
		t.Fatalf("controlplane: %v", err)
	}
	return suite.etcd
}

func stopSuite() {
	if suite.shared != nil {
		suite.shared.Stop()
	}
	if suite.etcd != nil {
		suite.etcd.Stop()
	}
	suite.etcd, suite.shared, suite.err = nil, nil, errors.New("the tests of this binary are over")
}
