package isolate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/tree"
)

// TestMain lets the test be the program that it starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "render-process":
			os.Exit(Main(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
		case "crash-process":
			os.Exit(7)
		}
	}
	os.Exit(m.Run())
}

// clock is a time that tests move.
type clock struct{ time time.Time }

func (c *clock) now() time.Time { return c.time }

func newRenderer(t *testing.T, dir string, c *clock, change ...func(*Options)) *Renderer {
	t.Helper()
	o := Options{
		Command: []string{os.Args[0], "render-process"}, Dir: dir, Now: c.now, Log: logr.Discard(),
		Small: Limits{Memory: 96 << 20, Deadline: time.Minute, Slots: 1}, Large: Limits{Memory: 256 << 20, Deadline: time.Minute, Slots: 1},
	}
	for _, f := range change {
		f(&o)
	}
	r, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// isolated returns a Cache whose unbounded renders run in processes, and how many of them it started.
func isolated(r *Renderer) (*render.Cache, *int) {
	c, started := render.NewCache(1<<20), new(int)
	c.Isolate = func(key string, job []byte, large bool) ([]byte, *render.Error) {
		*started++
		return r.Render(key, job, large)
	}
	return c, started
}

func repo(t *testing.T, files map[string]string) *tree.Tree {
	t.Helper()
	all := map[string]tree.File{}
	digest := ""
	for name, text := range files {
		all[name] = tree.File{Data: []byte(text)}
		digest += fmt.Sprint(name, len(text))
	}
	made, err := tree.New("sha1:"+t.Name()+digest, all)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func reasonOf(err error) render.Reason {
	if failed, ok := errors.AsType[*render.Error](err); ok {
		return failed.Reason
	}
	return ""
}

// doubling copies a tree into itself as often as is said: each time, it is twice as large.
func doubling(times int) map[string]string {
	var k strings.Builder
	k.WriteString("resources: [w.yaml]\nreplacements:\n")
	for i := range times {
		fmt.Fprintf(&k, "- source: {kind: Widget, fieldPath: spec}\n  targets: [{select: {kind: Widget}, fieldPaths: [spec.x%d], options: {create: true}}]\n", i)
	}
	return map[string]string{
		"kustomization.yaml": k.String(),
		"w.yaml":             "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w, namespace: a}\nspec: {a: \"" + strings.Repeat("x", 100) + "\"}\n",
	}
}

// TestRenderThatMultipliesIsEndedAtItsMemory, and is not tried again before its time, also not by the
// next hub.
func TestRenderThatMultipliesIsEndedAtItsMemory(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Unix(1e9, 0)}
	bomb := repo(t, doubling(48))
	r := newRenderer(t, dir, c)
	cache, started := isolated(r)
	_, err := cache.Build(t.Context(), bomb, render.Options{})
	if reasonOf(err) != render.TooLarge || !strings.Contains(err.Error(), "96 MiB of memory") {
		t.Fatalf("Build: %v; want %s", err, render.TooLarge)
	}
	// What runs now is another program, which fails in another way.
	r.Command = []string{os.Args[0], "crash-process"}
	if _, again := cache.Build(t.Context(), bomb, render.Options{}); again == nil || again.Error() != err.Error() || *started != 2 {
		t.Errorf("at once: %v after %d calls; want what was remembered", again, *started)
	}
	next := newRenderer(t, dir, c, func(o *Options) { o.Command[1] = "crash-process" })
	cache, _ = isolated(next)
	if _, again := cache.Build(t.Context(), bomb, render.Options{}); again == nil || again.Error() != err.Error() {
		t.Errorf("after a restart: %v; want what was remembered", again)
	}
	c.time = c.time.Add(firstWait)
	if _, again := cache.Build(t.Context(), bomb, render.Options{}); reasonOf(again) != render.BuildFailed {
		t.Errorf("when its time has come: %v; want another try", again)
	}
	c.time = c.time.Add(firstWait)
	if _, again := cache.Build(t.Context(), bomb, render.Options{}); reasonOf(again) != render.BuildFailed || !strings.Contains(again.Error(), "ends before it is done") {
		t.Errorf("%v", again)
	}
	if wait := next.records.get(onlyKey(t, dir)).Next.Sub(c.time); wait != firstWait {
		t.Errorf("the second failure waits for %s more; want twice the first wait", wait)
	}
}

func onlyKey(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("records %v, %v", files, err)
	}
	return filepath.Base(files[0])
}

