package migrate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// live is an object of Flux with what it has applied.
func live(t *testing.T, text string, applied ...Ref) Live {
	t.Helper()
	l := Live{Inventory: applied}
	if err := yaml.Unmarshal([]byte(text), &l.Object); err != nil {
		t.Fatal(err)
	}
	group, _, _ := strings.Cut(l.Object["apiVersion"].(string), "/")
	metadata := l.Object["metadata"].(map[string]any)
	l.Ref = Ref{group, l.Object["kind"].(string), metadata["namespace"].(string), metadata["name"].(string)}
	return l
}

func said(p Plan) []string {
	var out []string
	for _, n := range p.Notes {
		out = append(out, n.String())
	}
	return out
}

// TestWhatFluxWouldBringBackStays has a Kustomization of a source that Skerry lacks, which goes on to apply others.
func TestWhatFluxWouldBringBackStays(t *testing.T) {
	apps := live(t, "{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: apps, namespace: flux-system}, spec: {interval: 1m, prune: true, sourceRef: {kind: GitRepository, name: fleet}}}")
	other := live(t, "{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: other, namespace: flux-system}, spec: {interval: 1m, prune: true, sourceRef: {kind: GitRepository, name: fleet}}}")
	fleet := live(t, "{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: fleet, namespace: flux-system}, spec: {interval: 1m, url: 'https://git.example.com/fleet', ref: {branch: main}}}")
	root := live(t, "{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: root, namespace: flux-system}, spec: {interval: 1m, prune: true, sourceRef: {kind: OCIRepository, name: fleet}}}", apps.Ref, fleet.Ref)
	p, err := Cluster([]Live{root, apps, other, fleet}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var moves []string
	for i := range p.Moves {
		moves = append(moves, fmt.Sprintf("%s keep=%v", p.Moves[i].Ref, p.Moves[i].Keep))
	}
	if diff := cmp.Diff([]string{"Kustomization flux-system/other keep=false", "GitRepository flux-system/fleet keep=true"}, moves); diff != "" {
		t.Errorf("%s\n%s", diff, strings.Join(said(p), "\n"))
	}
	if want := "stays: Kustomization flux-system/apps: Kustomization flux-system/root stays, applies this, and would bring Flux's object back beside Skerry's"; !slices.Contains(said(p), want) {
		t.Errorf("%q is not said:\n%s", want, strings.Join(said(p), "\n"))
	}
}

func TestWhatTheFluxOperatorKeepsIsNamed(t *testing.T) {
	for _, label := range []string{"fluxcd.controlplane.io/name", "resourceset.fluxcd.controlplane.io/name"} {
		apps := live(t, "{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: apps, namespace: flux-system, labels: {"+label+": flux}}, spec: {interval: 1m, prune: true, sourceRef: {kind: GitRepository, name: fleet}}}")
		p, err := Cluster([]Live{apps}, nil)
		if err != nil || len(p.Moves) != 1 || !strings.Contains(strings.Join(said(p), "\n"), "the Flux Operator would bring it back") {
			t.Errorf("%v: %q", err, said(p))
		}
	}
}

func TestASourceThatAnArtifactIsMadeOfIsKept(t *testing.T) {
	apps := live(t, "{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: apps, namespace: flux-system}, spec: {interval: 1m, prune: true, sourceRef: {kind: GitRepository, name: fleet}}}")
	fleet := live(t, "{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: fleet, namespace: flux-system}, spec: {interval: 1m, url: 'https://git.example.com/fleet', ref: {branch: main}}}")
	generator := live(t, "{apiVersion: source.extensions.fluxcd.io/v1beta1, kind: ArtifactGenerator, metadata: {name: parts, namespace: flux-system}, spec: {sources: [{alias: fleet, kind: GitRepository, name: fleet}], artifacts: [{name: web, copy: [{from: '@fleet/web/**', to: '@artifact/'}]}]}}")
	p, err := Cluster([]Live{apps, fleet, generator}, nil)
	if err != nil || len(p.Moves) != 2 || p.Moves[1].Kind != "GitRepository" || !p.Moves[1].Keep {
		t.Errorf("%v: %+v\n%s", err, p.Moves, strings.Join(said(p), "\n"))
	}
}

// TestWhoSuspended: the mark of a migration counts until another manager has spec.suspend.
func TestWhoSuspended(t *testing.T) {
	entry := func(manager string) string {
		return "{manager: " + manager + ", operation: Update, fieldsV1: {'f:spec': {'f:suspend': {}}}}"
	}
	for managed, want := range map[string]bool{
		"":                  true, // a client that does not show them
		entry("skerry-cli"): true,
		entry("skerry-cli") + ", {manager: kustomize-controller, operation: Apply, fieldsV1: {'f:spec': {'f:path': {}}}}": true,
		entry("flux"): false,
		entry("skerry-cli") + ", " + entry("kubectl"): false, // from a manifest that says so as well
	} {
		o := live(t, "{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: apps, namespace: flux-system, annotations: {skerry.dev/migrate: suspended}, managedFields: ["+managed+"]}, spec: {suspend: true}}").Object
		if got := IsSuspendedBy(o, "skerry-cli"); got != want {
			t.Errorf("%s: %v", managed, got)
		}
	}
	if IsSuspendedBy(map[string]any{"spec": map[string]any{"suspend": true}}, "skerry-cli") {
		t.Error("without the mark")
	}
}
