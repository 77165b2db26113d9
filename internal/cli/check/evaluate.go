package check

import (
	"fmt"
	"slices"
	"strings"

	utilversion "k8s.io/apimachinery/pkg/util/version"

	"github.com/skerry-dev/skerry/internal/cli/preflight"
	"github.com/skerry-dev/skerry/internal/text"
)

// State is how a check went.
type State string

// States.
const (
	Good     State = "ok"
	Doubtful State = "warning" // it works, or is not known
	Bad      State = "failed"
)

// Result is one check.
type Result struct {
	Check   string `json:"check"`
	State   State  `json:"state"`
	Message string `json:"message"`
	Next    string `json:"next,omitempty"`
}

// facts are what is evaluated.
type facts struct {
	cli, host                  string
	server                     string
	tooOld, tooOldNext         string
	notAllowed, notAllowedNext string
	flux                       bool
	wanted                     []string
	kinds                      []kindFacts
	kindsUnknown               bool
	hub, hubUnknown            bool
	hubVersion, hubProblem     string
	// unlabelled is set when hubVersion is the one that the hub reports itself: its Deployment has no label with a version, and
	// neither have the kinds that came with it.
	unlabelled    bool
	agents        []agentFacts
	agentsUnknown bool
}

// agentFacts is the agent of one Cluster, named as the user would; version is "" for one that has never reported.
type agentFacts struct{ cluster, version string }

type kindFacts struct {
	name, version string
	established   bool
	stored        []string
}

// evaluate returns what is right and what is not. pre leaves out the hub that is there, except where an upgrade
// would not work.
func evaluate(f facts, pre bool) []Result {
	out := []Result{{Check: "API server", State: Good, Message: fmt.Sprintf("Kubernetes %s at %s", f.server, f.host)}}
	if f.tooOld != "" {
		out[0] = Result{"API server", Bad, f.tooOld, f.tooOldNext}
	}
	if f.notAllowed != "" {
		out = append(out, Result{"permissions", Bad, f.notAllowed, f.notAllowedNext})
	} else {
		out = append(out, Result{Check: "permissions", State: Good, Message: "may install and bootstrap"})
	}
	if f.flux {
		out = append(out, Result{"Flux", Doubtful, "Flux is on this cluster too; what one of the two applies, the other must not", ""})
	}
	out = append(out, skew(f)...)
	if pre {
		return out
	}
	return append(append(out, installed(f)...), agents(f)...)
}

// skew compares versions: hub and command line go together across two minor versions, and neither is to meet
// kinds that are newer than the hub.
func skew(f facts) []Result {
	if !f.hub || f.hubVersion == "" {
		return nil
	}
	cli, err := utilversion.ParseSemantic(f.cli)
	hub, err2 := utilversion.ParseSemantic(f.hubVersion)
	if err != nil || err2 != nil {
		return []Result{{"versions", Doubtful, fmt.Sprintf("command line %s, hub %s: one of them is no release, so that they cannot be compared", f.cli, f.hubVersion), ""}}
	}
	switch {
	case cli.Major() != hub.Major() || apart(cli.Minor(), hub.Minor()) > preflight.MinorsApart:
		next := "upgrade the hub in steps of at most two minor versions"
		if cli.LessThan(hub) {
			next = "use a command line of the hub's version"
		}
		return []Result{{"versions", Bad, fmt.Sprintf("command line %s and hub %s are more than two minor versions apart", f.cli, f.hubVersion), next}}
	case cli.LessThan(hub):
		return []Result{{"versions", Doubtful, fmt.Sprintf("the command line %s is older than the hub %s: to install or bootstrap with it would take the hub back", f.cli, f.hubVersion), "use a command line of the hub's version"}}
	}
	return []Result{{Check: "versions", State: Good, Message: fmt.Sprintf("command line %s, hub %s", f.cli, f.hubVersion)}}
}

