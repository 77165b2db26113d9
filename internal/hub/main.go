package hub

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/skerry-dev/skerry/internal/isolate"
	"github.com/skerry-dev/skerry/internal/program"
)

// Main is the program skerry-hub: it runs a hub until it is told to stop, and returns the exit code.
func Main(args []string, version string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == renderCommand {
		return isolate.Main(args[1:], os.Stdin, stdout, stderr)
	}
	o := Defaults()
	o.RenderCommand, o.Registry = []string{ownProgram(), renderCommand}, ctrlmetrics.Registry
	return program.Program{
		Name: "skerry-hub", Version: version, AddFlags: o.addFlags, Run: func() error { return run(o, version, stderr) },
	}.Main(args, stdout, stderr)
}

// renderCommand is the argument by which the hub starts itself to render in a process of its own.
const renderCommand = "render"

// ownProgram returns the program that runs, also after its file was replaced.
func ownProgram() string {
	const running = "/proc/self/exe"
	if _, err := os.Stat(running); err == nil {
		return running
	}
	file, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return file
}

// pings are how soon a connection to the hub's own API server that brings nothing is asked for a sign of
// life, and how long that may take, in seconds: client-go's 30 and 15 are how long the loss of packets
// would go unnoticed. Connections to edges have limits of their own.
var pings = map[string]string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS": "10", "HTTP2_PING_TIMEOUT_SECONDS": "5"}

func run(o Options, version string, stderr io.Writer) error {
	forbidCoreDumps()
	log, err := program.NewLog(stderr, o.LogLevel)
	if err != nil {
		return err
	}
	o.Log, o.Version = log, version
	ctrllog.SetLogger(log)
	klog.SetLogger(log.WithName("client"))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.Info("starting", "version", version)
	// What an informer tells a controller runs in client-go's goroutines. A panic there is logged and the
	// one event skipped, instead of ending the hub.
	utilruntime.ReallyCrash = false
	for name, value := range pings {
		if os.Getenv(name) == "" {
			_ = os.Setenv(name, value) // client-go has no other way to set them
		}
	}
	go collectAtRest(ctx, os.Getenv("GOGC") == "")
	if err := Run(ctx, o); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}
