package cli

import (
	"context"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

func TestCommandLineMistakes(t *testing.T) {
	tests := map[string]struct {
		args string
		want []string
	}{
		"unknown command":       {"instal", []string{`error: unknown command "instal" for "skerry"`, "next: did you mean 'skerry install'?"}},
		"unknown subcommand":    {"cluster jion x", []string{`unknown command "jion" for "skerry cluster"`, "did you mean 'skerry cluster join'?"}},
		"unknown flag":          {"status --al-namespaces", []string{"unknown flag: --al-namespaces", "did you mean --all-namespaces?"}},
		"unknown short flag":    {"status -z", []string{"unknown shorthand flag: 'z' in -z", "see 'skerry status --help'"}},
		"extra argument":        {"install now", []string{`skerry install takes no arguments, and there is "now"`, "see 'skerry install --help'"}},
		"bad duration":          {"status --timeout soon", []string{`invalid argument "soon" for "--timeout" flag`}},
		"missing name":          {"cluster join", []string{"skerry cluster join needs a name"}},
		"two to remove":         {"cluster remove a b", []string{`skerry cluster remove takes one name, and there is also "b"`}},
		"remove in what way":    {"cluster remove a --deletion-policy explode", []string{"--deletion-policy must be delete, orphan or abandon"}},
		"remove the hub":        {"cluster remove hub", []string{"the cluster hub is the hub's own"}},
		"two names":             {"reconcile source a b", []string{`skerry reconcile source takes one name, and there is also "b"`}},
		"another namespace":     {"install -n team", []string{"the hub lives in the namespace skerry-system, so -n team cannot be followed"}},
		"bad hub id":            {"install --export --hub-id a/b", []string{`--hub-id "a/b" must be`}},
		"completion of nothing": {"completion bash zsh", []string{"unknown command"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { run(t, "", "", strings.Fields(tt.args)...).want(t, factory.ExitUsage, tt.want...) })
	}
}

func TestNoClusterToAsk(t *testing.T) {
	run(t, "", "", "status").want(t, factory.ExitFailed, "cannot find the hub's cluster", "next: name a kubeconfig")
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	runWith(ctx, "", "", nil, "status").want(t, factory.ExitInterrupted, "interrupted")
}

// TestEveryCommandHasHelpWithAnExample, and no text that a terminal of 130 columns would wrap.
func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	streams, _, _, _ := iostreams.Test()
	f := factory.New("", func(string) string { return "" })
	f.IO = streams
	root, _ := newRoot(f)
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" && !cmd.IsAdditionalHelpTopicCommand() {
			t.Errorf("%s lacks a short help or an example", cmd.CommandPath())
		}
		for line := range strings.SplitSeq(cmd.Long+"\n"+cmd.Example, "\n") {
			if len([]rune(line)) > 130 {
				t.Errorf("%s: a line of its help is too long: %q", cmd.CommandPath(), line)
			}
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(root)
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := run(t, "", "", "completion", shell)
		r.want(t, factory.ExitOK)
		if !strings.Contains(r.out, "skerry") {
			t.Errorf("%s: %q", shell, r.out)
		}
	}
}
