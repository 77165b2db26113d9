package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/skerry-dev/skerry/internal/testkit/rig"
	"github.com/skerry-dev/skerry/internal/testkit/terminal"
)

// seats are the terminals at which a command has to look right.
var seats = []struct {
	name          string
	columns, rows int
	env           string
	rules         terminal.Rules
}{
	{"80 columns", 80, 24, "TERM=xterm-256color", terminal.Rules{Columns: 80}},
	{"200 columns", 200, 50, "TERM=xterm-256color", terminal.Rules{Columns: 200}},
	{"NO_COLOR", 80, 24, "NO_COLOR=1", terminal.Rules{Columns: 80, NoColours: true}},
	{"a dumb terminal", 80, 24, "TERM=dumb", terminal.Rules{Columns: 80, NoEscapes: true}},
}

// everywhere runs a command of the CLI at each of the seats and in a pipe, and prints what the terminal of 80
// columns got.
func everywhere(ctx context.Context, c call) error {
	code := -1 // that of the first terminal
	if text, ok := c.option("code"); ok {
		var err error
		if code, err = strconv.Atoi(text); err != nil {
			return err
		}
	}
	uncut := c.flag("uncut")
	cli, err := c.cli()
	if err != nil {
		return err
	}
	for i, seat := range seats {
		cmd := cli.Command(ctx, c.args...)
		cmd.Env = append(without(cmd.Env, "NO_COLOR", "TERM"), seat.env)
		s, err := terminal.Start(cmd, seat.columns, seat.rows)
		if err != nil {
			return err
		}
		text, got, err := s.Wait(ctx)
		if err != nil {
			return fmt.Errorf("at %s: %w\n%s", seat.name, err, text)
		}
		if uncut {
			seat.rules.Columns = 0
		}
		if err := seat.rules.Check(text); err != nil {
			return fmt.Errorf("at %s: %w\n%s", seat.name, err, text)
		}
		if code < 0 {
			code = got
		}
		if got != code {
			return fmt.Errorf("at %s it ended with code %d, not %d:\n%s", seat.name, got, code, text)
		}
		if i == 0 {
			_, _ = io.WriteString(c.ts.Stdout(), text)
		}
	}
	r, err := cli.Run(ctx, "", c.args...)
	if err != nil {
		return err
	}
	if r.Code != code {
		return fmt.Errorf("in a pipe it ended with code %d, not %d:\n%s%s", r.Code, code, r.Stdout, r.Stderr)
	}
	if err := (terminal.Rules{NoEscapes: true}).Check(r.Stdout + r.Stderr); err != nil || strings.Contains(r.Stdout+r.Stderr, "\r") {
		return fmt.Errorf("in a pipe: %w\n%s%s", err, r.Stdout, r.Stderr)
	}
	return nil
}

// interrupt runs a command at a terminal, presses Ctrl-C, once the text is there if one is given, and prints what the
// terminal got.
func interrupt(ctx context.Context, c call) error {
	at, given := c.option("at")
	pattern, err := regexp.Compile(at)
	if err != nil {
		return err
	}
	cli, err := c.cli()
	if err != nil {
		return err
	}
	cmd := cli.Command(ctx, c.args...)
	cmd.Env = append(without(cmd.Env, "NO_COLOR", "TERM"), "TERM=xterm-256color")
	s, err := terminal.Start(cmd, 80, 24)
	if err != nil {
		return err
	}
	if given {
		if err := s.Await(ctx, pattern); err != nil {
			return err
		}
	}
	pressed := time.Now()
	if err := s.Type(terminal.Interrupt); err != nil {
		return err
	}
	// What does not stop at Ctrl-C goes on for its own timeouts, of which none is shorter.
	ending, cancel := context.WithTimeout(ctx, 9*time.Second)
	defer cancel()
	text, code, err := s.Wait(ending)
	c.ts.Logf("ended after %s", time.Since(pressed).Round(time.Millisecond))
	_, _ = io.WriteString(c.ts.Stdout(), text)
	if code != 130 {
		err = errors.Join(err, fmt.Errorf("ended with code %d, not 130", code))
	}
	if err = errors.Join(err, (terminal.Rules{Columns: 80}).Check(text)); err != nil {
		return fmt.Errorf("%w:\n%s", err, text)
	}
	return nil
}

