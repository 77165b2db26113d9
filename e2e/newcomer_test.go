package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/internal/testkit/gitserver"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// TestNewcomersPathOfTheREADME runs the commands of the README that lead from a fresh clone to a fleet and back, one by
// one, in one shell, as they stand there: the blocks behind <!-- newcomer -->. What a command must print is in the
// block behind <!-- newcomer: output -->, where "…" stands for anything. The one thing that is not as it stands there
// is where the clone comes from.
func TestNewcomersPathOfTheREADME(t *testing.T) {
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	steps := newcomerSteps(string(readme))
	if len(steps) < 10 {
		t.Fatalf("the README has %d steps for a newcomer", len(steps))
	}
	home := workDir(t)
	n := &newcomer{t: t, root: root, home: home, clone: filepath.Join(home, "skerry")}
	n.openShell()
	for _, step := range steps {
		n.take(step)
	}
	if n.background == 0 || n.outputs == 0 {
		t.Errorf("%d commands in a second terminal and %d outputs were looked at", n.background, n.outputs)
	}
}

// newcomerStep is one command, or what the one before it printed.
type newcomerStep struct {
	command, output string
	background      bool
}

var newcomerBlock = regexp.MustCompile("(?ms)^<!-- newcomer(?:: (background|output))? -->\n```[a-z]+\n(.*?)^```$")

// newcomerSteps reads the steps out of the README.
func newcomerSteps(readme string) []newcomerStep {
	var steps []newcomerStep
	for _, block := range newcomerBlock.FindAllStringSubmatch(readme, -1) {
		if block[1] == "output" {
			steps = append(steps, newcomerStep{output: block[2]})
			continue
		}
		for _, command := range commandsOf(block[2]) {
			steps = append(steps, newcomerStep{command: command, background: block[1] == "background"})
		}
	}
	return steps
}

var hereDocument = regexp.MustCompile(`<<'?([A-Z]+)'?`)

