package factory

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// Group makes cmd a command that only holds others: alone it shows its help, and a command it does
// not have is an error.
func Group(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		err := Usagef("unknown command %q for %q", args[0], cmd.CommandPath())
		cmd.SuggestionsMinimumDistance = 2
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return Next(err, "did you mean '%s %s'?", cmd.CommandPath(), near[0])
		}
		return err
	}
}

// NoArgs refuses any argument.
func NoArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usagef("%s takes no arguments, and there is %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// OneName wants exactly one argument.
func OneName(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return Usagef("%s needs a name", cmd.CommandPath())
	case len(args) > 1:
		return Usagef("%s takes one name, and there is also %s", cmd.CommandPath(), strings.Join(quoted(args[1:]), ", "))
	}
	return nil
}

// SystemNamespaceOnly refuses -n for commands that work on the one namespace of the hub.
func (f *Factory) SystemNamespaceOnly() error {
	if f.Flags.Namespace != v1alpha1.SystemNamespace {
		return &UsageError{Err: fmt.Errorf("the hub lives in the namespace %s, so -n %s cannot be followed", v1alpha1.SystemNamespace, f.Flags.Namespace)}
	}
	return nil
}

// AddOutputFlag adds -o, which is "", "json" or "yaml", or one of the formats that the command has beside
// them. Anything else is refused when it is set.
func AddOutputFlag(cmd *cobra.Command, to *string, more ...string) {
	o := &output{to: to, formats: append([]string{"json", "yaml"}, more...)}
	cmd.Flags().VarP(o, "output", "o", "print as "+o.list()+" instead of text")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(o.formats, cobra.ShellCompDirectiveNoFileComp))
}

type output struct {
	to      *string
	formats []string
}

func (o *output) String() string { return *o.to }
func (o *output) Type() string   { return "format" }

func (o *output) Set(value string) error {
	if !slices.Contains(o.formats, value) {
		return fmt.Errorf("must be %s", o.list())
	}
	*o.to = value
	return nil
}

// list is "json, yaml or wide".
func (o *output) list() string {
	last := len(o.formats) - 1
	return strings.Join(o.formats[:last], ", ") + " or " + o.formats[last]
}
