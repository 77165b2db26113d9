package object

import (
	"encoding/json"
	"testing"
)

func TestKeepOf(t *testing.T) {
	claim := ID{Kind: "PersistentVolumeClaim", Namespace: "web", Name: "data"}
	role := ID{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "system:metrics-server"}
	for _, tc := range []struct {
		name                string
		id                  ID
		labels, annotations map[string]string
		want                Keep
	}{
		{name: "nothing asks for it", id: claim},
		{name: "Flux's annotation", id: claim, annotations: map[string]string{"kustomize.toolkit.fluxcd.io/prune": "disabled"}, want: KeepPruneDisabled},
		{name: "Flux's annotation, capitalised", id: claim, annotations: map[string]string{"kustomize.toolkit.fluxcd.io/prune": "Disabled"}, want: KeepPruneDisabled},
		{name: "Flux's key as a label", id: claim, labels: map[string]string{"kustomize.toolkit.fluxcd.io/prune": "disabled"}, want: KeepPruneDisabled},
		{name: "Skerry's annotation", id: claim, annotations: map[string]string{"skerry.dev/prune": "disabled"}, want: KeepPruneDisabled},
		{name: "pruning that is enabled", id: claim, annotations: map[string]string{"kustomize.toolkit.fluxcd.io/prune": "enabled"}},
		{name: "Argo CD's Prune", id: claim, annotations: map[string]string{"argocd.argoproj.io/sync-options": "ServerSideApply=true, Prune=false"}, want: KeepPruneDisabled},
		{name: "Argo CD's Delete", id: claim, annotations: map[string]string{"argocd.argoproj.io/sync-options": "Delete=false,Validate=false"}, want: KeepPruneDisabled},
		{name: "Argo CD's wish for a word first", id: claim, annotations: map[string]string{"argocd.argoproj.io/sync-options": "Prune=confirm"}, want: KeepPruneDisabled},
		{name: "other options of Argo CD", id: claim, annotations: map[string]string{"argocd.argoproj.io/sync-options": "PruneLast=true,Prune=true"}},
		{name: "a namespace of the cluster", id: ID{Kind: "Namespace", Name: "kube-system"}, want: KeepBuiltIn},
		{name: "a namespace of a tenant", id: ID{Kind: "Namespace", Name: "web"}},
		{name: "another kind of that name", id: ID{Group: "example.com", Kind: "Namespace", Name: "default"}},
		{name: "a role that the control plane makes", id: role, labels: map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"}, want: KeepBuiltIn},
		{name: "a role that only has such a name", id: role},
		{name: "the account that Pods use", id: ID{Kind: "ServiceAccount", Namespace: "web", Name: "default"}, want: KeepBuiltIn},
		{name: "a definition of Skerry", id: ID{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "clusters.skerry.dev"}, want: KeepBuiltIn},
		{name: "another definition", id: ID{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "widgets.example.com"}},
	} {
		if got := KeepOf(tc.id, tc.labels, tc.annotations); got != tc.want {
			t.Errorf("%s: %q; want %q", tc.name, got, tc.want)
		}
	}
}

// What an object asks for its lifetime is known of a manifest and of a stored body alike.
func TestLifetimeSurvivesTheBundle(t *testing.T) {
	for text, want := range map[string]Object{
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"},"stringData":{"/prune":"disabled"}}`:                                                    {},
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x","annotations":{"kustomize.toolkit.fluxcd.io/prune":"disabled"}}}`:                        {PruneDisabled: true},
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x","labels":{"skerry.dev/prune":"disabled","n":"1"}}}`:                                      {PruneDisabled: true},
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x","annotations":{"argocd.argoproj.io/sync-options":"Prune=false"}}}`:                       {PruneDisabled: true},
		`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"x"},"spec":{"ttlSecondsAfterFinished":0}}`:                                               {RemovedWhenFinished: true},
		`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"x"},"spec":{}}`:                                                                          {},
		`{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"x"},"spec":{"ttlSecondsAfterFinished":0}}`:                                           {},
		`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"x","annotations":{"skerry.dev/prune":"disabled"}},"spec":{"ttlSecondsAfterFinished":9}}`: {PruneDisabled: true, RemovedWhenFinished: true},
	} {
		var m map[string]any
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		made, err := FromMap(m)
		if err != nil {
			t.Fatal(err)
		}
		read, err := fromBody(made.Body)
		if err != nil {
			t.Fatal(err)
		}
		for from, o := range map[string]Object{"manifest": made, "body": read} {
			if o.PruneDisabled != want.PruneDisabled || o.RemovedWhenFinished != want.RemovedWhenFinished {
				t.Errorf("%s from its %s: prune disabled %v, removed when finished %v", text, from, o.PruneDisabled, o.RemovedWhenFinished)
			}
		}
	}
}
