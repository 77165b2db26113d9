package git

import (
	"context"
	"errors"
	"testing"

	"github.com/skerry-dev/skerry/internal/recovery"
)

func TestAFetchThatPanicsIsAnErrorForAllWhoWaitForIt(t *testing.T) {
	var f flights
	_, err := f.do(t.Context(), flightKey{key: "a"}, func(context.Context) (Commit, error) { panic("swordfish") })
	if _, ok := errors.AsType[*recovery.Panic](err); !ok {
		t.Fatalf("%v", err)
	}
	if _, err := f.do(t.Context(), flightKey{key: "a"}, func(context.Context) (Commit, error) { return Commit{}, nil }); err != nil {
		t.Errorf("the next one: %v", err)
	}
}
