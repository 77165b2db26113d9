// The program fleetsim simulates edge clusters until it is told to stop. It says what it did as one
// line of JSON once all edges answer.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/skerry-dev/skerry/e2e/fleetsim"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleetsim:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	edges := flag.Int("edges", 100, "how many edges")
	dir := flag.String("dir", "", "folder for the kubeconfigs, edge-0000.kubeconfig and so on; none when empty")
	control := flag.String("control", "127.0.0.1:0", "address of the control endpoint")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flag.Arg(0))
	}

	begin := time.Now()
	f, err := fleetsim.Start(ctx, fleetsim.Options{Edges: *edges, Dir: *dir})
	if err != nil {
		return err
	}
	defer f.Stop()
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", *control)
	if err != nil {
		return fmt.Errorf("cannot listen for control: %w", err)
	}
	server := &http.Server{Handler: f.Control(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	defer server.Close()

	err = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"edges": *edges, "control": "http://" + l.Addr().String(), "dir": *dir, "pid": os.Getpid(),
		"startMilliseconds": time.Since(begin).Milliseconds(),
	})
	if err != nil {
		return fmt.Errorf("cannot say that it runs: %w", err)
	}
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	return errors.Join(err, f.Err())
}
