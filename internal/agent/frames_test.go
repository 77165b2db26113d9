package agent

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
)

// signer is a hub that signs frames for one session.
type signer struct {
	key    ed25519.PrivateKey
	frames frames
}

func newSigner() *signer {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{4}, ed25519.SeedSize))
	return &signer{key, frames{
		enroll: link.Enrollment{HubID: "hub-1", HubKey: key.Public().(ed25519.PublicKey), Cluster: "fleet/edge-1"},
		key:    bytes.Repeat([]byte{5}, ed25519.PublicKeySize), nonce: bytes.Repeat([]byte{6}, link.NonceSize),
	}}
}

func (s *signer) sign(d link.Down) link.Down {
	d.At = 1_700_000_000_000_000_000
	d.Signature = ed25519.Sign(s.key, link.DownTranscript(s.frames.enroll.HubID, s.frames.enroll.Cluster, s.frames.key, s.frames.nonce, d))
	return d
}

var suspended = &link.Settings{Suspend: true}

// TestAHubThatSignsIsBelievedWithASignatureAlone, in the order in which it sent.
func TestAHubThatSignsIsBelievedWithASignatureAlone(t *testing.T) {
	s := newSigner()
	first := s.sign(link.Down{Settings: suspended})
	if d, err := s.frames.begin(first, false); err != nil || d.Settings == nil || s.frames.trust != trustSigned {
		t.Fatalf("%+v %v", d, err)
	}
	refused := func(what string, d link.Down) {
		t.Helper()
		if got, err := s.frames.admit(d); !errors.Is(err, errFrameNotSigned) || got.Settings != nil || got.GoAway != nil {
			t.Errorf("%s: %+v %v", what, got, err)
		}
	}
	second, third := s.sign(link.Down{Seq: 1, Settings: suspended}), s.sign(link.Down{Seq: 2, GoAway: &link.GoAway{Reason: link.GoAwayPushed}})
	if _, err := s.frames.admit(link.Down{}); err != nil {
		t.Errorf("an empty frame: %v", err)
	}
	refused("unsigned", link.Down{Seq: 1, Settings: suspended})
	refused("unsigned, and out of order", link.Down{Settings: suspended})
	refused("the answer to the session, as a frame", first)
	if d, err := s.frames.admit(third); err != nil || d.GoAway == nil || !s.frames.goAwayError(*d.GoAway).trusted {
		t.Errorf("a frame after one that was held back: %+v %v", d, err)
	}
	refused("the one that was held back", second)
	refused("the same again", third)
	changed := s.sign(link.Down{Seq: 3, Settings: suspended})
	changed.Settings = &link.Settings{}
	refused("changed", changed)
	if o := s.frames.order(s.sign(link.Down{Seq: 3})); o.leadsOn || o.asOf.Unix() != 1_700_000_000 {
		t.Errorf("order %+v", o)
	}
	// Of an earlier session, which the agent began with another nonce.
	earlier := s.sign(link.Down{Seq: 9, Settings: suspended})
	s.frames.nonce = bytes.Repeat([]byte{7}, link.NonceSize)
	refused("of another session", earlier)
	s.frames.trust, s.frames.lastInOrder = trustAll, 0
	if _, err := s.frames.begin(first, false); !errors.Is(err, errHub) {
		t.Errorf("the answer to another session: %v", err)
	}
}

