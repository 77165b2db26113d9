package cli

import (
	"context"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// TestInterruptedCommandsSayWhatGoesOn: a command that only reads leaves nothing behind, and says nothing of it.
func TestInterruptedCommandsSayWhatGoesOn(t *testing.T) {
	for args, want := range map[string]string{
		"status --watch":             "interrupted\n",
		"get clusters --watch":       "interrupted\n",
		"reconcile source fleet":     "interrupted; " + hubContinues + "\n",
		"cluster remove shop-1":      "interrupted; " + rerunHint + "\n",
		"rollout status web --watch": "interrupted; the rollout goes on unwatched\n",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		f := factory.New("v0.0.0-test", func(string) string { return "" })
		streams, _, _, errOut := iostreams.Test()
		f.IO, f.Hub = streams, func() (*factory.Hub, error) { return nil, ctx.Err() }
		if code := Run(ctx, f, append([]string{"--kubeconfig", "/nonexistent"}, strings.Fields(args)...)); code != factory.ExitInterrupted || errOut.String() != want {
			t.Errorf("%s: exit code %d, %q; want %q", args, code, errOut, want)
		}
	}
}

// TestWhatGoesOnIsOfACommandThatIsThere: no entry outlives its command.
func TestWhatGoesOnIsOfACommandThatIsThere(t *testing.T) {
	known := map[string]bool{}
	for _, plugin := range []bool{false, true} {
		f := factory.New("", func(string) string { return "" })
		f.Plugin = plugin
		eachCommand(Root(f), func(cmd *cobra.Command) { known[pathBelowRoot(cmd)] = true })
		for path := range onInterrupt {
			if !known[path] {
				t.Errorf("there is no command %q (plugin: %v)", path, plugin)
			}
		}
	}
}
