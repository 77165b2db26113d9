package hub

import (
	"context"
	"crypto/ed25519"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// TestAnAgentGivesWayToTheHubThatReachesItsClusterAgain: a Cluster whose kubeconfig led nowhere for an hour answers, and has
// a better right to the cluster than the one whose agent came meanwhile, and is connected.
func TestAnAgentGivesWayToTheHubThatReachesItsClusterAgain(t *testing.T) {
	w := newWorld(t)
	edge := controlplane.New(t, "edge", controlplane.Options{})
	client := newClient(t, edge)
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}}
	for deadline := time.Now().Add(time.Minute); client.Get(t.Context(), keyOf(system), system) != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the edge has no kube-system")
		}
	}
	pushed := &v1alpha1.Cluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pushed"},
		Spec:       v1alpha1.ClusterSpec{KubeConfig: &v1alpha1.KubeConfig{SecretRef: meta.SecretKeyReference{Name: "pushed"}}},
	}
	w.create(pushed)
	pushed.Status.UID = string(system.UID)
	away := v1alpha1.Condition(v1alpha1.ReadyCondition, metav1.ConditionFalse, v1alpha1.UnreachableReason, "The cluster does not answer")
	away.LastTransitionTime = metav1.NewTime(time.Now().Add(-time.Hour))
	pushed.Status.Conditions = []metav1.Condition{away}
	if err := w.client.Status().Update(t.Context(), pushed); err != nil {
		t.Fatal(err)
	}

	listening := make(chan string, 1)
	w.options.GatewayAddress, w.options.GatewayPlainHTTP, w.options.GatewayURL = "127.0.0.1:0", true, "https://hub.example"
	w.options.GatewayListening = func(a net.Addr) { listening <- "http://" + a.String() }
	address := sync.OnceValue(func() string { return <-listening })
	agent := newCaller(t, 1, address)
	agent.uid = string(system.UID)
	w.create(&v1alpha1.Cluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: agent.name()},
		Spec:       v1alpha1.ClusterSpec{Agent: &v1alpha1.Agent{PublicKey: link.EncodeKey(agent.key.Public().(ed25519.PublicKey)), ClusterUID: agent.uid}},
	})
	startHubOf(w)
	w.says(pushed, "False "+v1alpha1.SecretNotFoundReason)
	connected := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	go func() { // until the hub ends the session: it does not come back
		err := agent.connect(ctx, "instance")
		for ctx.Err() == nil && len(agent.began) == 0 { // the controllers had not handed it over
			time.Sleep(50 * time.Millisecond)
			err = agent.connect(ctx, "instance")
		}
		connected <- err
	}()
	w.says(clusterNamed(agent.name()), "True "+v1alpha1.SucceededReason)

	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pushed"}, Data: map[string][]byte{"value": kubeconfigOf(t, edge)}})
	w.says(pushed, "True "+v1alpha1.SucceededReason)
	w.says(clusterNamed(agent.name()), "False "+v1alpha1.DuplicateClusterReason)
	if err := <-connected; err == nil {
		t.Error("the session goes on")
	}
}
