package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheGateLetsInSoManyAndInOrder(t *testing.T) {
	g := newPrioritisedSemaphore(2, 0)
	var came []int
	var slots []*slot
	for i := range 6 {
		tk, in := g.request(true, func(*slot) { came = append(came, i) })
		if in != (i < 2) {
			t.Errorf("%d is in: %v", i, in)
		}
		slots = append(slots, tk)
	}
	slots[3].release() // gave up waiting
	slots[0].release()
	slots[0].release() // twice is once
	slots[1].release()
	slots[2].release()
	if want := []int{2, 4, 5}; !slices.Equal(came, want) {
		t.Errorf("came in order %v; want %v", came, want)
	}
}

// Commits go before what a thousand clusters verify, and yet those get on.
func TestUrgentWorkGoesFirstAndDoesNotStarveTheRest(t *testing.T) {
	g := newPrioritisedSemaphore(1, 0)
	var order strings.Builder
	queue := []*slot{}
	let := func(what string) func(*slot) {
		return func(tk *slot) { order.WriteString(what); queue = append(queue, tk) }
	}
	first, _ := g.request(false, nil)
	for range 8 {
		g.request(false, let("b"))
	}
	for range 8 {
		g.request(true, let("U"))
	}
	first.release()
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		next.release()
	}
	if got, want := order.String(), "UUUbUUUbUUbbbbbb"; got != want {
		t.Errorf("let in %s; want %s", got, want)
	}
}

// A holder that stays longer than maxHold keeps no other one out.
func TestASlotIsFreeAfterMaxHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newPrioritisedSemaphore(1, time.Second)
		if _, in := g.request(true, nil); !in {
			t.Fatal("not in")
		}
		begin := time.Now()
		leave, err := g.acquire(t.Context(), false)
		if err != nil || time.Since(begin) != time.Second {
			t.Fatalf("in after %v, %v", time.Since(begin), err)
		}
		leave()
		if _, in := g.request(false, nil); !in {
			t.Error("the place was not given back")
		}
	})
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	g := newPrioritisedSemaphore(1, 0)
	held, _ := g.request(true, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.acquire(ctx, true); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	held.release()
	if _, in := g.request(true, nil); !in {
		t.Error("who gave up took the place")
	}
}

func TestTheGateKeepsItsNumber(t *testing.T) {
	g := newPrioritisedSemaphore(3, 0)
	var mu sync.Mutex
	inside, most := 0, 0
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			leave, err := g.acquire(t.Context(), i%2 == 0)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			inside++
			most = max(most, inside)
			mu.Unlock()
			mu.Lock()
			inside--
			mu.Unlock()
			leave()
		})
	}
	wg.Wait()
	if most > 3 || g.free != 3 {
		t.Errorf("%d at once, %d free in the end", most, g.free)
	}
}
