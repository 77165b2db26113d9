package cluster

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/components"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// TestTheHubKeepsAnAgent by a label, and by a Kustomization that is made once: what a person changed of it stays.
func TestTheHubKeepsAnAgent(t *testing.T) {
	scheme, err := factory.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	hub := &factory.Hub{WithWatch: fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ship-1"}}, &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ship-2"}},
	).Build()}
	streams, _, _, _ := iostreams.Test()
	ks := &v1alpha1.Kustomization{}
	for _, name := range []string{"ship-1", "ship-2"} {
		f := &factory.Factory{IO: streams, Now: time.Now, Flags: &factory.Flags{Namespace: "fleet"}}
		o := &Options{Factory: f, Name: name, Agent: AgentOptions{Upgrades: true}}
		if err := o.Steps().Do("upgrades", func(s *factory.Step) error { return keepAgent(t.Context(), o, hub, s) }); err != nil {
			t.Fatal(err)
		}
		c := &v1alpha1.Cluster{}
		if err := hub.Get(t.Context(), client.ObjectKey{Namespace: "fleet", Name: name}, c); err != nil || c.Labels[v1alpha1.AgentLabel] != v1alpha1.AgentManaged {
			t.Errorf("%s has the labels %v, %v", name, c.Labels, err)
		}
		if err := hub.Get(t.Context(), client.ObjectKey{Namespace: "fleet", Name: v1alpha1.AgentsName}, ks); err != nil {
			t.Fatal(err)
		}
		if name == "ship-1" {
			ks.Spec.Suspend = true
			if err := hub.Update(t.Context(), ks); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !ks.Spec.Suspend || ks.Spec.Prune == nil || *ks.Spec.Prune || ks.Spec.DeletionPolicy != v1alpha1.DeletionOrphan {
		t.Errorf("%+v", ks.Spec)
	}
}

// TestAnAgentWithOptionsOfItsOwnIsNotKept: it would lose them.
func TestAnAgentWithOptionsOfItsOwnIsNotKept(t *testing.T) {
	for name, tt := range map[string]struct {
		agent AgentOptions
		kept  bool
	}{
		"none asked for": {AgentOptions{Enabled: true}, false},
		"plain":          {AgentOptions{Enabled: true, Upgrades: true}, true},
		"beside":         {AgentOptions{Enabled: true, Upgrades: true, NoDeployment: true}, false},
		"storage":        {AgentOptions{Enabled: true, Upgrades: true, AgentOptions: components.AgentOptions{Storage: "1Gi"}}, false},
		"namespaces":     {AgentOptions{Enabled: true, Upgrades: true, AgentOptions: components.AgentOptions{Namespaces: []string{"a"}}}, false},
		"proxy":          {AgentOptions{Enabled: true, Upgrades: true, AgentOptions: components.AgentOptions{Proxy: "http://p"}}, false},
		"image":          {AgentOptions{Enabled: true, Upgrades: true, AgentOptions: components.AgentOptions{Image: "i"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.agent.kept() != tt.kept {
				t.Errorf("kept is %t", !tt.kept)
			}
			tt.agent.TokenFor = time.Hour
			if err := tt.agent.check(&Options{}); (err == nil) != (tt.kept || !tt.agent.Upgrades) {
				t.Errorf("check: %v", err)
			}
		})
	}
}
