package cluster

import (
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
)

func TestRotationTakesTheKeyAndOffersAToken(t *testing.T) {
	c := &v1alpha1.Cluster{
		ObjectMeta: metav1.ObjectMeta{Name: "ship-1", UID: "u", ResourceVersion: "7"},
		Spec:       v1alpha1.ClusterSpec{Agent: &v1alpha1.Agent{PublicKey: "key", ClusterUID: "uid", Approval: v1alpha1.AgentApprovalManual}},
	}
	expires := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	patch, err := rotation(c, "token", expires)
	if err != nil {
		t.Fatal(err)
	}
	before, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	merged, err := jsonpatch.MergePatch(before, patch)
	if err != nil {
		t.Fatal(err)
	}
	after := &v1alpha1.Cluster{}
	if err := json.Unmarshal(merged, after); err != nil {
		t.Fatal(err)
	}
	hash := link.HashToken("token")
	a := after.Spec.Agent
	if a == nil || a.PublicKey != "" || a.ClusterUID != "" || a.Approval != v1alpha1.AgentApprovalManual || a.Join == nil ||
		a.Join.TokenHash != hex.EncodeToString(hash[:]) || !a.Join.Expires.Time.Equal(expires) {
		t.Errorf("agent %+v", a)
	}
	if after.ResourceVersion != "7" || after.UID != "u" {
		t.Errorf("it is not bound to what was read: %s %s", after.UID, after.ResourceVersion)
	}
}
