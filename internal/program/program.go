// Package program is what the programs of the hub and the agent have in common: their flags, their exit codes
// and their logs.
package program

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
)

// Program runs until it is told to stop.
type Program struct {
	Name, Version string
	// Usage stands between the first line of the help and the flags; it ends with a line break.
	Usage string
	// AddFlags adds its flags to a set.
	AddFlags func(*pflag.FlagSet)
	// Run runs it, once the flags are read. Its error is shown.
	Run func() error
}

// Main reads the arguments and runs the program. It returns the exit code: 0, 1 when it failed, and 2 when the
// arguments are wrong.
func (p Program) Main(args []string, stdout, stderr io.Writer) int {
	flags := pflag.NewFlagSet(p.Name, pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprintf(stderr, "Usage: %s [flags]\n%s\n%s", p.Name, p.Usage, flags.FlagUsages()) }
	p.AddFlags(flags)
	showVersion := flags.Bool("version", false, "print the version and exit")
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "%s: unexpected argument %q\n", p.Name, flags.Arg(0))
		return 2
	case *showVersion:
		fmt.Fprintln(stdout, p.Name, p.Version)
		return 0
	}
	if err := p.Run(); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return 1
	}
	return 0
}

// NewLog returns a log that writes JSON, a line for each record of a level (debug, info, warn, error) and above.
func NewLog(to io.Writer, level string) (logr.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return logr.Logger{}, fmt.Errorf("--log-level: %q is none of debug, info, warn, error", level)
	}
	return logr.FromSlogHandler(slog.NewJSONHandler(to, &slog.HandlerOptions{Level: l})), nil
}
