package render

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/recovery"
)

// cluster returns the options of one cluster of many.
func cluster(name, region string) Options {
	return Options{
		Path:      "apps",
		Vars:      map[string]string{"cluster_name": name, "region": region},
		PostBuild: &PostBuild{},
	}
}

const regional = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\ndata:\n  region: ${region}\n"

// TestRenderedOncePerDistinctInput: clusters share a render whatever their variables, and a result
// where the variables that objects refer to are equal; a commit elsewhere changes nothing.
func TestRenderedOncePerDistinctInput(t *testing.T) {
	c := NewCache(1 << 20)
	before := repo(t, map[string]string{"apps/cm.yaml": regional, "other/x.yaml": "1"})
	after := repo(t, map[string]string{"apps/cm.yaml": regional, "other/x.yaml": "2"})
	changed := repo(t, map[string]string{"apps/cm.yaml": strings.Replace(regional, "web", "shop", 1)})
	digests := map[string]bool{}
	results := map[*Result]bool{}
	for i := range 10 {
		for _, tr := range []string{"before", "after"} {
			source := before
			if tr == "after" {
				source = after
			}
			r, err := c.Build(t.Context(), source, cluster(fmt.Sprintf("shop-%d", i), []string{"eu", "us"}[i%2]))
			if err != nil {
				t.Fatal(err)
			}
			digests[r.Digest], results[r] = true, true
		}
	}
	if len(digests) != 2 || len(results) != 2 {
		t.Errorf("%d digests, %d results; want one for each region", len(digests), len(results))
	}
	want := Stats{Renders: 1, Hits: 19, Substitutions: 2}
	if diff := cmp.Diff(want, counts(c)); diff != "" {
		t.Error(diff)
	}
	if _, err := c.Build(t.Context(), changed, cluster("shop-1", "eu")); err != nil {
		t.Fatal(err)
	}
	if got := counts(c).Renders; got != 2 {
		t.Errorf("%d renders after a change; want 2", got)
	}
}

// counts are the statistics that do not depend on sizes.
func counts(c *Cache) Stats {
	s := c.Stats()
	return Stats{Renders: s.Renders, Hits: s.Hits, Substitutions: s.Substitutions}
}

// TestOptionsAreInput: whatever changes the objects is another input.
func TestOptionsAreInput(t *testing.T) {
	c := NewCache(64 << 20)
	source := workload(t, 2, false)
	digests := map[string]string{}
	for name, change := range map[string]func(*Options){
		"nothing":      func(*Options) {},
		"namespace":    func(o *Options) { o.TargetNamespace = "other" },
		"prefix":       func(o *Options) { o.NamePrefix = "a-" },
		"suffix":       func(o *Options) { o.NameSuffix = "-a" },
		"label":        func(o *Options) { o.CommonMetadata.Labels = map[string]string{"a": "b"} },
		"annotation":   func(o *Options) { o.CommonMetadata.Annotations = map[string]string{"a": "b"} },
		"patch":        func(o *Options) { o.Patches = nil },
		"image":        func(o *Options) { o.Images = nil },
		"variable":     func(o *Options) { o.Vars["cluster_name"] = "mart" },
		"substitute":   func(o *Options) { o.PostBuild.Substitute["x"] = "w" },
		"no postBuild": func(o *Options) { o.PostBuild = nil },
		"path":         func(o *Options) { o.Path = "app-000" },
		"from override": func(o *Options) {
			o.PostBuild.SubstituteFrom = []Source{{Data: map[string]string{"cluster_name": "from"}}}
		},
	} {
		o := busyOptions()
		change(&o)
		r, err := c.Build(t.Context(), source, o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if other, ok := digests[r.Digest]; ok {
			t.Errorf("%s and %s are the same", name, other)
		}
		digests[r.Digest] = name
		alone, err := Build(t.Context(), source, o)
		if err != nil || alone.Digest != r.Digest {
			t.Errorf("%s: without the cache it is another result (%v)", name, err)
		}
	}
}

// TestFailuresAreRemembered, so that a thousand clusters of a broken commit cost one render.
func TestFailuresAreRemembered(t *testing.T) {
	c := NewCache(1 << 20)
	source := repo(t, map[string]string{"apps/cm.yaml": regional + "\n---\n" + regional})
	for range 5 {
		_, err := c.Build(t.Context(), source, cluster("a", "eu"))
		if reasonOf(err) != DuplicateObject {
			t.Fatalf("Build: %v; want %s", err, DuplicateObject)
		}
		if failed, ok := errors.AsType[*Error](err); ok {
			failed.Message = "changed by the caller"
		}
	}
	if got := counts(c); got.Renders != 1 || got.Hits != 4 {
		t.Errorf("%+v; want 1 render and 4 hits", got)
	}
	_, err := c.Build(t.Context(), source, cluster("a", "eu"))
	if strings.Contains(err.Error(), "changed") {
		t.Errorf("a caller changed what the others see: %v", err)
	}
}

// TestManyAskAtOnce: what is on its way is not begun again.
func TestManyAskAtOnce(t *testing.T) {
	c := NewCache(64 << 20)
	source := workload(t, 5, false)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			o := busyOptions()
			o.Vars["cluster_name"] = fmt.Sprint(i % 4)
			if _, err := c.Build(t.Context(), source, o); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	want := Stats{Renders: 1, Hits: 19, Substitutions: 4}
	if diff := cmp.Diff(want, counts(c)); diff != "" {
		t.Error(diff)
	}
}

// TestCacheIsBounded: it holds no more than it was told to, and forgets what was not asked for.
func TestCacheIsBounded(t *testing.T) {
	const limit = 20_000
	c := NewCache(limit)
	keep := repo(t, map[string]string{"apps/cm.yaml": regional})
	for i := range 100 {
		if _, err := c.Build(t.Context(), keep, cluster("a", "eu")); err != nil {
			t.Fatal(err)
		}
		name := strings.Replace(regional, "web", fmt.Sprintf("web-%d", i), 1)
		if _, err := c.Build(t.Context(), repo(t, map[string]string{"apps/cm.yaml": name}), cluster("a", "eu")); err != nil {
			t.Fatal(err)
		}
		if got := c.Stats().Bytes; got > limit {
			t.Fatalf("%d bytes after %d; want at most %d", got, i, limit)
		}
	}
	if got := counts(c); got.Renders != 101 {
		t.Errorf("%d renders; want 101: the one in use was forgotten", got.Renders)
	}
	if n := c.Stats().Entries; n < 5 || n > 70 {
		t.Errorf("%d entries are held", n)
	}
}

// TestGivingUpIsNotLosing: a caller that does not wait gets a Timeout at its deadline, and what it
// asked for serves the next.
func TestGivingUpIsNotLosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCache(1 << 20)
		release := make(chan struct{})
		slow := func() (any, int64, *Error) {
			<-release
			return "done", 4, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, _, err := c.do(ctx, "key", slow)
		if reasonOf(err) != Timeout {
			t.Fatalf("do: %v; want %s", err, Timeout)
		}
		close(release)
		synctest.Wait()
		v, hit, err := c.do(t.Context(), "key", func() (any, int64, *Error) { panic("made again") })
		if v != "done" || !hit || err != nil {
			t.Errorf("do: %v, %t, %v", v, hit, err)
		}
	})
}

