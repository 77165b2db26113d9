package agent

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/agent/disk"
	"github.com/skerry-dev/skerry/internal/engine"
)

func testDisk(t *testing.T, dir string) *disk.Store {
	t.Helper()
	return disk.Open(dir, testKey(t), disk.Options{})
}

func testKey(t *testing.T) *disk.Key {
	t.Helper()
	k, err := disk.NewKey(bytes.Repeat([]byte{1}, disk.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func fixedNow() time.Time { return time.Unix(1700000000, 0) }

// TestEventsAreReportedInOrderAfterAnAbsence: what happened before a restart comes before what happened after it,
// with rising numbers, and what was acknowledged does not come again.
func TestEventsAreReportedInOrderAfterAnAbsence(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(testDisk(t, dir), fixedNow)
	for i := range 3 {
		j.add(engine.Event{Kustomization: "apps", Reason: v1alpha1.DriftCorrectedReason, Message: fmt.Sprint(i)})
	}
	j.acknowledge(j.pending()[0].Seq)
	j.save()
	sent := j.last

	j = openJournal(testDisk(t, dir), fixedNow)
	j.add(engine.Event{Message: "3"})
	var last uint64
	var got string
	for _, e := range j.pending() {
		if e.Seq <= last {
			t.Errorf("number %d comes after %d", e.Seq, last)
		}
		last = e.Seq
		got += e.Message
	}
	if got != "123" || last <= sent {
		t.Errorf("told %q, the last with number %d; want 123, above %d", got, last, sent)
	}
}

// TestNumbersRiseAfterAKill: events that were sent and never saved do not lend their numbers to others.
func TestNumbersRiseAfterAKill(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		j := openJournal(testDisk(t, dir), fixedNow)
		before := j.last
		for range reservedNumbers + 5 {
			j.add(engine.Event{Message: "x"})
		}
		sent := j.last
		if again := openJournal(testDisk(t, dir), fixedNow); again.last < sent || sent <= before {
			t.Fatalf("after a kill numbers begin at %d, after %d were sent", again.last, sent)
		}
	}
}

func TestTheJournalIsBounded(t *testing.T) {
	j := openJournal(testDisk(t, t.TempDir()), fixedNow)
	for i := range maxJournal + 7 {
		j.add(engine.Event{Message: fmt.Sprint(i)})
	}
	p := j.pending()
	if len(p) != perReport+1 || p[0].Reason != v1alpha1.AgentEventsDroppedReason || p[0].Message[:2] != "7 " || p[1].Message != "7" {
		t.Errorf("%d events, the first two %+v", len(p), p[:2])
	}
	j.acknowledge(p[len(p)-1].Seq)
	if p = j.pending(); p[0].Message != fmt.Sprint(7+perReport) {
		t.Errorf("after an acknowledgement the first is %+v", p[0])
	}
}

// TestEventsOfAKilledAgentAreReported: those too that came just before, of a quiet time and of a burst; and what the hub has
// acknowledged is not told again.
func TestEventsOfAKilledAgentAreReported(t *testing.T) {
	dir := t.TempDir()
	open := func() *journal { return openJournal(testDisk(t, dir), fixedNow) }
	messages := func(j *journal) (out []string) {
		var last uint64
		for _, e := range j.pending() {
			if e.Seq <= last {
				t.Errorf("number %d comes after %d", e.Seq, last)
			}
			last, out = e.Seq, append(out, e.Message)
		}
		return out
	}
	j := open()
	for _, m := range []string{"a", "b", "c"} {
		j.add(engine.Event{Message: m})
	}
	j.save()
	j.add(engine.Event{Message: "d"})
	sent := j.last
	j = open() // without a save
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, messages(j)); diff != "" || j.last < sent {
		t.Errorf("after a kill, with number %d after %d (-want +got):\n%s", j.last, sent, diff)
	}
	j.acknowledge(j.last)
	j.save()
	if j = open(); len(j.pending()) != 0 {
		t.Errorf("after one more kill it tells again: %v", messages(j))
	}
	j.add(engine.Event{Message: "the first reserves numbers"})
	j.acknowledge(j.last)
	j.save()
	j.add(engine.Event{Message: "e"})
	j.add(engine.Event{Message: "f"})
	j.acknowledge(j.last)
	if j = open(); len(j.pending()) != 0 {
		t.Errorf("told again: %v", messages(j))
	}
	for i := range maxJournal + 5 {
		j.add(engine.Event{Message: fmt.Sprint(i)})
	}
	if j = open(); len(j.events) != maxJournal || j.events[maxJournal-1].Message != fmt.Sprint(maxJournal+4) {
		t.Errorf("of a burst %d are left, the last %q", len(j.events), j.events[len(j.events)-1].Message)
	}
}

// TestAnAcknowledgedEventCostsTheDiskNothing: neither a record nor a log is left for the kernel to write.
func TestAnAcknowledgedEventCostsTheDiskNothing(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(testDisk(t, dir), fixedNow)
	j.add(engine.Event{Message: "the first reserves numbers"})
	j.acknowledge(j.last)
	j.save()
	before, err := os.ReadDir(dir)
	if err != nil || len(before) != 1 {
		t.Fatalf("%v, %v", before, err)
	}
	was, err := before[0].Info()
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		j.add(engine.Event{Message: "x"})
		j.acknowledge(j.last)
		j.save()
	}
	after, err := os.ReadDir(dir)
	if err != nil || len(after) != 1 {
		t.Fatalf("%v, %v", after, err)
	}
	if is, err := after[0].Info(); err != nil || !os.SameFile(is, was) {
		t.Errorf("the record was written again: %v", err)
	}
}

// TestEventsOfAFormerHubAreNotReportedToAnother, and the numbers go on rising all the same.
func TestEventsOfAFormerHubAreNotReportedToAnother(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(testDisk(t, dir), time.Now)
	j.add(engine.Event{Message: "before it belongs to any"})
	j.setOwner("hub-1", "fleet/edge")
	j.setOwner("hub-1", "fleet/edge")
	j.add(engine.Event{Message: "under the first"})
	if got := j.pending(); len(got) != 2 {
		t.Errorf("the first hub is told %+v", got)
	}
	last := j.pending()[1].Seq
	j = openJournal(testDisk(t, dir), time.Now)
	j.setOwner("hub-1", "fleet/edge")
	if got := j.pending(); len(got) != 2 {
		t.Errorf("after a restart the first hub is told %+v", got)
	}
	for _, other := range [][2]string{{"hub-2", "fleet/edge"}, {"hub-2", "fleet/another"}} {
		j.setOwner(other[0], other[1])
		if got := j.pending(); len(got) != 0 {
			t.Errorf("%v is told %+v", other, got)
		}
		j = openJournal(testDisk(t, dir), time.Now)
		if got := j.pending(); len(got) != 0 {
			t.Errorf("after a restart %v is told %+v", other, got)
		}
		j.add(engine.Event{Message: "under another"})
		if got := j.pending(); len(got) != 1 || got[0].Seq <= last {
			t.Errorf("%v is told %+v, after %d", other, got, last)
		}
	}
}
