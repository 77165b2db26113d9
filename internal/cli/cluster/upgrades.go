package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
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

// upgrades reports whether the hub is to keep the agent at its own version, for the image of the agent that the hub knows,
// or else why not; "" where that needs no word. The hub installs what config/agent holds: an agent with options of its
// own would lose them.
func (a *AgentOptions) upgrades(image string) (keep bool, why string) {
	switch {
	case !a.Upgrades, a.NoDeployment:
		return false, ""
	case a.ownOptions():
		return false, "the agent has options of its own, with which the hub cannot upgrade it: run this again with the command line of a new version after the hub was upgraded"
	case image == "":
		return false, "the hub does not keep this agent at its own version (" + v1alpha1.AgentImageUnknownReason + "): it is no release, and runs without --agent-image"
	}
	return true, ""
}

func (a *AgentOptions) ownOptions() bool {
	return len(a.Namespaces) > 0 || a.Image != "" || a.Storage != "" || a.Proxy != "" || a.CAFile != ""
}

// upgradesAsked reports whether upgrades were asked for, and are not the default.
func (a *AgentOptions) upgradesAsked() bool {
	return a.Upgrades && a.flags != nil && a.flags.Changed("agent-upgrades")
}

// offer lets an agent join once, and has the hub keep it at its own version, where it can.
func offer(ctx context.Context, o *Options, hub *factory.Hub, w wanted, s *factory.Step) (token string, err error) {
	image, err := factory.AgentImage(ctx, hub)
	if err != nil {
		return "", err
	}
	keep, why := o.Agent.upgrades(image)
	// Where only the image is not known, a label stays for a hub that knows it.
	leave := !o.Agent.Upgrades || o.Agent.NoDeployment || o.Agent.ownOptions()
	if !keep && o.Agent.upgradesAsked() {
		return "", factory.Next(errors.New(why), "start the hub with --agent-image, or leave out --agent-upgrades")
	}
	if token, err = offerToken(ctx, o, hub, w, s); err != nil {
		return "", err
	}
	o.Agent.Image = cmp.Or(o.Agent.Image, image)
	if keep {
		return token, keepAgent(ctx, o, hub, s)
	}
	if why != "" {
		s.Notef("%s", why)
	}
	if leave {
		return token, leaveAgent(ctx, o, hub)
	}
	return token, nil
}

// leaveAgent ends that the hub keeps the agent of a cluster, if it does: the agent that is installed now is not the one
// that the hub would install.
func leaveAgent(ctx context.Context, o *Options, hub *factory.Hub) error {
	c := &v1alpha1.Cluster{}
	if err := hub.Get(ctx, client.ObjectKey{Namespace: o.Flags.Namespace, Name: o.Name}, c); err != nil {
		return fmt.Errorf("cannot read cluster %s: %w", o.Name, err)
	}
	if c.Labels[v1alpha1.AgentLabel] != v1alpha1.AgentManaged {
		return nil
	}
	return labelAgent(ctx, o, hub, nil)
}

// labelAgent sets the label of a Cluster that selects it for upgrades, or removes it.
func labelAgent(ctx context.Context, o *Options, hub *factory.Hub, value any) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{v1alpha1.AgentLabel: value}}})
	if err != nil {
		return fmt.Errorf("cannot encode the change: %w", err)
	}
	c := &v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: o.Flags.Namespace, Name: o.Name}}
	if err := hub.Patch(ctx, c, client.RawPatch(types.MergePatchType, body), client.FieldOwner(apply.FieldManager)); err != nil {
		return fmt.Errorf("cannot label cluster %s: %w", o.Name, err)
	}
	return nil
}

// keepAgent lets the hub keep the agent of a cluster at its own version, by a label that the Kustomization of all
// agents selects.
func keepAgent(ctx context.Context, o *Options, hub *factory.Hub, s *factory.Step) error {
	for _, object := range agentObjects(o.Flags.Namespace) {
		err := hub.Create(ctx, object, client.FieldOwner(apply.FieldManager))
		if apierrors.IsInvalid(err) {
			return factory.Next(fmt.Errorf("this hub is too old to upgrade agents: %w", err), "upgrade it first, or use --agent-upgrades=false")
		}
		if err != nil && !apierrors.IsAlreadyExists(err) { // what is there may have been changed, and stays
			return fmt.Errorf("cannot create what keeps agents at the hub's version: %w", err)
		}
	}
	if err := labelAgent(ctx, o, hub, v1alpha1.AgentManaged); err != nil {
		return err
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
