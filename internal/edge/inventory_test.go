package edge

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
)

var testHolder = Holder{Hub: "h", Instance: "one", Process: "p1", Since: start, Cluster: "fleet/shop"}

// storeOf returns inventories on a stub whose shards are small, so that a few objects need several.
func storeOf(c *Client, h Holder) *Inventories {
	s := NewInventories(c, h)
	s.limit = 400
	return s
}

func load(t *testing.T, s *Inventories) *Records {
	t.Helper()
	records, err := s.Load(t.Context(), Contest{Now: start, Grace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// inventoryOf returns an inventory of so many objects, whose digests do not compress.
func inventoryOf(owner string, objects int) *inventory.Inventory {
	inv := inventory.New(owner)
	for i := range objects {
		id := object.ID{Kind: "ConfigMap", Namespace: "apps", Name: fmt.Sprintf("cm-%03d", i)}
		inv.Objects[id] = inventory.Record{Version: "v1", UID: fmt.Sprintf("%x", uint64(i+1)*0x9e3779b97f4a7c15), Digest: fmt.Sprintf("%x", uint64(i+1)*0xbf58476d1ce4e5b9)}
	}
	return inv
}

func TestInventoryIsReadAsItWasWritten(t *testing.T) {
	st, c := newStub(t)
	s := storeOf(c, testHolder)
	load(t, s)
	for _, objects := range []int{1, 100, 0, 5, 60} { // from one shard to several and back
		inv := inventoryOf("apps.1", objects)
		inv.Revision, inv.Bundle = "main@sha1:1", fmt.Sprintf("sha256:%d", objects)
		if err := s.Save(t.Context(), inv); err != nil {
			t.Fatal(err)
		}
		for name, reader := range map[string]*Inventories{"the writer": s, "another process": storeOf(c, testHolder)} {
			records := load(t, reader)
			if got := records.Inventories["apps.1"]; got == nil || !got.Equal(inv) {
				t.Errorf("%d objects, read by %s: %+v", objects, name, got)
			}
			if len(records.Corrupt) > 0 || records.Clusters["apps.1"] != "fleet/shop" {
				t.Errorf("%d objects, read by %s: corrupt %v, clusters %v", objects, name, records.Corrupt, records.Clusters)
			}
		}
	}
	if err := s.Delete(t.Context(), "apps.1"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{v1alpha1.ClaimName}, st.names()); diff != "" {
		t.Error(diff)
	}
	if err := s.Delete(t.Context(), "apps.1"); err != nil {
		t.Errorf("nothing to delete: %v", err)
	}
}

// Passes write inventories while the loop of a cluster asks who wrote them: what Load returned is not written to, and
// the store is asked.
func TestWhoWroteAnInventoryIsAskedOfTheStore(t *testing.T) {
	_, c := newStub(t)
	s := storeOf(c, testHolder)
	records := load(t, s)
	if err := s.Save(t.Context(), inventoryOf("apps.1", 1)); err != nil {
		t.Fatal(err)
	}
	if got := s.Writer("apps.1"); got != "fleet/shop" || len(records.Clusters) > 0 {
		t.Errorf("written by %q, and what was loaded has %v", got, records.Clusters)
	}
}

// TestEveryShardIsWrittenBeforeOneIsDeleted ends the process at each write of a change from one division
// into shards to another: what was recorded before or is to be recorded is recorded at any point.
func TestEveryShardIsWrittenBeforeOneIsDeleted(t *testing.T) {
	t.Parallel()
	for _, change := range [][2]int{{1, 100}, {100, 1}, {30, 100}, {100, 30}, {100, 90}} {
		for stop := 0; ; stop++ {
			st, c := newStub(t)
			s := storeOf(c, testHolder)
			load(t, s)
			before, after := inventoryOf("apps.1", change[0]), inventoryOf("apps.1", change[1])
			if err := s.Save(t.Context(), before); err != nil {
				t.Fatal(err)
			}
			n := 0
			st.setBefore(func(method, _ string) *apierrors.StatusError {
				if method == http.MethodGet {
					return nil
				}
				if n++; n > stop {
					return apierrors.NewInternalError(errors.New("the process has died"))
				}
				return nil
			})
			err := s.Save(t.Context(), after)
			st.setBefore(nil)
			records := load(t, storeOf(c, testHolder))
			if corrupt := records.Corrupt["apps.1"]; corrupt != nil {
				t.Fatalf("%v, ended after %d writes: %v", change, stop, corrupt)
			}
			got := records.Inventories["apps.1"]
			if got == nil {
				t.Fatalf("%v, ended after %d writes: there is no inventory", change, stop)
			}
			for id := range before.Objects {
				if _, stays := after.Objects[id]; !stays {
					continue
				}
				if _, recorded := got.Objects[id]; !recorded {
					t.Fatalf("%v, ended after %d writes: %s is recorded nowhere", change, stop, id)
				}
			}
			if err == nil {
				if !got.Equal(after) {
					t.Errorf("%v: %d objects after all writes", change, len(got.Objects))
				}
				break
			}
			// The next process takes up what it finds and brings it to an end.
			next := storeOf(c, testHolder)
			load(t, next)
			if err := next.Save(t.Context(), after); err != nil {
				t.Fatalf("%v, ended after %d writes: %v", change, stop, err)
			}
			if got := load(t, storeOf(c, testHolder)).Inventories["apps.1"]; !got.Equal(after) {
				t.Errorf("%v, ended after %d writes: %d objects at last", change, stop, len(got.Objects))
			}
		}
	}
}

// TestInventoryThatSomethingElseWroteIsNotOverwritten has each way in which an inventory is not what was
// read: the write fails, and nothing is written over.
func TestInventoryThatSomethingElseWroteIsNotOverwritten(t *testing.T) {
	name := inventoryName("apps.1", 0, 1)
	touch := func(u *unstructured.Unstructured) { u.SetAnnotations(map[string]string{hubAnnotation: "h", "x": "y"}) }
	for what, tt := range map[string]struct {
		saved   bool // one was written before
		meddle  func(*stub)
		corrupt bool
	}{
		"changed": {saved: true, meddle: func(s *stub) { s.edit(name, touch) }},
		"deleted": {saved: true, meddle: func(s *stub) { s.drop(name) }},
		"deleted and made anew": {saved: true, meddle: func(s *stub) {
			s.drop(name)
			s.edit(name, touch)
		}},
		"created by another process": {meddle: func(s *stub) {
			s.edit(name, func(u *unstructured.Unstructured) {
				u.SetLabels(map[string]string{v1alpha1.PartLabel: partInventory, ownerLabel: "apps.1"})
			})
		}},
		"in the way, without its labels": {corrupt: true, meddle: func(s *stub) { s.edit(name, touch) }},
		"gone a moment after it was in the way": {meddle: func(s *stub) {
			s.edit(name, touch)
			s.setBefore(func(method, _ string) *apierrors.StatusError {
				if method == http.MethodGet {
					return apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
				}
				return nil
			})
		}},
	} {
		t.Run(what, func(t *testing.T) {
			st, c := newStub(t)
			s := NewInventories(c, testHolder)
			load(t, s)
			if tt.saved {
				if err := s.Save(t.Context(), inventoryOf("apps.1", 1)); err != nil {
					t.Fatal(err)
				}
			}
			tt.meddle(st)
			err := s.Save(t.Context(), inventoryOf("apps.1", 2))
			corrupt, isCorrupt := errors.AsType[*CorruptError](err)
			if isCorrupt != tt.corrupt || !tt.corrupt && !errors.Is(err, ErrInventoryChanged) {
				t.Errorf("%v", err)
			}
			if isCorrupt && corrupt.ConfigMap != name {
				t.Errorf("it names %s", corrupt.ConfigMap)
			}
			st.setBefore(nil)
			st.mu.Lock()
			defer st.mu.Unlock()
			if u := st.objects[configMaps+"/"+name]; u != nil && u.Object["binaryData"] != nil && len(inventoryOf("apps.1", 2).Objects) == st.recorded(name) {
				t.Error("it was written over")
			}
		})
	}
}

func TestReloadReadsOneInventory(t *testing.T) {
	st, c := newStub(t)
	s := NewInventories(c, testHolder)
	load(t, s)
	name := inventoryName("apps.1", 0, 1)
	if err := s.Save(t.Context(), inventoryOf("apps.1", 3)); err != nil {
		t.Fatal(err)
	}
	good := map[string]any{}
	st.edit(name, func(u *unstructured.Unstructured) {
		good = u.DeepCopy().Object["binaryData"].(map[string]any)
		u.Object["binaryData"] = map[string]any{shardKey: "bm8="}
	})
	if _, err := s.Reload(t.Context(), "apps.1"); err == nil || !strings.Contains(err.Error(), name+" cannot be read") {
		t.Errorf("a broken one: %v", err)
	}
	st.edit(name, func(u *unstructured.Unstructured) { u.Object["binaryData"] = good })
	inv, err := s.Reload(t.Context(), "apps.1")
	if err != nil || len(inv.Objects) != 3 {
		t.Fatalf("restored: %+v, %v", inv, err)
	}
	if err := s.Save(t.Context(), inventoryOf("apps.1", 2)); err != nil {
		t.Errorf("what was read again cannot be written: %v", err)
	}
	st.drop(name)
	if inv, err = s.Reload(t.Context(), "apps.1"); err != nil || len(inv.Objects) != 0 {
		t.Errorf("a deleted one: %+v, %v", inv, err)
	}
}

// TestOfHubsThatClaimAtOnceOneWins lets another hub claim the cluster between the read of each attempt and
// its write.
func TestOfHubsThatClaimAtOnceOneWins(t *testing.T) {
	claimBy := func(hub, instance string) func(*unstructured.Unstructured) {
		return func(u *unstructured.Unstructured) {
			u.SetLabels(map[string]string{v1alpha1.PartLabel: partHub})
			u.SetAnnotations(map[string]string{hubAnnotation: hub, instanceAnnotation: instance})
		}
	}
	for name, tt := range map[string]struct {
		meddle func(*stub)
		check  func(error) bool
		holds  string // instance in the claim at the end
	}{
		"another hub": {func(s *stub) { s.edit(v1alpha1.ClaimName, claimBy("x", "x")) }, func(err error) bool {
			other, ok := errors.AsType[*OtherHubError](err)
			return ok && other.Hub == "x"
		}, "x"},
		"another hub of the same identity": {func(s *stub) { s.edit(v1alpha1.ClaimName, claimBy("h", "two")) }, func(err error) bool {
			contest, ok := errors.AsType[*ContestedError](err)
			return ok && contest.Waiting && contest.Holder == "two"
		}, "two"},
		"this hub, in another process": {func(s *stub) { s.edit(v1alpha1.ClaimName, claimBy("h", "one")) }, func(err error) bool { return err == nil }, "one"},
		"a claim without its label, of another hub": {func(s *stub) {
			s.edit(v1alpha1.ClaimName, func(u *unstructured.Unstructured) { u.SetAnnotations(map[string]string{hubAnnotation: "x"}) })
		}, func(err error) bool { _, ok := errors.AsType[*OtherHubError](err); return ok }, ""},
		"a claim that has lost its label": {func(s *stub) {
			s.edit(v1alpha1.ClaimName, func(u *unstructured.Unstructured) { u.SetAnnotations(map[string]string{hubAnnotation: "h"}) })
		}, func(err error) bool { return err == nil }, "one"},
	} {
		t.Run(name, func(t *testing.T) {
			st, c := newStub(t)
			done := false
			st.setBefore(func(method, at string) *apierrors.StatusError {
				if method == http.MethodPost && at == configMaps && !done {
					done = true
					tt.meddle(st)
				}
				return nil
			})
			_, err := NewInventories(c, testHolder).Load(t.Context(), Contest{Now: start, Grace: time.Second})
			if !tt.check(err) {
				t.Errorf("%v", err)
			}
			cm, err := NewInventories(c, testHolder).get(t.Context(), v1alpha1.ClaimName)
			if err != nil || cm.Annotations[instanceAnnotation] != tt.holds {
				t.Errorf("the claim is held by %q, %v", cm.Annotations[instanceAnnotation], err)
			}
		})
	}
}

// TestClaimThatKeepsChangingIsGivenUp ends where a claim is written by something else at each attempt.
func TestClaimThatKeepsChangingIsGivenUp(t *testing.T) {
	st, c := newStub(t)
	st.edit(v1alpha1.ClaimName, func(u *unstructured.Unstructured) {
		u.SetLabels(map[string]string{v1alpha1.PartLabel: partHub})
		u.SetAnnotations(map[string]string{hubAnnotation: "h"}) // of an earlier version: it is taken
	})
	writes := 0
	st.setBefore(func(method, _ string) *apierrors.StatusError {
		if method == http.MethodPut {
			writes++
			return apierrors.NewConflict(schema.GroupResource{Resource: "configmaps"}, v1alpha1.ClaimName, errors.New("modified"))
		}
		return nil
	})
	if _, err := NewInventories(c, testHolder).Load(t.Context(), Contest{Now: start}); !errors.Is(err, ErrInventoryChanged) || writes != 4 {
		t.Errorf("%v after %d writes", err, writes)
	}
}

// TestChallengeIsAnswered goes through a contest as it is written into the claim: a second hub of the same
// identity asks, the holder answers, the second is refused; then the holder is gone, and the second takes.
func TestChallengeIsAnswered(t *testing.T) {
	_, c := newStub(t)
	first := NewInventories(c, testHolder)
	load(t, first)
	h := testHolder
	h.Instance, h.Process = "two", "p2"
	second := NewInventories(c, h)
	now := start
	ask := func(asked string, at time.Time) *ContestedError {
		t.Helper()
		_, err := second.Load(t.Context(), Contest{Nonce: asked, At: at, Now: now, Grace: time.Second})
		contest, _ := errors.AsType[*ContestedError](err)
		if err != nil && contest == nil {
			t.Fatal(err)
		}
		return contest
	}
	one := ask("", time.Time{})
	if one == nil || !one.Waiting || one.Holder != "one" || one.Nonce == "" {
		t.Fatalf("%+v", one)
	}
	if state, err := first.CheckClaim(t.Context()); err != nil || state != ClaimStands {
		t.Fatalf("%v, %v", state, err)
	}
	if got := ask(one.Nonce, now); got == nil || got.Waiting {
		t.Errorf("after the answer: %+v", got)
	}
	now = now.Add(rechallengeAfter * time.Second) // long after: asked again, and the holder is gone
	two := ask(one.Nonce, start)
	if two == nil || !two.Waiting || two.Nonce == one.Nonce {
		t.Fatalf("%+v", two)
	}
	asked := now
	now = now.Add(2 * time.Second)
	if got := ask(two.Nonce, asked); got != nil {
		t.Errorf("a holder that does not answer keeps its claim: %+v", got)
	}
	if state, err := first.CheckClaim(t.Context()); err != nil || state != ClaimTaken {
		t.Errorf("the first finds %v, %v", state, err)
	}
}

func TestRestored(t *testing.T) {
	for name, tt := range map[string]struct {
		meddle func(*stub)
		want   bool
	}{
		"all is as it was":            {func(*stub) {}, false},
		"versions went backwards":     {func(s *stub) { s.mu.Lock(); s.version -= 50; s.mu.Unlock() }, true},
		"an inventory is an old one":  {func(s *stub) { s.edit(inventoryName("apps.1", 0, 1), func(*unstructured.Unstructured) {}) }, true},
		"an inventory is missing":     {func(s *stub) { s.drop(inventoryName("apps.1", 0, 1)) }, true},
		"another Cluster's inventory": {func(s *stub) { s.drop(inventoryName("web.1", 0, 1)) }, false},
		"one of another Cluster came": {func(s *stub) {
			s.edit(inventoryName("new.1", 0, 1), func(u *unstructured.Unstructured) {
				u.SetLabels(map[string]string{v1alpha1.PartLabel: partInventory, ownerLabel: "new.1"})
				u.SetAnnotations(map[string]string{hubAnnotation: "h", clusterAnnotation: "fleet/other"})
			})
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			st, c := newStub(t)
			other := testHolder
			other.Cluster = "fleet/other"
			theirs := NewInventories(c, other)
			load(t, theirs)
			if err := theirs.Save(t.Context(), inventoryOf("web.1", 1)); err != nil {
				t.Fatal(err)
			}
			s := NewInventories(c, testHolder)
			load(t, s)
			if err := s.Save(t.Context(), inventoryOf("apps.1", 1)); err != nil {
				t.Fatal(err)
			}
			tt.meddle(st)
			if got, err := s.Restored(t.Context()); err != nil || got != tt.want {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}
