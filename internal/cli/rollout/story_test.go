package rollout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/testkit/golden"
)

// noon is what the clock shows in every story.
var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// TestStories holds each file of testdata. Its comment has the command line behind "$ rollout", and
// may ask for a "terminal", for "80 columns", for "colour" and for a "timeout" that is short. hub.yaml is what the hub's
// API server holds, fleet a short form of Clusters, then.yaml and then-2.yaml the status that the hub
// comes to after an annotation, or after each time that something is shown. Other files may be named
// by the command line. What came of it follows: stdout, stderr, error, annotations.
func TestStories(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, a *txtar.Archive) map[string]string {
		t.Parallel()
		return newStage(t, a).play(t)
	})
}

// house is a hub that follows a script.
type house struct {
	comment string
	files   map[string]string
	client  client.WithWatch
	then    []*v1alpha1.Kustomization
}

func newStage(t *testing.T, archive *txtar.Archive) *house {
	t.Helper()
	h := &house{comment: string(archive.Comment), files: map[string]string{}}
	for _, f := range archive.Files {
		h.files[f.Name] = string(f.Data)
	}
	for _, name := range slices.Sorted(maps.Keys(h.files)) {
		if strings.HasPrefix(name, "then") {
			ks := &v1alpha1.Kustomization{}
			if err := yaml.UnmarshalStrict([]byte(h.files[name]), ks); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			h.then = append(h.then, ks)
		}
	}
	objects := append(decode(t, h.files["hub.yaml"]), clusters(t, h.files["fleet"])...)
	scheme, err := factory.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	h.client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(objects...).
		WithInterceptorFuncs(interceptor.Funcs{Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if err := c.Patch(ctx, o, p, opts...); err != nil {
				return err
			}
			return h.goOn(ctx, c)
		}}).Build()
	return h
}

// goOn lets the hub come to the next status of its script.
func (h *house) goOn(ctx context.Context, c client.Client) error {
	if len(h.then) == 0 {
		return nil
	}
	next, ks := h.then[0], &v1alpha1.Kustomization{}
	h.then = h.then[1:]
	if err := c.Get(ctx, client.ObjectKeyFromObject(next), ks); err != nil {
		return err
	}
	if next.Spec.Interval.Duration < 0 { // as good as any other sign
		return c.Delete(ctx, ks)
	}
	ks.Status = next.Status
	return c.Status().Update(ctx, ks)
}

func (h *house) play(t *testing.T) map[string]string {
	t.Helper()
	streams, in, out, log := iostreams.Test()
	if strings.Contains(h.comment, "terminal") {
		streams, in, out, log = iostreams.TestTerminal(20)
	}
	streams.Colour = strings.Contains(h.comment, "colour")
	if strings.Contains(h.comment, "80 columns") {
		streams.Columns = func() int { return 80 }
	}
	in.WriteString(h.files["stdin"])
	if strings.Contains(h.comment, "--watch") {
		streams.Out = shown{out, func() error { return h.goOn(t.Context(), h.client) }}
	}
	f := &factory.Factory{
		IO: streams, Now: func() time.Time { return noon }, Flags: &factory.Flags{},
		Hub: func() (*factory.Hub, error) {
			if h.files["hub.yaml"]+h.files["fleet"] == "" {
				return nil, errors.New("there is no hub")
			}
			return &factory.Hub{WithWatch: h.client, Config: &rest.Config{Host: "https://hub.example"}}, nil
		},
		ReadFile: func(name string) ([]byte, error) {
			if h.files[name] == "" {
				return nil, os.ErrNotExist
			}
			return []byte(h.files[name]), nil
		},
	}
	if strings.Contains(h.comment, "timeout") {
		f.Flags.Timeout = 100 * time.Millisecond
	}
	got := map[string]string{"error": ""}
	if err := h.run(t, f); err != nil {
		got["error"] = err.Error() + "\n"
		if _, ok := errors.AsType[*factory.UsageError](err); ok {
			got["error"] = "usage: " + got["error"]
		}
		if next, ok := errors.AsType[*factory.NextError](err); ok {
			got["error"] += "next: " + next.Next + "\n"
		}
	}
	got["stdout"] = strings.ReplaceAll(out.String(), "\x1b", "␛")
	got["stderr"] = strings.ReplaceAll(log.String(), "\x1b", "␛")
	got["annotations"] = h.annotations(t)
	return got
}

