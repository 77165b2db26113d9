package controlplane

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// orphanTestDir makes the test binary a parent that starts a cluster below that
// folder, prints the process IDs and waits to be killed.
const orphanTestDir = "SKERRY_TEST_ORPHANS"

func parentToBeKilled(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("cannot:", err)
			os.Exit(1)
		}
	}
	etcd, err := StartEtcd(context.Background(), dir)
	fail(err)
	c, err := Start(context.Background(), etcd, "orphans", Options{ControllerManager: true, Scheduler: true, Kwok: true})
	fail(err)
	paused, err := Start(context.Background(), etcd, "paused", Options{})
	fail(err)
	fail(paused.Pause())
	for _, p := range append(c.others, etcd.process, c.server, paused.server) {
		fmt.Println("pid", p.cmd.Process.Pid)
	}
	fmt.Println("ready")
	select {}
}

func TestNothingOutlivesAKilledParent(t *testing.T) {
	if _, err := Binary(); err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), orphanTestDir+"="+t.TempDir())
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = parent.Process.Kill() }()
	pids := pidsUntilReady(t, bufio.NewScanner(out))
	for _, pid := range pids {
		if !running(pid) {
			t.Fatalf("process %d does not run before the parent is killed", pid)
		}
	}

	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // says that it was killed

	ctx := within(t, 10*time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, pid := range pids {
		for running(pid) {
			select {
			case <-ctx.Done():
				t.Fatalf("process %d outlives its parent: %s", pid, commandLine(pid))
			case <-tick.C:
			}
		}
	}
}

func pidsUntilReady(t *testing.T, lines *bufio.Scanner) []int {
	t.Helper()
	var pids []int
	for lines.Scan() {
		if lines.Text() == "ready" {
			return pids
		}
		number, ok := strings.CutPrefix(lines.Text(), "pid ")
		pid, err := strconv.Atoi(number)
		if !ok || err != nil {
			t.Fatalf("the parent says %q", lines.Text())
		}
		pids = append(pids, pid)
	}
	t.Fatal("the parent ended before it was ready")
	return nil
}

// running is false for what has ended and only waits to be reaped: that has no
// command line any more.
func running(pid int) bool { return commandLine(pid) != "" }

func commandLine(pid int) string {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(string(line), "\x00", " ")
}

func TestMissingBinaryIsAnErrorThatSaysWhatToDo(t *testing.T) {
	t.Setenv("SKERRY_CONTROLPLANE", filepath.Join(t.TempDir(), "none"))
	_, err := StartEtcd(t.Context(), t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "make controlplane") {
		t.Errorf("starting without the program gives %v, want a hint at `make controlplane`", err)
	}
}

func TestProgramThatCannotStartSaysWhy(t *testing.T) {
	binary, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	p, err := launch(t.TempDir(), "broken", binary, "kube-apiserver", "--no-such-flag")
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	err = p.until(within(t, 30*time.Second), func(context.Context) error { return os.ErrNotExist })
	if err == nil || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("got %v, want the complaint about the flag", err)
	}
}

func TestReservedPortIsNotGivenTwice(t *testing.T) {
	first, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	defer first.release()
	if second, err := tryPort(first.number); err == nil {
		second.release()
		t.Errorf("port %d was reserved twice", first.number)
	}
}
