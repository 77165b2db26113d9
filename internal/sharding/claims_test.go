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
	now := time.Unix(1_700_000_000, 0)
	ready := func(c *v1alpha1.Cluster, status metav1.ConditionStatus, reason string, since time.Duration) *v1alpha1.Cluster {
		c.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReadyCondition, Status: status, Reason: reason, LastTransitionTime: metav1.NewTime(now.Add(-since))}}
		return c
	}
	agent := func(c *v1alpha1.Cluster) *v1alpha1.Cluster {
		c.Spec.KubeConfig, c.Spec.Agent = nil, &v1alpha1.Agent{}
		return c
	}
	for _, tt := range []struct {
		name       string
		other, own *v1alpha1.Cluster
		want       bool
	}{
		{"a new Cluster beside one that is known", cluster("a", 0, "x"), cluster("b", 0, ""), true},
		{"an older Cluster that was another cluster until now", cluster("a", 0, "x"), cluster("b", time.Hour, "y"), true},
		{"two that are known, the other one older", cluster("a", time.Hour, "x"), cluster("b", 0, "x"), true},
		{"two that are known, the other one younger", cluster("a", 0, "x"), cluster("b", time.Hour, "x"), false},
		{"one that is ready for a day", ready(cluster("a", time.Hour, "x"), metav1.ConditionTrue, "Succeeded", 24*time.Hour), cluster("b", 0, ""), true},
		{"one that is suspended for a day", ready(cluster("a", time.Hour, "x"), metav1.ConditionUnknown, "Suspended", 24*time.Hour), cluster("b", 0, ""), true},
		{"one that does not answer for a moment", ready(cluster("a", time.Hour, "x"), metav1.ConditionFalse, "Unreachable", staleAfter-time.Second), cluster("b", 0, ""), true},
		{"one that does not answer for long", ready(cluster("a", time.Hour, "x"), metav1.ConditionFalse, "Unreachable", staleAfter), cluster("b", 0, ""), false},
		{"one whose Secret is gone for long", ready(cluster("a", time.Hour, "x"), metav1.ConditionFalse, "SecretNotFound", staleAfter), cluster("b", 0, "x"), false},
		{"one that leads to the cluster of another", ready(cluster("a", time.Hour, "x"), metav1.ConditionFalse, "DuplicateCluster", 0), cluster("b", 0, "x"), false},
		{"an older one with an agent, and the hub reaches the other", agent(cluster("a", time.Hour, "x")), cluster("b", 0, "x"), false},
		{"a younger one that the hub reaches, and the other has an agent", cluster("a", 0, "x"), agent(cluster("b", time.Hour, "x")), true},
		{"one that the hub does not reach for long, and the other has an agent", ready(cluster("a", time.Hour, "x"), metav1.ConditionFalse, "Unreachable", staleAfter), agent(cluster("b", 0, "x")), false},
		{"one with an agent, beside an older Cluster that was never reached", agent(cluster("a", 0, "x")), cluster("b", time.Hour, ""), true},
		{"the same, and the agent is away for long", ready(agent(cluster("a", 0, "x")), metav1.ConditionFalse, "Unreachable", 24*time.Hour), cluster("b", time.Hour, ""), true},
		{"a younger one that the hub does not reach for long, beside one that was never reached", ready(cluster("a", 0, "x"), metav1.ConditionFalse, "Unreachable", staleAfter), cluster("b", time.Hour, ""), false},
		{"one with an agent that is away for long", ready(agent(cluster("a", time.Hour, "x")), metav1.ConditionFalse, "Unreachable", 24*time.Hour), agent(cluster("b", 0, "")), true},
		{"two with agents, the other one older", agent(cluster("a", time.Hour, "x")), agent(cluster("b", 0, "x")), true},
		{"itself", cluster("a", 0, "x"), cluster("a", 0, "x"), false},
		{"the hub's own", local, cluster("b", 0, ""), false},
	} {
		if got := BetterClaim(tt.other, tt.own, "x", now); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestAClusterGainsAClaim(t *testing.T) {
	ready := func(status metav1.ConditionStatus, reason string) func(*v1alpha1.Cluster) {
		return func(c *v1alpha1.Cluster) {
			c.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ReadyCondition, Status: status, Reason: reason}}
		}
	}
	none := func(*v1alpha1.Cluster) {}
	byAgent := func(c *v1alpha1.Cluster) { c.Spec.KubeConfig, c.Spec.Agent = nil, &v1alpha1.Agent{} }
	unknown := func(c *v1alpha1.Cluster) { c.Status.UID = "" }
	for what, tt := range map[string]struct {
		before, after func(*v1alpha1.Cluster)
		want          bool
	}{
		"nothing":                   {none, none, false},
		"it is heard from again":    {ready(metav1.ConditionTrue, "Succeeded"), ready(metav1.ConditionTrue, "Succeeded"), false},
		"it is ready":               {none, ready(metav1.ConditionTrue, "Succeeded"), false},
		"it does not answer":        {ready(metav1.ConditionTrue, "Succeeded"), ready(metav1.ConditionFalse, "Unreachable"), false},
		"it answers again":          {ready(metav1.ConditionFalse, "Unreachable"), ready(metav1.ConditionTrue, "Succeeded"), true},
		"it is suspended":           {ready(metav1.ConditionFalse, "Unreachable"), ready(metav1.ConditionUnknown, "Suspended"), true},
		"it is refused no more":     {ready(metav1.ConditionFalse, "DuplicateCluster"), ready(metav1.ConditionFalse, "Unreachable"), true},
		"it is reached first":       {unknown, none, true},
		"it was never reached":      {unknown, unknown, false},
		"it had an agent":           {byAgent, none, true},
		"it has an agent":           {none, byAgent, false},
		"it is not shared any more": {func(c *v1alpha1.Cluster) { c.Spec.Sharing = v1alpha1.SharingShared }, none, true},
	} {
		var clusters [2]v1alpha1.Cluster
		for i, change := range []func(*v1alpha1.Cluster){tt.before, tt.after} {
			clusters[i].Spec.KubeConfig, clusters[i].Status.UID = &v1alpha1.KubeConfig{}, "x"
			change(&clusters[i])
		}
		if got := GainsClaim(&clusters[0], &clusters[1]); got != tt.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
