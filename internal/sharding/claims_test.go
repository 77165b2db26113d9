package sharding

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

func TestTheClusterWhoseStatusKnowsTheUIDHasTheBetterClaim(t *testing.T) {
	cluster := func(name string, age time.Duration, uid string) *v1alpha1.Cluster {
		c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{
			Namespace: "n", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(time.Unix(1_700_000_000, 0).Add(-age)),
		}}
		c.Spec.KubeConfig = &v1alpha1.KubeConfig{}
		c.Status.UID = uid
		return c
	}
	local := cluster("hub", time.Hour, "x")
	local.Spec.KubeConfig = nil
	for _, tt := range []struct {
		name       string
		other, own *v1alpha1.Cluster
		want       bool
	}{
		{"a new Cluster beside one that is known", cluster("a", 0, "x"), cluster("b", 0, ""), true},
		{"an older Cluster that was another cluster until now", cluster("a", 0, "x"), cluster("b", time.Hour, "y"), true},
		{"two that are known, the other one older", cluster("a", time.Hour, "x"), cluster("b", 0, "x"), true},
		{"two that are known, the other one younger", cluster("a", 0, "x"), cluster("b", time.Hour, "x"), false},
		{"itself", cluster("a", 0, "x"), cluster("a", 0, "x"), false},
		{"the hub's own", local, cluster("b", 0, ""), false},
	} {
		if got := BetterClaim(tt.other, tt.own, "x"); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
