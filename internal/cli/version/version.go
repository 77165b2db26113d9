// Package version is the command that prints versions.
package version

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/diagnose"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/cli/preflight"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Client bool
	Output string
}

// Versions is what -o json and yaml print.
type Versions struct {
	Client string `json:"client"`
	Go     string `json:"go"`
	// Image of the hub's Deployment; empty where the hub runs elsewhere.
	Hub        string `json:"hub,omitempty"`
	Kubernetes string `json:"kubernetes,omitempty"`
}

// NewCmdVersion returns the command; runF replaces what it runs, for tests.
func NewCmdVersion(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runVersion
	}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Tell the versions of this command, the hub and its cluster",
		Example: `  skerry version
  skerry version --client`,
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), o) },
	}
	cmd.Flags().BoolVar(&o.Client, "client", false, "ask no cluster")
	factory.AddOutputFlag(cmd, &o.Output)
	return cmd
}

func runVersion(ctx context.Context, o *Options) error {
	v := Versions{Client: o.Version, Go: runtime.Version()}
	var err error
	if !o.Client {
		err = ask(ctx, o, &v)
	}
	// What is known without the cluster is printed even if the cluster does not answer.
	if werr := write(o.IO.Out, o.Output, v); werr != nil {
		return werr
	}
	return err
}

func ask(ctx context.Context, o *Options, v *Versions) error {
	ctx, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	if v.Kubernetes, err = preflight.Version(ctx, hub.Config); err != nil {
		return err
	}
	d := &appsv1.Deployment{}
	err = hub.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: diagnose.HubName}, d)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the hub's Deployment: %w", err)
	}
	for _, c := range d.Spec.Template.Spec.Containers {
		v.Hub = c.Image
	}
	return nil
}

func write(out io.Writer, format string, v Versions) error {
	if format != "" {
		return factory.Print(out, format, v)
	}
	text := fmt.Sprintf("skerry:     %s (%s)\n", v.Client, v.Go)
	if v.Hub != "" {
		text += fmt.Sprintf("hub:        %s\n", iostreams.Line(v.Hub))
	}
	if v.Kubernetes != "" {
		text += fmt.Sprintf("kubernetes: %s\n", iostreams.Line(v.Kubernetes))
	}
	if _, err := io.WriteString(out, text); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}
