package object

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

func FuzzDecodeBundle(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}` + "\n"))
	f.Add([]byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}` + "\n" + `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x","namespace":"a"}}` + "\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := DecodeBundle(data)
		if err != nil {
			return
		}
		if !bytes.Equal(b.Encode(), data) {
			t.Errorf("%q is not what it was decoded from", b.Encode())
		}
		if _, err := NewBundle(b.Objects); err != nil {
			t.Error(err)
		}
	})
}

// FuzzFromMap holds the canonical form to the standard library's reading of it.
func FuzzFromMap(f *testing.F) {
	f.Add("v1", "ConfigMap", "web", "key", "value \x00\xff<\u2028>")
	f.Fuzz(func(t *testing.T, apiVersion, kind, name, key, value string) {
		o, err := FromMap(map[string]any{
			"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name},
			"spec": map[string]any{"a" + key: value, "list": []any{value, nil, true}},
		})
		if err != nil {
			return
		}
		var got, want any
		if err := json.Unmarshal(o.Body, &got); err != nil {
			t.Fatalf("%q: %v", o.Body, err)
		}
		std, _ := json.Marshal(map[string]any{
			"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name},
			"spec": map[string]any{"a" + key: value, "list": []any{value, nil, true}},
		})
		if err := json.Unmarshal(std, &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is not %s (%v)", o.Body, std, err)
		}
		back, err := fromBody(o.Body)
		if err != nil || back.ID != o.ID || back.Digest != o.Digest {
			t.Errorf("fromBody: %+v, %v", back, err)
		}
	})
}
