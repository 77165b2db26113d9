package health

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

func TestHealthOfBuiltInKinds(t *testing.T) {
	const (
		mine     = "labels: {skerry.dev/owner: app.1}, managedFields: [{manager: skerry.app.1, operation: Apply, fieldsV1: {f:spec: {f:suspend: {}}}}]"
		theirs   = "labels: {skerry.dev/owner: app.1}, managedFields: [{manager: skerry.app.1, operation: Apply, fieldsV1: {f:spec: {}}}, {manager: kueue, operation: Update, fieldsV1: {f:spec: {f:suspend: {}}}}]"
		pvc      = "apiVersion: v1\nkind: PersistentVolumeClaim\n"
		job      = "apiVersion: batch/v1\nkind: Job\n"
		deploy   = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {generation: 2}\n"
		crd      = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"
		csr      = "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\n"
		api      = "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\n"
		byDelete = "spec: {replicas: 2, updateStrategy: {type: OnDelete}}\n"
	)
	current := Status{Phase: Current}
	going := func(message string) Status { return Status{Phase: InProgress, Message: message} }
	failed := func(message string) Status { return Status{Phase: Failed, Message: message} }
	for _, tc := range []struct {
		name, object string
		want         Status
	}{
		{"a Job that has not started", job + "spec: {completions: 1}", going("the Job has not started")},
		{"a Job that runs", job + "spec: {completions: 3}\nstatus: {startTime: x, active: 2, succeeded: 1}", going("the Job runs: 2 active, 1 of 3 succeeded")},
		{"a Job that retries", job + "spec: {}\nstatus: {startTime: x, active: 1, failed: 2}", going("the Job runs: 1 active, 0 of 1 succeeded")},
		{"a Job that is complete", job + "status: {conditions: [{type: Complete, status: 'True'}]}", current},
		{"a Job that is complete and removed later", job + "spec: {ttlSecondsAfterFinished: 0}\nstatus: {conditions: [{type: Complete, status: 'True'}]}", Status{Phase: Current, Finished: Completed}},
		{"a Job whose success is certain but whose Pods end", job + "spec: {}\nstatus: {startTime: x, conditions: [{type: SuccessCriteriaMet, status: 'True'}]}", going("the Job runs: 0 active, 0 of 1 succeeded")},
		{"a Job that failed", job + "status: {startTime: x, conditions: [{type: Failed, status: 'True', reason: BackoffLimitExceeded}]}", failed("the Job failed (BackoffLimitExceeded)")},
		{"a Job that failed and is removed later", job + "spec: {ttlSecondsAfterFinished: 60}\nstatus: {conditions: [{type: Failed, status: 'True'}]}", Status{Phase: Failed, Message: "the Job failed", Finished: Aborted}},
		{"a Job that is about to fail", job + "status: {startTime: x, conditions: [{type: FailureTarget, status: 'True', reason: PodFailurePolicy}]}", going("the Job fails (PodFailurePolicy), and its Pods end")},
		{"a Job that Git suspends", job + "metadata: {" + mine + "}\nspec: {suspend: true}", Status{Phase: Current, Message: "is suspended, as its manifest asks"}},
		{"a Job that Git suspends while it runs", job + "metadata: {" + mine + "}\nspec: {suspend: true}\nstatus: {active: 1}", going("the Job is suspended, and its Pods end")},
		{"a Job that a queue holds back", job + "metadata: {" + theirs + "}\nspec: {suspend: true}", going("the Job is suspended, though its manifest does not ask for it")},
		{"a CronJob that is suspended", "apiVersion: batch/v1\nkind: CronJob\nspec: {suspend: true}", current},

		{"a new Deployment that is paused", deploy + "spec: {replicas: 2, paused: true}\nstatus: {observedGeneration: 2}", going("is paused (spec.paused), and 0 of 2 replicas are available")},
		{"a Deployment that is paused in the middle", deploy + "spec: {replicas: 2, paused: true}\nstatus: {observedGeneration: 2, replicas: 3, updatedReplicas: 1, availableReplicas: 2}", Status{Phase: Current, Message: "is paused (spec.paused)"}},
		{"a Deployment that has just been paused", deploy + "spec: {paused: true}\nstatus: {observedGeneration: 1, availableReplicas: 1}", going("is not looked at by its controller yet")},
		{"a Deployment without replicas", deploy + "spec: {replicas: 0}\nstatus: {observedGeneration: 2, conditions: [{type: Available, status: 'True'}, {type: Progressing, status: 'True', reason: NewReplicaSetAvailable}]}", current},
		{"a Deployment whose Pods are refused", deploy + "spec: {replicas: 1}\nstatus: {observedGeneration: 2, conditions: [{type: ReplicaFailure, status: 'True', reason: FailedCreate}]}", going("its Pods cannot be created (FailedCreate): 0 of 1 replicas are available")},
		{"a Deployment whose Pods are refused for too long", deploy + "spec: {replicas: 1}\nstatus: {observedGeneration: 2, conditions: [{type: ReplicaFailure, status: 'True', reason: FailedCreate}, {type: Progressing, status: 'False', reason: ProgressDeadlineExceeded}]}", failed("Progress deadline exceeded")},

		{"a DaemonSet whose Pods a person replaces", "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {generation: 2}\n" + byDelete + "status: {observedGeneration: 2, desiredNumberScheduled: 3, updatedNumberScheduled: 0, numberAvailable: 3}", current},
		{"a DaemonSet of that kind without Pods", "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {generation: 2}\n" + byDelete + "status: {observedGeneration: 2, desiredNumberScheduled: 3, numberAvailable: 1}", going("Available: 1/3")},
		{"a StatefulSet whose Pods a person replaces", "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {generation: 2}\n" + byDelete + "status: {observedGeneration: 2, replicas: 2, readyReplicas: 2}", current},
		{"a StatefulSet of that kind without Pods", "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {generation: 1}\n" + byDelete, going("is not looked at by its controller yet")},
		{"a ReplicationController that no controller has seen", "apiVersion: v1\nkind: ReplicationController\nmetadata: {generation: 1}\nspec: {replicas: 1}", going("is not looked at by its controller yet")},
		{"a ReplicationController with its replicas", "apiVersion: v1\nkind: ReplicationController\nmetadata: {generation: 1}\nspec: {replicas: 1}\nstatus: {observedGeneration: 1, replicas: 1, availableReplicas: 1}", current},
		{"a Pod that failed", "apiVersion: v1\nkind: Pod\nstatus: {phase: Failed, reason: Evicted}", failed("the Pod failed (Evicted)")},

		{"a Service of type LoadBalancer without an address", "apiVersion: v1\nkind: Service\nspec: {type: LoadBalancer, clusterIP: 10.0.0.1}\nstatus: {loadBalancer: {}}", current},
		{"an Ingress without an address", "apiVersion: networking.k8s.io/v1\nkind: Ingress\nstatus: {loadBalancer: {}}", current},
		{"an autoscaler without metrics", "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nstatus: {conditions: [{type: AbleToScale, status: 'False', reason: FailedGetScale}, {type: ScalingActive, status: 'False'}]}", current},
		{"a disruption budget without Pods", "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {generation: 1}\nstatus: {observedGeneration: 1, expectedPods: 0, conditions: [{type: DisruptionAllowed, status: 'False', reason: InsufficientPods}]}", current},

		{"a claim that is bound", pvc + "spec: {storageClassName: late}\nstatus: {phase: Bound}", current},
		{"a claim whose class decides", pvc + "spec: {storageClassName: late}\nstatus: {phase: Pending}", Status{Phase: InProgress, Message: "waits for StorageClass late to provision its volume", Class: "late"}},
		{"a claim whose class is in the old annotation", pvc + "metadata: {annotations: {volume.beta.kubernetes.io/storage-class: old}}\nstatus: {phase: Pending}", Status{Phase: InProgress, Message: "waits for StorageClass old to provision its volume", Class: "old"}},
		{"a claim that has its consumer", pvc + "metadata: {annotations: {volume.kubernetes.io/selected-node: n1}}\nspec: {storageClassName: late}\nstatus: {phase: Pending}", going("waits for StorageClass late to provision its volume")},
		{"a claim of a volume by name", pvc + "spec: {storageClassName: late, volumeName: disk}\nstatus: {phase: Pending}", going("waits for PersistentVolume disk")},
		{"a claim that wants no class", pvc + "spec: {storageClassName: ''}\nstatus: {phase: Pending}", going("waits for a PersistentVolume: its storageClassName is empty, so none is provisioned")},
		{"a claim without a class on a cluster without a default one", pvc + "spec: {}\nstatus: {phase: Pending}", going("waits for a PersistentVolume: it names no StorageClass, and the cluster has no default one")},
		{"a claim that lost its volume", pvc + "spec: {volumeName: disk}\nstatus: {phase: Lost}", failed("its PersistentVolume disk is lost")},
		{"a volume that cannot be reclaimed", "apiVersion: v1\nkind: PersistentVolume\nstatus: {phase: Failed, reason: x}", failed("the volume could not be reclaimed (x)")},
		{"a volume that waits for a claim", "apiVersion: v1\nkind: PersistentVolume\nstatus: {phase: Available}", current},

		{"an API that the API server has not looked at", api + "spec: {service: {name: metrics}}", going("is not looked at by the API server yet")},
		{"an API that does not answer", api + "spec: {service: {name: metrics}}\nstatus: {conditions: [{type: Available, status: 'False', reason: MissingEndpoints}]}", going("the API is not available (MissingEndpoints)")},
		{"an API that answers", api + "spec: {service: {name: metrics}}\nstatus: {conditions: [{type: Available, status: 'True'}]}", current},
		{"an API of the API server itself", api + "spec: {groupPriorityMinimum: 1}", current},

		{"a definition that is established", crd + "status: {conditions: [{type: NamesAccepted, status: 'True'}, {type: Established, status: 'True'}]}", current},
		{"a definition whose new names are taken", crd + "status: {conditions: [{type: Established, status: 'True'}, {type: NamesAccepted, status: 'False', reason: ListKindConflict}]}", failed("its names are not accepted (ListKindConflict)")},
		{"a definition that is being installed", crd + "status: {conditions: [{type: NamesAccepted, status: 'True'}, {type: Established, status: 'False', reason: Installing}]}", going("is not established yet")},

		{"a request without approval", csr + "status: {}", going("the request waits for approval")},
		{"a request that is signed", csr + "status: {certificate: eA==, conditions: [{type: Approved, status: 'True'}]}", current},
		{"a request that was denied", csr + "status: {conditions: [{type: Denied, status: 'True', reason: Refused}]}", failed("the request was denied (Refused)")},
		{"a flow schema of no level", "apiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: FlowSchema\nstatus: {conditions: [{type: Dangling, status: 'True'}]}", going("its PriorityLevelConfiguration is not there")},
		{"a storage migration that runs", "apiVersion: storagemigration.k8s.io/v1beta1\nkind: StorageVersionMigration\nstatus: {conditions: [{type: Running, status: 'True'}]}", going("the migration is not done")},

		{"what is deleted names its finalizers", crd + "metadata: {deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [a.b/c, d, e, f]}", Status{Phase: Terminating, Message: "is being deleted and waits for its finalizers: a.b/c, d, e and 1 more"}},
		{"a Job that its TTL removes", job + "metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}\nspec: {ttlSecondsAfterFinished: 0}\nstatus: {conditions: [{type: Complete, status: 'True'}]}", Status{Phase: Terminating, Message: "is being deleted", Finished: Completed}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Of(parse(t, tc.object))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// hostile objects are what no API server stores, and an edge can show.
var hostile = []string{
	`{"apiVersion":"v1","kind":"Pod","status":{"phase":"Running","containerStatuses":["x"]}}`,
	`{"apiVersion":"v1","kind":"Pod","status":{"phase":"Running","containerStatuses":[{"state":"x"}]}}`,
	`{"apiVersion":"v1","kind":"Pod","status":{"phase":"Running","containerStatuses":[{"name":1,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}}`,
	`{"apiVersion":"batch/v1","kind":"Job","spec":[],"status":"x"}`,
	`{"apiVersion":"batch/v1","kind":"Job","spec":{"suspend":"x"},"status":{"conditions":{"a":1},"active":"x"}}`,
	`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"generation":"x","labels":[],"managedFields":[1,{"fieldsV1":"x"}]},"spec":{"paused":1}}`,
	`{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"annotations":[1]},"spec":{"storageClassName":{}}}`,
	`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"deletionTimestamp":7,"finalizers":{"a":1}},"status":{"conditions":[null,1,{"type":{}}]}}`,
	`{"apiVersion":7,"kind":null,"metadata":"x"}`,
	`{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"generation":1.5},"status":{"conditions":[{"type":"Ready","status":{"x":"y"}}]}}`,
}

func TestAPodWithoutContainersIsNoPanic(t *testing.T) {
	for _, text := range hostile {
		u := &unstructured.Unstructured{}
		if err := utiljson.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		if s := Of(u); s.Phase == Unknown {
			t.Errorf("%s: %+v", text, s)
		}
	}
}

// FuzzOf: whatever an edge shows has a health, and one line of text.
func FuzzOf(f *testing.F) {
	for _, text := range hostile {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		u := &unstructured.Unstructured{}
		if utiljson.Unmarshal(raw, &u.Object) != nil {
			return
		}
		for gk := range rules {
			if u.Object == nil {
				u.Object = map[string]any{}
			}
			u.Object["apiVersion"], u.Object["kind"] = gk.WithVersion("v1").GroupVersion().String(), gk.Kind
			if s := Of(u); s.Phase == Unknown || s.Message != Clean(s.Message) {
				t.Fatalf("%s: %+v", gk, s)
			}
		}
	})
}