func TestPanicIsAnError(t *testing.T) {
	c := NewCache(1 << 20)
	before := recovery.Total()
	_, _, err := c.do(t.Context(), "key", func() (any, int64, *Error) { panic("hunter2secret") })
	if reasonOf(err) != InternalError || strings.Contains(err.Error(), "hunter2secret") || recovery.Total() == before {
		t.Errorf("do: %v", err)
	}
	if p, ok := errors.AsType[*recovery.Panic](err); !ok || p.Value != "hunter2secret" || !strings.Contains(p.Stack, "TestPanicIsAnError") {
		t.Errorf("nothing for the log: %v", err)
	}
	if v, _, err := c.do(t.Context(), "key", func() (any, int64, *Error) { return "done", 4, nil }); v != "done" || err != nil {
		t.Errorf("the next try: %v, %v", v, err)
	}
}

// TestAPanicInAProcessOfItsOwnIsOneOfThisProcess has a job that panics where it is rendered.
func TestAPanicInAProcessOfItsOwnIsOneOfThisProcess(t *testing.T) {
	c := NewCache(1 << 20)
	c.Isolate = func(string, []byte, bool) ([]byte, *Error) {
		data, _ := encodeGob(recovered(func() jobResult { panic("hunter2secret") }))
		return data, nil
	}
	before := recovery.Total()
	_, err := c.renderIsolated("key", &closure{}, CommonMetadata{})
	if err == nil || err.Reason != InternalError || strings.Contains(err.Error(), "hunter2secret") || recovery.Total() < before+2 {
		t.Fatalf("%v, %d counted", err, recovery.Total()-before)
	}
	if p, ok := errors.AsType[*recovery.Panic](err); !ok || p.Value != "hunter2secret" || !strings.Contains(p.Function, "TestAPanicInAProcess") {
		t.Errorf("nothing for the log: %+v", p)
	}
}

// TestPanicsOfLibrariesInAProcessOfItsOwnAreCounted: that process has no metrics.
func TestPanicsOfLibrariesInAProcessOfItsOwnAreCounted(t *testing.T) {
	c := NewCache(1 << 20)
	var there uint64
	c.Isolate = func(string, []byte, bool) ([]byte, *Error) {
		data, _ := encodeGob(recovered(func() jobResult {
			recovery.CountInput() // by which this process, which stands for the other, counts it as well
			return jobResult{Failed: errorf(BuildFailed, "kustomize cannot take this input")}
		}))
		there = recovery.InputTotal()
		return data, nil
	}
	if _, err := c.renderIsolated("key", &closure{}, CommonMetadata{}); err == nil || err.Reason != BuildFailed {
		t.Fatal(err)
	}
	if got := recovery.InputTotal() - there; got != 1 {
		t.Errorf("%d counted", got)
	}
}

