package diagnose

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

func TestHub(t *testing.T) {
	deployment := func(status appsv1.DeploymentStatus) *appsv1.Deployment {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "skerry-system", Name: "skerry-hub", UID: "1", Generation: 2}, Status: status}
	}
	waits := deployment(appsv1.DeploymentStatus{ObservedGeneration: 2, UpdatedReplicas: 1})
	pod := func(name string, minute int, status corev1.PodStatus) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "skerry-system", Name: name, Labels: map[string]string{"app.kubernetes.io/name": "skerry-hub"},
			CreationTimestamp: metav1.NewTime(time.Date(2026, 1, 1, 12, minute, 0, 0, time.UTC)),
		}, Status: status}
	}
	container := func(state corev1.ContainerState, ready bool) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{State: state, Ready: ready}}}
	}
	pull := container(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no \x1b[31mimage"}}, false)
	tests := map[string]struct {
		objects []client.Object
		want    string
	}{
		"nothing":         {nil, "there is no Deployment skerry-hub"},
		"available":       {[]client.Object{deployment(appsv1.DeploymentStatus{ObservedGeneration: 2, UpdatedReplicas: 1, AvailableReplicas: 1})}, "Deployment skerry-hub is available"},
		"nobody looks":    {[]client.Object{deployment(appsv1.DeploymentStatus{})}, "Deployment skerry-hub has not been looked at by its controller; it has no Pods: is a controller manager running?"},
		"may not":         {[]client.Object{deployment(appsv1.DeploymentStatus{ObservedGeneration: 2, Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "quota"}}})}, "0 of 1 Pods are of the newest version; it has no Pods: FailedCreate: quota"},
		"no image":        {[]client.Object{waits, pod("old", 1, corev1.PodStatus{Phase: corev1.PodRunning}), pod("new", 2, pull)}, "0 of 1 Pods are available; Pod new: ImagePullBackOff: no [31mimage"},
		"crashed":         {[]client.Object{waits, pod("a", 1, container(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 2, Reason: "Error"}}, false))}, "0 of 1 Pods are available; Pod a ended with exit code 2: Error"},
		"not ready":       {[]client.Object{waits, pod("a", 1, container(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, false))}, "0 of 1 Pods are available; Pod a runs but is not ready"},
		"nowhere to run":  {[]client.Object{waits, pod("a", 1, corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes"}}})}, "0 of 1 Pods are available; Pod a is not scheduled: 0/1 nodes"},
		"only just there": {[]client.Object{waits, pod("a", 1, corev1.PodStatus{})}, "0 of 1 Pods are available; Pod a is Pending"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			builder := runtime.NewSchemeBuilder(appsv1.AddToScheme, corev1.AddToScheme)
			if err := builder.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(tt.objects...).Build()
			if got := Hub(t.Context(), c); got != tt.want {
				t.Errorf("says %q, want %q", got, tt.want)
			}
		})
	}
}
