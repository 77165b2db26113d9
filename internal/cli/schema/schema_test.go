package schema

import (
	"strings"
	"testing"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// doc is a valid object with changes to its spec, in the flow style of YAML.
func doc(kind, spec string) []byte {
	return []byte("apiVersion: skerry.dev/v1alpha1\nkind: " + kind + "\nmetadata: {name: x}\nspec: " + spec + "\n")
}

// The messages are those that an API server gives for the same object: internal/hub compares the two.
func TestWhatAnAPIServerRefusesIsRefused(t *testing.T) {
	const source = "interval: 10m, sourceRef: {name: a}"
	for name, tt := range map[string]struct {
		doc     []byte
		refused []string
	}{
		"a Kustomization":      {doc: doc("Kustomization", "{"+source+"}")},
		"nulls":                {doc: doc("Kustomization", "{"+source+", timeout: null, patches: null, postBuild: null, clusters: null}")},
		"another group":        {doc: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n")},
		"nothing":              {doc: []byte("# a comment\n")},
		"a status of a dump":   {doc: append(doc("Kustomization", "{"+source+"}"), "status: {conditions: 5}\n"...)},
		"a source":             {doc: doc("GitRepository", "{url: https://git.example/a, interval: 1m}")},
		"an edge":              {doc: doc("Cluster", "{agent: {}}")},
		"no interval":          {doc: doc("Kustomization", "{sourceRef: {name: a}}"), refused: []string{`Kustomization.skerry.dev "x" is invalid`, "spec.interval: Required value", "some validation rules were not checked"}},
		"a number":             {doc: doc("Kustomization", "{sourceRef: {name: a}, interval: 5}"), refused: []string{`spec.interval: Invalid value: "integer": spec.interval in body must be of type string: "integer"`}},
		"out of bounds":        {doc: doc("Kustomization", "{sourceRef: {name: a}, interval: 1s}"), refused: []string{"spec.interval: Invalid value:", "interval must lie between 5s and 24h"}},
		"a path that climbs":   {doc: doc("Kustomization", "{"+source+", path: ../x}"), refused: []string{"spec.path: Invalid value:", "path must be relative and must not contain '..'"}},
		"an account":           {doc: doc("Kustomization", "{"+source+", serviceAccountName: tenant}")},
		"an account elsewhere": {doc: doc("Kustomization", "{"+source+", serviceAccountName: 'other:tenant'}"), refused: []string{"spec.serviceAccountName: Invalid value"}},
		"a kubeconfig":         {doc: doc("Kustomization", "{"+source+", kubeConfig: {secretRef: {name: a}}}"), refused: []string{"put it into a Cluster, and name that in clusters"}},
		"another source":       {doc: doc("Kustomization", "{interval: 10m, sourceRef: {kind: OCIRepository, name: a}}"), refused: []string{"spec.sourceRef", "name its GitRepository"}},
		"a policy":             {doc: doc("Kustomization", "{"+source+", deletionPolicy: Keep}"), refused: []string{`spec.deletionPolicy: Unsupported value: "Keep": supported values: "MirrorPrune", "Delete", "WaitForTermination", "Orphan"`}},
		"twice in a set":       {doc: doc("Kustomization", "{"+source+", clusters: {names: [a, a]}}"), refused: []string{`spec.clusters.names[1]: Duplicate value: "a"`}},
		"credentials in a URL": {doc: doc("GitRepository", "{url: 'https://a:b@git.example/a', interval: 1m}"), refused: []string{"credentials belong into secretRef"}},
		"an edge with neither": {doc: doc("Cluster", "{}"), refused: []string{"the Cluster named hub has neither"}},
		"a name":               {doc: []byte("apiVersion: skerry.dev/v1alpha1\nkind: Cluster\nmetadata: {name: A_b}\nspec: {agent: {}}\n"), refused: []string{`metadata.name: Invalid value: "A_b"`}},
		"another version":      {doc: []byte("apiVersion: skerry.dev/v1\nkind: Cluster\nmetadata: {name: a}\n"), refused: []string{`no matches for kind "Cluster" in version "skerry.dev/v1"`}},
		"another kind":         {doc: doc("HelmRelease", "{}"), refused: []string{`no matches for kind "HelmRelease" in version "skerry.dev/v1alpha1"`}},
	} {
		t.Run(name, func(t *testing.T) {
			err := Validate(t.Context(), tt.doc)
			if err == nil && len(tt.refused) > 0 {
				t.Fatal("it is accepted")
			}
			if err != nil && len(tt.refused) == 0 {
				t.Fatal(err)
			}
			for _, want := range tt.refused {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s\ndoes not contain %s", err, want)
				}
			}
		})
	}
}

func TestReadNamesUnknownFieldsBeforeAllElse(t *testing.T) {
	var ks v1alpha1.Kustomization
	err := Read(t.Context(), doc("Kustomization", "{sourceRef: {name: a}, intervall: 5m}"), &ks)
	if err == nil || !strings.Contains(err.Error(), `unknown field "spec.intervall"`) {
		t.Errorf("error %v", err)
	}
	err = Read(t.Context(), doc("Kustomization", "{sourceRef: {name: a}, interval: 5 minutes}"), &ks)
	if err == nil || !strings.Contains(err.Error(), "spec.interval: Invalid value") {
		t.Errorf("error %v", err)
	}
	if err := Read(t.Context(), doc("Kustomization", "{sourceRef: {name: a}, interval: 5m}"), &ks); err != nil || ks.Spec.SourceRef.Name != "a" {
		t.Errorf("%v, %v", ks.Spec, err)
	}
}
