package hub

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/schema"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// field is one duration of the API and its bounds.
type field struct {
	kind, name string
	min, max   time.Duration
}

var durations = []field{
	{"GitRepository", "interval", time.Second, 24 * time.Hour},
	{"GitRepository", "timeout", time.Second, time.Hour},
	{"Kustomization", "interval", 5 * time.Second, 24 * time.Hour},
	{"Kustomization", "retryInterval", time.Second, 24 * time.Hour},
	{"Kustomization", "timeout", time.Second, 24 * time.Hour},
}

// TestWhatTheSchemaAcceptsGoCanDecode holds, for each duration of the API: what the server accepts is
// a duration within the bounds to whoever watches it. One object that a watch cannot decode stops the
// watch of the whole kind, for everybody.
func TestWhatTheSchemaAcceptsGoCanDecode(t *testing.T) {
	c := schemaServer(t)
	for _, f := range durations {
		t.Run(f.kind+"."+f.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(len(f.kind+f.name))))
			accepted := 0
			for i := range 250 {
				text := randomDuration(r, f, i)
				err := tryObject(t, c, f.kind, map[string]any{f.name: text})
				if apierrors.IsInvalid(err) {
					if d, parses := inBounds(text, f); parses && plain(text) {
						t.Errorf("%q (%s) is refused: %v", text, d, err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%q: %v", text, err)
				}
				accepted++
				if d, ok := inBounds(text, f); !ok {
					t.Errorf("%q (%s) is accepted", text, d)
				}
				if err := decodes(f, text); err != nil {
					t.Errorf("%q is accepted and does not decode: %v", text, err)
				}
			}
			if accepted < 25 {
				t.Errorf("only %d were accepted: the test tests nothing", accepted)
			}
		})
	}
}

// nasty are strings that a pattern lets through and a decoder does not, or that people write.
var nasty = []string{
	"", "0", "0s", "-1s", "+1s", "1", "s", "1ss", "1s ", " 1s", "1s\n", "1S", "1d", "1us", "1ns", "1µs", "1e3s", "0x1s", ".5s", "1.s", "1..5s",
	"2562048h", "2562047h", "9999999999999999999h", "99999999999999999999999999999h", "24h0m0.001s", "23h59m59.999s", "24h", "1h", "1h0m0.1s",
	"0.999s", "999ms", "1000ms", "4.999s", "5s", "5000ms", "1h1h", "1m1h", "0.0000000000000000000000001h", "1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s", "١s",
	"59m60s", "3600000ms", "1h1m1s1ms", "00000000000000000000000000005s", "0000000000000000000000000000000005s",
}

func randomDuration(r *rand.Rand, f field, i int) string {
	if i < len(nasty) {
		return nasty[i]
	}
	if r.IntN(3) == 0 { // near the bounds, in Go's own words
		edge := []time.Duration{f.min, f.max, f.min + f.max/2}[r.IntN(3)]
		return (edge + time.Duration(r.IntN(2001)-1000)*time.Millisecond).String()
	}
	var b strings.Builder
	for range 1 + r.IntN(3) {
		if r.IntN(8) == 0 {
			b.WriteByte("-+ ."[r.IntN(4)])
		}
		fmt.Fprint(&b, r.IntN([]int{10, 100, 10000}[r.IntN(3)]))
		if r.IntN(4) == 0 {
			fmt.Fprintf(&b, ".%d", r.IntN(1000))
		}
		b.WriteString([]string{"h", "m", "s", "ms", "s", "m", "us", ""}[r.IntN(8)])
	}
	return b.String()
}

func inBounds(text string, f field) (time.Duration, bool) {
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= f.min && d <= f.max
}

var written = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)

// plain reports whether the text has the form that the API describes.
func plain(text string) bool { return len(text) <= 32 && written.MatchString(text) }

func decodes(f field, text string) error {
	data, err := json.Marshal(map[string]any{"spec": map[string]any{f.name: text}})
	if err != nil {
		return err
	}
	if f.kind == "GitRepository" {
		return json.Unmarshal(data, &v1alpha1.GitRepository{})
	}
	return json.Unmarshal(data, &v1alpha1.Kustomization{})
}

var installOnce sync.Once

// schemaServer is an API server with the CRDs, which nobody writes to for good.
func schemaServer(t *testing.T) client.WithWatch {
	t.Helper()
	c := newClient(t, controlplane.Shared(t))
	installOnce.Do(func() { installCRDs(t, c) })
	return c
}

// tryObject asks the server whether it would take a valid object with this change to its spec.
func tryObject(t *testing.T, c client.Client, kind string, change map[string]any) error {
	t.Helper()
	return tryCreate(t, c, kind, "x", specOf(kind, change))
}

// specOf is a valid spec of a GitRepository or Kustomization with a change; the change alone for other kinds.
func specOf(kind string, change map[string]any) map[string]any {
	spec := map[string]any{}
	switch kind {
	case "GitRepository":
		spec["interval"], spec["url"] = "1m", "https://git.example/config"
	case "Kustomization":
		spec["interval"], spec["sourceRef"] = "1m", map[string]any{"name": "config"}
	}
	maps.Copy(spec, change)
	return spec
}

