package cluster

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
)

func TestWhatIsToBeApproved(t *testing.T) {
	key := bytes.Repeat([]byte{1}, ed25519.PublicKeySize)
	mine := link.Fingerprint(key)
	joined := v1alpha1.Agent{PublicKey: link.EncodeKey(key), Approval: v1alpha1.AgentApprovalManual}
	for name, tt := range map[string]struct {
		agent    *v1alpha1.Agent
		approved string
		meant    string
		want     string
		refusal  string
	}{
		"the one that has joined":  {&joined, "", "", mine, ""},
		"the one that is meant":    {&joined, "", mine, mine, ""},
		"another one":              {&joined, "", "SHA256:other", "", "another agent has joined, with the key " + mine},
		"accepted already":         {&joined, mine, "", "", ""},
		"a former one is accepted": {&joined, "SHA256:former", "", mine, ""},
		"needs no approval":        {&v1alpha1.Agent{PublicKey: joined.PublicKey}, "", "", "", ""},
		"none has joined":          {&v1alpha1.Agent{Approval: v1alpha1.AgentApprovalManual}, "", "", "", "no agent has joined yet"},
		"has no agent":             {nil, "", "", "", "it has no agent"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Name: "ship-1"}, Spec: v1alpha1.ClusterSpec{Agent: tt.agent}}
			if tt.approved != "" {
				c.Annotations = map[string]string{v1alpha1.AgentApprovedAnnotation: tt.approved}
			}
			got, err := toApprove(c, tt.meant)
			if got != tt.want || (err != nil) != (tt.refusal != "") || err != nil && !strings.Contains(err.Error(), tt.refusal) {
				t.Errorf("%q, %v; want %q, %q", got, err, tt.want, tt.refusal)
			}
		})
	}
}
