package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
)

// benchmarkedGateway is what a process with the agents of BenchmarkConnectedAgents gets in its environment, as JSON.
const benchmarkedGateway = "SKERRY_BENCHMARKED_GATEWAY"

// reports is how many each of them sends: what is kept for a connection grows with its first requests.
const reports = 20

// benchmarked is where agents connect to, and which.
type benchmarked struct {
	Base   string
	CA     []byte
	Hub    link.HubIdentity
	Agents int
	Bundle string // digest
}

// memberKey is the key of a Cluster in the benchmark, and memberOf its agent.
func memberKey(i int) engine.Key {
	return engine.Key{Namespace: "fleet", Name: fmt.Sprintf("edge-%d", i)}
}

func (r *rig) memberOf(i int) *peer {
	seed := sha256.Sum256([]byte(memberKey(i).String()))
	p := r.peerWith(ed25519.NewKeyFromSeed(seed[:]), memberKey(i).Name)
	p.cluster = memberKey(i).String()
	return p
}

// TestAgentsOfTheBenchmark is the other process of BenchmarkConnectedAgents.
func TestAgentsOfTheBenchmark(t *testing.T) {
	given := os.Getenv(benchmarkedGateway)
	if given == "" {
		t.Skip("it is a part of BenchmarkConnectedAgents")
	}
	var b benchmarked
	if err := json.Unmarshal([]byte(given), &b); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, base: b.Base, hub: b.Hub, roots: x509.NewCertPool()}
	r.roots.AppendCertsFromPEM(b.CA)
	for i := range b.Agents {
		p := r.memberOf(i)
		p.welcome()
		p.stream(link.Have{}).next()
		if status, objects := p.raw(http.MethodPost, link.ObjectsPath, encode(t, link.Wanted{Bundle: b.Bundle})); status != http.StatusOK || !bytes.HasSuffix(objects, link.EmptyFrame()) {
			t.Fatalf("no bundle: status %d, %d bytes", status, len(objects))
		}
		for seq := range uint64(reports) {
			p.up(link.Up{Seq: seq + 1, State: healthy, Complete: true})
		}
	}
	_, _ = os.Stdout.Write([]byte{'\n'})
	_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark has measured
}

// BenchmarkConnectedAgents measures what a connected agent costs the gateway at rest. The agents are in another process.
func BenchmarkConnectedAgents(b *testing.B) {
	const agents = 500
	r := newRig(b)
	bundle := configMaps(b, 20, 5000) // which takes several frames
	r.bundles[bundle.Digest()] = bundle
	for i := range agents {
		p := r.memberOf(i)
		r.add(memberKey(i), func(a *v1alpha1.Agent) { a.PublicKey = link.EncodeKey(p.public()) })
		r.assign(memberKey(i), 1, entry("apps", bundle.Digest()))
	}
	before := memoryInUse()
	others := exec.CommandContext(context.WithoutCancel(b.Context()), os.Args[0], "-test.run=^TestAgentsOfTheBenchmark$")
	given, err := json.Marshal(benchmarked{Base: r.base, CA: r.ca, Hub: r.hub, Agents: agents, Bundle: bundle.Digest()})
	if err != nil {
		b.Fatal(err)
	}
	others.Env, others.Stderr = append(os.Environ(), benchmarkedGateway+"="+string(given)), os.Stderr
	in, err := others.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := others.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := others.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = in.Close() // which ends it
		_ = others.Wait()
	}()
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	after := memoryInUse()
	for b.Loop() {
		runtime.Gosched()
	}
	for name, bytes := range after {
		b.ReportMetric(float64(int64(bytes)-int64(before[name]))/agents/1024, "KiB-"+name+"/agent")
	}
}

// memoryInUse returns the bytes of live objects and of stacks, after stacks have shrunk.
func memoryInUse() map[string]uint64 {
	for range 3 {
		debug.FreeOSMemory()
	}
	live, stacks := "/memory/classes/heap/objects:bytes", "/memory/classes/heap/stacks:bytes"
	samples := []metrics.Sample{{Name: live}, {Name: stacks}}
	metrics.Read(samples)
	return map[string]uint64{"live": samples[0].Value.Uint64(), "stacks": samples[1].Value.Uint64()}
}