// TestAHubThatSignedOnceIsBelievedLittleWithout: what could do harm has no effect, and everything has where no hub ever
// signed.
func TestAHubThatSignedOnceIsBelievedLittleWithout(t *testing.T) {
	for name, tt := range map[string]struct {
		signedBefore bool
		settings     bool
	}{"a hub of the first version": {false, true}, "one that signed before": {true, false}} {
		t.Run(name, func(t *testing.T) {
			var f frames
			d, err := f.begin(link.Down{Settings: suspended}, tt.signedBefore)
			if err != nil || (d.Settings != nil) != tt.settings {
				t.Errorf("the first: %+v %v", d, err)
			}
			d, err = f.admit(link.Down{Seq: 1, Settings: suspended, Verify: true, Finalize: "f", Assignment: &link.Assignment{}, GoAway: &link.GoAway{Reason: link.GoAwayPushed}, At: 5})
			if err != nil || (d.Settings != nil) != tt.settings || d.Verify != tt.settings || d.Finalize != "f" || d.Assignment == nil || d.GoAway == nil {
				t.Errorf("a frame: %+v %v", d, err)
			}
			if goAway := f.goAwayError(*d.GoAway); goAway.trusted != tt.settings {
				t.Errorf("its end is trusted: %t", goAway.trusted)
			}
			if o := f.order(d); o.leadsOn == tt.settings || !o.asOf.IsZero() {
				t.Errorf("order %+v", o)
			}
		})
	}
	if got := retryAfter(&goAwayError{GoAway: link.GoAway{Reason: link.GoAwayRevoked, RetryAfter: 86400}}); got != maxRetry {
		t.Errorf("an end that is not trusted keeps the agent away for %s", got)
	}
}

func TestAnAssignmentGoesBack(t *testing.T) {
	has := assignmentState{UID: "a", Generation: 7}
	for name, tt := range map[string]struct {
		has    assignmentState
		change link.Assignment
		back   bool
	}{
		"the agent has nothing":      {assignmentState{}, link.Assignment{UID: "a", Generation: 1}, false},
		"a later generation":         {has, link.Assignment{UID: "a", Generation: 8}, false},
		"the same":                   {has, link.Assignment{UID: "a", Generation: 7, Digest: link.Digest(nil)}, false},
		"the same, with other words": {has, link.Assignment{UID: "a", Generation: 7, Digest: "sha256:x"}, true},
		"an earlier generation":      {has, link.Assignment{UID: "a", Generation: 6}, true},
		"another Assignment":         {has, link.Assignment{UID: "b", Generation: 9}, true},
		"none":                       {has, link.Assignment{}, true},
	} {
		if err := checkNotOlder(tt.has, tt.change); errors.Is(err, errOlderAssignment) != tt.back {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// signing starts an agent whose hub signs frames, and waits until it has its Assignment.
func signing(t *testing.T) (*hub, *site) {
	t.Helper()
	h := startHub(t, longAgo)
	h.signs = true
	h.assign(entryOf("apps", h.bundle(configMap("a", "1"))))
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "apps is ready", h.reported("apps", "Ready"))
	return h, e
}

func (h *hub) begun() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.hellos)
}

