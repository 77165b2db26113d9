package controlplane

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	watchtools "k8s.io/client-go/tools/watch"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(orphanTestDir); dir != "" {
		parentToBeKilled(dir)
	}
	os.Exit(Main(m, Options{AuditLog: true}))
}

func clientOf(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// waitFor watches one object until done is true of it.
func waitFor[T runtime.Object](t *testing.T, client rest.Interface, resource, name string, done func(T) bool) {
	t.Helper()
	lw := cache.NewListWatchFromClient(client, resource, "default", fields.OneTermEqualSelector("metadata.name", name))
	var object T
	_, err := watchtools.UntilWithSync(within(t, time.Minute), lw, object, nil, func(e watch.Event) (bool, error) {
		return done(e.Object.(T)), nil
	})
	if err != nil {
		t.Fatalf("%s %s: %v", resource, name, err)
	}
}

func pods(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: image}}},
	}
}

func deployment(name, image string) *appsv1.Deployment {
	two := int32(2)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &two,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: pods(image),
		},
	}
}

func TestWorkloadsRun(t *testing.T) {
	c := New(t, "workloads", Options{ControllerManager: true, Scheduler: true, Kwok: true, Log: t.Output()})
	client := clientOf(t, c.RESTConfig())
	ctx := within(t, 2*time.Minute)

	t.Run("a Deployment becomes available and goes", func(t *testing.T) {
		apps := client.AppsV1()
		if _, err := apps.Deployments("default").Create(ctx, deployment("web", "web:1"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, apps.RESTClient(), "deployments", "web", func(d *appsv1.Deployment) bool {
			return d.Status.AvailableReplicas == 2
		})
		foreground := metav1.DeletePropagationForeground
		if err := apps.Deployments("default").Delete(ctx, "web", metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
			t.Fatal(err)
		}
		waitUntilGone(t, client, "web")
	})

	t.Run("a broken image never comes up", func(t *testing.T) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "broken"}, Spec: pods("web:broken").Spec}
		core := client.CoreV1()
		if _, err := core.Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, core.RESTClient(), "pods", "broken", func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses
			return len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "ImagePullBackOff"
		})
	})

	t.Run("a Job completes", func(t *testing.T) {
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "once"}, Spec: batchv1.JobSpec{Template: pods("job:1")}}
		job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
		batch := client.BatchV1()
		if _, err := batch.Jobs("default").Create(ctx, job, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, batch.RESTClient(), "jobs", "once", func(j *batchv1.Job) bool {
			return slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool {
				return c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue
			})
		})
	})
}

func waitUntilGone(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	ctx := within(t, time.Minute)
	deployments := client.AppsV1().Deployments("default")
	object, err := deployments.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	lw := &cache.ListWatch{WatchFuncWithContext: deployments.Watch}
	_, err = watchtools.Until(ctx, object.ResourceVersion, lw, func(e watch.Event) (bool, error) {
		d, ok := e.Object.(*appsv1.Deployment)
		return ok && d.UID == object.UID && e.Type == watch.Deleted, nil
	})
	if err != nil {
		t.Fatalf("deployment %s does not go: %v", name, err)
	}
}

func TestServerComesBackWithItsData(t *testing.T) {
	c := New(t, "restart", Options{Log: t.Output()})
	client := clientOf(t, c.RESTConfig())
	url := c.URL()
	made, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	c.StopServer()
	_, err = client.CoreV1().ConfigMaps("default").Get(within(t, 5*time.Second), "kept", metav1.GetOptions{})
	if opError := new(net.OpError); !errors.As(err, &opError) || opError.Op != "dial" {
		t.Errorf("a stopped server answers %v, want a refused connection", err)
	}

	if err := c.StartServer(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if c.URL() != url {
		t.Errorf("the server came back at %s, was at %s", c.URL(), url)
	}
	got, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.UID != made.UID {
		t.Errorf("UID %s after the restart, was %s", got.UID, made.UID)
	}
}

func TestPausedServerDoesNotAnswer(t *testing.T) {
	c := New(t, "paused", Options{})
	client := clientOf(t, c.RESTConfig())
	if err := c.Pause(); err != nil {
		t.Fatal(err)
	}
	_, err := client.CoreV1().Namespaces().Get(within(t, 500*time.Millisecond), "default", metav1.GetOptions{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused server answers %v, want no answer until the deadline", err)
	}
	if err := c.Resume(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Get(within(t, 20*time.Second), "default", metav1.GetOptions{}); err != nil {
		t.Errorf("after Resume: %v", err)
	}
}

func TestClustersOfOneEtcdAreApart(t *testing.T) {
	a, b := clientOf(t, Shared(t).RESTConfig()), clientOf(t, New(t, "apart", Options{}).RESTConfig())
	if _, err := a.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "only-a"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.CoreV1().Namespaces().Get(t.Context(), "only-a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the other cluster answers %v, want not found", err)
	}
	if uidOf(t, a) == uidOf(t, b) {
		t.Error("two clusters have one kube-system UID")
	}
}

func uidOf(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	ns, err := client.CoreV1().Namespaces().Get(t.Context(), "kube-system", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(ns.UID)
}

func TestUserMayDoWhatRBACSays(t *testing.T) {
	config, err := Shared(t).User("viewer", "staff")
	if err != nil {
		t.Fatal(err)
	}
	_, err = clientOf(t, config).CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("a user without rights gets %v, want forbidden", err)
	}
}

func TestTokenKubeconfigWorks(t *testing.T) {
	c := Shared(t)
	accounts := clientOf(t, c.RESTConfig()).CoreV1().ServiceAccounts("default")
	if _, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	request, err := accounts.CreateToken(t.Context(), "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file, err := EncodeKubeconfig(&rest.Config{
		Host:            c.URL(),
		BearerToken:     request.Status.Token,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.RESTConfig().CAData},
	})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	review, err := clientOf(t, config).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := review.Status.UserInfo.Username, "system:serviceaccount:default:robot"; got != want {
		t.Errorf("the token is that of %s, want %s", got, want)
	}
}

func TestKubeconfigHoldsEverythingInline(t *testing.T) {
	c := Shared(t)
	file, err := os.ReadFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if tls := config.TLSClientConfig; tls.CAFile != "" || tls.CertFile != "" || tls.KeyFile != "" {
		t.Error("the kubeconfig names files")
	}
	if got, want := uidOf(t, clientOf(t, config)), uidOf(t, clientOf(t, c.RESTConfig())); got != want {
		t.Errorf("the kubeconfig leads to cluster %s, want %s", got, want)
	}
}
