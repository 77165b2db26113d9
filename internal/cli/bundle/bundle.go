// Package bundle holds the commands for clusters without a link: an update is carried there by medium, and a report
// back.
package bundle

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/medium"
)

// Options of the commands.
type Options struct {
	*factory.Factory
	Name    string // of the Cluster, for export
	File    string // to write, or to read
	Gateway string
}

// NewCmdBundle returns the command; runF replaces what its subcommands run, for tests.
func NewCmdBundle(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Carry updates to clusters without a link, and reports back",
		Long: `Carry updates by medium to clusters that no link reaches, on ships and rigs and in rooms without a
network, and reports of their agents back. The agent must have joined once: what is exported is
signed by the hub and sealed for the key of that one agent, so that a medium that is lost reveals
nothing and serves nobody else.

The files come from, and go to, the hub's gateway: it has to be reached from here. Who may change
the Cluster may export an update for it and hand in a report of it.`,
		Example: `  skerry bundle export ship-1 -o /media/ship-1.skerry
  skerry bundle import-report /media/ship-1-report.skerry`,
	}
	factory.Group(cmd)
	cmd.AddCommand(newCmdExport(f, runF), newCmdImportReport(f, runF))
	return cmd
}

func newCmdExport(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runExport
	}
	cmd := &cobra.Command{
		Use:   "export CLUSTER",
		Short: "Write what a cluster is to run into a file for its agent",
		Long: `Write what the hub wants on a cluster into one file: the Assignment and the bundles that it names.
The agent there takes it from a folder (--import-path) or by 'skerry-agent import'; it refuses, with
a reason and without changing anything, what is older than what it has, was made for another
cluster, hub or key, or was changed or cut off on its way.`,
		Example: `  skerry bundle export ship-1 -o /media/ship-1.skerry

  # There: hand it to the agent
  kubectl -n skerry-system exec -i deploy/skerry-agent -- /skerry-agent import - < /media/ship-1.skerry

  # The gateway cannot be reached from here by its own address
  kubectl -n skerry-system port-forward service/skerry-gateway 8443:443 &
  skerry bundle export ship-1 --gateway https://localhost:8443`,
		Args:              factory.OneName,
		ValidArgsFunction: f.CompleteName(func() client.ObjectList { return &v1alpha1.ClusterList{} }),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			if o.File == "" {
				o.File = o.Name + medium.Extension
			}
			if err := o.check(); err != nil {
				return err
			}
			return runF(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVarP(&o.File, "output", "o", "", "file to write; - for standard output (default: CLUSTER"+medium.Extension+")")
	addGatewayFlag(cmd, o)
	_ = cmd.MarkFlagFilename("output")
	return cmd
}

func newCmdImportReport(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runImportReport
	}
	cmd := &cobra.Command{
		Use:   "import-report FILE",
		Short: "Tell the hub what an agent without a link reports",
		Long: `Tell the hub what an agent without a link reports, from a file that 'skerry-agent report' wrote, or
the agent beside an update. The hub shows it as it shows any report, with its age: the cluster stays
unreachable. A report that is older than what the hub knows is refused, as is one of another
cluster or hub, and one that was changed or cut off.`,
		Example: `  # There: have the agent write a report
  kubectl -n skerry-system exec deploy/skerry-agent -- /skerry-agent report > /media/ship-1-report.skerry

  skerry bundle import-report /media/ship-1-report.skerry`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return factory.Usagef("%s needs one file", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.File = args[0]
			if err := o.check(); err != nil {
				return err
			}
			return runF(cmd.Context(), o)
		},
	}
	addGatewayFlag(cmd, o)
	return cmd
}

func addGatewayFlag(cmd *cobra.Command, o *Options) {
	cmd.Flags().StringVar(&o.Gateway, "gateway", "", "URL at which the hub's gateway is reached from here (default: the one of agents)")
}

func (o *Options) check() error {
	if u, err := url.Parse(o.Gateway); o.Gateway != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil) {
		return factory.Usagef("--gateway must be an https URL without credentials")
	}
	return nil
}

// runExport fetches an update and writes it into a file, which appears whole.
func runExport(ctx context.Context, o *Options) error {
	if o.File == "-" && o.IO.Columns != nil {
		return factory.Usagef("the file is not for a terminal: name one with --output, or redirect standard output")
	}
	ctx, cancel := o.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	g, err := openGateway(ctx, o, hub, client.ObjectKey{Namespace: o.Flags.Namespace, Name: o.Name})
	if err != nil {
		return err
	}
	defer g.close(ctx)
	body, err := g.fetchUpdate(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	var size int64
	write := func(to io.Writer) (err error) {
		if size, err = io.Copy(to, body); err != nil {
			return fmt.Errorf("the export was cut off: %w", err)
		}
		return nil
	}
	if o.File == "-" {
		return write(o.IO.Out)
	}
	if err := writeWhole(o.File, write); err != nil {
		return err
	}
	o.IO.Progressf("%s is written, %d KiB: it is sealed for the agent of %s, and serves no other", o.File, (size+1023)/1024, o.Name)
	return nil
}

// writeWhole makes a whole file appear at once.
func writeWhole(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	if err = errors.Join(write(f), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// runImportReport hands a report in for the Cluster that its label names.
func runImportReport(ctx context.Context, o *Options) error {
	ctx, cancel := o.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	f, err := os.Open(o.File)
	if err != nil {
		return fmt.Errorf("cannot read the report: %w", err)
	}
	defer f.Close()
	l, _, err := medium.ReadLabel(bufio.NewReader(f))
	if err != nil {
		return factory.Next(err, "name the file that '/skerry-agent report' has written there, or copy it once more")
	}
	namespace, name, _ := strings.Cut(l.Cluster, "/")
	if l.Kind != medium.KindReport {
		return factory.Next(fmt.Errorf("%s is no report, it is an update for the cluster %s", o.File, name), "the agent there takes it with 'skerry-agent import'")
	}
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	g, err := openGateway(ctx, o, hub, client.ObjectKey{Namespace: namespace, Name: name})
	if err != nil {
		return err
	}
	defer g.close(ctx)
	answer, err := g.sendReport(ctx, f)
	if err != nil {
		return err
	}
	o.IO.Progressf("the hub has the report of %s, made at %s by its clock: %d kustomizations, %d events", name, answer.Made.UTC().Format(time.RFC3339), answer.Entries, answer.Events)
	return nil
}

// openGateway writes a ticket onto the Cluster: who may change it may do this.
func openGateway(ctx context.Context, o *Options, hub *factory.Hub, key client.ObjectKey) (*gateway, error) {
	c := &v1alpha1.Cluster{}
	if err := o.GetCluster(ctx, hub, key.String(), c); err != nil {
		return nil, err
	}
	switch {
	case c.Spec.Agent == nil:
		return nil, factory.Next(fmt.Errorf("the cluster %s has no agent: the hub reaches it", key.Name), "media are for clusters that joined with 'skerry cluster join --agent'")
	case link.DecodeKey(c.Spec.Agent.PublicKey) == nil:
		return nil, factory.Next(fmt.Errorf("the agent of cluster %s has not joined yet: there is no key to seal for", key.Name), "let it reach the hub once")
	}
	e, err := factory.Gateway(ctx, hub, key.String(), o.Gateway)
	if err != nil {
		return nil, err
	}
	return newGateway(ctx, hub, c, e, o.Now())
}
