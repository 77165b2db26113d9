package edge

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/internal/object"
)

// TestAnswerToAnApplyIsReadAsItIsWritten: its managed fields may be written back, and nothing of them may get lost.
func TestAnswerToAnApplyIsReadAsItIsWritten(t *testing.T) {
	var event struct{ Object json.RawMessage }
	if err := json.Unmarshal([]byte(deploymentEvent), &event); err != nil {
		t.Fatal(err)
	}
	var want metav1.PartialObjectMetadata
	if err := json.Unmarshal(event.Object, &want); err != nil {
		t.Fatal(err)
	}
	c := &Client{shared: &shared{}}
	got, err := c.applied(event.Object, object.ID{Group: "apps", Kind: "Deployment", Namespace: "apps", Name: "web"}, "skerry.o")
	if err != nil || got.UID != string(want.UID) || got.ResourceVersion != want.ResourceVersion || got.Fields.Digest == "" || !got.Fields.Replicas {
		t.Errorf("%+v, %v", got, err)
	}
	if diff := cmp.Diff(want.ManagedFields, got.Managed); diff != "" {
		t.Errorf("managed fields (-want +got):\n%s", diff)
	}
	for _, bad := range []string{``, `null`, `{}`, `[]`, `{"metadata":{"uid":""}}`, `{"metadata":{"uid":1}}`, `{"metadata":{"uid":"u"`, "{\"metadata\":{\"uid\":\"u\\n\"}}"} {
		if _, err := c.applied([]byte(bad), object.ID{}, ""); err == nil {
			t.Errorf("%q passes for an answer", bad)
		}
	}
}
