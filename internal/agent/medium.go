package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/medium"
	"github.com/skerry-dev/skerry/internal/object"
)

// outdated returns why an update that was carried here is older than what the agent has, or nil.
//
// Times by the hub's clock decide: a file holds what was assigned when it was made, and the agent knows when what it has
// was. A hub gives each file a later time than those before, and a later one than its agents have reported, so that
// one whose clock once was ahead is heard again. A file serves once: it does not bring back what came after it. So a lower
// generation that is the later one is that of a hub which was restored from a backup, and is taken; and a higher one may
// be from before that, and older. Where a hub of the first version has sent what the agent has, without the time, the
// generations of one Assignment decide, or when its entries were assigned if it is another object.
func outdated(u medium.Update, made time.Time, has assignmentState, assigned []v1alpha1.AssignmentEntry) error {
	older := func(next, form string, args ...any) error {
		return &medium.RefusedError{Reason: v1alpha1.MediumOutdatedReason, Message: fmt.Sprintf(form, args...) + "; " + next}
	}
	const again = "export a new one"
	const tell = again + "; if this one is new, the hub's clock was ahead before, and the hub does not know it any more: hand in a report of this agent there, and export again"
	day := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	switch {
	case made.Before(has.Exported):
		return older(tell, "the file was made at %s, and the agent has one of %s", day(made), day(has.Exported))
	case has.matches(u.Assignment):
		return nil
	case made.Equal(has.Exported):
		return older(again, "the file was imported already, and the agent has taken something later since")
	case !has.AsOf.IsZero() && made.Before(has.AsOf):
		return older(tell, "the file was made at %s, and the agent has what the hub assigned at %s", day(made), day(has.AsOf))
	case !has.AsOf.IsZero() || has.UID == "":
		return nil
	case u.Assignment.UID == has.UID && u.Assignment.Generation < has.Generation:
		return older(again+`; if the hub was restored from a backup, let the agent connect once, or export again when the generation has passed that: each commit raises it`,
			"the file has generation %d of the Assignment, and the agent has %d, of which the hub has not told the time", u.Assignment.Generation, has.Generation)
	case u.Assignment.UID == has.UID:
		return nil
	}
	for i := range assigned {
		if at := assigned[i].AssignedAt; at != nil && made.Before(at.Time) {
			return older(again, "the file was made at %s, and the agent has what was assigned at %s", day(made), day(at.Time))
		}
	}
	return nil
}

// notExpected refuses a file that the agent cannot take in its state.
func notExpected(message string) error {
	return &medium.RefusedError{Reason: v1alpha1.MediumNotExpectedReason, Message: message}
}

// errNotJoined refuses what is carried to, or asked of, an agent that belongs to no hub.
var errNotJoined = notExpected("the agent has not joined a hub: it has to reach it once")

// memberIdentity returns the enrollment and the identity of an agent that has joined, read anew: the loop that connects may have changed it.
func (p *process) memberIdentity(ctx context.Context) (link.Enrollment, identity, error) {
	id, err := p.identities.load(ctx, p.clusterUID)
	if err != nil {
		return link.Enrollment{}, id, err
	}
	e, joined := id.enrolled()
	switch {
	case id.field(uidField) != p.clusterUID:
		return e, id, notExpected(errClusterReplaced.Error())
	case !joined:
		return e, id, errNotJoined
	}
	return e, id, nil
}

// importOutcome is the result of the import of an update.
type importOutcome struct {
	// already is set when the agent had taken the file before. Only bundles that it has lost since come back.
	already bool
	// settingsLeft is set when the settings of the file are not those that hold: the agent has later ones.
	settingsLeft bool
}

// importUpdate takes an update that was carried here. Nothing changes before all of the file was read and found right:
// it is read twice, and memory holds one bundle at a time. An error is one of the disk or of the API server, or a
// *medium.RefusedError.
func (p *process) importUpdate(ctx context.Context, f io.ReadSeeker) (summary string, was importOutcome, err error) {
	e, id, err := p.memberIdentity(ctx)
	if err != nil {
		return "", was, err
	}
	edge := medium.Edge{Hub: e.HubID, HubKey: e.HubKey, Cluster: e.Cluster, Key: id.key()}
	r, err := readUpdate(f, edge, nil)
	if err != nil {
		return "", was, err
	}
	if err := p.mayTake(r); err != nil {
		return "", was, err
	}
	var arrived []string
	if r, err = readUpdate(f, edge, func(digest string, b *object.Bundle) error {
		arrived = append(arrived, digest)
		if err := p.bundles.put(digest, b); err != nil && !p.bundles.digests()[digest] {
			return err
		}
		return nil
	}); err != nil {
		return "", was, err
	}
	if was, err = p.takeUpdate(e, r); err != nil {
		return "", was, err
	}
	p.reassign(arrived, len(p.missing()) == 0)
	summary = fmt.Sprintf("generation %d of the Assignment, with %d entries, exported at %s", r.Update.Assignment.Generation, len(r.Update.Assignment.Entries), r.Label.Made.UTC().Format(time.RFC3339))
	switch {
	case was.already:
		summary += "; it was imported already"
	case was.settingsLeft:
		summary += "; its settings of the Cluster are left out: the agent has later ones"
	}
	return summary, was, nil
}

