package object

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestID(t *testing.T) {
	for _, tc := range []struct {
		id   ID
		want string
	}{
		{ID{Kind: "ConfigMap", Namespace: "apps", Name: "web"}, "ConfigMap/apps/web"},
		{ID{Group: "apps", Kind: "Deployment", Namespace: "apps", Name: "web"}, "Deployment.apps/apps/web"},
		{ID{Kind: "Namespace", Name: "apps"}, "Namespace/apps"},
		{ID{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "system:web"}, "ClusterRole.rbac.authorization.k8s.io/system:web"},
	} {
		if got := tc.id.String(); got != tc.want {
			t.Errorf("String() = %q; want %q", got, tc.want)
		}
		if err := tc.id.validate(); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []ID{
		{}, {Kind: "ConfigMap"}, {Name: "x"}, {Kind: "Config Map", Name: "x"}, {Kind: "X", Group: "g", Namespace: "..", Name: "n"},
		{Kind: "X", Name: "a/b"}, {Kind: "X", Name: "a%2fb"}, {Kind: "X", Name: "\x1b[2J"},
	} {
		if err := id.validate(); err == nil {
			t.Errorf("%+v is taken", id)
		}
	}
}

func TestFromMap(t *testing.T) {
	for _, tc := range []struct{ name, in, want, err string }{
		{
			name: "sorted and compact, HTML as it is",
			in:   `{"kind":"ConfigMap","metadata":{"namespace":"a","name":"x"},"apiVersion":"v1","data":{"b":"<&>\u2028é\"\\\n\u0001","a":""}}`,
			want: `{"apiVersion":"v1","data":{"a":"","b":"<&>` + "\u2028" + `é\"\\\n\u0001"},"kind":"ConfigMap","metadata":{"name":"x","namespace":"a"}}`,
		},
		{
			name: "what the server owns is left out",
			in:   `{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"x","creationTimestamp":null,"uid":"u","resourceVersion":"1","managedFields":[],"labels":null,"annotations":{},"namespace":""},"status":{"replicas":1},"spec":{"replicas":0}}`,
			want: `{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"annotations":{},"name":"x"},"spec":{"replicas":0}}`,
		},
		{
			name: "stringData is merged over data",
			in:   `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"},"data":{"a":"b2xk","b":"Yg=="},"stringData":{"a":"new"}}`,
			want: `{"apiVersion":"v1","data":{"a":"bmV3","b":"Yg=="},"kind":"Secret","metadata":{"name":"x"}}`,
		},
		{
			name: "ports get their protocol",
			in:   `{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"x"},"spec":{"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"ports":[{"containerPort":53},{"containerPort":53,"protocol":"UDP"}]}]}}}}}}`,
			want: `{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"x"},"spec":{"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"ports":[{"containerPort":53,"protocol":"TCP"},{"containerPort":53,"protocol":"UDP"}]}]}}}}}}`,
		},
		{
			name: "a Service of somebody else is left alone",
			in:   `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"x"},"spec":{"ports":[{"port":1}]}}`,
			want: `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"x"},"spec":{"ports":[{"port":1}]}}`,
		},
		{name: "no apiVersion", in: `{"kind":"X","metadata":{"name":"x"}}`, err: "apiVersion is missing"},
		{name: "no kind", in: `{"apiVersion":"v1","metadata":{"name":"x"}}`, err: "kind is missing"},
		{name: "no name", in: `{"apiVersion":"v1","kind":"X","metadata":{"generateName":"x-"}}`, err: "X: metadata.generateName is not supported: an object whose name the cluster makes up would be created anew by each commit; give it a metadata.name"},
		{name: "name that leaves its path", in: `{"apiVersion":"v1","kind":"X","metadata":{"name":"a/../b"}}`, err: `name "a/../b" cannot stand in a path`},
		{name: "odd apiVersion", in: `{"apiVersion":"a/b/c","kind":"X","metadata":{"name":"x"}}`, err: `X/x: apiVersion "a/b/c" is not group/version`},
		{name: "number as namespace", in: `{"apiVersion":"v1","kind":"X","metadata":{"name":"x","namespace":1}}`, err: "X/x: metadata.namespace is not a string but a number: quote it"},
		{
			name: "an error does not hold the secret",
			in:   `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"},"stringData":{"pin":1234}}`,
			err:  `Secret/x: stringData[pin] is not a string but a number: quote it`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, err := FromMap(decode(t, tc.in))
			if tc.err != "" {
				if err == nil || err.Error() != tc.err {
					t.Fatalf("FromMap: %v; want %s", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(o.Body)); diff != "" {
				t.Error(diff)
			}
			again, err := FromMap(decode(t, string(o.Body)))
			if err != nil || cmp.Diff(o, again) != "" {
				t.Errorf("the canonical form of the canonical form differs: %v %s", err, cmp.Diff(o, again))
			}
		})
	}
}

func TestNumbers(t *testing.T) {
	o, err := FromMap(map[string]any{
		"apiVersion": "v1", "kind": "X", "metadata": map[string]any{"name": "x"},
		"n": []any{1, int64(-2), uint64(1 << 63), 1.0, 1.5, json.Number("12345678901234567890")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"apiVersion":"v1","kind":"X","metadata":{"name":"x"},"n":[1,-2,9223372036854775808,1,1.5,12345678901234567890]}`
	if diff := cmp.Diff(want, string(o.Body)); diff != "" {
		t.Error(diff)
	}
}

func TestBundle(t *testing.T) {
	b, err := NewBundle([]Object{
		object(t, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"a"}}`),
		object(t, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}
{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"a"}}
`
	if diff := cmp.Diff(want, string(b.Encode())); diff != "" {
		t.Error(diff)
	}
	if b.Size() != len(want) {
		t.Errorf("Size() = %d; want %d", b.Size(), len(want))
	}
	back, err := DecodeBundle(b.Encode())
	if diff := cmp.Diff(b, back); err != nil || diff != "" {
		t.Errorf("DecodeBundle: %v %s", err, diff)
	}
	if got := b.Digest(); got != back.Digest() || !strings.HasPrefix(got, "sha256:") || len(got) != 7+64 {
		t.Errorf("Digest() = %q", got)
	}
	_, err = NewBundle(append(b.Objects, b.Objects[0]))
	if err == nil || err.Error() != "Namespace/a is there twice" {
		t.Errorf("NewBundle of duplicates: %v", err)
	}
	if empty, err := DecodeBundle(nil); err != nil || len(empty.Objects) != 0 || len(empty.Encode()) != 0 {
		t.Errorf("the empty bundle is %v, %v", empty, err)
	}
}

func TestDecodeBundleRefuses(t *testing.T) {
	const line = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}` + "\n"
	for name, tc := range map[string]struct{ in, err string }{
		"cut off":      {strings.TrimSuffix(line, "\n"), "cannot decode bundle: line 1 is cut off"},
		"twice":        {line + line, "cannot decode bundle: line 2: ConfigMap/x is out of order"},
		"no JSON":      {line + "x\n", "cannot decode bundle: line 2: not a JSON object"},
		"empty line":   {"\n", "cannot decode bundle: line 1: not a JSON object"},
		"no metadata":  {"{}\n", "cannot decode bundle: line 1: metadata is not a JSON object"},
		"other's case": {`{"apiVersion":"v1","Kind":"X","metadata":{"name":"x"}}` + "\n", "cannot decode bundle: line 1: kind is missing"},
	} {
		if _, err := DecodeBundle([]byte(tc.in)); err == nil || err.Error() != tc.err {
			t.Errorf("%s: %v; want %s", name, err, tc.err)
		}
	}
}

func decode(t *testing.T, s string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(s), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func object(t *testing.T, s string) Object {
	t.Helper()
	o, err := FromMap(decode(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return o
}
