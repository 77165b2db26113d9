// Package check is the command that reports whether a cluster can take a hub, and whether the hub that is there is
// whole and of versions that go together.
//
// Reading and judging are apart; judging is pure.
package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/components"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/preflight"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Pre    bool
	Output string

	// serverVersion asks the hub's API server and refuses one that is too old.
	serverVersion func(context.Context, *factory.Hub) (string, error)
}

// NewCmdCheck returns the command; runF replaces what it runs, for tests.
func NewCmdCheck(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f, serverVersion: func(ctx context.Context, hub *factory.Hub) (string, error) {
		return preflight.Version(ctx, hub.Config)
	}}
	if runF == nil {
		runF = runCheck
	}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check whether a cluster can take a hub, and whether the hub there is whole",
		Long: `Check whether a cluster can take a hub: the version of its API server and your permissions; and
whether the hub that is there is whole: its kinds, its Deployment, and that the versions of the
command line, the hub, the kinds and the agents of clusters go together. With --pre only the former, before an install or
an upgrade. It changes nothing, and exits with 1 when something is not as it should be.`,
		Example: `  # Before the hub is installed
  skerry check --pre

  # After an upgrade
  skerry check`,
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), o) },
	}
	cmd.Flags().BoolVar(&o.Pre, "pre", false, "only what an install or an upgrade needs")
	factory.AddOutputFlag(cmd, &o.Output)
	return cmd
}

func runCheck(ctx context.Context, o *Options) error {
	if err := o.SystemNamespaceOnly(); err != nil {
		return err
	}
	ctx, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	facts, err := o.observe(ctx, hub)
	if err != nil {
		return err
	}
	results := evaluate(facts, o.Pre)
	failed := false
	for _, r := range results {
		failed = failed || r.State == Bad
	}
	if err := o.show(results); err != nil {
		return err
	}
	if failed {
		return factory.ErrSilent
	}
	return nil
}

func (o *Options) show(results []Result) error {
	if o.Output != "" {
		return factory.Print(o.IO.Out, o.Output, map[string]any{"checks": results})
	}
	for _, r := range results {
		mark := map[State]string{Good: o.IO.Green("✔"), Doubtful: o.IO.Yellow("!"), Bad: o.IO.Red("✗")}[r.State]
		line := fmt.Sprintf("%s %s: %s\n", mark, r.Check, iostreams.Line(r.Message))
		if r.Next != "" {
			line += "  next: " + iostreams.Line(r.Next) + "\n"
		}
		if _, err := o.IO.Out.Write([]byte(line)); err != nil {
			return fmt.Errorf("cannot write: %w", err)
		}
	}
	return nil
}

// observe reads what is evaluated. An API server that cannot be asked is an error; one that refuses is a fact.
func (o *Options) observe(ctx context.Context, hub *factory.Hub) (facts, error) {
	f := facts{cli: o.Version, host: hub.Config.Host}
	var err error
	var advised *factory.NextError
	if f.server, err = o.serverVersion(ctx, hub); errors.As(err, &advised) {
		f.tooOld, f.tooOldNext = err.Error(), advised.Next
	} else if err != nil {
		return f, err
	}
	if err := preflight.Permissions(ctx, hub, preflight.Bootstrap()); errors.As(err, &advised) {
		f.notAllowed, f.notAllowedNext = err.Error(), advised.Next
	} else if err != nil {
		return f, err
	}
	definitions := &apiextensionsv1.CustomResourceDefinitionList{}
	if err := hub.List(ctx, definitions); apierrors.IsForbidden(err) {
		f.kindsUnknown = true
	} else if err != nil {
		return f, fmt.Errorf("cannot list the kinds: %w", err)
	}
	for i := range definitions.Items {
		if d := &definitions.Items[i]; d.Spec.Group == v1alpha1.Group {
			f.kinds = append(f.kinds, kindFacts{name: d.Name, version: d.Labels[versionLabel], established: established(d), stored: d.Status.StoredVersions})
		} else if d.Spec.Group == "kustomize.toolkit.fluxcd.io" {
			f.flux = true
		}
	}
	if f.wanted, err = wantedKinds(); err != nil {
		return f, err
	}
	if err := observeHub(ctx, hub, &f); err != nil {
		return f, err
	}
	return f, observeAgents(ctx, hub, &f)
}

// observeAgents reads the versions of all agents, and that of the hub where it runs outside of the cluster.
func observeAgents(ctx context.Context, hub *factory.Hub, f *facts) error {
	list := &v1alpha1.ClusterList{}
	err := hub.List(ctx, list)
	switch {
	case apierrors.IsForbidden(err):
		f.agentsUnknown = true
		return nil
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err): // the kinds are not installed, which is said already
		return nil
	case err != nil:
		return fmt.Errorf("cannot list Clusters: %w", err)
	}
	for i := range list.Items {
		c := &list.Items[i]
		if c.Spec.Agent == nil {
			continue
		}
		a := agentFacts{cluster: c.Name}
		if c.Namespace != v1alpha1.SystemNamespace {
			a.cluster = c.Namespace + "/" + c.Name
		}
		if c.Status.Agent != nil {
			a.version = c.Status.Agent.Version
		}
		f.agents = append(f.agents, a)
	}
	if len(f.agents) == 0 || f.hubVersion != "" {
		return nil
	}
	cm := &corev1.ConfigMap{}
	if err := hub.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.GatewayConfigMap}, cm); err == nil {
		f.hubVersion, f.unlabelled = cm.Data["version"], true
	} else if !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return fmt.Errorf("cannot read how agents reach the hub: %w", err)
	}
	return nil
}

func established(d *apiextensionsv1.CustomResourceDefinition) bool {
	for _, c := range d.Status.Conditions {
		if c.Type == apiextensionsv1.Established {
			return c.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}

const versionLabel = "app.kubernetes.io/version"

// wantedKinds are the names of the definitions that this version installs.
func wantedKinds() ([]string, error) {
	manifests, err := components.Render(components.Options{CRDsOnly: true})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range manifests {
		if m.GetKind() == "CustomResourceDefinition" {
			names = append(names, m.GetName())
		}
	}
	return names, nil
}

func observeHub(ctx context.Context, hub *factory.Hub, f *facts) error {
	d := &appsv1.Deployment{}
	err := hub.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: diagnose.HubName}, d)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsForbidden(err):
		f.hubUnknown = true
		return nil
	case err != nil:
		return fmt.Errorf("cannot read the hub's Deployment: %w", err)
	}
	f.hub, f.hubVersion = true, d.Labels[versionLabel]
	if ok, _ := diagnose.Available(d); !ok {
		f.hubProblem = diagnose.Hub(ctx, hub)
	}
	return nil
}
