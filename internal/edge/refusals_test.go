package edge

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	_ "github.com/skerry-dev/skerry/internal/testkit/golden"
)

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m, controlplane.Options{})) }

var record = flag.Bool("record", false, "write what the API server answers into testdata/refusals")

// refusal is one change that an API server refuses, in a file of testdata/refusals: what is there
// first ("before", applied; the last document is the object), what is applied over it ("after"), what
// the API server answered ("answer", recorded from a real one), and what is made of that ("reason" and
// "message").
type refusal struct {
	path    string
	archive *txtar.Archive
}

func refusals(t *testing.T) []refusal {
	t.Helper()
	paths, err := filepath.Glob("testdata/refusals/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no refusals: %v", err)
	}
	var list []refusal
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, refusal{path, archive})
	}
	return list
}

func (r refusal) name() string { return strings.TrimSuffix(filepath.Base(r.path), ".txtar") }

func (r refusal) text(name string) string {
	for _, f := range r.archive.Files {
		if f.Name == name {
			return strings.TrimSpace(string(f.Data))
		}
	}
	return ""
}

func (r refusal) set(name, text string) {
	for i, f := range r.archive.Files {
		if f.Name == name {
			r.archive.Files[i].Data = []byte(text + "\n")
			return
		}
	}
	r.archive.Files = append(r.archive.Files, txtar.File{Name: name, Data: []byte(text + "\n")})
}

func (r refusal) save(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(r.path, txtar.Format(r.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// documents decodes the YAML documents of a section into objects of a namespace.
func (r refusal) documents(t *testing.T, section string) []object.Object {
	t.Helper()
	var list []object.Object
	for doc := range strings.SplitSeq(r.text(section), "\n---\n") {
		m := map[string]any{}
		if err := yaml.Unmarshal([]byte(doc), &m); err != nil {
			t.Fatal(err)
		}
		if len(m) == 0 {
			continue
		}
		u := &unstructured.Unstructured{Object: m}
		body, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		gvk := schema.FromAPIVersionAndKind(u.GetAPIVersion(), u.GetKind())
		// Not through FromMap, which refuses some of it before an API server can.
		list = append(list, object.Object{ID: object.ID{Group: gvk.Group, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}, Version: gvk.Version, Body: body})
	}
	return list
}

func (r refusal) after(t *testing.T) object.Object { return r.documents(t, "after")[0] }

// answer returns the recorded answer as the error that a client makes of it.
func (r refusal) answer(t *testing.T) error {
	t.Helper()
	var status metav1.Status
	if err := yaml.Unmarshal([]byte(r.text("answer")), &status); err != nil {
		t.Fatal(err)
	}
	return conflict(&apierrors.StatusError{ErrStatus: status})
}

// TestRefusals holds what is made of the recorded answers of a real API server: `go test -update`
// writes it anew.
func TestRefusals(t *testing.T) {
	update := flag.Lookup("update").Value.String() == "true"
	for _, r := range refusals(t) {
		t.Run(r.name(), func(t *testing.T) {
			o, err := r.after(t), r.answer(t)
			reason, message := Reason(err, o.ID), ExplainApply(err, o)
			if update {
				r.set("reason", reason)
				r.set("message", message)
				r.save(t)
			}
			if diff := cmp.Diff(r.text("reason")+"\n"+r.text("message"), reason+"\n"+message); diff != "" {
				t.Error(diff)
			}
			if canary := "s3cr3t"; strings.Contains(strings.ToLower(message), canary) {
				t.Errorf("the message shows a value: %s", message)
			}
			immutable := strings.HasPrefix(r.name(), "immutable-")
			if got := Immutable(err); got != immutable {
				t.Errorf("Immutable is %v", got)
			}
		})
	}
}

// TestRefusalsAreWhatAnAPIServerAnswers replays each refusal against a real API server. `go test
// -record` writes its answers into the files.
func TestRefusalsAreWhatAnAPIServerAnswers(t *testing.T) {
	if testing.Short() {
		t.Skip("needs an API server")
	}
	cluster := controlplane.Shared(t)
	c := newTestClient(t, cluster.RESTConfig())
	for _, r := range refusals(t) {
		if strings.Contains(r.name(), "-until-") { // what an older API server answered
			continue
		}
		t.Run(r.name(), func(t *testing.T) {
			var status metav1.Status
			for _, o := range r.documents(t, "before") {
				if err := applyWhenServed(t, c, o); err != nil {
					t.Fatalf("before: %v", err)
				}
			}
			o := r.after(t)
			m, err := c.Mapping(t.Context(), schema.GroupVersionKind{Group: o.Group, Version: o.Version, Kind: o.Kind})
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(r.name(), "policy") {
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
				r.set("answer", strings.TrimSpace(string(text)))
				r.save(t)
			}
			err = conflict(err)
			if diff := cmp.Diff(r.text("reason")+"\n"+r.text("message"), Reason(err, o.ID)+"\n"+ExplainApply(err, o)); diff != "" && !*record {
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
	if _, ok := errors.AsType[*ConflictError](err); ok {
		return got, fmt.Errorf("a conflict: %w", err)
	}
	return got, err
}

// untilRefused waits until an admission policy that was just applied is enforced. It asks by dry runs: an
// apply that passed would have changed what the policy compares with.
func untilRefused(t *testing.T, c *Client, m Mapping, o object.Object) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := c.rest.Patch(types.ApplyPatchType).AbsPath(m.path(o.Namespace, o.Name)...).
			Param("fieldManager", "test").Param("force", "true").Param("dryRun", metav1.DryRunAll).Body(o.Body).Do(t.Context()).Error()
		if err != nil || time.Now().After(deadline) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// applyWhenServed applies an object, waiting for its kind to be served when its definition came just
// before.
func applyWhenServed(t *testing.T, c *Client, o object.Object) error {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		m, err := c.Mapping(t.Context(), schema.GroupVersionKind{Group: o.Group, Version: o.Version, Kind: o.Kind})
		if err == nil {
			_, err = c.Apply(t.Context(), m, o, "test", true)
		}
		if err == nil || time.Now().After(deadline) || !strings.Contains(o.Group, "example.com") {
			return err
		}
		time.Sleep(20 * time.Millisecond) // a definition is served a moment after it was applied
	}
}

func TestRefusalsCoverKinds(t *testing.T) {
	var kinds []string
	for _, r := range refusals(t) {
		kinds = append(kinds, r.after(t).Kind)
	}
	slices.Sort(kinds)
	if n := len(slices.Compact(kinds)); n < 20 {
		t.Errorf("only %d kinds are covered", n)
	}
}

// TestFinalRefusals holds which of the recorded refusals are tried again at retryInterval: those that
// something else in the cluster may have caused.
func TestFinalRefusals(t *testing.T) {
	for _, r := range refusals(t) {
		passing := strings.HasPrefix(r.name(), "refused-custom-resource-")
		switch r.name() {
		case "refused-by-policy", "refused-namespace-missing", "refused-service-duplicate-port", "refused-volume-missing":
			passing = true
		}
		if got := Final(r.answer(t), r.after(t).ID); got == passing {
			t.Errorf("%s: final is %v", r.name(), got)
		}
	}
}
