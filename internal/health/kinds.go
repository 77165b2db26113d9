package health

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
)

// jobs is the kind whose rule asks what its manifest applies.
var jobs = schema.GroupKind{Group: "batch", Kind: "Job"}

// rules judge the built-in kinds of which kstatus says too little: it takes a Job that runs, a failed
// Pod, and every kind that it has no rule for as current. A rule returns false where kstatus is right.
var rules = map[schema.GroupKind]func(*unstructured.Unstructured) (Status, bool){
	jobs:                                                  job,
	{Group: "apps", Kind: "Deployment"}:                   deployment,
	{Group: "apps", Kind: "DaemonSet"}:                    daemonSet,
	{Group: "apps", Kind: "StatefulSet"}:                  statefulSet,
	{Kind: "ReplicationController"}:                       replicationController,
	{Kind: "Pod"}:                                         pod,
	{Kind: "PersistentVolumeClaim"}:                       claim,
	{Kind: "PersistentVolume"}:                            volume,
	{Group: "apiregistration.k8s.io", Kind: "APIService"}: apiService,
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}:   definition,
	{Group: "certificates.k8s.io", Kind: "CertificateSigningRequest"}:   signingRequest,
	{Group: "flowcontrol.apiserver.k8s.io", Kind: "FlowSchema"}:         flowSchema,
	{Group: "storagemigration.k8s.io", Kind: "StorageVersionMigration"}: migration,
}

// job is current when the Job is complete, not while it runs: what depends on a migration waits for its
// end. A Job that Git suspends is as wanted; one that another manager holds back is not.
func job(u *unstructured.Unstructured) (Status, bool) {
	c := conditions(u)
	active, succeeded := number(u, 0, "status", "active"), number(u, 0, "status", "succeeded")
	suspended, _ := value(u, "spec", "suspend").(bool)
	switch {
	case c["Complete"].Status == metav1.ConditionTrue:
		return Status{Phase: Current, Finished: finished(u, Completed)}, true
	case c["Failed"].Status == metav1.ConditionTrue:
		s := failure("the Job failed%s", because(c["Failed"]))
		s.Finished = finished(u, Aborted)
		return s, true
	case c["FailureTarget"].Status == metav1.ConditionTrue:
		return progress("the Job fails%s, and its Pods end", because(c["FailureTarget"])), true
	case suspended && active > 0:
		return progress("the Job is suspended, and its Pods end"), true
	case suspended && applies(u, "spec", "suspend"):
		return Status{Phase: Current, Message: "is suspended, as its manifest asks"}, true
	case suspended:
		return progress("the Job is suspended, though its manifest does not ask for it"), true
	case stringAt(u, "status", "startTime") == "":
		return progress("the Job has not started"), true
	}
	wanted := number(u, number(u, 1, "spec", "parallelism"), "spec", "completions")
	return progress("the Job runs: %d active, %d of %d succeeded", active, succeeded, wanted), true
}

// finished returns the outcome of a Job that the TTL controller may remove, else "".
func finished(u *unstructured.Unstructured, outcome Outcome) Outcome {
	if value(u, "spec", "ttlSecondsAfterFinished") == nil {
		return ""
	}
	return outcome
}

// deployment: a paused one takes up no new template, but its replicas are still wanted. Until it is
// resumed, what runs of the template before counts. One whose Pods are refused, by a quota say, says so.
func deployment(u *unstructured.Unstructured) (Status, bool) {
	paused, _ := value(u, "spec", "paused").(bool)
	c := conditions(u)
	wanted, available := number(u, 1, "spec", "replicas"), number(u, 0, "status", "availableReplicas")
	switch {
	case paused && !observed(u) && wanted > 0:
		return progress("is not looked at by its controller yet"), true
	case paused && available < wanted:
		return progress("is paused (spec.paused), and %d of %d replicas are available", available, wanted), true
	case paused:
		return Status{Phase: Current, Message: "is paused (spec.paused)"}, true
	case observed(u) && c["ReplicaFailure"].Status == metav1.ConditionTrue && c["Progressing"].Reason != "ProgressDeadlineExceeded":
		return progress("its Pods cannot be created%s: %d of %d replicas are available", because(c["ReplicaFailure"]), available, wanted), true
	}
	return Status{}, false
}

