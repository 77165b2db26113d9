package hubapi

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/internal/recovery"
)

// woken counts the reconciles that are asked for.
type woken struct {
	now   int
	after time.Duration
}

func (w *woken) Enqueue(types.NamespacedName) { w.now++ }

func (w *woken) EnqueueAfter(_ types.NamespacedName, wait time.Duration) { w.after = wait }

func TestTheRestOfAReconcileRunsWhenItsWritesHaveEnded(t *testing.T) {
	key := types.NamespacedName{Name: "apps"}
	wake := &woken{}
	c := NewContinuations(wake)
	refused := errors.New("refused")
	var rest []error
	begun := 0
	var done func(error)
	reconcileNow := func() error {
		_, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}, func(context.Context, reconcile.Request) (reconcile.Result, error) {
			begun++
			done = c.Begin(t.Context(), key, 2, func(_ context.Context, err error) (reconcile.Result, error) {
				rest = append(rest, err)
				return reconcile.Result{RequeueAfter: time.Hour}, err
			})
			return reconcile.Result{}, nil
		})
		return err
	}
	if err := reconcileNow(); err != nil || begun != 1 {
		t.Fatal(err, begun)
	}
	done(nil)
	if len(rest) > 0 {
		t.Error("the rest runs before the last write has ended")
	}
	done(nil)
	if len(rest) != 1 || rest[0] != nil || wake.now != 0 || wake.after != time.Hour {
		t.Errorf("rest %v, woken %+v", rest, wake)
	}

	_ = reconcileNow()
	first := done
	if _ = reconcileNow(); begun != 2 {
		t.Error("a reconcile begins while one is under way")
	}
	first(nil)
	first(refused)
	if wake.now != 1 {
		t.Errorf("what came meanwhile is forgotten: %+v", wake)
	}
	if err := reconcileNow(); !errors.Is(err, refused) || begun != 2 {
		t.Errorf("the error of a write is not that of a reconcile: %v", err)
	}
	if err := reconcileNow(); err != nil || begun != 3 {
		t.Errorf("after the error: %v, %d begun", err, begun)
	}
}

// TestOnlyReportsRest: what a person does while a reconcile has not run to its end is reconciled right after it.
func TestOnlyReportsRest(t *testing.T) {
	const cooldown = time.Second
	key := types.NamespacedName{Name: "apps"}
	commit := func(c *Continuations) bool { return c.Busy(key) }
	report := func(c *Continuations) bool { return c.Reported(key) }
	for name, test := range map[string]struct {
		came     []func(*Continuations) bool
		cooldown time.Duration
		want     woken
	}{
		"a commit":                     {[]func(*Continuations) bool{commit}, cooldown, woken{now: 1}},
		"a report":                     {[]func(*Continuations) bool{report}, cooldown, woken{after: cooldown}},
		"a report without a cooldown":  {[]func(*Continuations) bool{report}, 0, woken{now: 1}},
		"a commit, and then a report":  {[]func(*Continuations) bool{commit, report}, cooldown, woken{now: 1}},
		"a report, and then a commit":  {[]func(*Continuations) bool{report, commit}, cooldown, woken{now: 1}},
		"nothing":                      {nil, cooldown, woken{after: time.Hour}},
		"several reports are one wait": {[]func(*Continuations) bool{report, report}, cooldown, woken{after: cooldown}},
	} {
		t.Run(name, func(t *testing.T) {
			wake := &woken{}
			c := NewContinuations(wake)
			c.Cooldown = func(types.NamespacedName) time.Duration { return test.cooldown }
			done := c.Begin(t.Context(), key, 1, func(context.Context, error) (reconcile.Result, error) {
				return reconcile.Result{RequeueAfter: time.Hour}, nil
			})
			for _, came := range test.came {
				if !came(c) {
					t.Fatal("not busy")
				}
			}
			done(nil)
			if *wake != test.want {
				t.Errorf("woken %+v, want %+v", *wake, test.want)
			}
			if report(c) {
				t.Error("busy after its end")
			}
		})
	}
}

