package sopsclient

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
)

const asProgram = "SOPSCLIENT_TEST_PROGRAM"

// TestMain is the program too: it answers each request with its process ID, and notes each start.
func TestMain(m *testing.M) {
	dir := os.Getenv(asProgram)
	if dir == "" {
		os.Exit(m.Run())
	}
	pid := fmt.Sprint(os.Getpid())
	if err := os.WriteFile(filepath.Join(dir, pid), nil, 0o600); err != nil {
		os.Exit(1)
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var r Request
		if json.Unmarshal(in.Bytes(), &r) != nil || r.Name == "crash" {
			os.Exit(1)
		}
		if json.NewEncoder(os.Stdout).Encode(Response{Plain: []byte(pid)}) != nil {
			os.Exit(1)
		}
		if r.Name == "then crash" { // once it has answered, as a process that the kernel kills while it is idle
			os.Exit(1)
		}
	}
}

func client(t *testing.T) (*Client, func() int) {
	dir := t.TempDir()
	t.Setenv(asProgram, dir)
	return New(t.Context(), []string{os.Args[0]}, logr.Discard()), func() int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
}

func TestAProcessThatDiedWhileIdleIsReplaced(t *testing.T) {
	c, starts := client(t)
	for i := range 3 {
		answer, err := c.ask(Request{Name: "then crash"})
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		if len(answer.Plain) == 0 || starts() != i+1 {
			t.Errorf("request %d: %q after %d starts", i, answer.Plain, starts())
		}
	}
	if _, err := c.ask(Request{}); err != nil {
		t.Fatal(err)
	}
}

func TestARequestThatEndsTheProgramIsNotTriedForEver(t *testing.T) {
	c, starts := client(t)
	if _, err := c.ask(Request{}); err != nil {
		t.Fatal(err)
	}
	_, err := c.ask(Request{Name: "crash"})
	if err == nil || !strings.Contains(err.Error(), "skerry-sops ended") {
		t.Errorf("%v", err)
	}
	if got := starts(); got != 2 {
		t.Errorf("%d processes for a request that ends each, of which one was idle", got)
	}
	first, err := c.ask(Request{})
	if err != nil {
		t.Fatal(err)
	}
	if second, err := c.ask(Request{}); err != nil || string(second.Plain) != string(first.Plain) {
		t.Errorf("another process than before: %q, %q, %v", first.Plain, second.Plain, err)
	}
}
