// Package health reports whether an object has become what its spec asks for. It is pure: it reads one
// object's status as kstatus does, and adds what to do with kinds that have none.
package health

import (
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/internal/recovery"
	"github.com/skerry-dev/skerry/internal/text"
)

// Phase is where an object is on its way.
type Phase uint8

const (
	// Unknown is the phase of an object whose status has not been seen since it was applied.
	Unknown Phase = iota
	// InProgress objects are on their way.
	InProgress
	// Current objects are what their spec asks for.
	Current
	// Failed objects say themselves that they will not get there.
	Failed
	// Terminating objects are being deleted.
	Terminating
)

func (p Phase) String() string {
	switch p {
	case InProgress:
		return "in progress"
	case Current:
		return "current"
	case Failed:
		return "failed"
	case Terminating:
		return "terminating"
	case Unknown:
	}
	return "unknown"
}

// Outcome is how a Job ended.
type Outcome string

// Outcomes.
const (
	Completed Outcome = "Complete"
	Aborted   Outcome = "Failed"
	// Unseen is the outcome of a Job that was there, and is gone without having been seen to end.
	Unseen Outcome = "Unseen"
)

// Status is the health of one object.
type Status struct {
	Phase Phase
	// Message is one line, without control characters, at most messageLimit bytes.
	Message string
	// Class names the StorageClass that a claim waits for, where that is all that it waits for.
	Class string
	// Finished is the outcome of a Job that Kubernetes removes some time after its end.
	Finished Outcome
	// Unevaluated means that the steps of spec.healthCheckExprs are at a limit, so that nothing is known.
	Unevaluated bool
}

const messageLimit = text.MessageLimit

// statusless kinds are as they should be as soon as they are there, so that watching their metadata
// is enough and their content is never fetched.
var statusless = map[schema.GroupKind]bool{
	{Kind: "ConfigMap"}:      true,
	{Kind: "Secret"}:         true,
	{Kind: "ServiceAccount"}: true,
	{Kind: "LimitRange"}:     true,
	{Kind: "ResourceQuota"}:  true,
	{Kind: "Endpoints"}:      true,
	{Kind: "Namespace"}:      true,
	{Group: "discovery.k8s.io", Kind: "EndpointSlice"}:                                true,
	{Group: "rbac.authorization.k8s.io", Kind: "Role"}:                                true,
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:                         true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}:                         true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}:                  true,
	{Group: "networking.k8s.io", Kind: "Ingress"}:                                     true,
	{Group: "networking.k8s.io", Kind: "IngressClass"}:                                true,
	{Group: "networking.k8s.io", Kind: "NetworkPolicy"}:                               true,
	{Group: "scheduling.k8s.io", Kind: "PriorityClass"}:                               true,
	{Group: "node.k8s.io", Kind: "RuntimeClass"}:                                      true,
	{Group: "storage.k8s.io", Kind: "StorageClass"}:                                   true,
	{Group: "storage.k8s.io", Kind: "CSIDriver"}:                                      true,
	{Group: "coordination.k8s.io", Kind: "Lease"}:                                     true,
	{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}:     true,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}:   true,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicyBinding"}: true,
}

// HasStatus reports whether an object of the kind must be read as a whole to know its health.
func HasStatus(gk schema.GroupKind) bool { return !statusless[gk] }

// ReadsManagedFields reports whether the health of a kind's objects depends on their managed fields, which Of wants in
// them then.
func ReadsManagedFields(gk schema.GroupKind) bool { return gk == jobs }

// Of returns the health of an object.
func Of(u *unstructured.Unstructured) Status {
	s := recovered(u)
	if u.GetDeletionTimestamp() == nil {
		return s
	}
	deleting := Deleting(u.GetFinalizers())
	deleting.Finished = s.Finished
	return deleting
}

// recovered keeps a panic to the one object that caused it: libraries that read objects assert types, and
// a cluster may show what no API server would store.
func recovered(u *unstructured.Unstructured) (s Status) {
	err := recovery.Run(func() error { s = of(u); return nil })
	if err != nil {
		return progress("its status cannot be read: %v", err)
	}
	return s
}

func of(u *unstructured.Unstructured) Status {
	gk := u.GroupVersionKind().GroupKind()
	if statusless[gk] {
		return Status{Phase: Current}
	}
	if rule := rules[gk]; rule != nil {
		if s, ok := rule(u); ok {
			return s
		}
	}
	if s, ok := operator(u, gk); ok {
		return s
	}
	res, err := status.Compute(u)
	if err != nil {
		return progress("its status cannot be read: %v", err)
	}
	switch res.Status {
	case status.CurrentStatus:
		return Status{Phase: Current}
	case status.FailedStatus:
		return Status{Phase: Failed, Message: Clean(res.Message)}
	case status.TerminatingStatus:
		return Status{Phase: Terminating, Message: Clean(res.Message)}
	default:
		return Status{Phase: InProgress, Message: Clean(res.Message)}
	}
}

// Clean makes a string from an edge fit for a status and a terminal: one line of printable characters, at most
// messageLimit bytes.
func Clean(s string) string { return text.Line(s, messageLimit) }