func tried(kind, name string, spec map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	o.SetNamespace("default")
	o.SetName(name)
	return o
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func tryCreate(t *testing.T, c client.Client, kind, name string, spec map[string]any) error {
	t.Helper()
	return c.Create(t.Context(), tried(kind, name, spec), client.DryRunAll)
}

func repeated(v any, n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = v
	}
	return list
}

func TestSchema(t *testing.T) {
	c := schemaServer(t)
	secret := map[string]any{"kubeConfig": map[string]any{"secretRef": map[string]any{"name": "a"}}}
	agent := map[string]any{"agent": map[string]any{}}
	tests := map[string]struct {
		kind, name string
		change     map[string]any
		refused    string // part of the message; empty when accepted
	}{
		"https":                    {kind: "GitRepository", change: map[string]any{"url": "https://git.example/a/b.git"}},
		"ssh":                      {kind: "GitRepository", change: map[string]any{"url": "ssh://git@git.example/a"}},
		"file":                     {kind: "GitRepository", change: map[string]any{"url": "file:///etc"}, refused: "spec.url"},
		"git protocol":             {kind: "GitRepository", change: map[string]any{"url": "git://git.example/a"}, refused: "spec.url"},
		"an option":                {kind: "GitRepository", change: map[string]any{"url": "--upload-pack=x"}, refused: "spec.url"},
		"credentials in the URL":   {kind: "GitRepository", change: map[string]any{"url": "https://a:b@git.example/a"}, refused: "credentials belong into secretRef"},
		"a space":                  {kind: "GitRepository", change: map[string]any{"url": "https://git.example/a b"}, refused: "spec.url"},
		"a commit":                 {kind: "GitRepository", change: map[string]any{"ref": map[string]any{"commit": strings.Repeat("a", 40)}}},
		"half a commit":            {kind: "GitRepository", change: map[string]any{"ref": map[string]any{"commit": "abc"}}, refused: "spec.ref.commit"},
		"a path":                   {kind: "Kustomization", change: map[string]any{"path": "./overlays/${region}"}},
		"an absolute path":         {kind: "Kustomization", change: map[string]any{"path": "/etc"}, refused: "path must be relative"},
		"a path that climbs":       {kind: "Kustomization", change: map[string]any{"path": "a/../../b"}, refused: "path must be relative"},
		"dots in a name":           {kind: "Kustomization", change: map[string]any{"path": "a..b/c"}},
		"another kind of source":   {kind: "Kustomization", change: map[string]any{"sourceRef": map[string]any{"kind": "Bucket", "name": "a"}}, refused: "spec.sourceRef.kind"},
		"an OCIRepository":         {kind: "Kustomization", change: map[string]any{"sourceRef": map[string]any{"kind": "OCIRepository", "name": "a"}}, refused: "name its GitRepository"},
		"an ExternalArtifact":      {kind: "Kustomization", change: map[string]any{"sourceRef": map[string]any{"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "ExternalArtifact", "name": "a"}}, refused: "name its GitRepository"},
		"a kind that is empty":     {kind: "Kustomization", change: map[string]any{"sourceRef": map[string]any{"kind": "", "name": "a"}}, refused: "spec.sourceRef.kind"},
		"an account":               {kind: "Kustomization", change: map[string]any{"serviceAccountName": "tenant"}},
		"an account elsewhere":     {kind: "Kustomization", change: map[string]any{"serviceAccountName": "other:tenant"}, refused: "spec.serviceAccountName"},
		"a user for an account":    {kind: "Kustomization", change: map[string]any{"serviceAccountName": "x\r\nImpersonate-Group: system:masters"}, refused: "spec.serviceAccountName"},
		"an account without name":  {kind: "Kustomization", change: map[string]any{"serviceAccountName": ""}},
		"a kubeconfig":             {kind: "Kustomization", change: map[string]any{"kubeConfig": map[string]any{"configMapRef": map[string]any{"name": "a"}}}, refused: "put it into a Cluster"},
		"an account of a cloud":    {kind: "GitRepository", change: map[string]any{"provider": "azure", "serviceAccountName": "flux"}, refused: "serviceAccountName is not supported: put a token"},
		"a check without version":  {kind: "Kustomization", change: map[string]any{"healthChecks": []any{map[string]any{"kind": "Deployment", "name": "a"}}}},
		"another policy":           {kind: "Kustomization", change: map[string]any{"deletionPolicy": "Keep"}, refused: "spec.deletionPolicy"},
		"substitute from anything": {kind: "Kustomization", change: map[string]any{"postBuild": map[string]any{"substituteFrom": []any{map[string]any{"kind": "Pod", "name": "a"}}}}, refused: "kind"},
		"null for every default of Kustomization": {kind: "Kustomization", change: map[string]any{
			"timeout": nil, "retryInterval": nil, "clusters": nil, "rollout": nil, "dependsOn": nil, "commonMetadata": nil, "patches": nil, "images": nil,
			"components": nil, "postBuild": nil, "path": nil, "prune": nil, "wait": nil, "deletionPolicy": nil,
			"drift": nil, "ignore": nil, "maxPrune": nil, "force": nil, "suspend": nil, "targetNamespace": nil, "namePrefix": nil, "nameSuffix": nil,
			"ignoreMissingComponents": nil, "buildMetadata": nil, "healthChecks": nil, "healthCheckExprs": nil, "decryption": nil,
		}},
		"null within drift":                 {kind: "Kustomization", change: map[string]any{"drift": map[string]any{"mode": nil, "ignore": nil}}},
		"null for the clusters of an image": {kind: "Kustomization", change: map[string]any{"images": []any{map[string]any{"name": "a", "clusterSelector": nil}}}},
		"null for every default of Cluster": {kind: "Cluster", name: "edge-null", change: map[string]any{
			"kubeConfig": secret["kubeConfig"], "vars": nil, "varsFrom": nil, "suspend": nil, "deletionPolicy": nil, "accessFrom": nil,
		}},
		"null within postBuild": {kind: "Kustomization", change: map[string]any{"postBuild": map[string]any{"substitute": nil, "substituteFrom": nil}}},
		"null for every default of GitRepository": {kind: "GitRepository", change: map[string]any{
			"timeout": nil, "ref": nil, "secretRef": nil, "proxySecretRef": nil, "ignore": nil, "verify": nil, "accessFrom": nil, "suspend": nil,
			"sparseCheckout": nil, "include": nil, "recurseSubmodules": nil, "requireFastForward": nil,
		}},
		"ignore":                       {kind: "GitRepository", change: map[string]any{"ignore": "/*\n!/deploy\n"}},
		"ignore without end":           {kind: "GitRepository", change: map[string]any{"ignore": strings.Repeat("a", 1<<17)}, refused: "spec.ignore"},
		"many components":              {kind: "Kustomization", change: map[string]any{"components": repeated("../c", 129)}, refused: "spec.components"},
		"a long component":             {kind: "Kustomization", change: map[string]any{"components": repeated(strings.Repeat("c", 1025), 1)}, refused: "spec.components"},
		"many patches":                 {kind: "Kustomization", change: map[string]any{"patches": repeated(map[string]any{"patch": "a"}, 257)}, refused: "spec.patches"},
		"a long patch":                 {kind: "Kustomization", change: map[string]any{"patches": repeated(map[string]any{"patch": strings.Repeat("a", 1<<18+1)}, 1)}, refused: "262144"},
		"many images":                  {kind: "Kustomization", change: map[string]any{"images": repeated(map[string]any{"name": "a"}, 257)}, refused: "spec.images"},
		"an edge with a kubeconfig":    {kind: "Cluster", name: "edge-1", change: secret},
		"an edge with an agent":        {kind: "Cluster", name: "edge-1", change: agent},
		"an edge with neither":         {kind: "Cluster", name: "edge-1", change: map[string]any{}, refused: "the Cluster named hub has neither"},
		"an edge with both":            {kind: "Cluster", name: "edge-1", change: map[string]any{"kubeConfig": secret["kubeConfig"], "agent": map[string]any{}}, refused: "every other exactly one"},
		"the hub's own":                {kind: "Cluster", name: "hub", change: map[string]any{}},
		"the hub's own, kubeconfig":    {kind: "Cluster", name: "hub", change: secret, refused: "the Cluster named hub has neither"},
		"vars":                         {kind: "Cluster", name: "hub", change: map[string]any{"vars": map[string]any{"region": "north", "a_1": "b"}}},
		"a var that is no name":        {kind: "Cluster", name: "hub", change: map[string]any{"vars": map[string]any{"a-b": "c"}}, refused: "must be a variable name"},
		"a var that hides a given one": {kind: "Cluster", name: "hub", change: map[string]any{"vars": map[string]any{"cluster_name": "c"}}, refused: "must be a variable name"},
		"a long name":                  {kind: "Cluster", name: strings.Repeat("a", 64), change: secret, refused: "at most 63 characters"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var err error
			if tt.kind == "Cluster" {
				err = tryCreate(t, c, tt.kind, tt.name, tt.change)
			} else {
				err = tryObject(t, c, tt.kind, tt.change)
			}
			switch {
			case tt.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.refused != "" && (err == nil || !strings.Contains(err.Error(), tt.refused)):
				t.Errorf("error %v, want %q", err, tt.refused)
			}
			offline := schema.Validate(t.Context(), mustJSON(t, tried(tt.kind, cmp.Or(tt.name, "x"), specOf(tt.kind, tt.change))))
			if got, want := fmt.Sprint(offline), fmt.Sprint(err); got != want {
				t.Errorf("of a file: %s\nthe server: %s", got, want)
			}
		})
	}
}
