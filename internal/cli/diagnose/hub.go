// Package diagnose finds out, from what the API server knows, why the hub does not work.
package diagnose

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// HubName is the name of the hub's Deployment.
const HubName = "skerry-hub"

// Available reports whether the newest Pods of the Deployment are up, and if not, where it stands.
func Available(d *appsv1.Deployment) (bool, string) {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	s := d.Status
	switch {
	case d.UID == "":
		return false, "Deployment " + HubName + " does not exist"
	case s.ObservedGeneration < d.Generation:
		return false, "Deployment " + HubName + " has not been looked at by its controller"
	case s.UpdatedReplicas < want:
		return false, fmt.Sprintf("%d of %d Pods are of the newest version", s.UpdatedReplicas, want)
	case s.AvailableReplicas < want:
		return false, fmt.Sprintf("%d of %d Pods are available", s.AvailableReplicas, want)
	}
	return true, ""
}

// Hub returns in one line where the hub's Deployment stands and what its Pods are stuck on. It never
// fails: what cannot be read is said so.
func Hub(ctx context.Context, c client.Client) string {
	d := &appsv1.Deployment{}
	err := c.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: HubName}, d)
	if apierrors.IsNotFound(err) {
		return "there is no Deployment " + HubName
	}
	if err != nil {
		return "Deployment " + HubName + " cannot be read: " + iostreams.Line(err.Error())
	}
	ok, why := Available(d)
	if ok {
		return "Deployment " + HubName + " is available"
	}
	pods := &corev1.PodList{}
	if err := c.List(ctx, pods, client.InNamespace(v1alpha1.SystemNamespace), client.MatchingLabels{"app.kubernetes.io/name": HubName}); err != nil {
		return why + "; its Pods cannot be read: " + iostreams.Line(err.Error())
	}
	if len(pods.Items) == 0 {
		return why + "; it has no Pods: " + condition(d)
	}
	newest := slices.MaxFunc(pods.Items, func(a, b corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return why + "; " + pod(&newest)
}

func condition(d *appsv1.Deployment) string {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return c.Reason + ": " + iostreams.Line(c.Message)
		}
	}
	return "is a controller manager running?"
}

func pod(p *corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		switch {
		case s.State.Waiting != nil && s.State.Waiting.Reason != "ContainerCreating":
			return fmt.Sprintf("Pod %s: %s: %s", p.Name, s.State.Waiting.Reason, iostreams.Line(s.State.Waiting.Message))
		case s.State.Terminated != nil:
			return fmt.Sprintf("Pod %s ended with exit code %d: %s", p.Name, s.State.Terminated.ExitCode, s.State.Terminated.Reason)
		case s.State.Running != nil && !s.Ready:
			return fmt.Sprintf("Pod %s runs but is not ready", p.Name)
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return fmt.Sprintf("Pod %s is not scheduled: %s", p.Name, iostreams.Line(c.Message))
		}
	}
	return fmt.Sprintf("Pod %s is %s", p.Name, cmp.Or(string(p.Status.Phase), "Pending"))
}
