package machine

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// TestReadiness goes through what Ready reports, each row with one thing more than an entry that is ready.
// Rows stand in the order in which one outweighs the next.
func TestReadiness(t *testing.T) {
	now := time.Unix(10_000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, tc := range map[string]struct {
		entry  func(*Entry)
		facts  func(*Facts)
		since  Since
		status metav1.ConditionStatus
		reason string
		says   string
		ready  bool
		again  time.Duration
		then   Since
	}{
		"all is as desired":       {status: yes, reason: v1alpha1.SucceededReason, ready: true},
		"before the first answer": {facts: func(f *Facts) { f.Connected, f.Known = false, false }, status: unknown, reason: v1alpha1.ProgressingReason, says: "connecting"},
		"a cluster that does not answer": {facts: func(f *Facts) {
			f.Connected, f.Known, f.Cluster.Reason, f.Cluster.Message = false, true, v1alpha1.UnreachableReason, "connection refused"
		}, status: unknown, reason: v1alpha1.UnreachableReason, says: "connection refused"},
		"suspended, whatever failed":       {facts: func(f *Facts) { f.Suspended = true }, entry: func(e *Entry) { e.Reason = v1alpha1.ApplyFailedReason }, status: unknown, reason: v1alpha1.SuspendedReason, says: "suspended"},
		"removed":                          {entry: func(e *Entry) { e.Spec.Remove, e.Removed = true, true }, status: yes, reason: v1alpha1.SucceededReason, says: "removed"},
		"a dependency outweighs a failure": {entry: func(e *Entry) { e.Blocked, e.Reason = "base", v1alpha1.ApplyFailedReason }, status: unknown, reason: v1alpha1.DependencyNotReadyReason, says: "waits for Kustomization base"},
		"a pass that got no answer":        {entry: func(e *Entry) { e.Reason = v1alpha1.UnreachableReason }, facts: func(f *Facts) { f.Message = "the cluster stopped answering" }, status: unknown, reason: v1alpha1.UnreachableReason, says: "the cluster stopped answering"},
		"a prune that is held":             {entry: func(e *Entry) { e.Reason = v1alpha1.PruneHeldReason }, facts: func(f *Facts) { f.Message = "held" }, status: unknown, reason: v1alpha1.PruneHeldReason, says: "held"},
		"an object that is about to come":  {entry: func(e *Entry) { e.Reason = v1alpha1.OwnershipConflictReason }, facts: func(f *Facts) { f.ReleasedBy, f.Contested = "apps", "ConfigMap/n/a" }, status: unknown, reason: v1alpha1.ProgressingReason, says: "waits for Kustomization apps to release ConfigMap/n/a"},
		"a kind that may come yet":         {entry: func(e *Entry) { e.Reason = v1alpha1.KindNotFoundReason }, facts: func(f *Facts) { f.KindMissing, f.Message = ago(time.Second), "not served" }, status: unknown, reason: v1alpha1.KindNotFoundReason, says: "not served", again: 59 * time.Second},
		"a kind that does not come":        {entry: func(e *Entry) { e.Reason = v1alpha1.KindNotFoundReason }, facts: func(f *Facts) { f.KindMissing, f.Message = ago(time.Minute), "not served" }, status: no, reason: v1alpha1.KindNotFoundReason, says: "not served"},
		"a failure, also of the last spec": {entry: func(e *Entry) { e.Reason, e.Result = v1alpha1.ApplyFailedReason, Pending }, facts: func(f *Facts) { f.Message = "1 of 2 applied" }, status: no, reason: v1alpha1.ApplyFailedReason, says: "1 of 2 applied"},
		"a removal that has not begun":     {entry: func(e *Entry) { e.Spec.Remove, e.Result = true, Pending }, status: unknown, reason: v1alpha1.ProgressingReason, says: "removing its objects"},
		"a removal that keeps objects":     {entry: func(e *Entry) { e.Spec.Remove = true }, facts: func(f *Facts) { f.Retained = 2 }, status: unknown, reason: v1alpha1.ProgressingReason, says: "keeps 2 objects for Kustomizations that have not arrived here"},
		"a removal that may not go on":     {entry: func(e *Entry) { e.Spec.Remove = true }, facts: func(f *Facts) { f.Retained, f.Undecided = 1, true }, status: unknown, reason: v1alpha1.PruneHeldReason, says: "keeps 1 object: whether another Kustomization desires them is not known"},
		"a removal that is not recorded":   {entry: func(e *Entry) { e.Spec.Remove = true }, facts: func(f *Facts) { f.Recorded = 3 }, status: unknown, reason: v1alpha1.ProgressingReason, says: "waits for 3 objects to be gone"},
		"a removal that hangs":             {entry: func(e *Entry) { e.Spec.Remove = true }, facts: deleting, since: Since{Deleting: ago(time.Minute)}, status: no, reason: v1alpha1.DeletionPendingReason, says: "waits for deletions: ConfigMap/n/old", then: Since{Deleting: ago(time.Minute)}},
		"a spec that waits for its pass":   {entry: func(e *Entry) { e.Result = Pending }, status: unknown, reason: v1alpha1.ProgressingReason, says: "applying"},
		"a definition that is waited for":  {facts: func(f *Facts) { f.Waiting, f.AppliedAt = "a.b is not established", ago(time.Second) }, status: unknown, reason: v1alpha1.WaitingForHealthReason, says: "waits: a.b is not established", again: 59 * time.Second},
		"a definition that does not come":  {facts: func(f *Facts) { f.Waiting, f.AppliedAt = "a.b is not established", ago(time.Minute) }, status: no, reason: v1alpha1.HealthCheckFailedReason, says: "waits: a.b is not established"},
		"a drift loop, also if healthy":    {facts: func(f *Facts) { f.DriftLoop = "ConfigMap/n/a keeps being changed back" }, status: no, reason: v1alpha1.DriftLoopReason, says: "ConfigMap/n/a keeps being changed back"},
		"objects that are not healthy yet": {facts: func(f *Facts) { f.Of, f.Unhealthy, f.First = 3, 1, "Deployment/n/a: 0 of 1" }, status: unknown, reason: v1alpha1.WaitingForHealthReason, says: "1 of 3 objects not healthy; Deployment/n/a: 0 of 1", again: time.Minute, then: Since{Unhealthy: now}},
		"objects not healthy for too long": {facts: func(f *Facts) { f.Of, f.Unhealthy, f.First = 3, 1, "x" }, since: Since{Unhealthy: ago(time.Minute)}, status: no, reason: v1alpha1.HealthCheckFailedReason, says: "1 of 3 objects not healthy; x", then: Since{Unhealthy: ago(time.Minute)}},
		"objects that cannot be judged":    {facts: func(f *Facts) { f.Of, f.Unhealthy, f.Unevaluated, f.First = 3, 1, 1, "too many steps" }, status: unknown, reason: v1alpha1.HealthCheckLimitExceededReason, says: "1 of 3 objects not healthy; too many steps", again: time.Minute, then: Since{Unhealthy: now}},
		"objects not judged for too long":  {facts: func(f *Facts) { f.Of, f.Unhealthy, f.Unevaluated, f.First = 3, 2, 1, "x" }, since: Since{Unhealthy: ago(time.Minute)}, status: no, reason: v1alpha1.HealthCheckLimitExceededReason, says: "2 of 3 objects not healthy; x", then: Since{Unhealthy: ago(time.Minute)}},
		"a failure beside unjudged ones":   {facts: func(f *Facts) { f.Of, f.Failed, f.Unhealthy, f.Unevaluated, f.First = 3, 1, 1, 1, "x" }, status: no, reason: v1alpha1.HealthCheckFailedReason, says: "2 of 3 objects not healthy; x", then: Since{Unhealthy: now}},
		"an object that has failed":        {facts: func(f *Facts) { f.Of, f.Failed, f.Unhealthy, f.First = 3, 1, 1, "100% wrong" }, status: no, reason: v1alpha1.HealthCheckFailedReason, says: "2 of 3 objects not healthy; 100% wrong", then: Since{Unhealthy: now}},
		"healthy again":                    {since: Since{Unhealthy: ago(time.Hour)}, status: yes, reason: v1alpha1.SucceededReason, ready: true},
		"a deletion that has begun":        {facts: deleting, status: unknown, reason: v1alpha1.ProgressingReason, says: "deleting what is wanted no longer", ready: true, again: DeletionGrace, then: Since{Deleting: now}},
		"a deletion that takes its time":   {facts: deleting, since: Since{Deleting: ago(2 * time.Second)}, status: unknown, reason: v1alpha1.DeletionPendingReason, says: "waits for deletions: ConfigMap/n/old", ready: true, again: 58 * time.Second, then: Since{Deleting: ago(2 * time.Second)}},
		"a deletion without wait":          {entry: func(e *Entry) { e.Spec.Wait = false }, facts: deleting, since: Since{Deleting: ago(2 * time.Second)}, status: yes, reason: v1alpha1.SucceededReason, ready: true, again: 58 * time.Second, then: Since{Deleting: ago(2 * time.Second)}},
		"a deletion that hangs":            {entry: func(e *Entry) { e.Spec.Wait = false }, facts: deleting, since: Since{Deleting: ago(time.Minute)}, status: no, reason: v1alpha1.DeletionPendingReason, says: "waits for deletions: ConfigMap/n/old", ready: true, then: Since{Deleting: ago(time.Minute)}},
		"a deletion that has ended":        {since: Since{Deleting: ago(time.Minute)}, status: yes, reason: v1alpha1.SucceededReason, ready: true},
	} {
		t.Run(name, func(t *testing.T) {
			en := &Entry{Result: Succeeded}
			en.Spec.Wait, en.Spec.Timeout.Duration = true, time.Minute
			if tc.entry != nil {
				tc.entry(en)
			}
			f := Facts{Connected: true, Known: true}
			if tc.facts != nil {
				tc.facts(&f)
			}
			since := tc.since
			r := en.Readiness(f, &since, now)
			if r.Status != tc.status || r.Reason != tc.reason || r.Message != tc.says || r.ObjectsReady != tc.ready {
				t.Errorf("%s %s %q, objects ready: %v", r.Status, r.Reason, r.Message, r.ObjectsReady)
			}
			var again time.Duration
			if !r.RecheckAt.IsZero() {
				again = r.RecheckAt.Sub(now)
			}
			if again != tc.again || since != tc.then {
				t.Errorf("another look after %s, want %s; since %+v, want %+v", again, tc.again, since, tc.then)
			}
		})
	}
}

func deleting(f *Facts) { f.Deleting, f.Deletions = 1, "ConfigMap/n/old" }
