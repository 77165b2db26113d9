package factory

import (
	"fmt"
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

// AddOutputFlag adds -o, which is "", "json" or "yaml". Anything else is refused when it is set.
func AddOutputFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().VarP((*output)(to), "output", "o", "print as json or yaml instead of text")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
}

type output string

func (o *output) String() string { return string(*o) }
func (o *output) Type() string   { return "format" }

func (o *output) Set(value string) error {
	if value != "json" && value != "yaml" {
		return fmt.Errorf("must be json or yaml")
	}
	*o = output(value)
	return nil
}
