package agent

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"k8s.io/klog/v2"

	"github.com/skerry-dev/skerry/internal/program"
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
	return program.Program{
		Name: "skerry-agent", Version: version, Usage: commandUsage, AddFlags: o.addFlags, Run: func() error { return run(o, version, stderr) },
	}.Main(args, stdout, stderr)
}

func run(o Options, version string, stderr io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	log, err := program.NewLog(stderr, o.LogLevel)
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
