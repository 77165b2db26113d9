package engine

import (
	"fmt"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/inventory"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/plan"
)

// recordFinished notes on the inventory which Jobs have ended that Kubernetes removes: those that the
// cluster still shows, and those that are gone already. From then on their absence is no drift, for a hub
// that was started again as well.
func (p *pass) recordFinished(todo *plan.Plan) {
	for i := range p.out.desired {
		o := &p.out.desired[i]
		record := p.out.inventory.Objects[o.ID]
		if !isJob(o.ID) || !o.HasDigest(record.Digest) || record.Finished != "" {
			continue
		}
		outcome, gone := todo.Finished[o.ID]
		if s, ok := p.live.get(o.ID); !gone && ok && s.UID == record.UID {
			outcome = s.Health.Finished
		}
		if outcome == "" {
			continue
		}
		record.Finished = string(outcome)
		p.out.inventory.Objects[o.ID] = record
		if outcome == health.Unseen {
			p.eventAbout(p.object(o.ID, record.UID), v1alpha1.JobRemovedReason,
				fmt.Sprintf("%s is gone and is not run again: its ttlSecondsAfterFinished removes it after its end, and how it ended was not seen", o.ID))
		}
	}
}

// ended reports whether an object is as recorded though it is not there: a Job that has ended.
func ended(record inventory.Record, o *object.Object) bool {
	return record.Finished != "" && o.HasDigest(record.Digest)
}

// endedHealth is the health of a desired Job that has ended and is gone, or about to be.
func endedHealth(outcome health.Outcome) health.Status {
	if outcome == health.Aborted {
		return health.Status{Phase: health.Failed, Message: "the Job failed and is gone; it runs again when Git changes it"}
	}
	return health.Status{Phase: health.Current}
}
