// Package cli is the command line: it puts the commands together and turns what comes of them into
// an exit code.
package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// Main runs the command line of the process and returns its exit code.
func Main(version string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The second Ctrl-C ends the process at once.
	context.AfterFunc(ctx, stop)
	// What the libraries log is not for the person at the terminal.
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	f := factory.New(version, os.Getenv)
	plugin, args := calledAs(os.Args[0], os.Args[1:])
	if plugin {
		bePlugin(f)
	}
	return Run(ctx, f, args)
}

// Run runs one command line and returns its exit code.
func Run(ctx context.Context, f *factory.Factory, args []string) int {
	root, started := newRoot(f) //nolint:contextcheck // commands get theirs from ExecuteContextC
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !started() && !errors.Is(err, pflag.ErrHelp) {
		err = &factory.UsageError{Err: err}
	}
	// What a cut-off context leaves behind is reported as what it is, whatever was in the way of it.
	if err != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		err = factory.Interrupted(interruptionOf(cmd))
	}
	return factory.Report(f.IO, cmd.CommandPath(), outputOf(cmd), err)
}

// outputOf returns what -o of a command was set to; "" when it has none.
func outputOf(cmd *cobra.Command) string {
	if o := cmd.Flags().Lookup("output"); o != nil {
		return o.Value.String()
	}
	return ""
}

// Root returns the commands of a process that runs none of them: for what is generated from them.
func Root(f *factory.Factory) *cobra.Command {
	root, _ := newRoot(f)
	return root
}
