package controlplane

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRequestsAreCounted(t *testing.T) {
	c := Shared(t)
	config := c.RESTConfig()
	config.UserAgent = "counted"
	client := clientOf(t, config)
	start := time.Now()

	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "counted"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	open, err := client.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Stop()
	if _, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "none", metav1.GetOptions{}); err == nil {
		t.Fatal("got a ConfigMap that nobody made")
	}

	requests, err := c.Requests(start)
	if err != nil {
		t.Fatal(err)
	}
	var got []Request
	for _, r := range requests {
		if r.UserAgent == "counted" {
			got = append(got, r)
		}
	}
	request := Request{Resource: "configmaps", Namespace: "default", User: "admin", UserAgent: "counted", Stage: StageResponseComplete}
	create, watch, get := request, request, request
	create.Verb, create.Name, create.Code = "create", "counted", 201
	watch.Verb, watch.Code, watch.Stage = "watch", 200, StageResponseStarted
	get.Verb, get.Name, get.Code = "get", "none", 404
	if diff := cmp.Diff([]Request{create, watch, get}, got, cmpopts.IgnoreFields(Request{}, "Time", "URI")); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestRequestIsCountedOnceThroughItsStages(t *testing.T) {
	const log = `{"auditID":"1","stage":"ResponseStarted","verb":"watch","requestReceivedTimestamp":"2030-01-01T00:00:02.000000Z"}
{"auditID":"0","stage":"ResponseComplete","verb":"get","requestReceivedTimestamp":"2030-01-01T00:00:00.000000Z"}
{"auditID":"2","stage":"ResponseComplete","verb":"list","requestReceivedTimestamp":"2030-01-01T00:00:03.000000Z"}
{"auditID":"1","stage":"ResponseComplete","verb":"watch","requestReceivedTimestamp":"2030-01-01T00:00:02.000000Z"}
{"auditID":"3","stage":"Respo`
	at := func(second int) time.Time { return time.Date(2030, 1, 1, 0, 0, second, 0, time.UTC) }
	got, err := readAudit(strings.NewReader(log), at(1))
	if err != nil {
		t.Fatal(err)
	}
	want := []Request{
		{Time: at(2), Verb: "watch", Stage: StageResponseComplete},
		{Time: at(3), Verb: "list", Stage: StageResponseComplete},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
