package edge

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// deploymentEvent is an event as an API server writes it of a Deployment that Skerry applied and its controller took up.
const deploymentEvent = `{"type":"MODIFIED","object":{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"apps","uid":"5b1c0f4e-8a51-4b5c-9f3e-0d5c7d1f2a3b","resourceVersion":"4711","generation":2,"creationTimestamp":"2026-01-02T03:04:05Z","labels":{"app.kubernetes.io/name":"web","skerry.dev/owner":"o"},"annotations":{"deployment.kubernetes.io/revision":"2"},"managedFields":[` +
	`{"manager":"skerry.o","operation":"Apply","apiVersion":"apps/v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{"f:app.kubernetes.io/name":{},"f:skerry.dev/owner":{}}},"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}},"f:resources":{"f:limits":{"f:memory":{}},"f:requests":{"f:cpu":{},"f:memory":{}}}}}}}}}},` +
	`{"manager":"kube-controller-manager","operation":"Update","apiVersion":"apps/v1","time":"2026-01-02T03:04:06Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:annotations":{".":{},"f:deployment.kubernetes.io/revision":{}}},"f:status":{"f:availableReplicas":{},"f:conditions":{".":{},"k:{\"type\":\"Available\"}":{".":{},"f:lastTransitionTime":{},"f:lastUpdateTime":{},"f:message":{},"f:reason":{},"f:status":{},"f:type":{}}},"f:observedGeneration":{},"f:readyReplicas":{},"f:replicas":{},"f:updatedReplicas":{}}},"subresource":"status"}]},` +
	`"spec":{"replicas":2,"selector":{"matchLabels":{"app":"web"}},"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"image":"registry.example.com/web:1.2.3","imagePullPolicy":"IfNotPresent","name":"web","ports":[{"containerPort":8080,"protocol":"TCP"}],"resources":{"limits":{"memory":"64Mi"},"requests":{"cpu":"10m","memory":"32Mi"}},"terminationMessagePath":"/dev/termination-log"}],"dnsPolicy":"ClusterFirst","restartPolicy":"Always","terminationGracePeriodSeconds":30}}},` +
	`"status":{"availableReplicas":2,"conditions":[{"lastTransitionTime":"2026-01-02T03:04:06Z","lastUpdateTime":"2026-01-02T03:04:06Z","message":"Deployment has minimum availability.","reason":"MinimumReplicasAvailable","status":"True","type":"Available"}],"observedGeneration":2,"readyReplicas":2,"replicas":2,"updatedReplicas":2}}}` + "\n"

// configMapEvent is one of a ConfigMap, metadata only.
const configMapEvent = `{"type":"MODIFIED","object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"web","namespace":"apps","uid":"5b1c0f4e-8a51-4b5c-9f3e-0d5c7d1f2a3b","resourceVersion":"4711","creationTimestamp":"2026-01-02T03:04:05Z","labels":{"app.kubernetes.io/name":"web","skerry.dev/owner":"o"},"managedFields":[` +
	`{"manager":"skerry.o","operation":"Apply","apiVersion":"v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:a":{},"f:b":{},"f:c":{},"f:d":{}},"f:metadata":{"f:labels":{"f:app.kubernetes.io/name":{},"f:skerry.dev/owner":{}}}}}]}}}` + "\n"

// again reads a text over and over.
type again struct {
	text string
	rest strings.Reader
}

func (a *again) Read(p []byte) (int, error) {
	if a.rest.Len() == 0 {
		a.rest.Reset(a.text)
	}
	return a.rest.Read(p)
}

// BenchmarkEvents takes one event of a watch, from its bytes to what is kept of it.
func BenchmarkEvents(b *testing.B) {
	for name, of := range map[string]struct {
		gvk        schema.GroupVersionKind
		text       string
		fullObject bool
	}{
		"a whole Deployment":          {schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, deploymentEvent, true},
		"the metadata of a ConfigMap": {schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, configMapEvent, false},
	} {
		b.Run(name, func(b *testing.B) {
			w := &watcher{client: &Client{shared: &shared{budget: newBudget(), assessor: assessor{}}}, mapping: Mapping{GVK: of.gvk}, fullObject: of.fullObject}
			e := newEvents(b.Context(), w.client.budget, io.Reader(&again{text: of.text}), of.fullObject)
			b.ReportAllocs()
			b.SetBytes(int64(len(of.text)))
			for b.Loop() {
				got, err := e.next()
				if err != nil {
					b.Fatal(err)
				}
				if seen, ok := w.observe(got); !ok || seen.Fields.Digest == "" {
					b.Fatal(fmt.Sprint(seen))
				}
			}
		})
	}
}
