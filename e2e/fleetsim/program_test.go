package fleetsim

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// TestProgramServesEdgesAndCountsAtItsControlEndpoint runs the program as benchmarks do.
func TestProgramServesEdgesAndCountsAtItsControlEndpoint(t *testing.T) {
	p := startProgram(t, 2)
	for i := range 2 {
		cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(p.dir, fmt.Sprintf("edge-%04d.kubeconfig", i)))
		if err != nil {
			t.Fatal(err)
		}
		code, body := send(t, clientFor(t, cfg), cfg.Host, step{
			Method: "PATCH", Path: "/api/v1/namespaces/default/configmaps/cm", Query: "fieldManager=m", ContentType: applyPatch,
			Accept: metadataAccept, Body: string(applyBody("cm", "one")),
		})
		if code != http.StatusCreated {
			t.Fatalf("%d: %s", code, body)
		}
	}
	var c Counters
	p.get(t, "/edges/all/counters", &c)
	if c.Writes != 2 || c.Requests["apply"] != 2 || c.Failed != 0 {
		t.Errorf("%+v", c)
	}
	var writes map[string][]Write
	if p.get(t, "/edges/all/writes", &writes); len(writes) != 2 || len(writes["edge-0001"]) != 1 || writes["edge-0001"][0].Name != "cm" {
		t.Errorf("%+v", writes)
	}
	var u Usage
	if p.get(t, "/usage?collect=true", &u); u.HeapBytes == 0 || u.Contents == 0 {
		t.Errorf("%+v", u)
	}
}

// program is the simulator as a process.
type program struct{ control, dir string }

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
	var said struct{ Control string }
	if err := json.Unmarshal(line, &said); err != nil {
		t.Fatal(err)
	}
	p.control = said.Control
	return p
}

func (p *program) get(t *testing.T, path string, into any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", p.control+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}
