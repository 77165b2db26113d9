package hubapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/internal/pacing"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// written is one write: when, and of what.
type written struct {
	At    time.Duration
	Key   string
	Batch []int
}

// recorder takes writes, each for as long as the last.
type recorder struct {
	begin time.Time
	takes time.Duration

	mu  sync.Mutex // guards got while writes run
	got []written
}

func (r *recorder) write(_ context.Context, key string, batch []int) error {
	r.mu.Lock()
	r.got = append(r.got, written{time.Since(r.begin), key, batch})
	r.mu.Unlock()
	time.Sleep(r.takes)
	return nil
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
		enqueue("b", 3) // which is queued
		time.Sleep(2 * aWrite)
		synctest.Wait()
		enqueue("a", 4) // in its cooldown
		time.Sleep(time.Second)
		synctest.Wait()
		want := []written{{0, "a", []int{1}}, {aWrite, "b", []int{3}}, {5 * aWrite, "a", []int{2, 4}}}
		if diff := gocmp.Diff(want, got); diff != "" || done != 4 {
			t.Errorf("%d done; writes (-want +got):\n%s", done, diff)
		}
		if len(w.objects)+len(w.cooling)+w.writing > 0 {
			t.Error("an object is kept, or a write runs")
		}
	})
}

func TestWriterRestsLongerWithEachFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at []time.Duration
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
			var failed error
			w.Enqueue("a", 1, 1, func(err error) { failed = err })
			synctest.Wait()
			_, panicked := errors.AsType[*recovery.Panic](failed)
			if !errors.Is(failed, refused) && !panicked {
				t.Fatalf("the write failed with %v", failed)
			}
			w.Enqueue("a", 1, 2, func(err error) { failed = err })
			cooldown, cooling := errors.AsType[*CooldownError](failed)
			if !cooling {
				t.Fatalf("what comes during the cooldown is answered %v", failed)
			}
			time.Sleep(cooldown.After)
			synctest.Wait()
		}
		if diff := gocmp.Diff([]time.Duration{0, retryMin, 3 * retryMin, 7 * retryMin}, at); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
	})
}

// A decision that would be written when the pause after a failure is over is older than what was decided since.
func TestWhatIsWrittenAfterAFailureIsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wrote [][]int
		fails := true
		w := NewWriter(WriterOptions[string, int]{
			Write: func(_ context.Context, _ string, batch []int) error {
				time.Sleep(time.Millisecond)
				if fails {
					return errors.New("refused")
				}
				wrote = append(wrote, batch)
				return nil
			},
			Concurrency: 1, Now: time.Now,
		})
		var answers []string
		enqueue := func(change int) {
			w.Enqueue("a", 1, change, func(err error) { answers = append(answers, fmt.Sprintf("%d: %v", change, err)) })
		}
		enqueue(1)
		synctest.Wait()
		enqueue(2) // while the write goes on that fails
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		fails = false
		enqueue(3) // during the cooldown
		time.Sleep(retryMax)
		enqueue(4)
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := gocmp.Diff([][]int{{4}}, wrote); diff != "" || len(answers) != 4 {
			t.Errorf("%q; writes (-want +got):\n%s", answers, diff)
		}
	})
}

// A hub that stops gives up its lease when its writers have ended: nothing may be written after that.
func TestAWriterThatIsNotDrainedInTimeWritesNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wrote []string
		w := NewWriter(WriterOptions[string, int]{
			Write: func(ctx context.Context, key string, _ []int) error {
				select {
				case <-time.After(2 * time.Second):
					wrote = append(wrote, key)
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			},
			Concurrency: 1, Now: time.Now,
		})
		var ended atomic.Int32
		for _, key := range []string{"a", "b", "c"} {
			w.Enqueue(key, 1, 1, func(error) { ended.Add(1) })
		}
		w.Enqueue("b", 1, 2, func(error) { ended.Add(1) })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		if err := w.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != drainTimeout || ended.Load() != 4 {
			t.Errorf("ended after %s, and %d of 4 know", took, ended.Load())
		}
		w.Enqueue("d", 1, 1, func(err error) {
			if err == nil {
				t.Error("written after the end")
			}
		})
		time.Sleep(time.Minute)
		if diff := gocmp.Diff([]string{"a"}, wrote); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
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
		w.Enqueue("a", 1, 2, func(error) {}) // in cooldown for 100 s
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		time.AfterFunc(time.Second, cancel)
		if err := w.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 2*time.Second || !slices.Equal(got, []int{1, 2}) {
			t.Errorf("ended after %s, with %v written", took, got)
		}
		w.Enqueue("a", 1, 3, func(err error) { // by a reconcile that ends later than the writer
			if !errors.Is(err, errStopped) {
				t.Errorf("after the end: %v", err)
			}
		})
		time.Sleep(time.Minute)
		if !slices.Equal(got, []int{1, 2}) {
			t.Errorf("%v written after the end", got)
		}
	})
}

func TestAWriterWhoseObjectsOnlyRestEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWriter(WriterOptions[string, int]{
			Write: func(context.Context, string, []int) error { time.Sleep(time.Second); return nil },
			Pace:  pacing.Pace{Cost: 100, CostMax: time.Hour}, Concurrency: 2, Now: time.Now,
		})
		w.Enqueue("a", 1, 1, func(error) {})
		w.Enqueue("b", 1, 1, func(error) {})
		time.Sleep(2 * time.Second) // they are written, and in cooldown
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		if err := w.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("ended after %s", took)
		}
	})
}

// TestAWriterWritesAsManyAsAllowed: with one of four allowed, writes follow one another; what is prioritised goes first and
// beside them; and when four are allowed again, four run.
func TestAWriterWritesAsManyAsAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const aWrite = 10 * time.Millisecond
		var allowed atomic.Int32
		allowed.Store(1)
		r := &recorder{begin: time.Now(), takes: aWrite}
		w := NewWriter(WriterOptions[string, int]{
			Write: r.write, Concurrency: 4, Now: time.Now,
			Allowed: func(waited time.Duration) int {
				if waited >= 5*aWrite {
					return 4
				}
				return int(allowed.Load())
			},
		})
		for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"} {
			w.Enqueue(key, 1, 1, func(error) {})
		}
		synctest.Wait()
		if got := w.Waiting(); got != 8 {
			t.Errorf("%d are queued, want 8", got)
		}
		time.Sleep(aWrite + aWrite/2) // a is written, and b is being written
		w.Prioritise("g")
		w.Prioritise("b") // too late
		time.Sleep(time.Second)
		synctest.Wait()
		sort := func(a, b written) int { return cmp.Or(int(a.At-b.At), strings.Compare(a.Key, b.Key)) }
		slices.SortFunc(r.got, sort)
		one := []int{1}
		want := []written{
			{0, "a", one}, {aWrite, "b", one}, {aWrite * 3 / 2, "g", one},
			{aWrite * 5 / 2, "c", one}, {aWrite * 7 / 2, "d", one}, {aWrite * 9 / 2, "e", one},
			{aWrite * 11 / 2, "f", one}, {aWrite * 11 / 2, "h", one}, {aWrite * 11 / 2, "i", one}, // they have waited for too long
		}
		if diff := gocmp.Diff(want, r.got); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
		if len(w.objects)+len(w.cooling)+w.writing > 0 {
			t.Error("an object is kept, or a write runs")
		}

		r.got = nil
		for _, key := range []string{"a", "b", "c"} {
			w.Enqueue(key, 1, 1, func(error) {})
		}
		synctest.Wait()
		allowed.Store(4) // as of the next end of a write
		time.Sleep(time.Second)
		synctest.Wait()
		if last := r.got[len(r.got)-1].At - r.got[0].At; len(r.got) != 3 || last != aWrite {
			t.Errorf("%d were written, the last one %s after the first", len(r.got), last)
		}
	})
}

// TestAPrioritisedObjectCoolsDownFirst: an object that is in cooldown when it is prioritised goes first after it.
func TestAPrioritisedObjectCoolsDownFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const aWrite = time.Second
		r := &recorder{begin: time.Now(), takes: aWrite}
		w := NewWriter(WriterOptions[string, int]{
			Write: r.write, Pace: pacing.Pace{Cost: 1, CostMax: time.Minute}, Concurrency: 1, Now: time.Now,
		})
		w.Enqueue("a", 1, 1, func(error) {})
		time.Sleep(aWrite + aWrite/10) // the cooldown of a ends at 2 s
		for _, key := range []string{"b", "c", "d"} {
			w.Enqueue(key, 1, 1, func(error) {})
		}
		w.Enqueue("a", 1, 2, func(error) {})
		w.Prioritise("a")
		w.Prioritise("b") // is being written
		time.Sleep(time.Minute)
		synctest.Wait()
		one := []int{1}
		want := []written{{0, "a", one}, {aWrite * 11 / 10, "b", one}, {aWrite * 21 / 10, "a", []int{2}}, {aWrite * 31 / 10, "c", one}, {aWrite * 41 / 10, "d", one}}
		if diff := gocmp.Diff(want, r.got); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
	})
}