// TestIsolatedRenderIsTheSame: replacements that do no harm give what they give in the process itself,
// variables, quotes and errors included.
func TestIsolatedRenderIsTheSame(t *testing.T) {
	files := doubling(3)
	files["kustomization.yaml"] = strings.Replace(files["kustomization.yaml"], "w.yaml", "w.yaml, cm.yaml", 1)
	files["cm.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"${n}\"}\ndata: {a: \"${b}\", c: ${b}}\n"
	broken := doubling(3)
	broken["w.yaml"] += "  - broken\n"
	for name, source := range map[string]map[string]string{"good": files, "broken": broken} {
		cache, started := isolated(newRenderer(t, t.TempDir(), &clock{}))
		o := render.Options{PostBuild: &render.PostBuild{Substitute: map[string]string{"n": "x", "b": "004"}}, CommonMetadata: render.CommonMetadata{Labels: map[string]string{"a": "b"}}}
		got, err := cache.Build(t.Context(), repo(t, source), o)
		want, wantErr := render.Build(t.Context(), repo(t, source), o)
		if fmt.Sprint(err) != fmt.Sprint(wantErr) || *started != 1 {
			t.Errorf("%s: %v after %d processes; in this process %v", name, err, *started, wantErr)
		}
		if err == nil && (got.Digest != want.Digest || len(got.Bundle.Objects) != 2) {
			t.Errorf("%s: %s; in this process %s", name, got.Bundle.Encode(), want.Bundle.Encode())
		}
	}
}

// TestRenderIsEndedAtItsDeadline, which is told as what may pass.
func TestRenderIsEndedAtItsDeadline(t *testing.T) {
	files := map[string]string{}
	for i := range 3000 {
		files[fmt.Sprintf("%d.yaml", i)] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a%d}\n", i)
	}
	cache, _ := isolated(newRenderer(t, t.TempDir(), &clock{}, func(o *Options) { o.Large.Deadline = time.Second }))
	_, err := cache.Build(t.Context(), repo(t, files), render.Options{TargetNamespace: "x"})
	if reasonOf(err) != render.Timeout || !strings.Contains(err.Error(), "ended after 1s") {
		t.Errorf("Build: %v; want %s", err, render.Timeout)
	}
}

// TestRenderThatAHubDiedWithIsHeldBack: whether it was this render that ended the hub is not known.
func TestRenderThatAHubDiedWithIsHeldBack(t *testing.T) {
	dir, c, key := t.TempDir(), &clock{time.Unix(1e9, 0)}, strings.Repeat("a", 64)
	if err := newRenderer(t, dir, c).records.begin(key); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"torn": "{", strings.Repeat("b", 64): "{"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := newRenderer(t, dir, c)
	if _, err := r.Render(key, nil, false); err == nil || err.Reason != render.Timeout || !strings.Contains(err.Message, "the hub ended while this was rendered") {
		t.Errorf("Render: %v", err)
	}
	if onlyKey(t, dir) != key {
		t.Error("what cannot be read is kept")
	}
	c.time = c.time.Add(keepFor + time.Hour)
	newRenderer(t, dir, c)
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 0 {
		t.Errorf("after a day there are %v", files)
	}
}

// TestStopLeavesNoRecord: a hub that stops in good order has not been ended by its renders.
func TestStopLeavesNoRecord(t *testing.T) {
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	r, err := New(ctx, newRenderer(t, dir, &clock{}).Options)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	cache, _ := isolated(r)
	if _, err := cache.Build(t.Context(), repo(t, doubling(48)), render.Options{}); reasonOf(err) != render.Failed {
		t.Errorf("Build: %v; want %s", err, render.Failed)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 0 {
		t.Errorf("records %v", files)
	}
}
