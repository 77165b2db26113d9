package rollout

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// world is a fleet that does what plans say, as the controller does it.
type world struct {
	t       *testing.T
	now     time.Time
	spec    *v1alpha1.Rollout
	status  *v1alpha1.RolloutStatus
	paused  bool
	promote string
	undo    string
	change  string
	// alters describes of each commit which clusters it gives other objects; nil is all of them.
	alters  map[string][]string
	commits []string // in their order
	broken  map[string]bool
	edges   map[string]*edge
	// verified holds the digests that went through all stages on a cluster, as "cluster digest".
	verified map[string]bool
	// order arranges the clusters that Next is shown.
	order func([]Member)
}

// bundle is what a cluster is assigned.
type bundle struct{ revision, digest string }

// entry is an entry of the Assignment of a cluster.
type entry struct {
	bundle
	change   string
	at       time.Time
	fallback *bundle
}

// assigned is the entry as the controller keeps it.
func (e *entry) assigned() *v1alpha1.AssignmentEntry {
	if e == nil {
		return nil
	}
	at := metav1.NewTime(e.at)
	a := &v1alpha1.AssignmentEntry{Revision: e.revision, Digest: e.digest, Change: e.change, AssignedAt: &at}
	if e.fallback != nil {
		a.Fallback = &v1alpha1.Bundle{Revision: e.fallback.revision, Digest: e.fallback.digest}
	}
	return a
}

type edge struct {
	name            string
	labels          map[string]string
	entry           *entry
	applied         bool
	health          Health // where it can be seen
	message         string
	away, suspended bool
	back            time.Time
}

func newWorld(t *testing.T, spec *v1alpha1.Rollout, at time.Time) *world {
	return &world{t: t, now: at, spec: spec, alters: map[string][]string{}, broken: map[string]bool{}, edges: map[string]*edge{}, verified: map[string]bool{}, order: func([]Member) {}}
}

func (w *world) names() []string {
	var names []string
	for name := range w.edges {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// digest is what a commit renders to for a cluster: that of the last one that altered anything there.
func (w *world) digest(commit, cluster string) string {
	digest := "nothing"
	for _, c := range w.commits {
		if only := w.alters[c]; only == nil || slices.Contains(only, cluster) {
			digest = c
		}
		if c == commit {
			break
		}
	}
	return digest
}

func (w *world) rollout() Rollout {
	r := Rollout{Name: "apps", Spec: w.spec, Status: w.status, Change: v1alpha1.RolloutChange{ID: w.change, Revision: w.change}, Paused: w.paused, Promote: w.promote, Undo: w.undo}
	for _, name := range w.names() {
		r.Clusters = append(r.Clusters, w.member(w.edges[name]))
	}
	w.order(r.Clusters)
	return r
}

func (w *world) member(e *edge) Member {
	m := Member{Name: e.name, Labels: e.labels, Health: e.health, Message: e.message, Back: e.back, Unrenderable: w.broken[e.name]}
	m.Position = PositionOf(e.entry.assigned(), w.digest(w.change, e.name))
	if e.entry == nil {
		m.Health, m.Message = Progressing, ""
	} else {
		m.Applied, m.Since = e.applied, e.entry.at
		m.Returns = Returns(e.entry.assigned(), w.status, w.change)
	}
	switch {
	case e.suspended:
		m.Health, m.Message = Suspended, ""
	case m.Unrenderable:
		m.Health, m.Message = Failed, "the path does not exist"
	case e.away:
		m.Health, m.Message = Unreachable, ""
	}
	return m
}

// ask asks Next, and then again, with what it said and the clusters in another order.
func (w *world) ask() Plan {
	w.t.Helper()
	p, err := Next(w.now, w.rollout())
	if err != nil {
		w.t.Fatal(err)
	}
	r := w.rollout()
	r.Status = &p.Status
	again, _ := Next(w.now, r)
	if !reflect.DeepEqual(p, again) {
		w.t.Fatalf("asked again, it says something else:\n%s", cmp.Diff(p, again))
	}
	return p
}

// do carries a plan out, of its moves only those that keep lets through.
func (w *world) do(p Plan, keep func() bool) {
	v := p.Status.Verified
	for name, e := range w.edges {
		if v != nil && v.ID == w.change && e.entry != nil && e.entry.digest == w.digest(w.change, name) {
			w.verified[name+" "+e.entry.digest] = true
		}
		if at := Unverify(e.entry.assigned(), w.digest(w.change, name), w.status, &p.Status); at != nil && !slices.Contains(p.Start, name) {
			e.entry.at = at.Time
		}
	}
	for _, name := range p.Start {
		if e := w.edges[name]; keep() {
			w.assign(e, entry{bundle: bundle{w.change, w.digest(w.change, name)}, change: w.change, fallback: fallbackOf(e, w.status)})
		}
	}
	for _, name := range p.CatchUp {
		if e := w.edges[name]; keep() {
			w.assign(e, entry{bundle: bundle{v.Revision, w.digest(v.ID, name)}, change: v.ID})
		}
	}
	for _, name := range p.Return {
		if e := w.edges[name]; keep() {
			next := entry{bundle: *e.entry.fallback}
			if v != nil {
				next.change = v.ID
			}
			w.assign(e, next)
		}
	}
}

func (w *world) assign(e *edge, next entry) {
	next.at = AssignedAt(w.now, e.entry.assigned(), w.status).Time
	if e.entry != nil && e.entry.digest == next.digest {
		next.at = e.entry.at
	} else {
		e.applied, e.health, e.message = false, Progressing, ""
	}
	e.entry = &next
}

// fallbackOf is what a cluster has, if that is verified, or what that would go back to.
func fallbackOf(e *edge, status *v1alpha1.RolloutStatus) *bundle {
	f := Fallback(e.entry.assigned(), status)
	if f == nil {
		return nil
	}
	return &bundle{f.Revision, f.Digest}
}

func always() bool { return true }

// settle asks and obeys until nothing moves any more, and returns the plans.
func (w *world) settle() []Plan {
	w.t.Helper()
	var plans []Plan
	for range 1000 {
		p := w.ask()
		before := w.status
		w.do(p, always)
		w.status = p.Status.DeepCopy()
		plans = append(plans, p)
		if len(p.Start)+len(p.CatchUp)+len(p.Return) == 0 && reflect.DeepEqual(before, w.status) {
			return plans
		}
	}
	w.t.Fatal("it does not settle")
	return nil
}

// heal lets a cluster become healthy with what it has.
func (e *edge) heal() { e.applied, e.health, e.message = true, Healthy, "" }
