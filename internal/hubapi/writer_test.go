package hubapi

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/pacing"
)

// written is one write: when, and of what.
type written struct {
	At    time.Duration
	Key   string
	Batch []int
}

func TestWriterGathersWhileAWriteRunsAndWhileItsObjectRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const aWrite = 10 * time.Millisecond
		begin := time.Now()
		var got []written
		w := NewWriter(WriterOptions[string, int]{
			Write: func(_ context.Context, key string, batch []int) error {
				got = append(got, written{time.Since(begin), key, batch})
				time.Sleep(aWrite)
				return nil
			},
			Pace: pacing.Pace{Cost: 4, CostMax: time.Second}, Concurrency: 1, Now: time.Now,
		})
		done := 0
		enqueue := func(key string, change int) { w.Enqueue(key, 1, change, func(error) { done++ }) }
		enqueue("a", 1)
		synctest.Wait()
		enqueue("a", 2) // while it is written
		enqueue("b", 3) // which has no place
		time.Sleep(2 * aWrite)
		synctest.Wait()
		enqueue("a", 4) // while it rests
		time.Sleep(time.Second)
		synctest.Wait()
		want := []written{{0, "a", []int{1}}, {aWrite, "b", []int{3}}, {5 * aWrite, "a", []int{2, 4}}}
		if diff := cmp.Diff(want, got); diff != "" || done != 4 {
			t.Errorf("%d done; writes (-want +got):\n%s", done, diff)
		}
		if len(w.objects)+len(w.resting)+w.writing > 0 {
			t.Error("an object or a place is kept")
		}
	})
}

func TestWriterRestsLongerWithEachFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at []time.Duration
		var failed []error
		refused := errors.New("refused")
		w := NewWriter(WriterOptions[string, int]{
			Write: func(context.Context, string, []int) error {
				at = append(at, time.Since(begin))
				if len(at) == 2 {
					panic("swordfish")
				}
				return refused
			},
			Concurrency: 1, Now: time.Now,
		})
		for range 4 {
			w.Enqueue("a", 1, 1, func(err error) { failed = append(failed, err) })
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if diff := cmp.Diff([]time.Duration{0, retryMin}, at); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
		if len(failed) != 4 || !errors.Is(failed[0], refused) || slices.Contains(failed, nil) {
			t.Errorf("failures %v", failed)
		}
		w.Enqueue("a", 1, 1, func(error) {})
		w.Enqueue("a", 1, 1, func(error) {})
		time.Sleep(time.Millisecond)
		w.Enqueue("a", 1, 1, func(error) {})
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(at); n != 4 || at[3]-at[2] != 4*retryMin {
			t.Errorf("writes at %v", at)
		}
	})
}

func TestAWriterThatStopsWritesWithoutARest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []int
		w := NewWriter(WriterOptions[string, int]{
			Write: func(_ context.Context, _ string, batch []int) error {
				got = append(got, batch...)
				time.Sleep(time.Second)
				return nil
			},
			Pace: pacing.Pace{Cost: 100, CostMax: time.Hour}, Concurrency: 1, Now: time.Now,
		})
		w.Enqueue("a", 1, 1, func(error) {})
		time.Sleep(2 * time.Second)
		w.Enqueue("a", 1, 2, func(error) {}) // rests for 100 s
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		time.AfterFunc(time.Second, cancel)
		if err := w.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 2*time.Second || !slices.Equal(got, []int{1, 2}) {
			t.Errorf("ended after %s, with %v written", took, got)
		}
	})
}
