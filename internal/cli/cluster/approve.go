package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/status"
	"github.com/skerry-dev/skerry/internal/link"
)

// ApproveOptions are those of approve.
type ApproveOptions struct {
	*factory.Factory
	Name        string
	Fingerprint string
}

// NewCmdApprove returns the command; runF replaces what it runs, for tests.
func NewCmdApprove(f *factory.Factory, runF func(context.Context, *ApproveOptions) error) *cobra.Command {
	o := &ApproveOptions{Factory: f}
	if runF == nil {
		runF = runApprove
	}
	cmd := &cobra.Command{
		Use:   "approve NAME",
		Short: "Accept the agent that has joined in a cluster's name",
		Long: `Accept the agent that has joined in a cluster's name, where 'skerry cluster join' said
--require-approval. Until then it is given nothing to apply.

The agent writes the fingerprint of its key to its log. Whoever stands at the edge can tell it to
you: with --fingerprint, that agent alone is accepted.`,
		Example: `  skerry cluster approve ship-2
  skerry cluster approve ship-2 --fingerprint SHA256:...`,
		Args:              factory.OneName,
		ValidArgsFunction: f.CompleteName(func() client.ObjectList { return &v1alpha1.ClusterList{} }),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return runF(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Fingerprint, "fingerprint", "", "fingerprint of the key of the agent that is meant (default: the one that has joined)")
	return cmd
}

func runApprove(ctx context.Context, o *ApproveOptions) error {
	ctx, cancel := o.WithTimeout(ctx, time.Minute)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	return o.Steps().Do("cluster "+o.Name, func(s *factory.Step) error {
		c, err := rotated(ctx, &Options{Factory: o.Factory, Name: o.Name}, hub)
		if err != nil {
			return err
		}
		fingerprint, err := toApprove(c, o.Fingerprint)
		if err != nil {
			return err
		}
		if fingerprint == "" {
			s.Donef("its agent is accepted already")
			return nil
		}
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"uid": c.UID, "resourceVersion": c.ResourceVersion, "annotations": map[string]string{v1alpha1.AgentApprovedAnnotation: fingerprint},
		}})
		if err != nil {
			return fmt.Errorf("cannot encode the change: %w", err)
		}
		if err := hub.Patch(ctx, c, client.RawPatch(types.MergePatchType, body), client.FieldOwner(apply.FieldManager)); err != nil {
			return fmt.Errorf("cannot change cluster %s: %w", o.Name, err)
		}
		s.Donef("the agent with the key %s is accepted, and connects within half a minute", fingerprint)
		return nil
	})
}

// toApprove returns the fingerprint of the key that is to be approved, which is the one that is meant where that is not
// empty; "" when there is nothing left to approve.
func toApprove(c *v1alpha1.Cluster, meant string) (string, error) {
	switch {
	case c.Spec.Agent == nil:
		return "", errors.New("the hub reaches this cluster itself: it has no agent")
	case c.Spec.Agent.PublicKey == "":
		return "", factory.Next(errors.New("no agent has joined yet"), "'skerry cluster list' shows when one has")
	}
	fingerprint := link.Fingerprint(link.DecodeKey(c.Spec.Agent.PublicKey))
	switch {
	case meant != "" && meant != fingerprint:
		return "", factory.Next(fmt.Errorf("another agent has joined, with the key %s: nothing was changed", fingerprint),
			"give the cluster to the one that is meant: 'skerry cluster rotate %s' ends the key and makes another token", c.Name)
	case !status.AwaitsApproval(c):
		return "", nil
	}
	return fingerprint, nil
}
