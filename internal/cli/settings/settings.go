// Package settings is the command that remembers which hub is meant when no flag names one, in a file of the
// user's.
package settings

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Key, Value string
	Output     string
}

// keys are what can be set.
var keys = []string{"context", "namespace"}

// NewCmdConfig returns the command; runF replaces what its subcommands run, for tests.
func NewCmdConfig(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Remember which hub and namespace are meant",
		Long: `Remember which hub and namespace are meant when no flag names them: a context of the kubeconfig, and
a namespace. They are kept in ~/.config/skerry/config.yaml (XDG_CONFIG_HOME is followed), or in the
file that SKERRY_CONFIG names. --context, --kubeconfig, --namespace and SKERRY_NAMESPACE override
them.`,
		Example: `  # The context of the hub, whatever kubectl's current one is
  skerry config set context hub
  skerry config set namespace team-a
  skerry config view`,
	}
	factory.Group(cmd)
	set := &cobra.Command{
		Use: "set KEY VALUE", Short: "Set context or namespace", Example: "  skerry config set context hub",
		Args:              exactly(2, "a key and a value"),
		ValidArgsFunction: cobra.FixedCompletions(keys, cobra.ShellCompDirectiveNoFileComp),
	}
	unset := &cobra.Command{
		Use: "unset KEY", Short: "Forget context or namespace", Example: "  skerry config unset context",
		Args:              exactly(1, "a key"),
		ValidArgsFunction: cobra.FixedCompletions(keys, cobra.ShellCompDirectiveNoFileComp),
	}
	view := &cobra.Command{Use: "view", Short: "Show what is remembered", Example: "  skerry config view", Args: factory.NoArgs}
	for _, c := range []*cobra.Command{set, unset} {
		o := &Options{Factory: f}
		run := runF
		if run == nil {
			run = runSet
		}
		c.RunE = func(cmd *cobra.Command, args []string) error {
			o.Key = args[0]
			if len(args) > 1 {
				o.Value = args[1]
			}
			if cmd == set && o.Value == "" {
				return factory.Usagef("a value is missing; 'skerry config unset %s' forgets it", o.Key)
			}
			return run(cmd.Context(), o)
		}
	}
	o := &Options{Factory: f}
	view.RunE = func(cmd *cobra.Command, _ []string) error {
		if runF != nil {
			return runF(cmd.Context(), o)
		}
		return runView(o)
	}
	factory.AddOutputFlag(view, &o.Output)
	cmd.AddCommand(set, unset, view)
	return cmd
}

func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return factory.Usagef("%s takes %s", cmd.CommandPath(), what)
		}
		return nil
	}
}

// runSet writes one key; without a value it is taken out.
func runSet(_ context.Context, o *Options) error {
	if !slices.Contains(keys, o.Key) {
		return factory.Usagef("there is no key %q, but %s", o.Key, strings.Join(keys, " and "))
	}
	file, settings, err := o.Settings()
	if err != nil {
		return err
	}
	if file == "" {
		return factory.Next(errors.New("there is no home to keep settings in"), "name a file with SKERRY_CONFIG")
	}
	if o.Key == "context" {
		settings.Context = o.Value
	} else {
		if problems := validation.IsDNS1123Label(o.Value); o.Value != "" && len(problems) > 0 {
			return factory.Usagef("%q cannot be a namespace: %s", o.Value, problems[0])
		}
		settings.Namespace = o.Value
	}
	doc, err := settings.Encode()
	if err != nil {
		return err
	}
	if err := write(file, doc); err != nil {
		return err
	}
	if o.Value == "" {
		o.IO.Progressf("%s is forgotten, in %s", o.Key, file)
	} else {
		o.IO.Progressf("%s is %s from now on, in %s; flags and SKERRY_NAMESPACE come before it", o.Key, o.Value, file)
	}
	return nil
}

// write replaces the file at once, so that no other command reads half of it.
func write(file string, doc []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("cannot make the folder of the settings: %w", err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(file), ".config-*")
	if err != nil {
		return fmt.Errorf("cannot write the settings: %w", err)
	}
	defer func() {
		if e := os.Remove(temporary.Name()); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	_, err = temporary.Write(doc)
	if err = errors.Join(err, temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("cannot write the settings: %w", err)
	}
	return nil
}

func runView(o *Options) error {
	_, settings, err := o.Settings()
	if err != nil {
		return err
	}
	if o.Output == "json" {
		return factory.Print(o.IO.Out, "json", settings)
	}
	return factory.Print(o.IO.Out, "yaml", settings)
}
