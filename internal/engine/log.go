package engine

import (
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine/machine"
)

// What the engine logs, always with the cluster and, where it is about one, the Kustomization as keys:
//
//	info   sessions that begin and end, and why; a cluster that is not reached or refuses, when that
//	       begins or its reason changes; a pass that changed something; a Kustomization that begins to fail
//	debug  each state of the breaker; each pass that begins, with its reason, and that changed nothing;
//	       failures that repeat
//
// Messages are those of conditions: paths, kinds and names, never a value.

// PassResult is what one pass over a Kustomization did, for metrics.
type PassResult struct {
	Cluster, Kustomization Key
	Duration               time.Duration
	// Failed means that the pass was refused or did not get to its end.
	Failed bool
	// Applied, Pruned and Drift are numbers of objects; what was put back counts as applied as well.
	Applied, Pruned, Drift int
}

// tally counts what one pass does.
type tally struct{ applied, pruned atomic.Int64 }

func (t *tally) add(c Counter, n int) {
	switch c {
	case Applied:
		t.applied.Add(int64(n))
	case Pruned:
		t.pruned.Add(int64(n))
	default:
	}
}

// kustomization names the Kustomization of an entry.
func (e *Engine) kustomization(entry string) Key {
	return v1alpha1.ResolveName(e.key.Namespace, entry)
}

func (e *Engine) logger() logr.Logger { return e.o.Log.WithValues("cluster", e.key.String()) }

func (e *Engine) loggerOf(entry string) logr.Logger {
	return e.o.Log.WithValues("cluster", e.key.String(), "kustomization", e.kustomization(entry).String())
}

// level is where something is logged that is news, or not.
func level(log logr.Logger, changed bool) logr.Logger {
	if changed {
		return log
	}
	return log.V(1)
}

// reportBreaker reports a state of the breaker that has changed.
func (e *Engine) reportBreaker() {
	state, _ := e.m.Breaker()
	if e.breakerReported && state == e.breaker {
		return
	}
	e.breaker, e.breakerReported = state, true
	e.logger().V(1).Info("circuit breaker", "state", state.String(), "nextTry", e.m.NextTry())
	if e.o.OnBreaker != nil {
		e.o.OnBreaker(e.key, state)
	}
}

// reportFailure logs why there is no session.
func (e *Engine) reportFailure(before State) {
	s := e.conn.state
	changed := s.Reason != before.Reason || s.Message != before.Message || s.Reachable != before.Reachable
	level(e.logger(), changed).Info("the cluster cannot be worked on", "reachable", s.Reachable, "reason", s.Reason, "message", s.Message)
}

// reportStart logs the beginning of a pass.
func (e *Engine) reportStart(a machine.Start) {
	if !e.o.Log.V(1).Enabled() { // to make a logger costs more than to begin a pass
		return
	}
	e.loggerOf(a.Name).V(1).Info("pass begins", "why", string(a.Why), "verify", a.Verify, "relist", a.Relist, "lastGood", a.LastGood)
}

// reportPass logs and reports the end of a pass. The reason is of the last pass over the entry.
func (e *Engine) reportPass(o outcome, before string, now time.Time) {
	r := PassResult{
		Cluster: e.key, Kustomization: e.kustomization(o.job.entry.Name), Duration: now.Sub(o.job.begun),
		Applied: int(o.job.tally.applied.Load()), Pruned: int(o.job.tally.pruned.Load()), Drift: len(o.drifted),
	}
	reason, message := reasonForOutcome(o)
	r.Failed = reason != ""
	if news := r.Applied+r.Pruned > 0 || r.Failed && reason != before; news || e.o.Log.V(1).Enabled() {
		e.logPass(level(e.loggerOf(o.job.entry.Name), news), o, r, reason, message)
	}
	if e.o.OnPass != nil {
		e.o.OnPass(r)
	}
}

func (e *Engine) logPass(log logr.Logger, o outcome, r PassResult, reason, message string) {
	fields := []any{"duration", r.Duration.Round(time.Millisecond).String(), "applied", r.Applied, "pruned", r.Pruned, "drift", r.Drift}
	if r.Failed {
		fields = append(fields, "reason", reason, "message", e.mask.Text(message))
	}
	if o.waiting != "" {
		fields = append(fields, "waiting", e.mask.Text(o.waiting))
	}
	log.Info("pass ended", fields...)
}
