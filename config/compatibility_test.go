package config_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	notificationv1 "github.com/fluxcd/notification-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// row is a line of the tables in COMPATIBILITY.md.
type row struct{ verdict, note string }

// rows reads the lines "| `name` | verdict | note |", by name.
func rows(t *testing.T) map[string]row {
	t.Helper()
	data, err := os.ReadFile("COMPATIBILITY.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]row{}
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			continue
		}
		name := strings.Trim(strings.TrimSpace(cells[1]), "`")
		if _, twice := found[name]; twice {
			t.Errorf("%s has two rows", name)
		}
		found[name] = row{strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3])}
	}
	return found
}

// paths adds the JSON paths of the fields of a struct. Types that both APIs take from Kubernetes are one field.
func paths(of reflect.Type, prefix string, into map[string]bool) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || strings.HasPrefix(of.PkgPath(), "k8s.io/") {
		return
	}
	for field := range of.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" {
			paths(field.Type, prefix, into)
			continue
		}
		into[prefix+"."+name] = true
		paths(field.Type, prefix+"."+name, into)
	}
}

// pathsOf are the fields of the specs and statuses of some kinds.
func pathsOf(kinds map[string]any) map[string]bool {
	found := map[string]bool{}
	for prefix, of := range kinds {
		paths(reflect.TypeOf(of), prefix, found)
	}
	return found
}

func TestCompatibilityNamesEveryFieldOfFlux(t *testing.T) {
	said := rows(t)
	flux := pathsOf(map[string]any{
		"GitRepository.spec": sourcev1.GitRepositorySpec{}, "GitRepository.status": sourcev1.GitRepositoryStatus{},
		"Kustomization.spec": kustomizev1.KustomizationSpec{}, "Kustomization.status": kustomizev1.KustomizationStatus{},
		"Receiver.spec": notificationv1.ReceiverSpec{}, "Receiver.status": notificationv1.ReceiverStatus{},
	})
	ours := pathsOf(map[string]any{
		"GitRepository.spec": v1alpha1.GitRepositorySpec{}, "GitRepository.status": v1alpha1.GitRepositoryStatus{},
		"Kustomization.spec": v1alpha1.KustomizationSpec{}, "Kustomization.status": v1alpha1.KustomizationStatus{},
		"Receiver.spec": v1alpha1.ReceiverSpec{}, "Receiver.status": v1alpha1.ReceiverStatus{},
	})
	for path := range flux {
		r, ok := said[path]
		switch {
		case !ok:
			t.Errorf("Flux's %s has no row", path)
		case (r.verdict == "same" || r.verdict == "better") && !ours[path]:
			t.Errorf("%s is said to be %s, and there is no such field here", path, r.verdict)
		case r.verdict == "absent" && ours[path]:
			t.Errorf("%s is said to be absent, and there is such a field here", path)
		}
	}
	for name, r := range said {
		if strings.Contains(name, ".spec.") || strings.Contains(name, ".status.") {
			if !flux[name] {
				t.Errorf("%s is no field of Flux", name)
			}
		}
		if !slices.Contains([]string{"same", "better", "different", "absent"}, r.verdict) {
			t.Errorf("%s: verdict %q", name, r.verdict)
		}
		if r.verdict != "same" && r.note == "" {
			t.Errorf("%s is %s, and the row does not say how or why", name, r.verdict)
		}
	}
}

func TestCompatibilityNamesConditionsReasonsAndAnnotationsOfFlux(t *testing.T) {
	said := rows(t)
	for _, name := range []string{
		meta.ReadyCondition, meta.StalledCondition, meta.ReconcilingCondition, meta.HealthyCondition,
		sourcev1.ArtifactInStorageCondition, sourcev1.ArtifactOutdatedCondition, sourcev1.SourceVerifiedCondition, sourcev1.FetchFailedCondition,
		sourcev1.StorageOperationFailedCondition, sourcev1.IncludeUnavailableCondition,
		meta.SucceededReason, meta.ProgressingReason, meta.SuspendedReason, meta.ProgressingWithRetryReason, meta.DependencyNotReadyReason,
		meta.PruneFailedReason, meta.ArtifactFailedReason, meta.BuildFailedReason, meta.HealthCheckFailedReason, meta.HealthCheckCanceledReason,
		meta.ReconciliationSucceededReason, meta.ReconciliationFailedReason, meta.InvalidCELExpressionReason, meta.FeatureGateDisabledReason,
		sourcev1.GitOperationSucceedReason, sourcev1.GitOperationFailedReason, sourcev1.URLInvalidReason, sourcev1.AuthenticationFailedReason,
		sourcev1.VerificationError, sourcev1.ArtifactUpToDateReason, sourcev1.NewArtifactReason, sourcev1.NoSourceArtifactReason,
		sourcev1.GarbageCollectionSucceededReason, sourcev1.InvalidProviderConfigurationReason,
		"$imagepolicy",
	} {
		if _, ok := said[name]; !ok {
			t.Errorf("%s has no row", name)
		}
	}
}

