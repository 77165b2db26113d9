package fleetsim

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"
)

// limitPerEdge is what an idle edge with 40 objects and 10 open watches may take of the simulator.
const limitPerEdge = 150 << 10

// limitPerApply is what the apply of a small object may take of the simulator's share of the machine.
const limitPerApply = 150 * time.Microsecond

const objectsPerEdge = 40

// TestMemoryOfIdleEdges runs the program as benchmarks do, with clients that are not part of it.
func TestMemoryOfIdleEdges(t *testing.T) {
	const edges = 200
	p := startProgram(t, edges)
	empty := p.usage(t)
	begin := p.cpu(t)
	clients := make([]visitorOf, edges)
	for i := range clients {
		clients[i] = p.connect(t, i)
	}
	connected := p.cpu(t)
	for _, c := range clients {
		c.fill(t)
	}
	filled := p.cpu(t)
	for _, c := range clients {
		c.watch(t)
	}
	perApply := (filled - connected) / (edges * objectsPerEdge)
	full := p.usage(t)
	heap := (full.HeapBytes - empty.HeapBytes) / edges
	resident := (p.resident(t, "VmRSS") - min(p.start, p.resident(t, "VmRSS"))) / edges
	t.Logf("%d edges: %d KiB of heap and %d KiB resident each beyond the %d MiB (%d MiB of heap) of all without a client; %d goroutines, %d contents",
		edges, heap>>10, resident>>10, p.start>>20, empty.HeapBytes>>20, full.Goroutines, full.Contents)
	t.Logf("CPU: %s for each apply, %s for each connection, %s for each watch", perApply, (connected-begin)/edges, (p.cpu(t)-filled)/(10*edges))
	if perApply > limitPerApply {
		t.Errorf("an apply takes %s of CPU, want %s at most", perApply, limitPerApply)
	}
	if heap > limitPerEdge {
		t.Errorf("an edge takes %d KiB of heap, want %d at most", heap>>10, limitPerEdge>>10)
	}
}

// cpu is what the process has used, in user and system time, in steps of 10 ms.
func (p *program) cpu(t *testing.T) time.Duration {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

type program struct {
	control, dir string
	pid          int
	start        uint64 // resident before the first client
}

func startProgram(t *testing.T, edges int) *program {
	t.Helper()
	p := &program{dir: t.TempDir()}
	binary := filepath.Join(t.TempDir(), "fleetsim")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(binary, "--edges", fmt.Sprint(edges), "--dir", p.dir)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the program ended with %v", err)
		}
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		Control string
		PID     int
	}
	if err := json.Unmarshal(line, &said); err != nil {
		t.Fatal(err)
	}
	p.control, p.pid = said.Control, said.PID
	p.start = p.resident(t, "VmRSS")
	return p
}

// visitorOf is a client of one edge, with one connection that stays open.
type visitorOf struct {
	client *http.Client
	host   string
}

func (p *program) connect(t *testing.T, i int) visitorOf {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(p.dir, fmt.Sprintf("edge-%04d.kubeconfig", i)))
	if err != nil {
		t.Fatal(err)
	}
	c := visitorOf{clientFor(t, cfg), cfg.Host}
	if code, body := send(t, c.client, c.host, step{Method: "GET", Path: "/version"}); code != http.StatusOK {
		t.Fatalf("%d: %s", code, body)
	}
	return c
}

// fill applies the objects, as many at once as the hub does.
func (c visitorOf) fill(t *testing.T) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(8)
	for n := range objectsPerEdge {
		g.Go(func() error {
			name := fmt.Sprintf("cm-%02d", n)
			code, body := send(t, c.client, c.host, step{
				Method: "PATCH", Path: "/api/v1/namespaces/default/configmaps/" + name, Query: "fieldManager=m", ContentType: applyPatch,
				Accept: metadataAccept, Body: string(applyBody(name, "one")),
			})
			if code != http.StatusCreated {
				return fmt.Errorf("%d: %s", code, body)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// watch opens ten watches.
func (c visitorOf) watch(t *testing.T) {
	t.Helper()
	for n := range 10 {
		const query = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&labelSelector=n%%3D%d"
		r, err := http.NewRequestWithContext(t.Context(), "GET", fmt.Sprintf("%s/api/v1/configmaps?"+query, c.host, n), nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		if _, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
}

func (p *program) usage(t *testing.T) Usage {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", p.control+"/usage?collect=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var u Usage
	if err := json.NewDecoder(res.Body).Decode(&u); err != nil {
		t.Fatal(err)
	}
	return u
}

// resident reads a figure of the process in bytes.
func (p *program) resident(t *testing.T, name string) uint64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			var kib uint64
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("the process has no %s", name)
	return 0
}
