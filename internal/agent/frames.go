package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/skerry-dev/skerry/internal/link"
)

// trust is how far an agent believes the frames of a session. What is between the two, where an ingress terminates TLS,
// can hold frames back, cut them off, repeat them, and make them up. Hubs sign each frame for its session and its place
// there, but those of the first version do not.
type trust int

const (
	// trustAll is for a hub that has never signed a frame: all of them count.
	trustAll trust = iota
	// trustSigned is for a session that began with a signature: what is not signed, or not in order, ends it.
	trustSigned
	// trustLittle is for a hub that has signed frames once, and does not in this session: it was taken back to the first
	// version, or something on the way leaves the signatures out. Assignments have one of their own, and may only lead
	// on; everything else changes nothing.
	trustLittle
)

// frames judges the frames of one session.
type frames struct {
	trust       trust
	enroll      link.Enrollment
	key, nonce  []byte // the agent's public key, and its nonce in the session
	lastInOrder uint64 // Down.Seq
}

var (
	errFrameNotSigned  = errors.New("a frame came that the hub did not sign for this session")
	errOlderAssignment = errors.New("an Assignment came that is older than the one the agent has")
)

// begin judges the answer to a session, as its first frame. signedBefore is set when the hub has ever signed one.
func (f *frames) begin(d link.Down, signedBefore bool) (link.Down, error) {
	switch {
	case len(d.Signature) > 0 && !f.signed(d):
		return d, errHub
	case len(d.Signature) > 0:
		f.trust = trustSigned
		return d, nil
	case signedBefore:
		f.trust = trustLittle
	}
	return f.restrict(d), nil
}

// admit returns what counts of a frame.
func (f *frames) admit(d link.Down) (link.Down, error) {
	if d.IsEmpty() {
		return d, nil
	}
	if f.trust == trustSigned {
		if d.Seq <= f.lastInOrder || !f.signed(d) {
			return link.Down{}, errFrameNotSigned
		}
		f.lastInOrder = d.Seq
	}
	return f.restrict(d), nil
}

func (f *frames) signed(d link.Down) bool {
	return link.Verify(f.enroll.HubKey, link.DownTranscript(f.enroll.HubID, f.enroll.Cluster, f.key, f.nonce, d), d.Signature)
}

// restrict leaves out what a frame of little trust must not bring about.
func (f *frames) restrict(d link.Down) link.Down {
	if f.trust == trustLittle {
		d.Settings, d.Verify, d.At = nil, false, 0
	}
	return d
}

// goAwayError returns the error with which a frame ends a session.
func (f *frames) goAwayError(last link.GoAway) *goAwayError {
	return &goAwayError{GoAway: last, trusted: f.trust != trustLittle}
}

// order is how the Assignment of a frame relates to the one before it.
type order struct {
	// leadsOn is set when it must be a later generation of the same object.
	leadsOn bool
	// asOf is the time by the hub's clock at which it held; zero where that is not known.
	asOf time.Time
}

func (f *frames) order(d link.Down) order {
	return order{leadsOn: f.trust == trustLittle, asOf: f.at(d)}
}

// at is the time by the hub's clock at which the content of a frame held; zero where the hub did not sign it.
func (f *frames) at(d link.Down) time.Time {
	if f.trust == trustSigned && d.At > 0 {
		return time.Unix(0, d.At)
	}
	return time.Time{}
}

// checkNotOlder returns an error unless a change leads on from what the agent has. A hub that was restored from a backup, or
// set up anew, signs its frames, so that it is not asked of it.
func checkNotOlder(has assignmentState, change link.Assignment) error {
	switch {
	case has.UID == "",
		change.UID == has.UID && change.Generation > has.Generation,
		has.matches(change):
		return nil
	}
	return fmt.Errorf("%w: generation %d, and the agent has %d; something on the way repeats what was sent, or a hub of an older version was restored from a backup: upgrade the hub", errOlderAssignment, change.Generation, has.Generation)
}
