package agent

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/skerry-dev/skerry/internal/sleep"
)

// commands are what the program does beside running an agent: each hands a file to the agent that runs, or takes one
// from it.
var commands = map[string]func(args []string, stdout, stderr io.Writer) int{"import": importMain, "report": reportMain}

const commandUsage = `       skerry-agent import FILE       take an update of "skerry bundle export"; - reads standard input
       skerry-agent report [-o FILE]  write a report for "skerry bundle import-report"
`

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// commandOptions are those of a command.
type commandOptions struct {
	storage string
	output  string
	timeout time.Duration
}

// commandFlags parses the flags of a command. Where done is set there is nothing more to do, and code is the exit code.
func commandFlags(use string, args []string, stderr io.Writer, more func(*pflag.FlagSet, *commandOptions)) (o commandOptions, rest []string, code int, done bool) {
	flags := pflag.NewFlagSet("skerry-agent", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprintf(stderr, "Usage: %s\n\n%s", use, flags.FlagUsages()) }
	flags.StringVar(&o.storage, "storage-path", Defaults().StoragePath, "folder of the disk of the agent that runs")
	flags.DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait for the agent")
	if more != nil {
		more(flags, &o)
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return o, nil, 0, true
	case err != nil:
		fmt.Fprintln(stderr, "skerry-agent:", err)
		return o, nil, 2, true
	}
	return o, flags.Args(), 0, false
}

// importMain hands an update to the agent that runs, and prints the result.
func importMain(args []string, stdout, stderr io.Writer) int {
	o, rest, code, done := commandFlags("skerry-agent import FILE", args, stderr, nil)
	if done {
		return code
	}
	if len(rest) != 1 {
		fmt.Fprintln(stderr, "skerry-agent: import needs one file, or - for standard input")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	from := os.Stdin
	if rest[0] != "-" {
		f, err := os.Open(rest[0])
		if err != nil {
			return failed(stderr, err)
		}
		defer f.Close()
		from = f
	}
	x, err := newExchange(o)
	if err != nil {
		return failed(stderr, err)
	}
	defer x.cleanUp()
	if err := writeWhole(x.file(updateSuffix), func(to io.Writer) error { _, err := io.Copy(to, from); return err }); err != nil {
		return failed(stderr, err)
	}
	v, err := x.await(ctx)
	if err != nil {
		return failed(stderr, err)
	}
	if !v.Accepted {
		return failed(stderr, v)
	}
	fmt.Fprintln(stdout, "imported:", v.Message)
	return 0
}

// reportMain asks the agent that runs for a report.
func reportMain(args []string, stdout, stderr io.Writer) int {
	o, rest, code, done := commandFlags("skerry-agent report [-o FILE]", args, stderr, func(f *pflag.FlagSet, o *commandOptions) {
		f.StringVarP(&o.output, "output", "o", "-", "file to write; - for standard output")
	})
	if done {
		return code
	}
	if len(rest) > 0 {
		fmt.Fprintf(stderr, "skerry-agent: unexpected argument %q\n", rest[0])
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	x, err := newExchange(o)
	if err != nil {
		return failed(stderr, err)
	}
	defer x.cleanUp()
	if err := writeWhole(x.file(askSuffix), func(io.Writer) error { return nil }); err != nil {
		return failed(stderr, err)
	}
	v, err := x.await(ctx)
	if err == nil && !v.Accepted {
		err = v
	}
	if err == nil {
		err = x.deliver(o.output, stdout)
	}
	if err != nil {
		return failed(stderr, err)
	}
	if o.output != "-" {
		fmt.Fprintln(stdout, "written:", o.output)
	}
	return 0
}

func failed(stderr io.Writer, err error) int {
	fmt.Fprintln(stderr, "skerry-agent:", err)
	return 1
}

// Error implements error for what was not accepted.
func (v commandResult) Error() string {
	if v.Reason == "" {
		return v.Message
	}
	return "refused, and nothing was changed: " + v.Reason + ": " + v.Message
}

// exchange is one request of a command.
type exchange struct {
	dir, name string
	storage   string
	timeout   time.Duration
}

func newExchange(o commandOptions) (exchange, error) {
	x := exchange{dir: filepath.Join(o.storage, exchangeName), name: strings.ToLower(rand.Text()), storage: o.storage, timeout: o.timeout}
	if _, err := os.Stat(o.storage); err != nil {
		return x, fmt.Errorf("cannot find the disk of the agent that runs; name it with --storage-path: %w", err)
	}
	if err := os.MkdirAll(x.dir, 0o700); err != nil {
		return x, fmt.Errorf("cannot reach the agent that runs: %w", err)
	}
	return x, nil
}

func (x exchange) file(suffix string) string { return filepath.Join(x.dir, x.name+suffix) }

// await waits for the answer of the agent.
func (x exchange) await(ctx context.Context) (commandResult, error) {
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	for {
		raw, err := os.ReadFile(x.file(resultSuffix))
		if err == nil {
			var v commandResult
			if err := json.Unmarshal(raw, &v); err != nil {
				return v, fmt.Errorf("cannot read the answer of the agent: %w", err)
			}
			return v, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return commandResult{}, fmt.Errorf("cannot read the answer of the agent: %w", err)
		}
		if sleep.For(ctx, folderInterval/20) != nil {
			return commandResult{}, fmt.Errorf("no agent answers within %s: does one run, with --storage-path %s, and with the lease of its cluster?", x.timeout, x.storage)
		}
	}
}

// deliver writes the report of the agent where it is wanted.
func (x exchange) deliver(output string, stdout io.Writer) error {
	f, err := os.Open(x.file(reportSuffix))
	if err != nil {
		return fmt.Errorf("cannot read the report of the agent: %w", err)
	}
	defer f.Close()
	if output == "-" {
		if _, err := io.Copy(stdout, f); err != nil {
			return fmt.Errorf("cannot write the report: %w", err)
		}
		return nil
	}
	return writeWhole(output, func(to io.Writer) error { _, err := io.Copy(to, f); return err })
}

// cleanUp removes what is left of the request.
func (x exchange) cleanUp() {
	for _, suffix := range []string{updateSuffix, askSuffix, reportSuffix, resultSuffix} {
		_ = os.Remove(x.file(suffix)) // mostly it is gone
	}
}
