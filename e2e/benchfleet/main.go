// Command benchfleet measures a hub with a fleet: the real hub, API server, etcd and Git server, and
// simulated edges (e2e/fleetsim) in a process of their own, so that memory and processor time are
// told apart. Everything shares the machine.
//
// A push is announced by the annotation that `skerry reconcile source` sets and a webhook would; the
// clock starts before it. That a cluster has a commit is seen at the edge: the answer to the write of
// the last of its objects. That all clusters are ready is what the Kustomization on the hub says,
// health included. What each figure is stands at the top of its file.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/skerry-dev/skerry/e2e/bench/figures"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
	"github.com/skerry-dev/skerry/internal/testkit/simulator"
)

func main() {
	o := defaults()
	o.addFlags(flag.CommandLine)
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "benchfleet: takes no arguments, has %q\n", flag.Args())
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	tables, err := run(ctx, o)
	missed := 0
	for _, t := range tables {
		if perr := t.Print(os.Stdout); err == nil {
			err = perr
		}
		missed += t.Missed()
	}
	if o.json != "" && err == nil {
		err = figures.WriteJSON(o.json, tables)
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "benchfleet:", err)
		os.Exit(2)
	case missed > 0:
		fmt.Printf("\n%d targets missed\n", missed)
		os.Exit(1)
	}
	fmt.Println("\nall targets met")
}

// run measures what was asked for. It returns what it has measured also when it fails.
func run(ctx context.Context, o options) ([]*figures.Table, error) {
	wanted, err := o.wanted()
	if err != nil {
		return nil, err
	}
	rig.SweepDirs(os.TempDir(), dirPrefix)
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program, err := simulator.Build(ctx, dir)
	if err != nil {
		return nil, err
	}
	var tables []*figures.Table
	for _, g := range groups {
		var todo []measure
		for _, m := range g.measures {
			if wanted[m.number] {
				todo = append(todo, m)
			}
		}
		if len(todo) == 0 {
			continue
		}
		table := &figures.Table{Title: g.title(o)}
		tables = append(tables, table)
		if err := inWorld(ctx, o, program, g.edges(o), table, todo); err != nil {
			return tables, err
		}
	}
	return tables, nil
}
