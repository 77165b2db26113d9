package engine

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

func (r *rig) job(spec, image string) string {
	return fmt.Sprintf("\n---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, namespace: %s}\n"+
		"spec: {%s, template: {spec: {restartPolicy: Never, containers: [{name: m, image: %q}]}}}\n", r.key.Namespace, spec, image)
}

// status writes what the Job controller would.
func (r *rig) jobStatus(status string) {
	r.t.Helper()
	if _, err := r.kube.BatchV1().Jobs(r.key.Namespace).Patch(r.t.Context(), "migrate", types.MergePatchType, []byte(`{"status":`+status+`}`), metav1.PatchOptions{}, "status"); err != nil {
		r.t.Fatal(err)
	}
}

const (
	running  = `{"startTime":"2026-01-01T00:00:00Z","active":1}`
	complete = `{"startTime":"2026-01-01T00:00:00Z","completionTime":"2026-01-01T00:00:01Z","active":0,"succeeded":1,"uncountedTerminatedPods":{},
		"conditions":[{"type":"SuccessCriteriaMet","status":"True"},{"type":"Complete","status":"True"}]}`
	aborted = `{"startTime":"2026-01-01T00:00:00Z","active":0,"failed":1,"uncountedTerminatedPods":{},
		"conditions":[{"type":"FailureTarget","status":"True"},{"type":"Failed","status":"True","reason":"BackoffLimitExceeded"}]}`
)

func (r *rig) deleteJob() {
	r.t.Helper()
	background := metav1.DeletePropagationBackground
	if err := r.kube.BatchV1().Jobs(r.key.Namespace).Delete(r.t.Context(), "migrate", metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
		r.t.Fatal(err)
	}
}

// jobUID is empty when there is no Job.
func (r *rig) jobUID() string {
	job, err := r.kube.BatchV1().Jobs(r.key.Namespace).Get(r.t.Context(), "migrate", metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return string(job.UID)
}

// settledAfter waits until another correction of the same entry has gone through, so that what the removal of the
// Job was going to cause has happened.
func (r *rig) settledAfter(name string) {
	r.t.Helper()
	r.delete(name)
	r.eventually("another correction is done", func() bool { return r.value(name) == "one" })
}

func TestAJobRunsOncePerChange(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	const ttl = "ttlSecondsAfterFinished: 60"
	bundle := func(image string) string { return r.namespace() + r.configMap("a", "one") + r.job(ttl, image) }
	r.want("apps", bundle("m:1"))
	r.eventually("the Job is there", func() bool { return r.jobUID() != "" })
	r.jobStatus(running)
	r.until("apps", "waiting for the Job", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Ready == metav1.ConditionUnknown && strings.Contains(s.Message, "the Job runs: 1 active, 0 of 1 succeeded")
	})
	// One that is deleted before its end is not done.
	r.deleteJob()
	r.eventually("it runs again", func() bool { return r.jobUID() != "" })
	r.jobStatus(complete)
	r.ready("apps")

	r.deleteJob() // as the TTL controller does
	r.settledAfter("a")
	if st := r.ready("apps"); r.jobUID() != "" || st.Objects.Ready != st.Objects.Total {
		t.Errorf("the Job runs again: %+v", st)
	}
	r.pool.Disconnect(r.key)
	r.connect(controlplane.Shared(t).RESTConfig())
	r.assign()
	r.settledAfter("a")
	if r.ready("apps"); r.jobUID() != "" {
		t.Error("the Job runs again after a restart")
	}

	// A change in Git runs it again, also if that one ends while no watch is open.
	r.want("apps", bundle("m:2"))
	digest := r.ks["apps"].Digest
	r.until("apps", "applied and recorded", func(s v1alpha1.AssignmentEntryStatus) bool { // else it is created again, as it should be
		return s.AppliedDigest == digest
	})
	r.pool.Disconnect(r.key)
	r.deleteJob()
	r.connect(controlplane.Shared(t).RESTConfig())
	r.assign()
	r.ready("apps")
	r.eventually("it is told", func() bool { return r.hasEvent(v1alpha1.JobRemovedReason, "migrate is gone") })
	if r.jobUID() != "" {
		t.Error("a Job that ended unseen runs again")
	}
}

func TestAJobThatFailedStaysFailedWhenItIsGone(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("apps", r.namespace()+r.configMap("a", "one")+r.job("ttlSecondsAfterFinished: 60, backoffLimit: 0", "m:1"))
	r.eventually("the Job is there", func() bool { return r.jobUID() != "" })
	r.jobStatus(aborted)
	r.failed("apps", v1alpha1.HealthCheckFailedReason)
	r.deleteJob()
	r.settledAfter("a")
	st := r.until("apps", "failed without its Job", func(s v1alpha1.AssignmentEntryStatus) bool {
		return s.Ready == metav1.ConditionFalse && strings.Contains(s.Message, "the Job failed and is gone")
	})
	if r.jobUID() != "" {
		t.Errorf("a Job that failed runs again: %+v", st)
	}
}

func TestAJobWithoutTTLThatIsDeletedRunsAgain(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("apps", r.namespace()+r.job("backoffLimit: 0", "m:1"))
	r.eventually("the Job is there", func() bool { return r.jobUID() != "" })
	r.jobStatus(complete)
	r.ready("apps")
	before := r.jobUID()
	r.deleteJob()
	r.eventually("it runs again", func() bool { uid := r.jobUID(); return uid != "" && uid != before })
}

func TestAJobThatGitSuspendsIsReady(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("apps", r.namespace()+r.job("suspend: true", "m:1"))
	r.ready("apps")
}