// agents compares the versions of agents with that of the hub: they go together across two minor versions, and the
// hub is upgraded first.
func agents(f facts) []Result {
	if f.agentsUnknown {
		return []Result{{"agents", Doubtful, "these credentials may not see the Clusters", ""}}
	}
	hub, err := utilversion.ParseSemantic(f.hubVersion)
	var tooOld, newer, behind, unclear []string
	same, known := 0, 0
	for _, a := range f.agents {
		if a.version == "" {
			continue
		}
		known++
		agent, err2 := utilversion.ParseSemantic(a.version)
		named := a.cluster + " (" + a.version + ")"
		switch {
		case err != nil || err2 != nil:
			if a.version == f.hubVersion {
				same++
			} else {
				unclear = append(unclear, named)
			}
		case hub.LessThan(agent):
			newer = append(newer, named)
		case agent.Major() != hub.Major() || apart(agent.Minor(), hub.Minor()) > preflight.MinorsApart:
			tooOld = append(tooOld, named)
		case agent.LessThan(hub):
			behind = append(behind, named)
		default:
			same++
		}
	}
	if known == 0 {
		return nil
	}
	var out []Result
	add := func(state State, names []string, what, next string) {
		if len(names) > 0 {
			out = append(out, Result{"agents", state, fmt.Sprintf("%s %s: %s", text.Count(len(names), "agent"), what, several(names)), next})
		}
	}
	add(Bad, tooOld, "more than two minor versions older than the hub "+f.hubVersion, "upgrade them with the manifests of the hub's version: 'skerry cluster join NAME --agent' prints them, or applies them with --from-kubeconfig")
	add(Bad, newer, "newer than the hub "+f.hubVersion, "upgrade the hub first")
	add(Doubtful, unclear, "not to be compared with the hub "+orNone(f.hubVersion), "")
	add(Good, behind, "older than the hub "+f.hubVersion+", by no more than two minor versions", "")
	if same > 0 {
		out = append(out, Result{Check: "agents", State: Good, Message: text.Count(same, "agent") + " of the hub's version"})
	}
	return out
}

// several names at most five.
func several(names []string) string {
	if len(names) > 5 {
		names = append(slices.Clone(names[:5]), fmt.Sprintf("and %d more", len(names)-5))
	}
	return strings.Join(names, ", ")
}

func orNone(version string) string {
	if version == "" {
		return "of an unknown version"
	}
	return version
}

func apart(a, b uint) uint {
	if a > b {
		return a - b
	}
	return b - a
}

const reinstall = "run 'skerry bootstrap git' again, or 'skerry install'"

func installed(f facts) []Result {
	var out []Result
	switch {
	case f.kindsUnknown:
		out = append(out, Result{"kinds", Doubtful, "these credentials may not see the kinds", ""})
	case len(f.kinds) == 0:
		return append(out, Result{"kinds", Bad, "the kinds of Skerry are not installed", "'skerry install' or 'skerry bootstrap git' installs them"})
	default:
		out = append(out, kinds(f))
	}
	switch {
	case f.hubUnknown:
		out = append(out, Result{"hub", Doubtful, "these credentials may not see the hub's Deployment", ""})
	case !f.hub:
		out = append(out, Result{"hub", Doubtful, "there is no Deployment of the hub: it runs outside of this cluster, or not at all", ""})
	case f.hubProblem != "":
		out = append(out, Result{"hub", Bad, f.hubProblem, ""})
	default:
		out = append(out, Result{Check: "hub", State: Good, Message: "available"})
	}
	return out
}

func kinds(f facts) Result {
	var missing, old, broken []string
	for _, name := range f.wanted {
		i := slices.IndexFunc(f.kinds, func(k kindFacts) bool { return k.name == name })
		switch {
		case i < 0:
			missing = append(missing, name)
		case !f.kinds[i].established:
			broken = append(broken, name)
		case f.hub && f.hubVersion != "" && !f.unlabelled && f.kinds[i].version != f.hubVersion:
			old = append(old, name)
		}
	}
	switch {
	case len(missing) > 0:
		return Result{"kinds", Bad, "missing: " + strings.Join(missing, ", "), reinstall}
	case len(broken) > 0:
		return Result{"kinds", Bad, "not established: " + strings.Join(broken, ", "), "kubectl get crd " + broken[0] + " -o yaml says why"}
	case len(old) > 0:
		return Result{"kinds", Bad, "of another version than the hub: " + strings.Join(old, ", "), reinstall}
	}
	return Result{Check: "kinds", State: Good, Message: text.Count(len(f.kinds), "kind") + " of skerry.dev"}
}
