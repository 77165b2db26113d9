package machine

// Action is something that the engine is to do.
type Action interface{ action() }

type (
	// Dial connects to the cluster; a Dialled reports the end.
	Dial struct {
		Target  uint64
		Contest Contest
	}
	// Discard ends the session that was dialled: its address or credentials have changed meanwhile.
	Discard struct{}
	// StartSession takes up the session that was dialled, under a number.
	StartSession struct{ Session uint64 }
	// Check asks the cluster for its identity; a Checked reports the answer.
	Check struct{ Session uint64 }
	// Disconnect ends a session.
	Disconnect struct {
		Session uint64
		Why     string
	}
	// LookAtClaim looks at the claim, and answers a hub that asks; a ClaimAnswered reports the end.
	LookAtClaim struct{ Session uint64 }
	// Purge takes away what is kept on the cluster; a PurgeDone reports the end.
	Purge struct {
		Request int
		Session uint64
	}
	// Answer answers a FinalizeRequested.
	Answer struct {
		Request int
		Result  FinalizeResult
	}
	// Prepare reads the bundles that the pass of an entry needs; a Prepared reports the end.
	Prepare struct {
		Name    string
		Attempt uint64
	}
	// RequestSlot asks for a slot among the passes of all clusters; a SlotGranted reports it.
	RequestSlot struct{ Priority Priority }
	// ReleaseSlots gives back the slots that were granted and, with Waiting, those that are asked for.
	ReleaseSlots struct{ Waiting bool }
	// Start begins a pass, with one of the slots that were granted; a PassDone reports the end.
	Start struct {
		Name    string
		Session uint64
		Why     Why
		// Relist asks the cluster again for what is known of it, Verify asks whether the watches have sent
		// everything.
		Relist, Verify bool
		// LastGood means that the last good bundle stands in for the assigned one.
		LastGood bool
	}
)

// FinalizeResult is the answer to a FinalizeRequested.
type FinalizeResult uint8

// Answers to a FinalizeRequested.
const (
	FinalizeDone FinalizeResult = iota
	FinalizeNotConnected
	FinalizeNotRemoved
)

func (r FinalizeResult) String() string {
	return [...]string{"done", "not connected", "not removed"}[r]
}

func (Dial) action()         {}
func (Discard) action()      {}
func (StartSession) action() {}
func (Check) action()        {}
func (Disconnect) action()   {}
func (LookAtClaim) action()  {}
func (Purge) action()        {}
func (Answer) action()       {}
func (Prepare) action()      {}
func (RequestSlot) action()  {}
func (ReleaseSlots) action() {}
func (Start) action()        {}
