package rig

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/sleep"
)

// Node runs as processes what the Deployments skerry-hub and skerry-agent of a rig describe, with the arguments
// that stand there, as long as the Deployments are there: the nodes of its clusters are on paper and run no image.
type Node struct {
	// Gateway is the address at which a hub listens for agents.
	Gateway string
	// Log is told what is started and stopped.
	Log func(format string, args ...any)
}

// Run runs the hub of the rig, and an agent beside each edge, until ctx ends.
func (n Node) Run(ctx context.Context, r *Rig, dir string) {
	done := make(chan struct{}, len(r.Edges)+1)
	go func() {
		defer func() { done <- struct{}{} }()
		n.keep(ctx, r.HubKube, "skerry-hub", func(ctx context.Context, args []string) error {
			args, err := n.hubArgs(args)
			if err != nil {
				return err
			}
			return r.Hub.Start(ctx, args...)
		}, r.Hub.Stop)
	}()
	for _, e := range r.Edges {
		go func() {
			defer func() { done <- struct{}{} }()
			a := NewAgent(AgentOptions{Kubeconfig: e.Kubeconfig, Dir: dir, Name: e.Name})
			n.keep(ctx, e.Kube, "skerry-agent", func(ctx context.Context, _ []string) error { return a.Start(ctx) }, a.Stop)
		}()
	}
	for range len(r.Edges) + 1 {
		<-done
	}
}

// keep starts a program when its Deployment is there, again after a while if it does not start, and stops it when
// the Deployment is not there any more, or ctx ends.
func (n Node) keep(ctx context.Context, kube *Kube, name string, start func(context.Context, []string) error, stop func() error) {
	ref := Ref{Kind: "deployments.apps", Namespace: v1alpha1.SystemNamespace, Name: name}
	for ctx.Err() == nil {
		deployment, err := kube.Await(ctx, ref, Present)
		if err != nil {
			return
		}
		if err := start(ctx, argsOf(deployment)); err != nil {
			n.Log("%s does not start: %v", name, err)
			_ = sleep.For(ctx, time.Second)
			continue
		}
		n.Log("%s runs", name)
		_, _ = kube.Await(ctx, ref, Absent)
		if err := stop(); err != nil {
			n.Log("%s: %v", name, err)
		}
		n.Log("%s is stopped", name)
	}
}

// argsOf are the arguments of the one container of a Deployment.
func argsOf(deployment *unstructured.Unstructured) []string {
	containers, _, _ := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	for _, c := range containers {
		if container, ok := c.(map[string]any); ok {
			args, _, _ := unstructured.NestedStringSlice(container, "args")
			return args
		}
	}
	return nil
}

// hubArgs are the arguments of the hub's container, without the paths and with ports of this machine.
func (n Node) hubArgs(args []string) ([]string, error) {
	webhooks, err := FreeAddress()
	if err != nil {
		return nil, fmt.Errorf("cannot find an address for webhooks: %w", err)
	}
	args = slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		return slices.Contains([]string{
			"--storage-path", "--metrics-bind-address", "--health-probe-bind-address", "--gateway-bind-address", "--receiver-bind-address",
		}, name)
	})
	return append(args, "--gateway-bind-address="+n.Gateway, "--receiver-bind-address="+webhooks), nil
}