// TestAReportDuringAReconcileRests: the work queue would have it reconciled as soon as the one under way returns.
func TestAReportDuringAReconcileRests(t *testing.T) {
	key := types.NamespacedName{Name: "apps"}
	for name, writes := range map[string]bool{"which begins writes": true, "which begins none": false} {
		t.Run(name, func(t *testing.T) {
			wake := &woken{}
			c := NewContinuations(wake)
			c.Cooldown = func(types.NamespacedName) time.Duration { return time.Second }
			done := func(error) {}
			_, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}, func(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
				if !c.Reported(key) {
					t.Error("not busy")
				}
				if writes {
					done = c.Begin(ctx, key, 1, func(context.Context, error) (reconcile.Result, error) { return reconcile.Result{}, nil })
				}
				return reconcile.Result{}, nil
			})
			done(nil)
			if err != nil || *wake != (woken{after: time.Second}) || c.Busy(key) {
				t.Errorf("woken %+v, %v", *wake, err)
			}
		})
	}
}

func TestTheRestOfAReconcileMayBeginMoreWrites(t *testing.T) {
	key := types.NamespacedName{Name: "apps"}
	for name, second := range map[string]func(done func(error)) func(error){
		"which end at once": func(done func(error)) func(error) { done(nil); return func(error) {} },
		"which end later":   func(done func(error)) func(error) { return done },
	} {
		t.Run(name, func(t *testing.T) {
			wake := &woken{}
			c := NewContinuations(wake)
			end := func(error) {}
			first := c.Begin(t.Context(), key, 1, func(context.Context, error) (reconcile.Result, error) {
				end = second(c.Begin(t.Context(), key, 1, func(context.Context, error) (reconcile.Result, error) { return reconcile.Result{}, nil }))
				return reconcile.Result{}, nil
			})
			c.Busy(key) // something comes
			first(nil)
			end(nil)
			if wake.now != 1 || c.Busy(key) {
				t.Errorf("woken %+v, and busy: %v", wake, c.Busy(key))
			}
		})
	}
}

func TestAPanicOfTheRestIsOneOfTheNextReconcile(t *testing.T) {
	key := types.NamespacedName{Name: "apps"}
	wake := &woken{}
	c := NewContinuations(wake)
	c.Begin(t.Context(), key, 1, func(context.Context, error) (reconcile.Result, error) { panic("swordfish") })(nil)
	if wake.after != firstPause {
		t.Error("not woken")
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("controller-runtime does not learn of it")
			}
		}()
		_ = c.Err(key)
	}()

	// One that was recovered and told of already is an error like any other.
	told := fmt.Errorf("edge-1: %w", recovery.Run(func() error { panic("swordfish") }))
	c.Begin(t.Context(), key, 1, func(context.Context, error) (reconcile.Result, error) { return reconcile.Result{}, told })(nil)
	if err := c.Err(key); !errors.Is(err, told) {
		t.Errorf("%v", err)
	}
}

func TestTheRestOfAReconcileIsRetriedWithGrowingPauses(t *testing.T) {
	key := types.NamespacedName{Name: "apps"}
	wake := &woken{}
	c := NewContinuations(wake)
	var pauses []time.Duration
	var failure error
	for _, failure = range []error{errors.New("refused"), errors.New("refused"), errors.New("refused"), nil, errors.New("refused")} {
		wake.after = 0
		_, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}, func(context.Context, reconcile.Request) (reconcile.Result, error) {
			c.Begin(t.Context(), key, 1, func(_ context.Context, err error) (reconcile.Result, error) { return reconcile.Result{}, err })(failure)
			return reconcile.Result{}, nil
		})
		if err != nil || wake.now > 0 {
			t.Fatal(err, wake.now)
		}
		pauses = append(pauses, wake.after)
		if err := c.Err(key); !errors.Is(err, failure) {
			t.Errorf("%v, want %v", err, failure)
		}
	}
	if diff := cmp.Diff([]time.Duration{firstPause, 2 * firstPause, 4 * firstPause, 0, firstPause}, pauses); diff != "" {
		t.Errorf("pauses (-want +got):\n%s", diff)
	}
}
