package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// kept says whether the hub can keep the agent at its own version. It installs what config/agent holds: an agent with
// options of its own would lose them.
func (a *AgentOptions) kept() bool {
	return a.Upgrades && !a.NoDeployment && len(a.Namespaces) == 0 && a.Image == "" && a.Storage == "" && a.Proxy == ""
}

// offer lets an agent join once, and the hub keep it where that is asked for.
func offer(ctx context.Context, o *Options, hub *factory.Hub, w wanted, s *factory.Step) (token string, err error) {
	if token, err = offerToken(ctx, o, hub, w, s); err == nil && o.Agent.Upgrades {
		err = keepAgent(ctx, o, hub, s)
	}
	return token, err
}

// keepAgent lets the hub keep the agent of a cluster at its own version, by a label that the Kustomization of all
// agents selects.
func keepAgent(ctx context.Context, o *Options, hub *factory.Hub, s *factory.Step) error {
	for _, object := range agentObjects(o.Flags.Namespace) {
		err := hub.Create(ctx, object, client.FieldOwner(apply.FieldManager))
		if apierrors.IsInvalid(err) {
			return factory.Next(fmt.Errorf("this hub is too old to upgrade agents: %w", err), "upgrade it first, or leave out --agent-upgrades")
		}
		if err != nil && !apierrors.IsAlreadyExists(err) { // what is there may have been changed, and stays
			return fmt.Errorf("cannot create what keeps agents at the hub's version: %w", err)
		}
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{v1alpha1.AgentLabel: v1alpha1.AgentManaged}}})
	if err != nil {
		return fmt.Errorf("cannot encode the change: %w", err)
	}
	c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: o.Flags.Namespace, Name: o.Name}}
	if err := hub.Patch(ctx, c, client.RawPatch(types.MergePatchType, body), client.FieldOwner(apply.FieldManager)); err != nil {
		return fmt.Errorf("cannot label cluster %s: %w", o.Name, err)
	}
	s.Notef("the hub keeps it at its own version (Kustomization %s); 'skerry cluster label %s %s-' ends that", v1alpha1.AgentsName, o.Name, v1alpha1.AgentLabel)
	return nil
}

// agentObjects are a source that the hub holds itself, and a Kustomization that brings it to all agents of a namespace,
// in stages, as any change. It waits for health: a new agent that does not come up halts the change at the first
// cluster, where the old one goes on. Nothing of it is ever deleted.
func agentObjects(namespace string) []client.Object {
	object := metav1.ObjectMeta{Namespace: namespace, Name: v1alpha1.AgentsName}
	yes, no := true, false
	return []client.Object{
		&v1alpha1.GitRepository{ObjectMeta: object, Spec: v1alpha1.GitRepositorySpec{URL: v1alpha1.AgentSourceURL, Interval: metav1.Duration{Duration: time.Hour}}},
		&v1alpha1.Kustomization{ObjectMeta: object, Spec: v1alpha1.KustomizationSpec{
			SourceRef: v1alpha1.SourceReference{Kind: v1alpha1.GitRepositoryKind, Name: v1alpha1.AgentsName},
			Path:      "./",
			Clusters:  &v1alpha1.ClusterTargets{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.AgentLabel: v1alpha1.AgentManaged}}},
			Interval:  metav1.Duration{Duration: 10 * time.Minute}, RetryInterval: &metav1.Duration{Duration: 30 * time.Second}, Timeout: &metav1.Duration{Duration: 5 * time.Minute},
			Prune: &no, Wait: &yes, DeletionPolicy: v1alpha1.DeletionOrphan,
		}},
	}
}
