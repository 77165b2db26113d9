package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// The tests of this package run commands in-process, as main would, against real API servers.
func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	os.Exit(controlplane.Main(m, controlplane.Options{}))
}

// ran is how one command line went.
type ran struct {
	code        int
	out, errOut string
}

// run runs one command line for the hub of that kubeconfig, which may be "".
// What an installation consists of, and of it the CRDs with their namespace.
const (
	components = 20
	crds       = 6
)

// What install and bootstrap say of the components.
var (
	componentsStand   = fmt.Sprintf("nothing to change in %d objects", components)
	componentsChanged = fmt.Sprintf("%d objects: 0 created, 1 changed, %d unchanged", components, components-1)
	// A bootstrap adds the two objects by which the hub reads from Git.
	componentsAreKept = fmt.Sprintf("%[1]d of %[1]d objects are kept by the hub", components+2)
)

func run(t *testing.T, kubeconfig, stdin string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	return runWith(ctx, kubeconfig, stdin, nil, args...)
}

func runWith(ctx context.Context, kubeconfig, stdin string, env map[string]string, args ...string) ran {
	return runAt(ctx, 0, kubeconfig, stdin, env, args...)
}

// runAt is runWith at a terminal of so many columns; 0: in a pipe.
func runAt(ctx context.Context, columns int, kubeconfig, stdin string, env map[string]string, args ...string) ran {
	f := factory.New("v0.0.0-test", func(name string) string { return env[name] })
	streams, in, out, errOut := iostreams.Test()
	in.WriteString(stdin)
	if columns > 0 {
		streams.Columns = func() int { return columns }
	}
	f.IO = streams
	if kubeconfig == "" {
		kubeconfig = "/nonexistent"
	}
	code := Run(ctx, f, append([]string{"--kubeconfig", kubeconfig}, args...))
	return ran{code, out.String(), errOut.String()}
}

// want checks the exit code, and that each of the texts is on standard error.
func (r ran) want(t *testing.T, code int, texts ...string) {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", r.code, code, r.out, r.errOut)
	}
	for _, text := range texts {
		if !strings.Contains(r.errOut, text) {
			t.Errorf("standard error lacks %q:\n%s", text, r.errOut)
		}
	}
}

// clientOf returns an administrator's client of a test cluster.
func clientOf(t *testing.T, c *controlplane.Cluster) client.Client {
	t.Helper()
	cl, err := clientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

func clientFor(c *controlplane.Cluster) (client.Client, error) {
	scheme, err := factory.Scheme()
	if err != nil {
		return nil, err
	}
	return client.New(c.RESTConfig(), client.Options{Scheme: scheme})
}
