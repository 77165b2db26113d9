// Command benchagents measures the agent on a real API server, with a real hub and a counted link between: its
// resident memory with 500 objects of 10 kinds, steady and during a change of all of them, drift, the time of a
// start from the disk, and what an idle agent costs the link.
//
// With --agents it measures a hub with so many agents in its place: what the hub keeps for each, one commit to all of
// them, and the return of all after a restart of the hub. Hub, API server, etcd and Git server are real processes; all
// agents are in the process of the benchmark, on the same processors.
//   - Real of each agent is all of internal/agent: joining, TLS and HTTP/2 to the gateway, proofs and signatures, the
//     stream, reports, downloads by digest, its disk (in memory where there is /dev/shm), its lease, its waits.
//   - Of the first --engines of them, the engine is real as well, on a simulated edge (e2e/fleetsim).
//   - Of all others a stand-in is in the place of the engine, and a map in that of the edge's API server. It reads the
//     bundle from the agent's disk and reports all of its objects applied and ready after --edge-time, in one report, as
//     the engine does of a pass that is shorter than 400 ms. It sends no request, and has no drift. Thousands of
//     engines have thousands of machines where there are thousands of edges, and here they would share two cores with
//     the hub.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/skerry-dev/skerry/e2e/bench/figures"
)

type options struct {
	objects, drifts int
	idle            time.Duration

	agents, engines, repetitions int
	edgeTime                     time.Duration
	only, json, pprof            string
	keep                         bool

	settle   time.Duration // for which a hub has to have nothing to do to count as quiet
	steady   time.Duration // after which agents take the end of a session for a short loss
	progress func(format string, args ...any)
}

func defaults() options {
	return options{
		objects: 500, drifts: 20, idle: time.Minute, engines: 100, repetitions: 2, edgeTime: 300 * time.Millisecond, progress: progress,
		settle: 5 * time.Second, steady: 65 * time.Second,
	}
}

func (o *options) addFlags(f *flag.FlagSet) {
	f.IntVar(&o.objects, "objects", o.objects, "objects of the one agent, of ten kinds")
	f.IntVar(&o.drifts, "drifts", o.drifts, "how many objects are changed by hand")
	f.DurationVar(&o.idle, "idle", o.idle, "how long to watch the agent, or the hub, do nothing")
	f.IntVar(&o.agents, "agents", o.agents, "measure a hub with so many agents, in place of one agent")
	f.IntVar(&o.engines, "engines", o.engines, "how many of them have a real engine")
	f.IntVar(&o.repetitions, "repetitions", o.repetitions, "how often the commit is measured")
	f.DurationVar(&o.edgeTime, "edge-time", o.edgeTime, "how long a stand-in for an engine takes to apply a commit")
	f.StringVar(&o.only, "only", o.only, "measures to take of a hub with many agents, separated by commas: memory, commit, restart (default: all)")
	f.StringVar(&o.json, "json", o.json, "also write the results of a hub with many agents to this file")
	f.StringVar(&o.pprof, "pprof", o.pprof, "folder that gets profiles of the hub and of its API server")
	f.BoolVar(&o.keep, "keep", o.keep, "keep the logs of everything that ran")
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05")+"  "+format+"\n", args...)
}

func main() {
	o := defaults()
	o.addFlags(flag.CommandLine)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.agents == 0 {
		if err := measureOne(ctx, o); err != nil {
			fmt.Fprintln(os.Stderr, "benchagents:", err)
			os.Exit(1)
		}
		return
	}
	table, err := measureMany(ctx, o)
	if table != nil {
		if perr := table.Print(os.Stdout); err == nil {
			err = perr
		}
	}
	if err == nil && o.json != "" {
		err = figures.WriteJSON(o.json, table)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchagents:", err)
		os.Exit(2)
	}
	if missed := table.Missed(); missed > 0 {
		fmt.Printf("\n%d targets missed\n", missed)
		os.Exit(1)
	}
	fmt.Println("\nall targets met")
}
