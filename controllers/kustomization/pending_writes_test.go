package kustomization

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// lagging is a hub whose cache shows an Assignment at an older generation, until somebody waits for it.
type lagging struct {
	client.Client
	shows, has int64
	waited     []string
}

func (l *lagging) Get(_ context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if !(&client.GetOptions{}).ApplyOptions(opts).DisableReadYourWritesConsistency {
		l.waited = append(l.waited, key.Name)
		l.shows = l.has
	}
	o.SetGeneration(l.shows)
	return nil
}

func TestAKustomizationWaitsForItsOwnWritesAlone(t *testing.T) {
	edge := types.NamespacedName{Namespace: "fleet", Name: "edge-1"}
	ks := func(name string) types.NamespacedName { return types.NamespacedName{Namespace: "fleet", Name: name} }
	batch := func(names ...string) (list []change) {
		for _, name := range names {
			list = append(list, change{name: name})
		}
		return list
	}
	for name, tt := range map[string]struct {
		wrote func(p *pendingWrites)
		want  int // how often is waited
	}{
		"nothing was written":          {func(*pendingWrites) {}, 0},
		"others have written":          {func(p *pendingWrites) { p.wrote(edge, 7, batch("b", "c")) }, 0},
		"it has written":               {func(p *pendingWrites) { p.wrote(edge, 7, batch("a", "b")) }, 1},
		"others have written since":    {func(p *pendingWrites) { p.wrote(edge, 4, batch("a")); p.wrote(edge, 7, batch("b")) }, 0},
		"the cache shows it already":   {func(p *pendingWrites) { p.wrote(edge, 5, batch("a")) }, 0},
		"the watch has told of it":     {func(p *pendingWrites) { p.wrote(edge, 7, batch("a")); p.shown(edge, 7) }, 0},
		"the watch has told of less":   {func(p *pendingWrites) { p.wrote(edge, 7, batch("a")); p.shown(edge, 6) }, 1},
		"the Assignment has gone":      {func(p *pendingWrites) { p.wrote(edge, 7, batch("a")); p.forget(edge) }, 0},
		"it is of another namespace":   {func(p *pendingWrites) { p.wrote(edge, 7, batch("other/a")) }, 0},
		"its name holds the namespace": {func(p *pendingWrites) { p.wrote(edge, 7, batch("fleet/a")) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p, hub := pendingWrites{}, &lagging{shows: 5, has: 7}
			tt.wrote(&p)
			if err := p.await(t.Context(), hubapi.Hub{Client: hub}, ks("a")); err != nil {
				t.Fatal(err)
			}
			if len(hub.waited) != tt.want {
				t.Errorf("waited for %v, want %d", hub.waited, tt.want)
			}
			p.shown(edge, 7)
			if len(p.generations) > 0 {
				t.Errorf("what the cache shows is remembered: %v", p.generations)
			}
		})
	}
}

// TestADecisionSeesWhatItWroteBefore: a reconcile that follows its own write at once, while the cache still shows what
// was there before, does not take the entry for one that is missing.
func TestADecisionSeesWhatItWroteBefore(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"))
	w.push("1", "apps/a.yaml", configMap("a", "1"))
	w.reconcile()
	waited := 0
	w.funcs.Get = func(ctx context.Context, c client.WithWatch, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
		err := c.Get(ctx, k, o, opts...)
		if a, ok := o.(*v1alpha1.Assignment); ok && err == nil {
			if (&client.GetOptions{}).ApplyOptions(opts).DisableReadYourWritesConsistency {
				a.Generation = 0 // as the cache has it
			} else {
				waited++
			}
		}
		return err
	}
	w.reconcile()
	if waited == 0 {
		t.Error("the decision did not wait for the cache to show the write before it")
	}
}

// TestReportsWaitWhileTheStatusCannotBeWritten: a roll-up that nobody could be told of is computed in vain.
func TestReportsWaitWhileTheStatusCannotBeWritten(t *testing.T) {
	w := newWorld(t, kustomization(), cluster("edge-1"))
	w.push("1", "apps/a.yaml", configMap("a", "1"))
	w.funcs.SubResourceUpdate = func(context.Context, client.Client, string, client.Object, ...client.SubResourceUpdateOption) error {
		w.now = w.now.Add(300 * time.Millisecond)
		return nil
	}
	w.reconcile()
	if cooldown := w.r.cooldown(key); cooldown != 300*time.Millisecond {
		t.Errorf("after a write of 300 ms the reports wait %s", cooldown)
	}
	w.now = w.now.Add(300 * time.Millisecond)
	if cooldown := w.r.cooldown(key); cooldown != 0 {
		t.Errorf("when the status is due the reports wait %s", cooldown)
	}
}

func TestTheDigestOfAnOutcomeIsOfWhatOthersSee(t *testing.T) {
	digest := func(change func(o *observed, v *targeting.Outcome)) uint64 {
		o := &observed{assigned: map[string]assigned{"a": {status: &v1alpha1.AssignmentEntryStatus{AppliedDigest: "1"}}, "b": {}}}
		v := &targeting.Outcome{Generation: 1, Artifact: "x", Digests: map[string]string{"a": "1", "b": "2"}, Failed: map[string]string{}, Assigned: map[string]string{"a": "1"}, Inputs: map[string]uint64{"a": 1}}
		change(o, v)
		return digestOfOutcome(o, v)
	}
	same := digest(func(*observed, *targeting.Outcome) {})
	if again := digest(func(*observed, *targeting.Outcome) {}); again != same {
		t.Error("the same outcome has another digest")
	}
	for name, change := range map[string]func(o *observed, v *targeting.Outcome){
		"generation": func(_ *observed, v *targeting.Outcome) { v.Generation = 2 },
		"artifact":   func(_ *observed, v *targeting.Outcome) { v.Artifact = "y" },
		"problem":    func(_ *observed, v *targeting.Outcome) { v.Problem = "x" },
		"a digest":   func(_ *observed, v *targeting.Outcome) { v.Digests["b"] = "3" },
		"digests that are exchanged": func(_ *observed, v *targeting.Outcome) {
			v.Digests["a"], v.Digests["b"] = v.Digests["b"], v.Digests["a"]
		},
		"a failure":        func(_ *observed, v *targeting.Outcome) { v.Failed["b"] = "2" },
		"what is assigned": func(_ *observed, v *targeting.Outcome) { v.Assigned["b"] = "2" },
		"an input":         func(_ *observed, v *targeting.Outcome) { v.Inputs["a"] = 2 },
		"what is applied":  func(o *observed, _ *targeting.Outcome) { o.assigned["a"].status.AppliedDigest = "2" },
	} {
		if digest(change) == same {
			t.Errorf("%s changes, and the digest does not", name)
		}
	}
}
