package fleetsim

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// conditionTime is since when all conditions are as they are: that no two edges differ in it lets
// them share their objects.
const conditionTime = "2026-01-01T00:00:00Z"

// statusOf returns how the status of a kind of workload is made up, nil for other kinds.
func statusOf(k *kind) func(*instance, Health) string {
	switch {
	case k.is("apps", "Deployment"):
		return deploymentStatus
	case k.is("apps", "StatefulSet"), k.is("apps", "ReplicaSet"):
		return replicatedStatus
	case k.is("apps", "DaemonSet"):
		return daemonStatus
	case k.is("batch", "Job"):
		return jobStatus
	case k.is("", "Pod"):
		return podStatus
	case k.is("", "PersistentVolumeClaim"):
		return claimStatus
	case k.is("policy", "PodDisruptionBudget"):
		return budgetStatus
	}
	return nil
}

// replicas that the spec asks for.
func replicas(c *content) int64 {
	var o struct {
		Spec struct{ Replicas *int64 }
	}
	if err := json.Unmarshal([]byte("{"+strings.TrimPrefix(c.tail, ",")), &o); err != nil || o.Spec.Replicas == nil {
		return 1
	}
	return *o.Spec.Replicas
}

func condition(kind, status, reason, message string) string {
	return fmt.Sprintf(`{"type":%q,"status":%q,"reason":%q,"message":%q,"lastUpdateTime":%q,"lastTransitionTime":%[5]q}`, kind, status, reason, message, conditionTime)
}

func deploymentStatus(o *instance, h Health) string {
	available := condition("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
	progressing := condition("Progressing", "True", "NewReplicaSetAvailable", fmt.Sprintf("ReplicaSet %q has successfully progressed.", o.c.name))
	counts := map[string]int64{"replicas": replicas(o.c), "updatedReplicas": replicas(o.c)}
	ready := []string{"readyReplicas", "availableReplicas"}
	if h != Healthy {
		available = condition("Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
		progressing = condition("Progressing", "True", "ReplicaSetUpdated", fmt.Sprintf("ReplicaSet %q is progressing.", o.c.name))
		ready = []string{"unavailableReplicas"}
	}
	if h == Failing {
		progressing = condition("Progressing", "False", "ProgressDeadlineExceeded", fmt.Sprintf("ReplicaSet %q has timed out progressing.", o.c.name))
	}
	for _, key := range ready {
		counts[key] = replicas(o.c)
	}
	return status(o, counts, available, progressing)
}

// status writes a status with the counts that are not zero, as Kubernetes does.
func status(o *instance, counts map[string]int64, conditions ...string) string {
	m := map[string]any{"observedGeneration": o.generation}
	for key, n := range counts {
		if n != 0 {
			m[key] = n
		}
	}
	if len(conditions) > 0 {
		m["conditions"] = json.RawMessage("[" + strings.Join(conditions, ",") + "]")
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // numbers and what was written above can be encoded
	}
	return string(b)
}

func replicatedStatus(o *instance, h Health) string {
	n := replicas(o.c)
	counts := map[string]int64{}
	if o.c.kind.gvk.Kind == "StatefulSet" {
		counts["currentReplicas"], counts["updatedReplicas"] = n, n
	}
	if h == Healthy {
		counts["readyReplicas"], counts["availableReplicas"] = n, n
	}
	s := status(o, counts)
	// These say their zeros, and of the revisions it counts only whether they are the same.
	s = strings.TrimSuffix(s, "}") + fmt.Sprintf(`,"replicas":%d`, n)
	if o.c.kind.gvk.Kind == "StatefulSet" {
		s += `,"currentRevision":"1","updateRevision":"1","collisionCount":0`
	}
	return s + "}"
}

func daemonStatus(o *instance, h Health) string {
	ready := int64(1)
	if h != Healthy {
		ready = 0
	}
	s := status(o, map[string]int64{"updatedNumberScheduled": 1, "numberAvailable": ready})
	return strings.TrimSuffix(s, "}") + fmt.Sprintf(`,"currentNumberScheduled":1,"desiredNumberScheduled":1,"numberMisscheduled":0,"numberReady":%d}`, ready)
}

func jobStatus(_ *instance, h Health) string {
	switch h {
	case NeverReady:
		return `{"active":1,"ready":0,"startTime":"` + conditionTime + `"}`
	case Failing:
		return `{"failed":1,"startTime":"` + conditionTime + `","conditions":[{"type":"Failed","status":"True","reason":"BackoffLimitExceeded"}]}`
	case Healthy:
	}
	return `{"succeeded":1,"startTime":"` + conditionTime + `","completionTime":"` + conditionTime + `","conditions":[{"type":"Complete","status":"True"}]}`
}

func podStatus(_ *instance, h Health) string {
	switch h {
	case NeverReady:
		return `{"phase":"Pending","conditions":[{"type":"Ready","status":"False","reason":"ContainersNotReady"}]}`
	case Failing:
		return `{"phase":"Failed"}`
	case Healthy:
	}
	return `{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}`
}

func claimStatus(_ *instance, h Health) string {
	if h == Healthy {
		return `{"phase":"Bound"}`
	}
	return `{"phase":"Pending"}`
}

func budgetStatus(o *instance, _ Health) string {
	return fmt.Sprintf(`{"observedGeneration":%d,"currentHealthy":0,"desiredHealthy":0,"disruptionsAllowed":0,"expectedPods":0}`, o.generation)
}

// setDefaults fills in what others read. Most of what an API server fills in is not simulated.
func setDefaults(k *kind, u *unstructured.Unstructured) {
	switch {
	case k.is("", "Namespace"):
		labels := u.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels["kubernetes.io/metadata.name"] = u.GetName()
		u.SetLabels(labels)
		if spec, ok := u.Object["spec"].(map[string]any); ok && len(spec) == 0 {
			delete(u.Object, "spec") // as Go clients write it
		}
	case k.is("", "Secret"):
		keepSecret(u)
	case k.is("apiextensions.k8s.io", "CustomResourceDefinition"):
		defineDefaults(u)
	}
}

// setUnowned fills in what an API server fills in after it has noted who owns what.
func setUnowned(k *kind, u *unstructured.Unstructured) {
	if !k.is("", "Namespace") {
		return
	}
	u.Object["spec"] = map[string]any{"finalizers": []any{"kubernetes"}}
	if u.Object["status"] == nil {
		u.Object["status"] = map[string]any{"phase": "Active"}
	}
}
