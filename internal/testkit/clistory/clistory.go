// Package clistory runs command lines of skerry in-process, against a hub and edges that stand in a txtar file,
// and holds what they print.
package clistory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/testkit/golden"
)

// Noon is what the clock shows in every story.
var Noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// Run holds each file that the pattern matches. Lines "$ skerry …" of its comment are the command lines;
// "terminal WIDTH" or "terminal WIDTHxHEIGHT" there puts a terminal behind the lines that follow, and "colour" one with colours; "pipe"
// takes it away. hub.yaml is what the hub's API server holds; without it there is none. The file "out" is what
// comes of it: standard output, standard error with "2> " before each line, and the exit code unless it is 0.
func Run(t *testing.T, pattern string) {
	t.Helper()
	golden.Run(t, pattern, func(t *testing.T, a *txtar.Archive) map[string]string {
		t.Helper()
		return map[string]string{"out": play(t, a)}
	})
}

func play(t *testing.T, a *txtar.Archive) string {
	t.Helper()
	hub, reach := hubOf(t, golden.Text(a, "hub.yaml")), edges(t, a)
	var b strings.Builder
	var at terminal
	for line := range strings.Lines(string(a.Comment)) {
		line = strings.TrimSpace(line)
		switch word, rest, _ := strings.Cut(line, " "); word {
		case "pipe":
			at = terminal{}
		case "colour":
			at.colour = true
		case "terminal":
			if n, err := fmt.Sscanf(rest, "%dx%d", &at.width, &at.height); err != nil && n == 0 {
				t.Fatalf("%q: %v", line, err)
			}
		case "$":
			b.WriteString(line + "\n" + run(t, strings.Fields(rest)[1:], hub, reach, at))
		}
	}
	return strings.ReplaceAll(b.String(), "\x1b", "␛")
}

// terminal is what a command line is run at; zero: a pipe.
type terminal struct {
	width, height int
	colour        bool
}

func run(t *testing.T, args []string, hub client.WithWatch, reach func(context.Context, *factory.Hub, *v1alpha1.Cluster) (*factory.Edge, error), at terminal) string {
	t.Helper()
	streams, _, out, log := iostreams.Test()
	streams.Colour = at.colour
	if at.width > 0 {
		streams.Columns = func() int { return at.width }
	}
	if at.height > 0 {
		streams.Rows = func() int { return at.height }
	}
	f := factory.New("v0.0.0-test", func(string) string { return "" })
	f.IO, f.Now = streams, func() time.Time { return Noon }
	f.ReadFile = func(string) ([]byte, error) { return nil, os.ErrNotExist }
	f.Edge = reach
	f.Hub = func() (*factory.Hub, error) {
		if hub == nil {
			return nil, errors.New("there is no hub")
		}
		return &factory.Hub{WithWatch: hub, Config: &rest.Config{Host: "https://hub.example:6443"}}, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code := cli.Run(ctx, f, args)
	var text strings.Builder
	text.WriteString(out.String())
	for line := range strings.Lines(log.String()) {
		text.WriteString("2> " + line)
	}
	if code != 0 {
		fmt.Fprintf(&text, "exit %d\n", code)
	}
	return text.String()
}

func hubOf(t *testing.T, docs string) client.WithWatch {
	t.Helper()
	if docs == "" {
		return nil
	}
	scheme, err := factory.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	objects := Objects(t, scheme, docs)
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(objects...).Build()
}

// Objects decodes documents of YAML. Those of skerry.dev need no apiVersion, and none a namespace but where it
// is another than the hub's.
func Objects(t *testing.T, scheme *runtime.Scheme, docs string) []client.Object {
	t.Helper()
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var out []client.Object
	for doc := range strings.SplitSeq("\n"+docs, "\n---") {
		m := map[string]any{}
		if err := yaml.Unmarshal([]byte(doc), &m); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if len(m) == 0 {
			continue
		}
		if m["apiVersion"] == nil {
			m["apiVersion"] = v1alpha1.GroupVersion.String()
		}
		data, err := yaml.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		decoded, _, err := decoder.Decode(data, nil, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		o, ok := decoded.(client.Object)
		if !ok {
			t.Fatalf("%T is no object", decoded)
		}
		if o.GetNamespace() == "" && m["kind"] != "Namespace" {
			o.SetNamespace(v1alpha1.SystemNamespace)
		}
		out = append(out, o)
	}
	return out
}
