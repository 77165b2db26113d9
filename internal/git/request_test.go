package git

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// TestRequestAsksForAllThatTheSpecNames holds that no field of a GitRepository is left behind on the way to a fetch.
func TestRequestAsksForAllThatTheSpecNames(t *testing.T) {
	repo := &v1alpha1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.AcceptRevisionAnnotation: "accepted"}},
		Spec: v1alpha1.GitRepositorySpec{
			URL: "https://git.example/config", Timeout: &metav1.Duration{Duration: time.Minute},
			Reference:      &v1alpha1.GitRepositoryRef{Branch: "b", Tag: "t", SemVer: "1.x", SemVerFilter: "^v", Name: "refs/heads/n", Commit: "c"},
			SparseCheckout: []string{"deploy"}, RecurseSubmodules: true, RequireFastForward: true,
		},
		Status: v1alpha1.GitRepositoryStatus{Artifact: &v1alpha1.Artifact{Revision: "b@sha1:1"}},
	}
	want := Request{
		URL: "https://git.example/config", Timeout: time.Minute, Known: "b@sha1:1",
		Reference: Reference{Branch: "b", Tag: "t", SemVer: "1.x", SemVerFilter: "^v", Name: "refs/heads/n", Commit: "c"},
		Sparse:    []string{"deploy"}, Submodules: true, Forward: Forward{Required: true, Accept: "accepted"},
	}
	unseen := cmp.Options{cmpopts.IgnoreFields(Request{}, "Auth", "Verify"), cmpopts.IgnoreFields(Forward{}, "Remedy")}
	if diff := cmp.Diff(want, RequestFor(repo), unseen); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}