// daemonSet: with the strategy OnDelete, Pods of the template before stay until a person deletes them.
func daemonSet(u *unstructured.Unstructured) (Status, bool) {
	if stringAt(u, "spec", "updateStrategy", "type") != "OnDelete" {
		return Status{}, false
	}
	wanted, available := number(u, -1, "status", "desiredNumberScheduled"), number(u, 0, "status", "numberAvailable")
	switch {
	case !observed(u) || wanted < 0:
		return progress("is not looked at by its controller yet"), true
	case available < wanted:
		return progress("Available: %d/%d", available, wanted), true
	}
	return Status{Phase: Current}, true
}

// statefulSet: the same.
func statefulSet(u *unstructured.Unstructured) (Status, bool) {
	if stringAt(u, "spec", "updateStrategy", "type") != "OnDelete" {
		return Status{}, false
	}
	wanted, ready := number(u, 1, "spec", "replicas"), number(u, 0, "status", "readyReplicas")
	switch {
	case !observed(u) && wanted > 0:
		return progress("is not looked at by its controller yet"), true
	case ready < wanted:
		return progress("Ready: %d/%d", ready, wanted), true
	}
	return Status{Phase: Current}, true
}

func replicationController(u *unstructured.Unstructured) (Status, bool) {
	wanted, available := number(u, 1, "spec", "replicas"), number(u, 0, "status", "availableReplicas")
	switch {
	case !observed(u) && wanted > 0:
		return progress("is not looked at by its controller yet"), true
	case available < wanted:
		return progress("Available: %d/%d", available, wanted), true
	case number(u, 0, "status", "replicas") > wanted:
		return progress("Pending termination: %d", number(u, 0, "status", "replicas")-wanted), true
	}
	return Status{Phase: Current}, true
}

func pod(u *unstructured.Unstructured) (Status, bool) {
	if stringAt(u, "status", "phase") != "Failed" {
		return Status{}, false
	}
	return failure("the Pod failed%s", because(condition{Reason: stringAt(u, "status", "reason")})), true
}

// Annotations of claims, as the controllers of Kubernetes read and write them.
const (
	classAnnotation = "volume.beta.kubernetes.io/storage-class"
	nodeAnnotation  = "volume.kubernetes.io/selected-node"
)

// claim is current when it is bound. One that is not says what binds it. Whether its StorageClass only
// waits for a Pod that uses the claim is known to the cluster, not to the claim: Class names it then.
func claim(u *unstructured.Unstructured) (Status, bool) {
	annotations := u.GetAnnotations()
	class, named := value(u, "spec", "storageClassName").(string)
	if old, ok := annotations[classAnnotation]; ok {
		class, named = old, true
	}
	volume, phase := stringAt(u, "spec", "volumeName"), stringAt(u, "status", "phase")
	switch {
	case phase == "Bound":
		return Status{Phase: Current}, true
	case phase == "Lost":
		return failure("its PersistentVolume %s is lost", volume), true
	case volume != "":
		return progress("waits for PersistentVolume %s", volume), true
	case !named:
		return progress("waits for a PersistentVolume: it names no StorageClass, and the cluster has no default one"), true
	case class == "":
		return progress("waits for a PersistentVolume: its storageClassName is empty, so none is provisioned"), true
	case annotations[nodeAnnotation] != "":
		return progress("waits for StorageClass %s to provision its volume", class), true
	}
	s := progress("waits for StorageClass %s to provision its volume", class)
	s.Class = class
	return s, true
}

func volume(u *unstructured.Unstructured) (Status, bool) {
	switch stringAt(u, "status", "phase") {
	case "Failed":
		return failure("the volume could not be reclaimed%s", because(condition{Reason: stringAt(u, "status", "reason")})), true
	case "Pending":
		return progress("the volume is not available yet"), true
	}
	return Status{Phase: Current}, true
}

// apiService: an API that a Service of the cluster serves is there when that one answers.
func apiService(u *unstructured.Unstructured) (Status, bool) {
	if service, _ := value(u, "spec", "service").(map[string]any); service == nil {
		return Status{Phase: Current}, true // served by the API server itself
	}
	c, there := conditions(u)["Available"]
	switch {
	case !there:
		return progress("is not looked at by the API server yet"), true
	case c.Status != metav1.ConditionTrue:
		return progress("the API is not available%s", because(c)), true
	}
	return Status{Phase: Current}, true
}

// definition: both conditions count, whatever their order. One whose names another definition has is
// still established for the names that it had before, and is not what its spec asks for.
func definition(u *unstructured.Unstructured) (Status, bool) {
	c := conditions(u)
	names, established := c["NamesAccepted"], c["Established"]
	switch {
	case names.Status == metav1.ConditionFalse:
		return failure("its names are not accepted%s", because(names)), true
	case established.Status == metav1.ConditionTrue:
		return Status{Phase: Current}, true
	case established.Status == metav1.ConditionFalse && established.Reason != "Installing":
		return failure("is not established%s", because(established)), true
	}
	return progress("is not established yet"), true
}

