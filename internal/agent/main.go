package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
)

// On an edge memory is scarcer than time: garbage is collected when it is a quarter of what is in use, and
// harder when the heap comes near to memoryLimit. GOGC and GOMEMLIMIT override both.
const (
	gcPercent   = 25
	memoryLimit = 40 << 20
)

// Main is the program skerry-agent: it runs an agent until it is told to stop, and returns the exit code.
func Main(args []string, version string, stdout, stderr io.Writer) int {
	if command := commands[first(args)]; command != nil {
		return command(args[1:], stdout, stderr)
	}
	o := Defaults()
	flags := pflag.NewFlagSet("skerry-agent", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprintf(stderr, "Usage: skerry-agent [flags]\n%s\n%s", commandUsage, flags.FlagUsages()) }
	o.addFlags(flags)
	showVersion := flags.Bool("version", false, "print the version and exit")
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "skerry-agent:", err)
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "skerry-agent: unexpected argument %q\n", flags.Arg(0))
		return 2
	case *showVersion:
		fmt.Fprintln(stdout, "skerry-agent", version)
		return 0
	}
	if err := run(o, version, stderr); err != nil {
		fmt.Fprintln(stderr, "skerry-agent:", err)
		return 1
	}
	return 0
}

func run(o Options, version string, stderr io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	log, err := newLog(stderr, o.LogLevel)
	if err != nil {
		return err
	}
	o.Log, o.Version = log, version
	klog.SetLogger(log.WithName("client"))
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.Info("starting", "version", version)
	if err := Run(ctx, o); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}
