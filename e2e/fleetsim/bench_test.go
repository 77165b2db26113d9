package fleetsim

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// cpu is what this process has used, in user and system time.
func cpu(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perOp reports the CPU, garbage collection included, that each of n operations took. On a machine
// with other work the time that passed tells little.
func perOp(b *testing.B, before time.Duration, n int) {
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(n), "cpu-µs/op")
}

func applyBody(name, value string) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"v1","data":{"key":%q,"other":"value"},"kind":"ConfigMap","metadata":{"labels":{"skerry.dev/owner":"apps.3e43d54b164f4548"},"name":%q,"namespace":"default"}}`, value, name)
}

func (e *Edge) applyDirect(k *kind, name, manager string, body []byte) *answer {
	c := &call{
		request: &request{body: body, contentType: applyPatch}, verb: verbApply, kind: k, namespace: "default", name: name,
		form: metadataOnly, query: map[string][]string{"fieldManager": {manager}},
	}
	return e.change(c)
}

// BenchmarkApplyShared is an apply whose outcome another edge has had already.
func BenchmarkApplyShared(b *testing.B) {
	f := startFleet(b, 1)
	e, k := f.Edges[0], f.kinds.configMap
	bodies := [2][]byte{applyBody("cm", "one"), applyBody("cm", "two")}
	b.ReportAllocs()
	before := cpu(b)
	i := 0
	for b.Loop() {
		if a := e.applyDirect(k, "cm", "m", bodies[i%2]); a.code >= 300 {
			b.Fatal(string(a.body))
		}
		i++
	}
	perOp(b, before, i)
}

// BenchmarkApplyUnique is an apply that no edge has had.
func BenchmarkApplyUnique(b *testing.B) {
	f := startFleet(b, 1)
	e, k := f.Edges[0], f.kinds.configMap
	b.ReportAllocs()
	before := cpu(b)
	i := 0
	for b.Loop() {
		if a := e.applyDirect(k, "cm", "m", applyBody("cm", fmt.Sprint(i))); a.code >= 300 {
			b.Fatal(string(a.body))
		}
		i++
	}
	perOp(b, before, i)
}

// BenchmarkInventory is a PUT of an inventory, which no two edges have the same.
func BenchmarkInventory(b *testing.B) {
	f := startFleet(b, 1)
	e, k := f.Edges[0], f.kinds.configMap
	gz := make([]byte, 1600)
	for i := range gz {
		gz[i] = 'A' + byte(mix(uint64(i))%26)
	}
	e.applyDirect(k, "inv", "skerry", applyBody("inv", "x"))
	b.ReportAllocs()
	before := cpu(b)
	i := 0
	for b.Loop() {
		body := fmt.Appendf(nil, `{"apiVersion":"v1","binaryData":{"inventory.json.gz":"%s%04d"},"kind":"ConfigMap","metadata":{"annotations":{"skerry.dev/hub":"h"},"labels":{"skerry.dev/part":"inventory"},"name":"inv","namespace":"default"}}`, gz, i%10000)
		c := &call{request: &request{body: body, contentType: jsonType}, verb: verbUpdate, kind: k, namespace: "default", name: "inv", form: metadataOnly, query: map[string][]string{"fieldManager": {"skerry"}}}
		if a := e.change(c); a.code >= 300 {
			b.Fatal(string(a.body))
		}
		i++
	}
	perOp(b, before, i)
}

// BenchmarkApplyOverTheWire counts the CPU of client and simulator together, in this process.
func BenchmarkApplyOverTheWire(b *testing.B) {
	f := startFleet(b, 1)
	e := f.Edges[0]
	client := clientFor(b, edgeConfig(b, e))
	bodies := [2]string{string(applyBody("cm", "one")), string(applyBody("cm", "two"))}
	before := cpu(b)
	i := 0
	for b.Loop() {
		code, body := send(b, client, e.URL(), step{
			Method: http.MethodPatch, Path: "/api/v1/namespaces/default/configmaps/cm", Query: "fieldManager=m", ContentType: applyPatch,
			Accept: metadataAccept, Body: bodies[i%2],
		})
		if code >= 300 {
			b.Fatal(string(body))
		}
		i++
	}
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(i), "cpu-µs/op")
}
