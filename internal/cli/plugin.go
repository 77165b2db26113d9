package cli

import (
	"bytes"
	"io"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// The names under which kubectl starts the program: as a plugin, and to complete a plugin's command line.
const (
	pluginFile    = "kubectl-skerry"
	completerFile = "kubectl_complete-skerry"

	pluginName = "kubectl skerry"
)

// calledAs returns the arguments of a process that was started under a name, and whether kubectl starts it so.
func calledAs(program string, args []string) (plugin bool, _ []string) {
	switch strings.TrimSuffix(filepath.Base(program), ".exe") {
	case pluginFile:
		return true, args
	case completerFile:
		return true, append([]string{cobra.ShellCompRequestCmd}, args...)
	}
	return false, args
}

// bePlugin lets the texts on standard error name commands as a person who uses kubectl types them.
func bePlugin(f *factory.Factory) {
	f.Plugin = true
	f.IO.Err = renaming{f.IO.Err}
}

// renaming writes commands in quotes, as in "'skerry status' tells more", with the plugin's name.
type renaming struct{ io.Writer }

func (w renaming) Write(p []byte) (int, error) {
	if _, err := w.Writer.Write(bytes.ReplaceAll(p, []byte("'skerry "), []byte("'"+pluginName+" "))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// renameCommands lets every help text name commands as the plugin's.
func renameCommands(root *cobra.Command) {
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: pluginName}
	root.CompletionOptions.DisableDefaultCmd = true // kubectl completes its plugins by itself
	names := []string{"help", "--"}
	for _, cmd := range root.Commands() {
		names = append(names, cmd.Name())
	}
	ours := regexp.MustCompile(`\bskerry (` + strings.Join(names, "|") + `)`)
	rename := func(text *string) { *text = ours.ReplaceAllString(*text, pluginName+" $1") }
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		rename(&cmd.Long)
		rename(&cmd.Example)
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { rename(&f.Usage) })
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(root)
}
