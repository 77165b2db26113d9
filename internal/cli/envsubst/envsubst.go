// Package envsubst is the command that substitutes variables of the environment in a text, as the hub does in
// manifests.
package envsubst

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/render"
)

// Options of the command.
type Options struct {
	*factory.Factory
	// Strict refuses variables without a value or default, as the hub does.
	Strict bool
	// Environ is the environment, as "NAME=value".
	Environ func() []string
}

// NewCmdEnvsubst returns the command; runF replaces what it runs, for tests.
func NewCmdEnvsubst(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f, Environ: os.Environ}
	if runF == nil {
		runF = run
	}
	cmd := &cobra.Command{
		Use:   "envsubst",
		Short: "Substitute variables of the environment in a text, as the hub does in manifests",
		Long: `Substitute variables of the environment in a text, as the hub does in manifests: from standard input
to standard output.

The expressions are the hub's: ${name}, ${name:=default}, ${name%suffix} and others of a shell, and
$${name} is the text ${name}. What differs is what the hub knows of an object and a text does not
tell: the hub keeps a value from becoming another key or another type, here it goes in as it is.

A variable that has neither a value nor a default becomes empty, and is named on standard error;
with --strict it is refused, as the hub refuses it.`,
		Example: `  region=north skerry envsubst < web.yaml

  # As the hub would: nothing is written when a variable has no value
  skerry envsubst --strict < web.yaml | kubectl apply -f -`,
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runF(cmd.Context(), o) },
	}
	cmd.Flags().BoolVar(&o.Strict, "strict", false, "refuse variables that have neither a value nor a default")
	return cmd
}

func run(_ context.Context, o *Options) error {
	text, err := io.ReadAll(o.IO.In)
	if err != nil {
		return fmt.Errorf("cannot read standard input: %w", err)
	}
	vars := map[string]string{}
	for _, pair := range o.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		vars[name] = value
	}
	out, missing, failed := render.Text(string(text), vars)
	switch {
	case failed != nil:
		return fmt.Errorf("%s: %s", failed.Reason, failed.Message)
	case len(missing) > 0 && o.Strict:
		return factory.Next(fmt.Errorf("no value: %s", strings.Join(missing, ", ")),
			"set it in the environment, give a default with ${%[1]s:=…}, or write $${%[1]s} to keep the text", missing[0])
	case len(missing) > 0:
		o.IO.Progressf("warning: empty, for want of a value: %s (the hub refuses that, as --strict does)", strings.Join(missing, ", "))
	}
	if _, err := io.WriteString(o.IO.Out, out); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}
