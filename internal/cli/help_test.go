package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// TestHelpFitsIntoATerminal: what is to be copied, and a word that is longer than a line, may be wider.
func TestHelpFitsIntoATerminal(t *testing.T) {
	const columns = 80
	eachCommand(Root(factory.New("", func(string) string { return "" })), func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		streams, _, out, _ := iostreams.Test()
		streams.Columns = func() int { return columns }
		f := factory.New("v0.0.0-test", func(string) string { return "" })
		f.IO = streams
		args := append(strings.Fields(pathBelowRoot(cmd)), "--help")
		if !cmd.HasParent() {
			args = []string{"--help"}
		}
		if code := Run(t.Context(), f, args); code != factory.ExitOK {
			t.Errorf("%v: exit code %d", args, code)
		}
		text, examples, _ := strings.Cut(out.String(), "\nExamples:\n")
		_, lists, _ := strings.Cut(examples, "\n\nFlags:\n")
		for line := range strings.Lines(text + lists) {
			if line = strings.TrimRight(line, "\n"); iostreams.Width(line) > columns && !strings.HasPrefix(line, "  "+cmd.Root().Name()) && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("%v: %s", args, line)
			}
		}
	})
}

func TestHelpIsWrappedWhereItMayBe(t *testing.T) {
	in := `Prose that is wrapped in its source at
some column or other.

  table  of two columns

Examples:
  skerry a-command-that --is rather-long --and to-be copied
Flags:
      --flag string   what it is, at some length
  -o, --output        short
`
	want := `Prose that is wrapped in its source at
some column or other.

  table  of two columns

Examples:
  skerry a-command-that --is rather-long --and to-be copied
Flags:
      --flag string   what it is, at some
                      length
  -o, --output        short
`
	if diff := cmp.Diff(want, fitted(in, 42)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