// readUpdate reads a file from its beginning to its end.
func readUpdate(f io.ReadSeeker, e medium.Edge, each func(digest string, b *object.Bundle) error) (*medium.UpdateReader, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("cannot read the file: %w", err)
	}
	r, err := medium.OpenUpdate(f, e)
	if err != nil {
		return nil, err
	}
	for {
		digest, b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err == nil && each != nil {
			err = each(digest, b)
		}
		if err != nil {
			return nil, err
		}
	}
}

// mayTake returns why an update is not taken, or nil.
func (a *agent) mayTake(r *medium.UpdateReader) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refuseUpdate(r)
}

// refuseUpdate returns why an update is not taken; the mutex is held.
func (a *agent) refuseUpdate(r *medium.UpdateReader) error {
	switch {
	case a.key.Name == "":
		return errNotJoined
	case a.assignment.Inactive:
		return notExpected("the hub reaches the cluster itself, or knows another cluster by its name: the agent has nothing to do")
	}
	return outdated(r.Update, r.Label.Made, a.assignment, a.assigned)
}

// withSettings returns what is known when an update was taken, without its Assignment. Its settings count where they are
// later than all that the hub is known to have said: those of a file that was made before, or was taken already, are not
// brought back.
func (m assignmentState) withSettings(u medium.Update, made time.Time) assignmentState {
	if made.After(m.latest()) {
		m.Settings, m.SettingsAt = u.Settings, made
	}
	m.Exported = made
	return m
}

// takeUpdate makes an update what is assigned. reassign gives it to the engine.
func (a *agent) takeUpdate(e link.Enrollment, r *medium.UpdateReader) (was importOutcome, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.refuseUpdate(r); err != nil { // news may have come over the link meanwhile
		return was, err
	}
	entries, err := r.Update.Assignment.Apply(nil)
	if err != nil || !link.Verify(e.HubKey, link.AssignmentTranscript(e.HubID, e.Cluster, r.Update.Assignment), r.Update.Assignment.Signature) {
		return was, &medium.RefusedError{Reason: v1alpha1.MediumNotSignedReason, Message: "the Assignment in the file is not the one that the hub has signed"}
	}
	before := a.assignment
	if r.Label.Made.Equal(before.Exported) {
		return importOutcome{already: true}, nil
	}
	a.assignment = before.withSettings(r.Update, r.Label.Made)
	if err := a.storeAssignment(r.Update.Assignment, entries, r.Label.Made); err != nil {
		a.assignment = before // it may be imported again
		return was, err
	}
	if a.pool != nil && a.assignment.Settings != before.Settings {
		a.connect()
	}
	return importOutcome{settingsLeft: a.assignment.Settings != r.Update.Settings}, nil
}

// writeReport writes what the hub is to know into a file for it.
func (p *process) writeReport(ctx context.Context, to io.Writer) error {
	e, id, err := p.memberIdentity(ctx)
	if err != nil {
		return err
	}
	state, entries, reported := p.reported()
	if !reported {
		return notExpected("the agent has just started, or has nothing assigned, and knows nothing of the cluster yet")
	}
	disk := diskOf(p.disk.Problem())
	now := p.now()
	r := medium.Report{Number: p.journal.nextMediumReport(), Version: p.version, ClusterUID: p.clusterUID, Up: link.Up{
		State: state, Entries: entries, Complete: true, Events: p.journal.oldest(maxJournal), Disk: &disk, Now: now.Unix(), Latest: nanoseconds(p.latestSeen()),
	}}
	return medium.WriteReport(to, medium.Label{Hub: e.HubID, Cluster: e.Cluster, Made: now}, r, id.key(), e.HubKey)
}

// nextMediumReport returns the number of the next report that is carried to the hub. It rises over restarts, and, where the
// edge's clock does, over the loss of the disk.
func (j *journal) nextMediumReport() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mediumReports = max(j.mediumReports+1, uint64(max(0, j.now().Unix())))
	j.write()
	return j.mediumReports
}

// lastMediumReport returns the number of the last one; 0 for none.
func (j *journal) lastMediumReport() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.mediumReports
}

// importFile imports one file, and records the result in an event.
func (p *process) importFile(ctx context.Context, name string) commandResult {
	f, err := os.Open(name)
	if err != nil {
		return commandResult{Message: "cannot read the file: " + err.Error()}
	}
	defer f.Close()
	summary, was, err := p.importUpdate(ctx, f)
	refusal, isRefusal := errors.AsType[*medium.RefusedError](err)
	switch {
	case err == nil && was.already: // no event: nothing has happened
		p.log.Info("an update that was carried here was imported already", "update", summary)
		return commandResult{Accepted: true, Message: summary}
	case err == nil:
		p.log.Info("an update that was carried here is imported", "update", summary)
		p.journal.add(engine.Event{Reason: v1alpha1.MediumImportedReason, Message: "an update that was carried here was imported: " + summary})
		wake(p.reportDue)
		return commandResult{Accepted: true, Message: summary}
	case isRefusal:
		p.log.Info("a file that was carried here is refused", "reason", refusal.Reason, "message", refusal.Message)
		p.journal.add(engine.Event{Warning: true, Reason: refusal.Reason, Message: "a file that was carried here is refused: " + refusal.Message})
		wake(p.reportDue)
		return commandResult{Reason: refusal.Reason, Message: refusal.Message}
	}
	p.log.Info("a file that was carried here cannot be imported", "error", err.Error())
	return commandResult{Message: err.Error()}
}