// constants are the values of the string constants of a file of Go whose names end in Condition or Reason, and
// VerificationError, which is a reason without the ending.
func constants(t *testing.T, path string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || len(spec.Values) != 1 {
			return true
		}
		name := spec.Names[0].Name
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if ok && (strings.HasSuffix(name, "Condition") || strings.HasSuffix(name, "Reason") || name == "VerificationError") {
			found = append(found, strings.Trim(literal.Value, `"`))
		}
		return true
	})
	return found
}

// TestCompatibilityNamesEveryReasonOfFluxSource reads the source of Flux, so that a reason of a later release has
// no row unnoticed.
func TestCompatibilityNamesEveryReasonOfFluxSource(t *testing.T) {
	said := rows(t)
	for module, files := range map[string][]string{
		"github.com/fluxcd/source-controller/api":       {"v1/condition_types.go", "v1/gitrepository_types.go"},
		"github.com/fluxcd/notification-controller/api": {"v1/condition_types.go"},
		"github.com/fluxcd/pkg/apis/meta":               {"conditions.go"},
	} {
		dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			t.Fatalf("cannot find the source of %s: %v", module, err)
		}
		n := 0
		for _, file := range files {
			for _, name := range constants(t, filepath.Join(strings.TrimSpace(string(dir)), file)) {
				n++
				if _, ok := said[name]; !ok {
					t.Errorf("%s of %s has no row", name, module)
				}
			}
		}
		if n < 8 {
			t.Errorf("%s: only %d constants were found: the test tests nothing", module, n)
		}
	}
}

// annotation matches, in Flux's source, the name of an annotation or label, written whole or put together of the
// group of its kinds.
var annotation = regexp.MustCompile(`"((?:[a-z.]+\.)?fluxcd\.io/[a-zA-Z-]+)"|Sprintf\("%s/([a-zA-Z-]+)", \w+\.GroupVersion\.Group\)`)

// TestCompatibilityNamesEveryAnnotationOfFluxSource reads the source of Flux's API, of the packages that it renders
// and applies with, and of kustomize-controller itself, which is no dependency and is fetched for it.
func TestCompatibilityNamesEveryAnnotationOfFluxSource(t *testing.T) {
	said := rows(t)
	found := map[string]string{}
	for _, name := range []string{
		"github.com/fluxcd/pkg/apis/meta", "github.com/fluxcd/pkg/kustomize", "github.com/fluxcd/pkg/ssa",
		"github.com/fluxcd/source-controller/api", "github.com/fluxcd/kustomize-controller/api",
	} {
		m, err := sourceOf(t, name)
		if err != nil {
			t.Fatal(err)
		}
		annotationsOf(t, m, found)
		if name != "github.com/fluxcd/kustomize-controller/api" {
			continue
		}
		if m, err = sourceOf(t, "github.com/fluxcd/kustomize-controller@"+m.Version); err != nil {
			t.Logf("the source of kustomize-controller is not read: %v", err)
			continue
		}
		annotationsOf(t, m, found)
		if found["kustomize.toolkit.fluxcd.io/prune"] == "" {
			t.Error("the source of kustomize-controller has no annotation: the test tests nothing")
		}
	}
	if found["reconcile.fluxcd.io/requestedAt"] == "" || found["kustomize.toolkit.fluxcd.io/substitute"] == "" {
		t.Errorf("only %v are found: the test tests nothing", found)
	}
	for name, module := range found {
		if _, ok := said[name]; !ok {
			t.Errorf("%s of %s has no row", name, module)
		}
	}
}

// module is where the source of a Go module is.
type module struct{ Path, Version, Dir string }

// sourceOf returns the source of a module, in the version that this one depends on unless it is given.
func sourceOf(t *testing.T, name string) (m module, err error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", name).Output()
	if err != nil {
		return m, fmt.Errorf("cannot get %s: %w", name, err)
	}
	return m, json.Unmarshal(out, &m)
}

// annotationsOf adds the names that the files of Go of a module have, tests left out.
func annotationsOf(t *testing.T, m module, into map[string]string) {
	t.Helper()
	err := filepath.WalkDir(m.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, found := range annotation.FindAllSubmatch(data, -1) {
			name := string(found[1])
			if name == "" {
				name = kustomizev1.GroupVersion.Group + "/" + string(found[2])
			}
			into[name] = m.Path
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNoFieldOfFluxIsDroppedUnseen: a client that does not validate drops a field that the schema lacks, and the
// user learns nothing. So a field of a spec that has no meaning here is in the schema, and refused with a remedy.
func TestNoFieldOfFluxIsDroppedUnseen(t *testing.T) {
	said := rows(t)
	for name, r := range said {
		parent := name[:max(strings.LastIndex(name, "."), 0)]
		for said[parent].verdict == "absent" {
			parent = parent[:strings.LastIndex(parent, ".")]
		}
		if strings.Contains(name, ".spec.") && r.verdict == "absent" && !strings.Contains(said[parent].note, "refused") {
			t.Errorf("%s is absent, and no field around it is refused", name)
		}
	}
}
