// Command skerry-controlplane holds the programs of a Kubernetes control plane
// in one static binary: etcd, kube-apiserver, kube-controller-manager and
// kube-scheduler, each behind the subcommand of its name.
//
// It exists for Skerry's tests, demo and benchmarks, which run on real API
// servers without a container engine. It is not meant to run anything else.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	"github.com/skerry-dev/skerry/e2e/controlplane/lifeline"
)

// commands are constructors and not commands: two of these in one process set
// up the signal handler twice, which panics, so only the one asked for is made.
var commands = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	lifeline.Follow()
	name := os.Args[1]
	// What remains reads as if the program had been started by its own name.
	os.Args = append([]string{name}, os.Args[2:]...)

	if name == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	construct, ok := commands[name]
	if !ok {
		usage()
	}
	os.Exit(cli.Run(construct()))
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: skerry-controlplane etcd|kube-apiserver|kube-controller-manager|kube-scheduler [flags]")
	os.Exit(2)
}
