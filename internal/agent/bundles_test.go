package agent

import (
	"testing"
	"time"

	"github.com/skerry-dev/skerry/internal/object"
)

// TestWhatHasJustArrivedIsNotReadFromTheDisk: once, and not for long; another bundle is.
func TestWhatHasJustArrivedIsNotReadFromTheDisk(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	a := &agent{bundles: bundles{testDisk(t, t.TempDir())}, fetchDue: make(chan struct{}, 1)}
	get := func(digest string) *object.Bundle {
		b, err := engineBundles{a}.Get(t.Context(), digest)
		if (b == nil) == (err == nil) {
			t.Errorf("%v with %v", b, err)
		}
		return b
	}
	one := &object.Bundle{}
	a.fresh.put("sha256:1", one, now)
	if get("sha256:2") != nil {
		t.Error("another bundle was handed out")
	}
	if get("sha256:1") != one {
		t.Error("what has just arrived was looked for on the disk")
	}
	if get("sha256:1") != nil {
		t.Error("what was handed out is kept")
	}
	a.fresh.put("sha256:1", one, now)
	a.fresh.forget(now.Add(freshFor - 1))
	if a.fresh.bundle == nil {
		t.Error("it is forgotten too soon")
	}
	a.fresh.forget(now.Add(freshFor))
	if get("sha256:1") != nil {
		t.Error("what nobody has read is kept")
	}
}