func (h *house) run(t *testing.T, f *factory.Factory) error {
	t.Helper()
	for line := range strings.SplitSeq(h.comment, "\n") {
		args, ok := strings.CutPrefix(line, "$ rollout ")
		if !ok {
			continue
		}
		cmd := NewCmdRollout(f, nil)
		cmd.PersistentFlags().StringVarP(&f.Flags.Namespace, "namespace", "n", v1alpha1.SystemNamespace, "")
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(strings.Fields(args))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return cmd.ExecuteContext(ctx)
	}
	t.Fatal("the story has no command line")
	return nil
}

func (h *house) annotations(t *testing.T) string {
	t.Helper()
	var list v1alpha1.KustomizationList
	if err := h.client.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	out := ""
	for i := range list.Items {
		for _, key := range slices.Sorted(maps.Keys(list.Items[i].Annotations)) {
			out += fmt.Sprintf("%s: %s=%s\n", list.Items[i].Name, key, list.Items[i].Annotations[key])
		}
	}
	return out
}

// shown calls then after each write.
type shown struct {
	to   *bytes.Buffer
	then func() error
}

var _ io.Writer = shown{}

func (s shown) Write(p []byte) (int, error) {
	n, _ := s.to.Write(p)
	s.to.WriteString("~\n") // where one ends and the next begins
	return n, s.then()
}

func decode(t *testing.T, docs string) []client.Object {
	t.Helper()
	var out []client.Object
	for doc := range strings.SplitSeq(docs, "---\n") {
		var head struct{ Kind string }
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		var o client.Object
		switch head.Kind {
		case "":
			continue
		case v1alpha1.KustomizationKind:
			o = &v1alpha1.Kustomization{}
		case v1alpha1.ClusterKind:
			o = &v1alpha1.Cluster{}
		case v1alpha1.AssignmentKind:
			o = &v1alpha1.Assignment{}
		default:
			t.Fatalf("unknown kind %q", head.Kind)
		}
		if err := yaml.UnmarshalStrict([]byte(doc), o); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		o.SetUID("1") // as an API server would
		out = append(out, o)
	}
	return out
}

// clusters reads lines like "edge-01..12 region=north unreachable".
func clusters(t *testing.T, text string) []client.Object {
	t.Helper()
	var out []client.Object
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		first, last := 0, 0
		name, span, many := strings.Cut(words[0], "..")
		if many {
			at := strings.LastIndexByte(name, '-') + 1
			if _, err := fmt.Sscanf(name[at:]+" "+span, "%d %d", &first, &last); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			name = name[:at] + fmt.Sprintf("%%0%dd", len(span))
		}
		for i := first; i <= last; i++ {
			c := &v1alpha1.Cluster{}
			c.Namespace, c.Name, c.Labels = v1alpha1.SystemNamespace, name, map[string]string{}
			if many {
				c.Name = fmt.Sprintf(name, i)
			}
			for _, word := range words[1:] {
				dress(c, word)
			}
			out = append(out, c)
		}
	}
	return out
}

func dress(c *v1alpha1.Cluster, word string) {
	key, value, _ := strings.Cut(word, "=")
	switch key {
	case "suspended":
		c.Spec.Suspend = true
	case "unreachable":
		c.Status.Conditions = append(c.Status.Conditions,
			v1alpha1.Condition(v1alpha1.ReadyCondition, "False", v1alpha1.UnreachableReason, "No answer for 3h"),
			v1alpha1.Condition(v1alpha1.ReachableCondition, "False", v1alpha1.UnreachableReason, "No answer for 3h"))
	default:
		c.Labels[key] = value
	}
}