// TestOnlyWhatIsNotBoundedIsIsolated: most renders stay in the process, where they are fastest.
func TestOnlyWhatIsNotBoundedIsIsolated(t *testing.T) {
	cm := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
	many := map[string]string{}
	for i := range 601 {
		many[fmt.Sprintf("%d.yaml", i)] = strings.Replace(cm, "x", fmt.Sprint("x", i), 1)
	}
	list := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n" + strings.Repeat("  kk: v\n", 40_000)
	for name, c := range map[string]struct {
		files       map[string]string
		options     Options
		want, large bool
	}{
		"files":               {files: map[string]string{"a.yaml": cm}},
		"a kustomization":     {files: map[string]string{"a.yaml": cm, "kustomization.yaml": "resources: [a.yaml]\nnamePrefix: a-\nlabels: [{pairs: {a: b}}]\nimages: [{name: a, newTag: b}]\n"}},
		"a patch":             {files: map[string]string{"a.yaml": cm, "kustomization.yaml": "resources: [a.yaml]\npatches: [{target: {kind: ConfigMap}, patch: '- {op: add, path: /data, value: {a: b}}'}]\n"}},
		"a patch that copies": {files: map[string]string{"a.yaml": cm, "kustomization.yaml": "resources: [a.yaml]\npatches: [{target: {kind: ConfigMap}, patch: '- {op: copy, from: /metadata, path: /data}'}]\n"}, want: true},
		"a patch of the options that copies": {files: map[string]string{"a.yaml": cm}, want: true,
			options: Options{Patches: []kustomize.Patch{{Patch: "- {op: \"c\\x6fpy\", from: /metadata, path: /data}", Target: &kustomize.Selector{Kind: "ConfigMap"}}}}},
		"replacements":                {files: map[string]string{"a.yaml": cm, "kustomization.yaml": "resources: [a.yaml]\nreplacements: [{source: {kind: ConfigMap}, targets: [{select: {kind: ConfigMap}, fieldPaths: [metadata.name]}]}]\n"}, want: true},
		"replacements of a base":      {files: map[string]string{"b/a.yaml": cm, "b/kustomization.yaml": "resources: [a.yaml]\nreplacements: [{source: {kind: ConfigMap}, targets: [{select: {kind: ConfigMap}, fieldPaths: [metadata.name]}]}]\n", "kustomization.yaml": "resources: [b]\n"}, want: true},
		"vars":                        {files: map[string]string{"a.yaml": cm, "kustomization.yaml": "resources: [a.yaml]\nvars: [{name: A, objref: {kind: ConfigMap, name: x, apiVersion: v1}}]\n"}, want: true},
		"many objects":                {files: many, want: true, large: true},
		"a large label on many nodes": {files: map[string]string{"a.yaml": strings.Replace(list, "  kk: v\n", "  a: v\n", 1), "kustomization.yaml": "resources: [a.yaml]\ncommonAnnotations: {a: " + strings.Repeat("a", 4000) + "}\n"}, want: true},
		"the same of the options":     {files: map[string]string{"a.yaml": list}, want: true, options: Options{NamePrefix: strings.Repeat("a", 4000)}},
	} {
		t.Run(name, func(t *testing.T) {
			cache, asked := NewCache(1<<20), 0
			cache.Isolate = func(_ string, job []byte, large bool) ([]byte, *Error) {
				asked++
				if large != c.large {
					t.Errorf("large is %t", large)
				}
				return nil, Transient(Failed, "not here")
			}
			_, err := cache.Build(t.Context(), repo(t, c.files), c.options)
			if (asked > 0) != c.want || c.want && reasonOf(err) != Failed {
				t.Errorf("isolated %t, want %t; %v", asked > 0, c.want, err)
			}
			if c.want {
				_, _ = cache.Build(t.Context(), repo(t, c.files), c.options)
				if asked != 2 {
					t.Errorf("a failure that may pass was remembered")
				}
			}
		})
	}
}

// TestIsolatedRendersHoldUpNoOther: however many there are, and however long they take.
func TestIsolatedRendersHoldUpNoOther(t *testing.T) {
	cache, release := NewCache(1<<20), make(chan struct{})
	cache.Isolate = func(string, []byte, bool) ([]byte, *Error) {
		<-release
		return nil, Transient(Timeout, "too late")
	}
	cm := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
	var slow sync.WaitGroup
	for i := range 20 {
		slow.Go(func() {
			files := map[string]string{"a.yaml": cm, "kustomization.yaml": fmt.Sprintf("resources: [a.yaml]\nnamePrefix: a%d-\nreplacements: [{source: {kind: ConfigMap}, targets: [{select: {kind: ConfigMap}, fieldPaths: [metadata.name]}]}]\n", i)}
			if _, err := cache.Build(t.Context(), repo(t, files), Options{}); reasonOf(err) != Timeout {
				t.Errorf("slow: %v", err)
			}
		})
	}
	if _, err := cache.Build(t.Context(), repo(t, map[string]string{"a.yaml": cm}), Options{}); err != nil {
		t.Errorf("a render that waits for none: %v", err)
	}
	close(release)
	slow.Wait()
}
