package edge

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	_ "github.com/skerry-dev/skerry/internal/testkit/golden"
	"github.com/skerry-dev/skerry/internal/testkit/refusals"
)

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m, controlplane.Options{})) }

var record = flag.Bool("record", false, "write what the API server answers into refusals.Dir")

// TestRefusalsAreWhatAnAPIServerAnswers replays each refusal against a real API server. `go test
// -record` writes its answers into the files.
func TestRefusalsAreWhatAnAPIServerAnswers(t *testing.T) {
	if testing.Short() {
		t.Skip("needs an API server")
	}
	cluster := controlplane.Shared(t)
	c := newTestClient(t, cluster.RESTConfig())
	for _, r := range refusals.Load(t) {
		if strings.Contains(r.Name, "-until-") { // what an older API server answered
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			var status metav1.Status
			for _, o := range r.Documents(t, "before") {
				if err := applyWhenServed(t, c, o); err != nil {
					t.Fatalf("before: %v", err)
				}
			}
			o := r.After(t)
			m, err := c.Mapping(t.Context(), schema.GroupVersionKind{Group: o.Group, Version: o.Version, Kind: o.Kind})
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(r.Name, "policy") {
				untilRefused(t, c, m, o)
			}
			_, err = c.raw(t.Context(), m, o)
			var api apierrors.APIStatus
			if !errors.As(err, &api) {
				t.Fatalf("the API server does not refuse it: %v", err)
			}
			status = api.Status()
			status.TypeMeta = metav1.TypeMeta{}
			text, failed := yaml.Marshal(status)
			if failed != nil {
				t.Fatal(failed)
			}
			if *record {
				r.Record(t, string(text))
			}
			err = apierror.Conflict(err)
			if diff := cmp.Diff(r.Text("reason")+"\n"+r.Text("message"), apierror.Reason(err, o.ID)+"\n"+apierror.ExplainApply(err, o)); diff != "" && !*record {
				t.Errorf("what the API server answers is not what is recorded:\n%s\n%s", diff, text)
			}
		})
	}
}

func newTestClient(t *testing.T, cfg *rest.Config) *Client {
	t.Helper()
	c, err := New(cfg, Options{Timeout: 20 * time.Second, Inflight: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// raw applies an object and leaves the error as it comes.
func (c *Client) raw(ctx context.Context, m Mapping, o object.Object) (Applied, error) {
	got, err := c.Apply(ctx, m, o, "test", true)
	if _, ok := errors.AsType[*apierror.ConflictError](err); ok {
		return got, fmt.Errorf("a conflict: %w", err)
	}
	return got, err
}

// tries bounds how often an API server is asked for something that it does a moment later. Each try is an answer, so that
// nothing is waited for that does not come, however slow the machine is.
const tries = 2000

// untilRefused asks until an admission policy that was just applied is enforced. It asks by dry runs: an
// apply that passed would have changed what the policy compares with.
func untilRefused(t *testing.T, c *Client, m Mapping, o object.Object) {
	t.Helper()
	for range tries {
		err := c.rest.Patch(types.ApplyPatchType).AbsPath(m.path(o.Namespace, o.Name)...).
			Param("fieldManager", "test").Param("force", "true").Param("dryRun", metav1.DryRunAll).Body(o.Body).Do(t.Context()).Error()
		if err != nil {
			return
		}
	}
}

// applyWhenServed applies an object, and asks again while its kind is not served: a definition is a moment after it was
// applied. The client paces its reads.
func applyWhenServed(t *testing.T, c *Client, o object.Object) error {
	t.Helper()
	var err error
	for range tries {
		var m Mapping
		if m, err = c.Mapping(t.Context(), schema.GroupVersionKind{Group: o.Group, Version: o.Version, Kind: o.Kind}); err == nil {
			_, err = c.Apply(t.Context(), m, o, "test", true)
		}
		if err == nil || !strings.Contains(o.Group, "example.com") {
			break
		}
	}
	return err
}
