package agent

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/agent/disk"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
)

const (
	journalRecord = "journal"
	// maxJournal bounds the events that the hub has not acknowledged; the oldest are dropped, and counted.
	maxJournal = 500
	// perReport bounds the events of one report.
	perReport = 100
	// reservedNumbers is how many numbers of events are written down ahead: after a kill, numbers go on above every
	// number that was sent.
	reservedNumbers = 1000
)

// journal holds the events that the hub has not acknowledged, in the order in which they happened.
//
// Each is appended to a log on the disk as it comes, which does not wait for the disk: it survives the end of the
// process, however that comes. What has waited for maintainDisk is written for good, all in one record, and survives the end
// of the machine; the log begins anew then. So a disk gets one synchronous write in two seconds at most, whatever
// happens on the cluster, and none for what the hub has acknowledged before.
type journal struct {
	disk *disk.Store
	now  func() time.Time
	// saveDue is woken when there is something to save; nil where nothing waits for that.
	saveDue chan struct{}

	mu            sync.Mutex // guards what follows
	events        []link.Event
	last          uint64 // number of the last event
	reservedUpTo  uint64 // numbers up to here are written down
	dropped       int    // events since the last acknowledgement
	dirty         bool   // since the last save
	saved         bool   // the record has events
	logged        bool   // the log has some
	mediumReports uint64 // number of the last report that was made to be carried to the hub
	owner         string // the hub and the Cluster that the events are for
}

// journalState is the record.
type journalState struct {
	ReservedUpTo uint64       `json:"ahead"`
	Dropped      int          `json:"dropped,omitempty"`
	Events       []link.Event `json:"events,omitempty"`
	Carried      uint64       `json:"carried,omitempty"`
	// Of is the hub and the Cluster that the events are for; an earlier version did not write it down.
	Owner string `json:"of,omitempty"`
}

// openJournal reads what an earlier process left. Without a record, numbers begin above those of a disk that
// was lost, as long as the clock is right.
func openJournal(d *disk.Store, now func() time.Time) *journal {
	j := &journal{disk: d, now: now}
	var s journalState
	if data, err := d.Read(journalRecord); err == nil && json.Unmarshal(data, &s) == nil {
		j.events, j.last, j.dropped, j.saved, j.mediumReports, j.owner = s.Events, s.ReservedUpTo, s.Dropped, len(s.Events) > 0, s.Carried, s.Owner
	} else {
		j.last = uint64(max(now().Unix(), 1)) * reservedNumbers
	}
	j.reservedUpTo = j.last
	if pieces := d.Log(journalRecord); len(pieces) > 0 {
		j.logged = true
		j.recover(pieces)
		j.write()
	}
	return j
}

// setOwner sets the Cluster and the hub that the events are for: events of another one are dropped.
func (j *journal) setOwner(hub, cluster string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	of := hub + " " + cluster
	if j.owner == of {
		return
	}
	if j.owner != "" {
		j.events, j.dropped = nil, 0
	}
	j.owner = of
	j.write()
}

// recover reads the events that an earlier process has not written for good. Where it ended between the two, the
// record has some of them already.
func (j *journal) recover(pieces [][]byte) {
	recorded := uint64(0)
	if n := len(j.events); n > 0 {
		recorded = j.events[n-1].Seq
	}
	for _, piece := range pieces {
		var ev link.Event
		if json.Unmarshal(piece, &ev) == nil && ev.Seq > recorded {
			j.events, j.last = append(j.events, ev), max(j.last, ev.Seq)
		}
	}
	j.reservedUpTo = max(j.reservedUpTo, j.last)
	j.dropOldest()
}

// dropOldest drops the oldest events of too many. The mutex is held.
func (j *journal) dropOldest() {
	if n := len(j.events) - maxJournal; n > 0 {
		j.events, j.dropped = append([]link.Event(nil), j.events[n:]...), j.dropped+n
	}
}

// add appends an event of the engine.
func (j *journal) add(e engine.Event) {
	ev := link.Event{At: metav1.NewTime(j.now()), Kustomization: e.Kustomization, Warning: e.Warning, Reason: e.Reason, Message: e.Message}
	if o := e.Object; o.ID.Kind != "" {
		ev.Object = &link.Object{Group: o.ID.Group, Version: o.Version, Kind: o.ID.Kind, Namespace: o.ID.Namespace, Name: o.ID.Name, UID: o.UID, ResourceVersion: o.ResourceVersion}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.append(ev)
}

func (j *journal) append(ev link.Event) {
	j.last++
	ev.Seq = j.last
	j.events, j.dirty = append(j.events, ev), true
	wake(j.saveDue)
	j.dropOldest()
	if j.last > j.reservedUpTo {
		j.reservedUpTo = j.last + reservedNumbers
		j.write()
		return
	}
	if piece, err := json.Marshal(ev); err == nil {
		j.disk.Append(journalRecord, piece)
		j.logged = true
	}
}

// pending returns the oldest events that were not acknowledged. Where older ones were dropped, the first of
// them has their number.
func (j *journal) pending() []link.Event {
	return j.oldest(perReport)
}

func (j *journal) oldest(n int) []link.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := append([]link.Event(nil), j.events[:min(len(j.events), n)]...)
	if len(out) > 0 && j.dropped > 0 {
		first := link.Event{
			Seq: out[0].Seq - 1, At: out[0].At, Reason: v1alpha1.AgentEventsDroppedReason,
			Message: fmt.Sprintf("%d earlier events of the time without the hub were dropped", j.dropped),
		}
		out = append([]link.Event{first}, out...)
	}
	return out
}

// acknowledge forgets the events up to a number.
func (j *journal) acknowledge(upTo uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for n < len(j.events) && j.events[n].Seq <= upTo {
		n++
	}
	if n > 0 {
		j.events, j.dropped, j.dirty = j.events[n:], 0, true
		wake(j.saveDue)
	}
	if len(j.events) == 0 {
		j.dropLog()
	}
}

func (j *journal) dropLog() {
	if j.logged {
		j.disk.DropLog(journalRecord)
		j.logged = false
	}
}

// save writes the events to the disk, if there is something new: those of which the hub does not know yet
// survive a restart.
func (j *journal) save() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.unsavedLocked() {
		j.write()
	}
}

// unsaved reports whether there is something for save to write.
func (j *journal) unsaved() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.unsavedLocked()
}

func (j *journal) unsavedLocked() bool { return j.dirty && (len(j.events) > 0 || j.saved) }

func (j *journal) write() {
	data, err := json.Marshal(journalState{ReservedUpTo: j.reservedUpTo, Dropped: j.dropped, Events: j.events, Carried: j.mediumReports, Owner: j.owner})
	if err == nil {
		err = j.disk.Write(journalRecord, data) // the disk names its problem itself
	}
	if err == nil {
		j.dropLog()
	}
	j.dirty, j.saved = false, len(j.events) > 0
}