// TestWhatIsOnTheWayCannotMakeUpSettingsOrAnEnd: it forges frames in a session, repeats one of an earlier session, and
// leaves out the signatures of a whole one.
func TestWhatIsOnTheWayCannotMakeUpSettingsOrAnEnd(t *testing.T) {
	h, e := signing(t)
	if got := string(e.api.secret(t, agentName).Data[signsField]); got != "true" {
		t.Fatalf("that the hub signs is not written down: %q", got)
	}
	h.mu.Lock()
	repeated := link.Down{Seq: 9, Settings: suspended}
	h.sign(&repeated)
	h.mu.Unlock()
	sessions := 0
	again := func() bool { return h.begun() > sessions } // a session that ends for another reason counts as well
	for _, forged := range []link.Down{{Seq: 2, Settings: suspended, Signature: []byte("x")}, {Seq: 2, GoAway: &link.GoAway{Reason: link.GoAwayPushed}, Signature: []byte("x")}, repeated} {
		sessions = h.begun()
		h.down <- forged
		eventually(t, "the session ends and another begins", again)
	}
	h.mu.Lock()
	h.signs, h.settings = false, *suspended
	h.mu.Unlock()
	sessions = h.begun()
	h.down <- link.Down{Seq: 2, GoAway: &link.GoAway{Reason: link.GoAwayStopping}}
	eventually(t, "a session without signatures begins", again)
	sessions = h.begun()
	h.down <- link.Down{Seq: 2, Settings: suspended}
	h.down <- link.Down{Seq: 3, GoAway: &link.GoAway{Reason: link.GoAwayPushed, RetryAfter: 1}}
	eventually(t, "and another", again)
	e.p.mu.Lock()
	if e.p.assignment.Settings.Suspend || e.p.assignment.Inactive || e.p.pool == nil {
		t.Errorf("settings %+v, resting %t", e.p.assignment.Settings, e.p.assignment.Inactive)
	}
	e.p.mu.Unlock()
	// The hub itself may say both.
	h.mu.Lock()
	h.signs, h.settings = true, link.Settings{}
	h.mu.Unlock()
	sessions = h.begun()
	h.down <- link.Down{Seq: 4, GoAway: &link.GoAway{Reason: link.GoAwayStopping}, Signature: []byte("x")}
	eventually(t, "a session with signatures", again)
	h.down <- link.Down{Seq: 2, Settings: suspended}
	eventually(t, "suspended", func() bool { e.p.mu.Lock(); defer e.p.mu.Unlock(); return e.p.assignment.Settings.Suspend })
	h.mu.Lock()
	h.refuse = &link.GoAway{Reason: link.GoAwayPushed, RetryAfter: 1}
	h.mu.Unlock()
	h.down <- link.Down{Seq: 3, GoAway: h.refuse}
	eventually(t, "the agent rests", func() bool { e.p.mu.Lock(); defer e.p.mu.Unlock(); return e.p.assignment.Inactive })
}

// TestAnOlderAssignmentIsTakenFromTheHubAlone: one that something on the way repeats is refused, also after a restart;
// that of a hub which was restored from a backup is taken.
func TestAnOlderAssignmentIsTakenFromTheHubAlone(t *testing.T) {
	h, e := signing(t)
	older := h.change(link.Have{})
	older.Generation = 6
	older.Signature = ed25519.Sign(h.key, link.AssignmentTranscript(h.enroll.HubID, h.enroll.Cluster, *older))
	sessions := h.begun()
	e.stop()
	e.start()
	eventually(t, "the agent is back", func() bool { return h.begun() > sessions })
	generation := func() int64 { e.p.mu.Lock(); defer e.p.mu.Unlock(); return e.p.assignment.Generation }
	sessions = h.begun()
	h.down <- link.Down{Seq: 2, Assignment: older, Signature: []byte("x")}
	eventually(t, "a repeated one ends the session", func() bool { return h.begun() > sessions })
	h.mu.Lock()
	h.signs = false
	h.mu.Unlock()
	sessions = h.begun()
	h.down <- link.Down{Seq: 2, GoAway: &link.GoAway{Reason: link.GoAwayStopping}}
	eventually(t, "a session without signatures", func() bool { return h.begun() > sessions })
	sessions = h.begun()
	h.down <- link.Down{Seq: 2, Assignment: older}
	eventually(t, "which ends as well", func() bool { return h.begun() > sessions })
	if got := generation(); got != 7 {
		t.Errorf("the agent has generation %d", got)
	}
	later := *older
	later.Generation = 8
	later.Signature = ed25519.Sign(h.key, link.AssignmentTranscript(h.enroll.HubID, h.enroll.Cluster, later))
	h.down <- link.Down{Seq: 2, Assignment: &later}
	eventually(t, "a later one is taken without", func() bool { return generation() == 8 })
	h.mu.Lock()
	h.signs = true
	h.mu.Unlock()
	sessions = h.begun()
	h.down <- link.Down{Seq: 3, GoAway: &link.GoAway{Reason: link.GoAwayStopping}, Signature: []byte("x")}
	eventually(t, "a session with signatures", func() bool { return h.begun() > sessions })
	eventually(t, "the hub goes back", func() bool { return generation() == 7 })
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	if e.p.assignment.AsOf.IsZero() || time.Since(e.p.assignment.AsOf) > time.Hour {
		t.Errorf("as of %s", e.p.assignment.AsOf)
	}
}

