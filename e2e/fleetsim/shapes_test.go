package fleetsim

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestShapesChangeNothing writes one after the other what makes ConfigMaps and Secrets what they are,
// by shape and the long way, and compares what becomes of them.
func TestShapesChangeNothing(t *testing.T) {
	f, err := newFleet()
	if err != nil {
		t.Fatal(err)
	}
	secrets := f.kinds.find("/api/v1", "secrets")
	bodies := []string{
		`{"apiVersion":"v1","kind":%q,"metadata":{"name":"o","namespace":"n"},"data":{"a":"eA==","b":"eQ=="}}`,
		`{"apiVersion":"v1","kind":%q,"metadata":{"name":"o","namespace":"n"},"data":{"a":"eA==","b":"eQ=="}}`,
		` { "apiVersion" : "v1", "kind" : %q, "metadata": {"name":"o","namespace":"n","labels":{"x":"y"}}, "data" : { "a" : "eg==" , "c":"" } } `,
		`{"apiVersion":"v1","kind":%q,"metadata":{"name":"o","namespace":"n"},"data":{"a":"\u0065g==","c":""},"immutable":false}`,
		`{"apiVersion":"v1","kind":%q,"metadata":{"name":"o","namespace":"n"},"data":{}}`,
		`{"apiVersion":"v1","kind":%q,"metadata":{"name":"o","namespace":"n"}}`,
		`{"apiVersion":"v1","kind":%q,"metadata":{"name":"o","namespace":"n"},"data":{"a":"<&>\u2028é\\ \"quoted\" @@value/true/data/b@@"}}`,
		`{"apiVersion":"v1","kind":%q,"metadata":{"name":"o","namespace":"n"},"data":{"a":null}}`,
		`{"apiVersion":"v1","kind":%q,"metadata":{"name":"o","namespace":"n"},"data":{"a":5}}`,
		`{"apiVersion":"v1","kind":%q,"metadata":{"name":"o","namespace":"n"},"data":"none","binaryData":{"z":"eA=="}}`,
		`{"apiVersion":"v1","kind":%q,"metadata":{"name":"o","namespace":"n"},"binaryData":{"z":"eA=="},"data":{"k":"v","k":"w"}}`,
		`{"apiVersion":"v1","kind":%q,"metadata":{"name":"o","namespace":"n"},"data":{"z":"eA=="},"unknown":{"k":"v"}}`,
		`{"apiVersion":"v1","kind":%q,"metadata":{"name":"o","namespace":"n"},"binaryData":{"z":"eA=="},"data":{"k":"v"}`,
		`{"apiVersion":"v1","kind":%q,"metadata":{"name":"o","namespace":"n","uid":"any","resourceVersion":"7"},"data":{"k":"v"}}`,
		`{"apiVersion":"v1","kind":%q,"metadata":{"name":"o","namespace":"n"},"stringData":{"k":"v"}}`,
	}
	shaped := 0
	for _, k := range []*kind{f.kinds.configMap, secrets} {
		for _, v := range []verb{verbApply, verbUpdate} {
			var live *content
			for step := range 3 * len(bodies) {
				body := fmt.Sprintf(bodies[int(mix(uint64(step)))&0xffff%len(bodies)], k.gvk.Kind)
				w := &write{kind: k, namespace: "n", name: "o", verb: v, manager: fmt.Sprint("m", step%2), force: true, body: []byte(body)}
				want := work(live, w)
				got, ok := f.transitions.byShape(live, w)
				if ok {
					shaped++
					if diff := cmp.Diff(told(want), told(got)); diff != "" {
						t.Errorf("%s of %s (-the long way +by shape):\n%s", v, body, diff)
					}
				}
				if want.content != nil {
					live = want.content
				}
			}
		}
	}
	if shaped < 60 {
		t.Errorf("only %d writes went by shape", shaped)
	}
}

// told is what an outcome says.
func told(o *outcome) map[string]any {
	if o.refused != nil {
		return map[string]any{"refused": string(refuse(o.refused).body)}
	}
	out := map[string]any{
		"meta": o.content.meta, "tail": o.content.tail, "from": o.from, "uid": o.uid, "version": o.version, "counts": o.counts,
		"labels": o.content.labels, "entries": fmt.Sprint(o.content.entries), "sum": o.content.sum,
	}
	return out
}

// TestScan changes bytes of objects at random: whatever is JSON, and is taken for an object, must have
// the fields that encoding/json finds.
func TestScan(t *testing.T) {
	seeds := []string{`{"a":1}`, `{"a":{"b":[1,2,"}"]},"c":"\""}`, ` { } `, `{"a":true,"b":null ,"c" : [ ] }`, `{"a":"\\","b":{}}`}
	const bytes = `{}[]",:\ab1 `
	valid := 0
	for i := range 50000 {
		r := mix(uint64(i))
		text := []byte(seeds[r%uint64(len(seeds))])
		for range r >> 8 % 4 {
			r = mix(r)
			text[r>>16%uint64(len(text))] = bytes[r%uint64(len(bytes))]
		}
		got := map[string]string{}
		ok := eachField(string(text), func(name, value string) bool {
			_, twice := got[name]
			got[name] = value
			return !twice
		})
		var want map[string]json.RawMessage
		if json.Unmarshal(text, &want) != nil || !ok {
			continue // what is no JSON may be taken for some: it is read again
		}
		valid++
		for name, value := range want {
			if got[name] != string(value) {
				t.Errorf("%s: %q is %q, want %q", text, name, got[name], value)
			}
		}
	}
	if valid < 10000 {
		t.Errorf("only %d texts were objects", valid)
	}
}
