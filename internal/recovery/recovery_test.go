package recovery

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func explode(secret string) error { panic("cannot read " + secret) }

func outOfRange() error {
	_ = make([]int, len(os.Args))[len(os.Args)]
	return nil
}

func TestAPanicBecomesAnErrorThatNamesThePlaceAndNotTheValue(t *testing.T) {
	for name, f := range map[string]func() error{
		"recovery.explode":    func() error { return explode("swordfish") },
		"recovery.outOfRange": outOfRange,
	} {
		p, ok := errors.AsType[*Panic](fmt.Errorf("wrapped: %w", Run(f)))
		if !ok {
			t.Fatalf("%s: no panic", name)
		}
		if want := "an error of the hub itself, in " + name + "; its log has the details"; p.Error() != want {
			t.Errorf("%q, want %q", p.Error(), want)
		}
		if details := fmt.Sprint(p.Details()...); !strings.Contains(details, strings.TrimPrefix(name, "recovery.")) {
			t.Errorf("the log does not have the stack:\n%s", details)
		}
	}
}

func TestEachPanicIsCounted(t *testing.T) {
	before := Total()
	_ = Run(outOfRange)
	if got := Total() - before; got != 1 {
		t.Errorf("%d panics", got)
	}
}

func TestAnErrorStaysWhatItIs(t *testing.T) {
	want := errors.New("as it is")
	if got := Run(func() error { return want }); !errors.Is(got, want) {
		t.Errorf("%v", got)
	}
}
