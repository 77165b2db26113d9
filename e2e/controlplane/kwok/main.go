// Command skerry-kwok is sigs.k8s.io/kwok's controller: it plays the kubelet
// for nodes that do not exist, so that Nodes become ready, Pods run and finish,
// and whatever waits for them can be tested without a container engine.
//
// It has a main of its own because its flags clash with those of the
// Kubernetes programs, which register theirs for the whole process.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"sigs.k8s.io/kwok/pkg/config"
	kwok "sigs.k8s.io/kwok/pkg/kwok/cmd"
	"sigs.k8s.io/kwok/pkg/log"
	"sigs.k8s.io/kwok/pkg/utils/signals"

	"github.com/skerry-dev/skerry/e2e/controlplane/lifeline"
)

func main() {
	lifeline.Follow()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "skerry-kwok:", err)
		os.Exit(1)
	}
}

func run() error {
	// --config and -v are read before the command exists, because the
	// configuration file holds the defaults of the command's own flags.
	early := pflag.NewFlagSet("early", pflag.ContinueOnError)
	early.ParseErrorsAllowlist.UnknownFlags = true
	early.Usage = func() {}

	ctx, _ := log.InitFlags(signals.SetupSignalContext(), early)
	ctx, err := config.InitFlags(ctx, early)
	if err != nil {
		return fmt.Errorf("cannot read configuration: %w", err)
	}
	command := kwok.NewCommand(ctx)
	command.PersistentFlags().AddFlagSet(early)
	return command.ExecuteContext(ctx)
}
