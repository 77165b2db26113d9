package fleetsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestAggregatedDiscoveryHasWhatEachGroupHas compares both for the kinds that are built in, and for a
// group that one edge defines.
func TestAggregatedDiscoveryHasWhatEachGroupHas(t *testing.T) {
	f := startFleet(t, 2)
	e := f.Edges[0]
	client := clientFor(t, edgeConfig(t, e))
	code, body := send(t, client, e.URL(), step{
		Method: http.MethodPatch, Path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boats.example.com", Query: "fieldManager=m", ContentType: applyPatch,
		Body: fmt.Sprintf(boatDefinition, ""),
	})
	if code != http.StatusCreated {
		t.Fatalf("%d: %s", code, body)
	}
	for i, wanted := range []bool{true, false} {
		e := f.Edges[i]
		client := clientFor(t, edgeConfig(t, e))
		code, body := send(t, client, e.URL(), step{Method: http.MethodGet, Path: "/apis", Accept: "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"})
		var list apidiscovery.APIGroupDiscoveryList
		if err := json.Unmarshal(body, &list); code != http.StatusOK || err != nil || list.Kind != "APIGroupDiscoveryList" {
			t.Fatalf("%d, %v: %s", code, err, body)
		}
		found := false
		for _, group := range list.Items {
			for _, version := range group.Versions {
				gv := group.Name + "/" + version.Version
				found = found || gv == "example.com/v1"
				var want metav1.APIResourceList
				_, body := send(t, client, e.URL(), step{Method: http.MethodGet, Path: "/apis/" + gv, Accept: jsonType})
				if err := json.Unmarshal(body, &want); err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, r := range version.Resources {
					got = append(got, strings.Join(append([]string{r.Resource, r.ResponseKind.Kind, string(r.Scope)}, r.Verbs...), " "))
				}
				var single []string
				for _, r := range want.APIResources {
					scope := apidiscovery.ScopeCluster
					if r.Namespaced {
						scope = apidiscovery.ScopeNamespace
					}
					if !strings.Contains(r.Name, "/") {
						single = append(single, strings.Join(append([]string{r.Name, r.Kind, string(scope)}, r.Verbs...), " "))
					}
				}
				if diff := cmp.Diff(single, got); diff != "" {
					t.Errorf("%s (-by itself +aggregated):\n%s", gv, diff)
				}
			}
		}
		if found != wanted || len(list.Items) < 5 {
			t.Errorf("%s has %d groups, its own is there: %v", e.Name, len(list.Items), found)
		}
	}
}
