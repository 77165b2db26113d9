package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// regions are the vars of the shared edges.
var regions = map[string]string{"a": "harbour", "b": "island"}

// TestScripts runs every script below testdata.
func TestScripts(t *testing.T) {
	areas, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(areas) == 0 {
		t.Fatalf("there are no scripts: %v", err)
	}
	shared := newSharedWorld(t)
	byArea := map[string][]string{}
	var order []string
	for _, file := range areas {
		area := filepath.Base(filepath.Dir(file))
		if byArea[area] == nil {
			order = append(order, area)
		}
		byArea[area] = append(byArea[area], file)
	}
	for _, area := range order {
		t.Run(area, func(t *testing.T) {
			testscript.RunT(serial{t}, testscript.Params{
				Files:              byArea[area],
				Setup:              func(env *testscript.Env) error { return setUp(env, shared) },
				Cmds:               commands,
				RequireUniqueNames: true,
			})
		})
	}
}

// serial runs scripts one after the other: they share a hub and its edges.
type serial struct{ *testing.T }

func (serial) Parallel() {}

func (t serial) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(t *testing.T) {
		started := time.Now()
		defer func() { t.Logf("took %s", time.Since(started).Round(100*time.Millisecond)) }()
		f(serial{t})
	})
}

func (serial) Verbose() bool { return testing.Verbose() }

// newSharedWorld starts the hub and the edges that all cases share.
func newSharedWorld(t *testing.T) *rig.Rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	// Pods that become ready cost three more processes: one edge with them is enough.
	r, err := rig.New(ctx, rig.Options{
		Dir:   workDir(t),
		Edges: []rig.EdgeOptions{{Name: "a", Controllers: true, Pods: true}, {Name: "b", Controllers: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	cli, err := rig.NewCLI(r.HubKubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	must := func(args ...string) {
		t.Helper()
		if res, err := cli.Run(ctx, "", args...); err != nil || res.Code != 0 {
			t.Fatalf("skerry %s: %v, code %d\n%s%s", strings.Join(args, " "), err, res.Code, res.Stdout, res.Stderr)
		}
	}
	must("install", "--crds-only")
	if err := r.Hub.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for _, e := range r.Edges {
		must("cluster", "join", e.Name, "--from-kubeconfig", e.Kubeconfig, "--label", "name="+e.Name, "--label", "shared=yes", "--var", "region="+regions[e.Name])
	}
	return r
}

const (
	workPrefix = "skerry-e2e-"
	keptPrefix = "skerry-kept-"
)

// workDir returns a folder for the rig's data, with a short path, that goes with the test, or with the next one if this
// process is killed. KEEP=1 gives that of a test that failed another name, under which it stays.
func workDir(t *testing.T) string {
	t.Helper()
	rig.SweepDirs(os.TempDir(), workPrefix)
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", workPrefix, os.Getpid())) //nolint:usetesting // its path is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("KEEP") != "" {
			kept := strings.Replace(dir, workPrefix, keptPrefix, 1)
			if err := os.Rename(dir, kept); err != nil {
				t.Error(err)
			}
			t.Logf("logs are in %s", kept)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return dir
}

// setUp gives a case a repository of its own and brings the shared world back at its end.
func setUp(env *testscript.Env, shared *rig.Rig) error {
	t, ok := env.T().(serial)
	if !ok {
		return fmt.Errorf("unexpected %T", env.T())
	}
	c := &kase{t: t.T, rig: shared, shared: true, snapshots: map[string]string{}}
	env.Values[kaseKey{}] = c
	env.Defer(c.tearDown)
	root, err := rig.Root()
	if err != nil {
		return err
	}
	env.Setenv("PATH", filepath.Join(root, "bin")+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("KUBECONFIG", shared.HubKubeconfig)
	for _, e := range shared.Edges {
		env.Setenv("KUBECONFIG_"+e.Name, e.Kubeconfig)
	}
	webhooks, err := rig.FreeAddress()
	if err != nil {
		return err
	}
	env.Setenv("WEBHOOKS", webhooks)
	if err := c.openRepo(); err != nil {
		return err
	}
	env.Setenv("URL", c.server.URL(c.repo))
	env.Setenv("GIT_ROOT", c.server.Root())
	env.Setenv("REPO", c.repo.Dir())
	for _, kv := range gitserver.Env() {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "GIT_") {
			env.Setenv(name, value)
		}
	}
	return nil
}
