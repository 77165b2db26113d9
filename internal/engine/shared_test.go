package engine

import (
	"reflect"
	"runtime"
	"testing"

	"github.com/skerry-dev/skerry/internal/object"
)

// The clusters of a fleet have the same bundles, of which there is one in memory for as long as one of them has it.
func TestBundlesOfOneDigestAreShared(t *testing.T) {
	s := newSharedBundles()
	rendered := func(name string) *object.Bundle {
		return &object.Bundle{Objects: []object.Object{{ID: object.ID{Kind: "ConfigMap", Namespace: "web", Name: name}}}}
	}
	index := func(b bundle) uintptr { return reflect.ValueOf(b.ByID).Pointer() }
	func() { // of which nothing is left at its end
		one, two, other := s.load("sha256:1", rendered("a")), s.load("sha256:1", rendered("a")), s.load("sha256:2", rendered("b"))
		if index(one) != index(two) || !sameObjects(one.Objects, two.Objects) {
			t.Error("two of one digest share nothing")
		}
		if index(one) == index(other) || other.digest != "sha256:2" || len(other.ByID) != 1 {
			t.Errorf("another digest is taken for it: %+v", other)
		}
		s.forget("sha256:1")
		if third := s.load("sha256:1", rendered("a")); index(third) != index(one) {
			t.Error("forgotten while there are some")
		}
	}()
	for range 3 {
		runtime.GC()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for digest, b := range s.loaded {
		if b.Value() != nil {
			t.Errorf("%s is kept, and nothing has it", digest)
		}
	}
}