// closedpipe runs a command whose output is read by no one any more: the signal ends it, and it says nothing.
func closedpipe(ctx context.Context, c call) error {
	cli, err := c.cli()
	if err != nil {
		return err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close()
	if err := read.Close(); err != nil {
		return err
	}
	var stderr strings.Builder
	cmd := cli.Command(ctx, c.args...)
	cmd.Stdout, cmd.Stderr = write, &stderr
	exit, failed := errors.AsType[*exec.ExitError](cmd.Run())
	if !failed {
		return errors.New("it went on without a reader")
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGPIPE {
		return fmt.Errorf("it ended by %w, not by SIGPIPE: %s", exit, &stderr)
	}
	if stderr.Len() > 0 {
		return fmt.Errorf("it says %q", &stderr)
	}
	return nil
}

// code takes "-code N" from the front of the arguments; 0 without.
func (c *call) code() (int, error) {
	if text, ok := c.option("code"); ok {
		return strconv.Atoi(text)
	}
	return 0, nil
}

// cli returns the CLI of the hub, in the folder of the script.
func (c *call) cli() (*rig.CLI, error) {
	cli, err := rig.NewCLI(c.rig.HubKubeconfig)
	if err == nil {
		cli.Dir = c.ts.MkAbs(".")
	}
	return cli, err
}

// without returns an environment without some variables.
func without(env []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(names, name)
	})
}

// shells are how each is started without a person's settings, and how it learns to complete.
var shells = map[string]struct {
	command []string
	learn   string
}{
	"bash": {[]string{"bash", "--noprofile", "--norc", "-i"}, `[ -e "$WORDS" ] && source "$WORDS"; source <(skerry completion bash)`},
	"zsh":  {[]string{"zsh", "-f", "-i"}, `autoload -U compinit; compinit -u -D; source <(skerry completion zsh)`},
	"fish": {[]string{"fish", "--no-config", "-i"}, `skerry completion fish | source`},
}

// complete types a line into an interactive shell, with "<TAB>" for that key, and Enter, and waits for what comes of it.
func complete(ctx context.Context, c call) error {
	if len(c.args) != 3 {
		return errors.New("wants SHELL LINE REGEXP")
	}
	shell, known := shells[c.args[0]]
	pattern, err := regexp.Compile(c.args[2])
	if err != nil || !known {
		return fmt.Errorf("no shell %q, or no expression: %w", c.args[0], err)
	}
	if _, err := exec.LookPath(shell.command[0]); err != nil {
		c.ts.Logf("%s is not installed here", c.args[0])
		return nil
	}
	cmd := exec.CommandContext(ctx, shell.command[0], shell.command[1:]...)
	cmd.Dir = c.ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "KUBECONFIG", "WORDS"} {
		cmd.Env = append(cmd.Env, name+"="+c.ts.Getenv(name))
	}
	cmd.Env = append(cmd.Env, "TERM=xterm", "LANG=C.UTF-8")
	s, err := terminal.Start(cmd, 200, 50)
	if err != nil {
		return err
	}
	defer func() {
		_ = s.Type("\x03\nexit\n")
		_, _, _ = s.Wait(ctx)
	}()
	// What is typed is echoed, so what is waited for is not what is typed.
	for _, step := range []struct {
		line string
		see  *regexp.Regexp
	}{
		{shell.learn + `; echo rea""dy`, regexp.MustCompile(`ready`)},
		{strings.ReplaceAll(c.args[1], "<TAB>", "\t"), pattern},
	} {
		if err := s.Type(step.line + "\n"); err != nil {
			return err
		}
		if err := s.Await(ctx, step.see); err != nil {
			return err
		}
	}
	return nil
}
