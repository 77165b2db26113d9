package main

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// options say what is measured, and how large.
type options struct {
	clusters    int
	grid        int
	only        string
	repetitions int
	idle        time.Duration
	quick       bool
	json        string
	keep        bool
	pprof       string
	hubArgs     string
	quiet       time.Duration // for which a hub has to be idle to count as idle
	progress    func(format string, args ...any)
}

func defaults() options {
	return options{clusters: 1000, grid: 50, repetitions: 3, idle: 2 * time.Minute, quiet: 3 * time.Second, progress: progress}
}

func (o *options) addFlags(f *flag.FlagSet) {
	f.IntVar(&o.clusters, "clusters", o.clusters, "clusters of the fleet")
	f.IntVar(&o.grid, "grid", o.grid, "Kustomizations, and clusters, of the first measure")
	f.StringVar(&o.only, "only", o.only, "measures to take, by their numbers in the list, separated by commas")
	f.IntVar(&o.repetitions, "repetitions", o.repetitions, "how often each commit is measured")
	f.DurationVar(&o.idle, "idle", o.idle, "how long to watch the hub do nothing")
	f.BoolVar(&o.quick, "quick", o.quick, "a tenth of the fleet, one repetition and a short idle: to see that everything runs")
	f.StringVar(&o.json, "json", o.json, "also write the results to this file")
	f.BoolVar(&o.keep, "keep", o.keep, "keep the logs of everything that ran")
	f.StringVar(&o.hubArgs, "hub-args", o.hubArgs, "more arguments for the hub, separated by spaces")
	f.StringVar(&o.pprof, "pprof", o.pprof, "folder that gets profiles of the hub and of its API server under each measure")
}

// wanted returns the measures to take by their numbers, and checks the options.
func (o *options) wanted() (map[int]bool, error) {
	if o.quick {
		o.clusters, o.grid, o.repetitions, o.idle = o.clusters/10, max(o.grid/10, 2), 1, min(o.idle, 20*time.Second)
	}
	if o.clusters < 10 || o.grid < 1 || o.repetitions < 1 {
		return nil, fmt.Errorf("--clusters must be at least 10, --grid and --repetitions at least 1")
	}
	wanted := map[int]bool{}
	for _, g := range groups {
		for _, m := range g.measures {
			wanted[m.number] = o.only == ""
		}
	}
	for word := range strings.SplitSeq(o.only, ",") {
		if word == "" {
			continue
		}
		n, err := strconv.Atoi(word)
		if _, there := wanted[n]; err != nil || !there {
			return nil, fmt.Errorf("--only: %q is no measure", word)
		}
		wanted[n] = true
	}
	return wanted, nil
}
