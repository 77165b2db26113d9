package agent

import (
	"context"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/agent/disk"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/sleep"
)

// maintenanceInterval is how often a disk that refuses something is tried again, and the longest that an event which the
// hub has not acknowledged waits until it is saved.
const maintenanceInterval = 2 * time.Second

// openDisk opens what the agent keeps on its disk. What happens to that from then on wakes maintenanceDue.
func (a *agent) openDisk(dir string, key *disk.Key) {
	due := make(chan struct{}, 1)
	a.disk = disk.Open(dir, key, disk.Options{OnChange: func() { wake(due) }})
	a.bundles = bundles{a.disk}
	a.journal = openJournal(a.disk, a.now)
	a.journal.saveDue, a.fresh.forgetDue, a.maintenanceDue = due, due, due
}

// maintainDisk maintains the disk in each interval for as long as there is something to do, and sleeps until maintenanceDue
// is woken when there is not: an agent that is idle wakes no processor for this.
func (a *agent) maintainDisk(ctx context.Context) {
	var reported *disk.Problem
	for {
		for !a.needsMaintenance(reported) {
			select {
			case <-ctx.Done():
				return
			case <-a.maintenanceDue:
			}
		}
		if sleep.For(ctx, maintenanceInterval) != nil {
			return
		}
		reported = a.maintain(reported)
	}
}

// needsMaintenance reports whether maintain has something to do: an event to save, a bundle that the engine has not read, a
// disk with a problem, one whose problem has gone, or a damaged record. What makes it true wakes maintenanceDue afterwards.
func (a *agent) needsMaintenance(reported *disk.Problem) bool {
	return reported != nil || a.journal.unsaved() || a.fresh.holds() || a.disk.NeedsMaintenance()
}

// maintain saves what has to survive a restart, and tries a disk again that has refused something. It returns the problem
// of the disk, which is reported when it is another one than last time.
func (a *agent) maintain(reported *disk.Problem) *disk.Problem {
	a.journal.save()
	a.fresh.forget(a.now())
	if a.disk.Problem() != nil {
		a.disk.Retry()
	}
	if names := a.disk.Damaged(); len(names) > 0 {
		a.journal.add(engine.Event{Warning: true, Reason: v1alpha1.AgentDiskDamagedReason, Message: "records on the agent's disk were damaged, and are fetched again: " + strings.Join(names, ", ")})
		wake(a.fetchDue)
		wake(a.reportDue)
	}
	problem := a.disk.Problem()
	if (problem == nil) != (reported == nil) || problem != nil && *problem != *reported {
		if problem != nil {
			a.log.Info("the disk cannot be used", "reason", problem.Reason, "message", problem.Message)
		}
		wake(a.reportDue)
	}
	return problem
}