func signingRequest(u *unstructured.Unstructured) (Status, bool) {
	c := conditions(u)
	switch {
	case c["Denied"].Status == metav1.ConditionTrue:
		return failure("the request was denied%s", because(c["Denied"])), true
	case c["Failed"].Status == metav1.ConditionTrue:
		return failure("the request could not be signed%s", because(c["Failed"])), true
	case c["Approved"].Status != metav1.ConditionTrue:
		return progress("the request waits for approval"), true
	case stringAt(u, "status", "certificate") == "":
		return progress("the request waits for its signer"), true
	}
	return Status{Phase: Current}, true
}

func flowSchema(u *unstructured.Unstructured) (Status, bool) {
	if c := conditions(u)["Dangling"]; c.Status == metav1.ConditionTrue {
		return progress("its PriorityLevelConfiguration is not there"), true
	}
	return Status{}, false
}

func migration(u *unstructured.Unstructured) (Status, bool) {
	c := conditions(u)
	switch {
	case c["Failed"].Status == metav1.ConditionTrue:
		return failure("the migration failed%s", because(c["Failed"])), true
	case c["Succeeded"].Status != metav1.ConditionTrue:
		return progress("the migration is not done"), true
	}
	return Status{Phase: Current}, true
}

// condition of a built-in kind.
type condition struct {
	Status metav1.ConditionStatus
	Reason string
}

// conditions returns the conditions of an object by type. What does not have the form of one is left
// out: the object may come from a hostile cluster.
func conditions(u *unstructured.Unstructured) map[string]condition {
	list, _ := value(u, "status", "conditions").([]any)
	out := make(map[string]condition, len(list))
	for _, item := range list {
		m, _ := item.(map[string]any)
		kind, _ := m["type"].(string)
		status, _ := m["status"].(string)
		reason, _ := m["reason"].(string)
		if kind != "" {
			out[kind] = condition{metav1.ConditionStatus(status), reason}
		}
	}
	return out
}

// because appends the reason of a condition: a word of the API, where its message can quote values.
func because(c condition) string {
	if c.Reason == "" {
		return ""
	}
	return " (" + Clean(c.Reason) + ")"
}

func progress(format string, args ...any) Status {
	return Status{Phase: InProgress, Message: Clean(fmt.Sprintf(format, args...))}
}

func failure(format string, args ...any) Status {
	return Status{Phase: Failed, Message: Clean(fmt.Sprintf(format, args...))}
}

// observed reports whether the controller of the object has seen its spec.
func observed(u *unstructured.Unstructured) bool {
	return number(u, -1, "status", "observedGeneration") >= u.GetGeneration()
}

// value returns the field at a path, or nil. It asserts nothing about what stands above it.
func value(u *unstructured.Unstructured, path ...string) any {
	var v any = u.Object
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func stringAt(u *unstructured.Unstructured, path ...string) string {
	s, _ := value(u, path...).(string)
	return s
}

func number(u *unstructured.Unstructured, fallback int64, path ...string) int64 {
	if n, ok := value(u, path...).(int64); ok {
		return n
	}
	return fallback
}

// applies reports whether the owner of an object applies the field at a path, so that its value is the
// one that Git asks for.
func applies(u *unstructured.Unstructured, path ...string) bool {
	manager := object.FieldManager(u.GetLabels()[v1alpha1.OwnerLabel])
	entries, _ := value(u, "metadata", "managedFields").([]any)
	for _, item := range entries {
		entry, _ := item.(map[string]any)
		if entry["manager"] != manager || entry["operation"] != string(metav1.ManagedFieldsOperationApply) {
			continue
		}
		set := entry["fieldsV1"]
		for _, name := range path {
			m, _ := set.(map[string]any)
			set = m["f:"+name]
		}
		if set != nil {
			return true
		}
	}
	return false
}

// Deleting is the health of an object that is being deleted, and names what holds it.
func Deleting(finalizers []string) Status {
	s := Status{Phase: Terminating, Message: "is being deleted"}
	if len(finalizers) == 0 {
		return s
	}
	names, more := finalizers, ""
	if len(names) > 3 {
		names, more = names[:3], fmt.Sprintf(" and %d more", len(finalizers)-3)
	}
	s.Message = Clean(fmt.Sprintf("is being deleted and waits for its finalizers: %s%s", strings.Join(names, ", "), more))
	return s
}
