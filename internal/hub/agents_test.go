package hub

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/tree"
)

var errPassedOn = errors.New("passed on")

// TestAHubThatIsNoReleaseLeavesAgentsAlone, and says so: there is no image of it, and "latest" is another one each day.
func TestAHubThatIsNoReleaseLeavesAgentsAlone(t *testing.T) {
	for _, version := range []string{"unknown", "v1.2.3-5-g1234567-dirty", "", "latest", "v1.2"} {
		m, err := newAgentManifests(version, agentImage(version, ""))
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.follow(nil)(t.Context(), git.Request{URL: v1alpha1.AgentSourceURL})
		if stalled, ok := errors.AsType[*report.Stalled](err); !ok || stalled.Reason != v1alpha1.AgentImageUnknownReason || !strings.Contains(err.Error(), "--agent-image") {
			t.Errorf("%q: %v", version, err)
		}
	}
}

func TestTheAgentImageIsAWholeName(t *testing.T) {
	for image, ok := range map[string]bool{
		"": true, "ghcr.io/x/agent:v1": true, "localhost:5000/agent:v1": true, "r.example/a/b@sha256:" + strings.Repeat("0", 64): true,
		"r.example/agent": false, "agent:v1": false, "r.example/agent:v1\nx": false, "r.example:5000/agent": false,
	} {
		o := Defaults()
		o.AgentImage = image
		if err := o.check(); (err == nil) != ok {
			t.Errorf("%q: %v", image, err)
		}
	}
}

// TestTheHubHasTheAgentOfItsVersion: with the image of a release, or the one that is named; another version is another
// revision, and everything else is passed on.
func TestTheHubHasTheAgentOfItsVersion(t *testing.T) {
	next := func(context.Context, types.NamespacedName, string) (*tree.Tree, error) { return nil, errPassedOn }
	follow := func(m *agentManifests, req git.Request) (git.Commit, error) {
		return m.follow(func(context.Context, git.Request) (git.Commit, error) { return git.Commit{}, errPassedOn })(t.Context(), req)
	}
	seen := map[string]bool{}
	pinned := "localhost:5000/own/agent@sha256:" + strings.Repeat("0", 64)
	for version, image := range map[string]string{
		"v1.2.3": "ghcr.io/skerry-dev/skerry-agent:v1.2.3", "v1.3.0-rc.1": "ghcr.io/skerry-dev/skerry-agent:v1.3.0-rc.1",
		"v1.2.3-5-g1234567-dirty": "mirror.example/agent:v1.2", "v1.4.0": pinned,
	} {
		given := image
		if strings.HasPrefix(image, agentRepository) {
			given = ""
		}
		m, err := newAgentManifests(version, agentImage(version, given))
		if err != nil {
			t.Fatal(err)
		}
		commit, err := follow(m, git.Request{URL: v1alpha1.AgentSourceURL})
		if err != nil || !commit.Fetched || seen[commit.Revision] || v1alpha1.CommitOf(commit.Revision) != commit.Hash {
			t.Fatalf("%+v %v", commit, err)
		}
		seen[commit.Revision] = true
		if again, err := follow(m, git.Request{URL: v1alpha1.AgentSourceURL, Known: commit.Revision}); err != nil || again.Fetched || again.Revision != commit.Revision {
			t.Errorf("%+v %v", again, err)
		}
		files, err := m.tree(next)(t.Context(), types.NamespacedName{}, commit.Hash)
		if err != nil {
			t.Fatal(err)
		}
		result, err := render.NewCache(1).Build(t.Context(), files, render.Options{Path: "."})
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, o := range result.Bundle.Objects {
			kinds = append(kinds, o.Kind)
			u := &unstructured.Unstructured{}
			if err := json.Unmarshal(o.Body, &u.Object); err != nil {
				t.Fatal(err)
			}
			if u.GetAnnotations()["skerry.dev/prune"] != "disabled" {
				t.Errorf("%s may be deleted", o.ID)
			}
			if o.Kind == "Deployment" {
				if template, _, _ := unstructured.NestedMap(u.Object, "spec", "template", "metadata", "annotations"); len(template) > 0 {
					t.Error("its Pods are others than those that an agent is installed with")
				}
				containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
				if c, _ := containers[0].(map[string]any); c["image"] != image {
					t.Errorf("%s: image %v", version, c["image"])
				}
			}
		}
		slices.Sort(kinds)
		if want := []string{"ClusterRoleBinding", "Deployment", "NetworkPolicy", "ServiceAccount"}; !slices.Equal(kinds, want) {
			t.Errorf("%v", kinds)
		}
		if _, err := m.tree(next)(t.Context(), types.NamespacedName{}, "0123"); !errors.Is(err, errPassedOn) {
			t.Error(err)
		}
		if _, err := follow(m, git.Request{URL: "https://example.com/x.git"}); !errors.Is(err, errPassedOn) {
			t.Error(err)
		}
	}
}