// commandsOf divides a block into commands: a line each, with those that continue it and what it reads.
func commandsOf(block string) []string {
	var commands []string
	command, end := "", ""
	for line := range strings.Lines(block) {
		command += line
		line = strings.TrimRight(line, "\n")
		switch {
		case end != "" && line != end:
			continue
		case end != "":
			end = ""
		case strings.HasSuffix(line, `\`):
			continue
		default:
			if m := hereDocument.FindStringSubmatch(line); m != nil {
				end = m[1]
				continue
			}
		}
		if strings.TrimSpace(command) != "" {
			commands = append(commands, command)
		}
		command = ""
	}
	return commands
}

func TestCommandsOfABlock(t *testing.T) {
	got := commandsOf("a 1 \\\n  2\n\ncat <<'EOF'\nx\n\ny \\\nEOF\nb\n")
	want := []string{"a 1 \\\n  2\n", "cat <<'EOF'\nx\n\ny \\\nEOF\n", "b\n"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%q", got)
	}
}

// newcomer is a person with a terminal or two.
type newcomer struct {
	t                 *testing.T
	root, home, clone string
	shell             io.Writer
	replies           chan string
	printed           string

	background, outputs int
}

// env is the environment of a person who has Go, git and make.
func (n *newcomer) env() []string {
	env := append(os.Environ(), gitserver.Env()...)
	env = append(env, "NO_COLOR=1", "HOME="+n.home)
	// What was compiled is found again, or else the test would compile for minutes.
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOTOOLCHAIN"} {
		out, err := exec.CommandContext(n.t.Context(), "go", "env", name).Output()
		if err != nil {
			n.t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(out)))
	}
	return append(env, "GIT_CONFIG_COUNT=2",
		"GIT_CONFIG_KEY_0=url."+n.root+".insteadOf", "GIT_CONFIG_VALUE_0=https://github.com/skerry-dev/skerry",
		"GIT_CONFIG_KEY_1=init.defaultBranch", "GIT_CONFIG_VALUE_1=main")
}

// openShell starts the shell that commands are typed into.
func (n *newcomer) openShell() {
	shell := exec.CommandContext(n.t.Context(), "bash")
	shell.Dir, shell.Env = n.home, n.env()
	in, err := shell.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	out, err := shell.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.shell, n.replies = in, make(chan string)
	go func() { // ends with the shell
		defer close(n.replies)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			n.replies <- lines.Text()
		}
	}()
	n.t.Cleanup(func() {
		_ = in.Close()
		_ = shell.Wait()
	})
}

// take takes one step.
func (n *newcomer) take(step newcomerStep) {
	n.t.Helper()
	started := time.Now()
	switch {
	case step.output != "":
		n.outputs++
		if !matchesOutput(n.printed, step.output) {
			n.t.Fatalf("the README shows\n%s\nand it is\n%s", step.output, n.printed)
		}
		return
	case step.background:
		n.background++
		n.start(step.command)
	default:
		n.run(step.command)
	}
	n.t.Logf("%s(%s)", step.command, time.Since(started).Round(10*time.Millisecond))
	if strings.HasPrefix(step.command, "git clone https://github.com/") {
		n.furnish()
	}
}

// furnish puts what is built already into the fresh clone, where building finds it up to date.
func (n *newcomer) furnish() {
	built, err := filepath.Glob(filepath.Join(n.root, "bin", "skerry*"))
	if err != nil {
		n.t.Fatal(err)
	}
	bin := filepath.Join(n.clone, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		n.t.Fatal(err)
	}
	for _, file := range built {
		n.run(fmt.Sprintf("cp %q bin/\n", file)) // now, so that it is younger than its sources
	}
}

// run types a command and waits for its end.
func (n *newcomer) run(command string) {
	n.t.Helper()
	script, out := filepath.Join(n.home, "step"), filepath.Join(n.home, "output")
	if err := os.WriteFile(script, []byte(command), 0o600); err != nil {
		n.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(n.shell, ". %q >%q 2>&1 </dev/null; echo ended $?\n", script, out); err != nil {
		n.t.Fatal(err)
	}
	timeout := time.After(3 * time.Minute)
	select {
	case reply, ok := <-n.replies:
		raw, err := os.ReadFile(out)
		n.printed = string(raw)
		if !ok || err != nil || reply != "ended 0" {
			n.t.Fatalf("%s%s (%v):\n%s", command, reply, err, raw)
		}
	case <-timeout:
		raw, _ := os.ReadFile(out)
		n.t.Fatalf("%s does not end:\n%s", command, raw)
	}
}

// start types a command into a second terminal, and waits until the folder is there that the first one goes on from.
// The end of its standard input ends it, also when this process is killed.
func (n *newcomer) start(command string) {
	n.t.Helper()
	terminal := exec.Command("bash", "-c", "exec "+command)
	terminal.Dir, terminal.Env = n.clone, append(n.env(), "PATH="+filepath.Join(n.clone, "bin")+":"+os.Getenv("PATH"))
	terminal.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.Create(filepath.Join(n.home, "second-terminal"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	terminal.Stdout, terminal.Stderr = log, log
	in, err := terminal.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := terminal.Start(); err != nil {
		n.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- terminal.Wait() }()
	n.t.Cleanup(func() {
		_ = in.Close()
		select {
		case err := <-ended:
			if err != nil {
				n.t.Errorf("%s ended with %v", command, err)
			}
		case <-time.After(30 * time.Second):
			_ = syscall.Kill(-terminal.Process.Pid, syscall.SIGKILL)
			n.t.Errorf("%s did not end with its input", command)
		}
	})
	ctx, cancel := context.WithTimeout(n.t.Context(), 3*time.Minute)
	defer cancel()
	for {
		_, err := os.Stat(filepath.Join(n.clone, "playground", "env"))
		select {
		case err := <-ended:
			ended <- fmt.Errorf("too early: %w", err)
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
			if err != nil {
				continue
			}
			return
		}
		raw, _ := os.ReadFile(log.Name())
		n.t.Fatalf("%s leads to nothing:\n%s", command, raw)
	}
}

// matchesOutput reports whether each line of want, in which "…" stands for anything, is in the output, in this order.
func matchesOutput(output, want string) bool {
	lines := strings.Split(output, "\n")
	for wanted := range strings.Lines(want) {
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimRight(wanted, "\n")), "…", ".*") + "$"
		matches := regexp.MustCompile(pattern).MatchString
		for len(lines) > 0 && !matches(lines[0]) {
			lines = lines[1:]
		}
		if len(lines) == 0 {
			return false
		}
		lines = lines[1:]
	}
	return true
}
