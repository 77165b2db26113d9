package check

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChecks(t *testing.T) {
	whole := func(change func(*facts)) facts {
		f := facts{
			cli: "v0.3.0", host: "https://hub", server: "v1.37.2", wanted: []string{"a.skerry.dev", "b.skerry.dev"}, hub: true, hubVersion: "v0.3.0",
			kinds: []kindFacts{{name: "a.skerry.dev", version: "v0.3.0", established: true}, {name: "b.skerry.dev", version: "v0.3.0", established: true}},
		}
		change(&f)
		return f
	}
	const ok = "ok API server: Kubernetes v1.37.2 at https://hub\nok permissions: may install and bootstrap\n"
	const good = ok + "ok versions: command line v0.3.0, hub v0.3.0\nok kinds: 2 kinds of skerry.dev\nok hub: available\n"
	for name, tt := range map[string]struct {
		facts facts
		pre   bool
		want  string
	}{
		"whole":                  {whole(func(*facts) {}), false, ok + "ok versions: command line v0.3.0, hub v0.3.0\nok kinds: 2 kinds of skerry.dev\nok hub: available\n"},
		"before":                 {whole(func(f *facts) { f.hub, f.kinds = false, nil }), true, ok},
		"nothing there":          {whole(func(f *facts) { f.hub, f.kinds = false, nil }), false, ok + "failed kinds: the kinds of Skerry are not installed → 'skerry install' or 'skerry bootstrap git' installs them\n"},
		"a kind is missing":      {whole(func(f *facts) { f.kinds = f.kinds[:1] }), false, ok + "ok versions: command line v0.3.0, hub v0.3.0\nfailed kinds: missing: b.skerry.dev → run 'skerry bootstrap git' again, or 'skerry install'\nok hub: available\n"},
		"a kind is old":          {whole(func(f *facts) { f.kinds[1].version = "v0.2.0" }), false, ok + "ok versions: command line v0.3.0, hub v0.3.0\nfailed kinds: of another version than the hub: b.skerry.dev → run 'skerry bootstrap git' again, or 'skerry install'\nok hub: available\n"},
		"a kind is not served":   {whole(func(f *facts) { f.kinds[1].established = false }), false, ok + "ok versions: command line v0.3.0, hub v0.3.0\nfailed kinds: not established: b.skerry.dev → kubectl get crd b.skerry.dev -o yaml says why\nok hub: available\n"},
		"the hub is down":        {whole(func(f *facts) { f.hubProblem = "0 of 1 Pods are available" }), false, ok + "ok versions: command line v0.3.0, hub v0.3.0\nok kinds: 2 kinds of skerry.dev\nfailed hub: 0 of 1 Pods are available\n"},
		"outside of the cluster": {whole(func(f *facts) { f.hub, f.hubVersion = false, "" }), false, ok + "ok kinds: 2 kinds of skerry.dev\nwarning hub: there is no Deployment of the hub: it runs outside of this cluster, or not at all\n"},
		"older command line":     {whole(func(f *facts) { f.hubVersion = "v0.4.1" }), true, ok + "warning versions: the command line v0.3.0 is older than the hub v0.4.1: to install or bootstrap with it would take the hub back → use a command line of the hub's version\n"},
		"two versions newer":     {whole(func(f *facts) { f.cli, f.hubVersion = "v0.5.0", "v0.3.9" }), true, ok + "ok versions: command line v0.5.0, hub v0.3.9\n"},
		"too far apart":          {whole(func(f *facts) { f.cli, f.hubVersion = "v0.6.0", "v0.3.0" }), true, ok + "failed versions: command line v0.6.0 and hub v0.3.0 are more than two minor versions apart → upgrade the hub in steps of at most two minor versions\n"},
		"no release":             {whole(func(f *facts) { f.cli = "3f2a1b" }), true, ok + "warning versions: command line 3f2a1b, hub v0.3.0: one of them is no release, so that they cannot be compared\n"},
		"old server, no rights": {whole(func(f *facts) {
			f.hub, f.tooOld, f.tooOldNext, f.notAllowed, f.flux = false, "the API server is of Kubernetes v1.20.0", "Skerry needs 1.29.0 or newer", "these credentials may not patch namespaces", true
		}), true, "failed API server: the API server is of Kubernetes v1.20.0 → Skerry needs 1.29.0 or newer\nfailed permissions: these credentials may not patch namespaces\nwarning Flux: Flux is on this cluster too; what one of the two applies, the other must not\n"},
		"agents of the hub's version, and one that never reported": {whole(func(f *facts) {
			f.agents = []agentFacts{{"ship-1", "v0.3.0"}, {"ship-2", "v0.3.0"}, {"ship-3", ""}}
		}), false, good + "ok agents: 2 agents of the hub's version\n"},
		"agents that never reported": {whole(func(f *facts) { f.agents = []agentFacts{{"ship-1", ""}} }), false, good},
		"agents of other versions": {whole(func(f *facts) {
			f.cli, f.hubVersion, f.kinds[0].version, f.kinds[1].version = "v0.5.1", "v0.5.1", "v0.5.1", "v0.5.1"
			f.agents = []agentFacts{{"old", "v0.2.9"}, {"team/older", "v0.1.0"}, {"behind", "v0.3.0"}, {"new", "v0.5.2"}, {"dev", "3f2a1b"}, {"same", "v0.5.1"}}
		}), false, strings.ReplaceAll(good, "v0.3.0", "v0.5.1") +
			"failed agents: 2 agents more than two minor versions older than the hub v0.5.1: old (v0.2.9), team/older (v0.1.0) → upgrade them with the manifests of the hub's version: 'skerry cluster join NAME --agent' prints them, or applies them with --from-kubeconfig\n" +
			"failed agents: 1 agent newer than the hub v0.5.1: new (v0.5.2) → upgrade the hub first\n" +
			"warning agents: 1 agent not to be compared with the hub v0.5.1: dev (3f2a1b)\n" +
			"ok agents: 1 agent older than the hub v0.5.1, by no more than two minor versions: behind (v0.3.0)\n" +
			"ok agents: 1 agent of the hub's version\n"},
		"an agent of a hub outside of the cluster": {whole(func(f *facts) {
			f.hub, f.hubVersion, f.agents = false, "3f2a1b", []agentFacts{{"ship-1", "3f2a1b"}, {"ship-2", "v0.3.0"}}
		}), false, ok + "ok kinds: 2 kinds of skerry.dev\nwarning hub: there is no Deployment of the hub: it runs outside of this cluster, or not at all\n" +
			"warning agents: 1 agent not to be compared with the hub 3f2a1b: ship-2 (v0.3.0)\nok agents: 1 agent of the hub's version\n"},
		"an agent of a hub that is no release": {whole(func(f *facts) {
			f.cli, f.hubVersion, f.unlabelled, f.kinds[0].version, f.kinds[1].version, f.agents = "3f2a1b", "3f2a1b", true, "", "", []agentFacts{{"ship-1", "3f2a1b"}}
		}), false, ok + "warning versions: command line 3f2a1b, hub 3f2a1b: one of them is no release, so that they cannot be compared\n" +
			"ok kinds: 2 kinds of skerry.dev\nok hub: available\nok agents: 1 agent of the hub's version\n"},
		"may not see Clusters": {whole(func(f *facts) { f.agentsUnknown = true }), false, good + "warning agents: these credentials may not see the Clusters\n"},
		"may not look":         {whole(func(f *facts) { f.kindsUnknown, f.hubUnknown, f.hub = true, true, false }), false, ok + "warning kinds: these credentials may not see the kinds\nwarning hub: these credentials may not see the hub's Deployment\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			for _, r := range evaluate(tt.facts, tt.pre) {
				fmt.Fprintf(&got, "%s %s: %s", r.State, r.Check, r.Message)
				if r.Next != "" {
					got.WriteString(" → " + r.Next)
				}
				got.WriteByte('\n')
			}
			if diff := cmp.Diff(tt.want, got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