// TestWhatLeadsNowhereIsAskedForWhole, and is not forgotten: something on the way could have what is older taken else.
func TestWhatLeadsNowhereIsAskedForWhole(t *testing.T) {
	h, e := signing(t)
	h.mu.Lock()
	h.signs = false
	h.mu.Unlock()
	sessions := h.begun()
	h.down <- link.Down{Seq: 2, GoAway: &link.GoAway{Reason: link.GoAwayStopping}, Signature: []byte("x")}
	eventually(t, "a session without signatures", func() bool { return h.begun() > sessions })
	broken := h.change(link.Have{})
	broken.Generation, broken.Entries, broken.Dropped = 9, nil, []string{"apps"}
	broken.Signature = ed25519.Sign(h.key, link.AssignmentTranscript(h.enroll.HubID, h.enroll.Cluster, *broken))
	sessions = h.begun()
	h.down <- link.Down{Seq: 2, Assignment: broken}
	eventually(t, "the session ends", func() bool { return h.begun() > sessions })
	h.mu.Lock()
	if last := h.hellos[len(h.hellos)-1].Assignment; len(last.Entries) != 0 {
		t.Errorf("the agent asks for what differs from %+v", last)
	}
	h.mu.Unlock()
	eventually(t, "it has what is assigned", func() bool { e.p.mu.Lock(); defer e.p.mu.Unlock(); return !e.p.diverged })
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	if e.p.assignment.Generation != 7 || len(e.p.assignment.Entries) != 1 {
		t.Errorf("generation %d of %d entries", e.p.assignment.Generation, len(e.p.assignment.Entries))
	}
}

// TestReportsAreSignedForTheirSession, and the proof of the key says that they are.
func TestReportsAreSignedForTheirSession(t *testing.T) {
	h := startHub(t, longAgo)
	h.assign(entryOf("apps", h.bundle(configMap("a", "1"))))
	e := newSite(t)
	e.api.enroll(t, h.enroll)
	e.start()
	eventually(t, "apps is ready", h.reported("apps", "Ready"))
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.signedUps != len(h.ups) || !(link.Agent{Instance: e.p.instance}).SignsReports() {
		t.Errorf("of %d reports, %d are signed; the instance is %s", len(h.ups), h.signedUps, e.p.instance)
	}
}

// TestWhatAHubKnowsCountsWhenItIsSigned: else the agent reports everything, and what is gone.
func TestWhatAHubKnowsCountsWhenItIsSigned(t *testing.T) {
	for _, signed := range []bool{false, true} {
		h := startHub(t, longAgo)
		digest := h.bundle(configMap("a", "1"))
		h.assign(entryOf("apps", digest))
		e := newSite(t)
		e.api.enroll(t, h.enroll)
		e.start()
		eventually(t, "apps is ready", h.reported("apps", "Ready"))
		e.stop()
		known, err := link.HaveStatuses([]v1alpha1.AssignmentEntryStatus{{Name: "apps", Ready: metav1.ConditionTrue, Reason: "Ready", AppliedDigest: digest}, {Name: "gone"}})
		if err != nil {
			t.Fatal(err)
		}
		h.mu.Lock()
		h.ups, h.known, h.signsKnown = nil, known, signed
		h.mu.Unlock()
		e.start()
		eventually(t, "the agent has told everything", func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return slices.ContainsFunc(h.ups, func(up link.Up) bool { return slices.Equal(up.Dropped, []string{"gone"}) })
		})
		h.mu.Lock()
		if all := slices.ContainsFunc(h.ups, func(up link.Up) bool { return len(up.Entries) > 0 }); all == signed {
			t.Errorf("signed: %t; it reports %+v", signed, h.ups)
		}
		h.mu.Unlock()
		e.stop()
	}
}
