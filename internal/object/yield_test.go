package object

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const certificate = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t"

// TestWhatTheControlPlaneOwnsIsNotApplied holds for each kind what is left out of a manifest. "in" and
// "want" are what follows the identity.
func TestWhatTheControlPlaneOwnsIsNotApplied(t *testing.T) {
	for _, tc := range []struct{ name, kind, in, want string }{
		{"rules of an aggregated ClusterRole", "rbac.authorization.k8s.io/v1 ClusterRole x", `"aggregationRule":{"clusterRoleSelectors":[]},"rules":[]`, `"aggregationRule":{"clusterRoleSelectors":[]}`},
		{"rules that were exported with it", "rbac.authorization.k8s.io/v1 ClusterRole x", `"aggregationRule":{},"rules":[{"verbs":["get"]}]`, `"aggregationRule":{}`},
		{"rules of a ClusterRole that aggregates nothing", "rbac.authorization.k8s.io/v1 ClusterRole x", `"rules":[]`, `"rules":[]`},
		{"the revision of a Deployment", "apps/v1 Deployment x deployment.kubernetes.io/revision", `"spec":{}`, `"spec":{}`},
		{"finalizers of a Namespace", "v1 Namespace x", `"spec":{"finalizers":["kubernetes"]}`, `"spec":{}`},
		{"that a claim is bound", "v1 PersistentVolumeClaim x pv.kubernetes.io/bind-completed", `"spec":{"volumeName":"v"}`, `"spec":{"volumeName":"v"}`},
		{"the claim of a volume keeps its name", "v1 PersistentVolume x", `"spec":{"claimRef":{"name":"c","resourceVersion":"1","uid":"u"}}`, `"spec":{"claimRef":{"name":"c"}}`},
		{"a token", "v1 Secret x", `"data":{"token":"eA=="},"type":"kubernetes.io/service-account-token"`, `"type":"kubernetes.io/service-account-token"`},
		{"the certificates of the cluster", "v1 ConfigMap kube-root-ca.crt", `"data":{"ca.crt":"x"}`, ``},
		{"who holds a lease", "coordination.k8s.io/v1 Lease x", `"spec":{"holderIdentity":"a","leaseDurationSeconds":15,"renewTime":"t"}`, `"spec":{"leaseDurationSeconds":15}`},
		{"what kubectl applied", "v1 ConfigMap x kubectl.kubernetes.io/last-applied-configuration", `"data":{"a":"b"}`, `"data":{"a":"b"}`},
		{"the same field of another kind", "example.com/v1 ClusterRole x", `"aggregationRule":{},"rules":[]`, `"aggregationRule":{},"rules":[]`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			words := append(strings.Fields(tc.kind), "")
			text := func(fields, annotation string) string {
				if annotation != "" {
					annotation = `"annotations":{"` + annotation + `":"x"},`
				}
				if fields != "" {
					fields = "," + fields
				}
				return `{"apiVersion":"` + words[0] + `","kind":"` + words[1] + `","metadata":{` + annotation + `"name":"` + words[2] + `"}` + fields + `}`
			}
			got, want := object(t, text(tc.in, words[3])), object(t, text(tc.want, ""))
			if diff := cmp.Diff(string(want.Body), string(got.Body)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestInjectedCertificates holds what is left out once a controller has injected it.
func TestInjectedCertificates(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"a placeholder", `"kind":"ValidatingWebhookConfiguration","metadata":{"name":"x"},"webhooks":[{"clientConfig":{"caBundle":"Cg==","url":"u"}}]`, `"kind":"ValidatingWebhookConfiguration","metadata":{"name":"x"},"webhooks":[{"clientConfig":{"url":"u"}}]`},
		{"an empty placeholder beside a certificate", `"kind":"MutatingWebhookConfiguration","metadata":{"name":"x"},"webhooks":[{"clientConfig":{"caBundle":""}},{"clientConfig":{"caBundle":"` + certificate + `"}}]`, `"kind":"MutatingWebhookConfiguration","metadata":{"name":"x"},"webhooks":[{"clientConfig":{}},{"clientConfig":{"caBundle":"` + certificate + `"}}]`},
		{"a certificate that Git has", `"kind":"ValidatingWebhookConfiguration","metadata":{"name":"x"},"webhooks":[{"clientConfig":{"caBundle":"` + certificate + `"}}]`, ""},
		{"what is not base64", `"kind":"ValidatingWebhookConfiguration","metadata":{"name":"x"},"webhooks":[{"clientConfig":{"caBundle":"!"}}]`, ""},
		{"a certificate of a controller", `"kind":"ValidatingWebhookConfiguration","metadata":{"annotations":{"cert-manager.io/inject-ca-from":"a/b"},"name":"x"},"webhooks":[{"clientConfig":{"caBundle":"` + certificate + `"}}]`, `"kind":"ValidatingWebhookConfiguration","metadata":{"annotations":{"cert-manager.io/inject-ca-from":"a/b"},"name":"x"},"webhooks":[{"clientConfig":{}}]`},
	} {
		o := object(t, `{"apiVersion":"admissionregistration.k8s.io/v1",`+tc.in+`}`)
		before := string(o.Body)
		got, dropped := WithoutInjected(o)
		want := before
		if tc.want != "" {
			want = `{"apiVersion":"admissionregistration.k8s.io/v1",` + tc.want + `}`
		}
		if diff := cmp.Diff(want, string(got.Body)); diff != "" || dropped != (tc.want != "") {
			t.Errorf("%s: %v %s", tc.name, dropped, diff)
		}
		if string(o.Body) != before {
			t.Errorf("%s: the object was changed", tc.name)
		}
	}
	for _, text := range []string{
		`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"x"},"spec":{"conversion":{"webhook":{"clientConfig":{"caBundle":"Cg=="}}}}}`,
		`{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"x"},"spec":{"caBundle":"bm90LWEtY2E="}}`,
	} {
		if _, dropped := WithoutInjected(object(t, text)); !dropped {
			t.Errorf("not dropped: %s", text)
		}
	}
}

func TestReplicasOfAnAutoscaler(t *testing.T) {
	deployment := func(spec string) Object {
		return object(t, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"a"},"spec":{`+spec+`"paused":false}}`)
	}
	hpa := object(t, `{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"h","namespace":"a"},"spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"}}}`)
	elsewhere := object(t, `{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"h","namespace":"b"},"spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"}}}`)
	keda := object(t, `{"apiVersion":"keda.sh/v1alpha1","kind":"ScaledObject","metadata":{"name":"s","namespace":"a"},"spec":{"scaleTargetRef":{"name":"web"}}}`)
	for _, tc := range []struct {
		name, spec string
		scaler     Object
		drops      bool
	}{
		{"replicas", `"replicas":2,`, hpa, true},
		{"replicas of KEDA", `"replicas":2,`, keda, true},
		{"no replicas", ``, hpa, false},
		{"switched off", `"replicas":0,`, hpa, false},
		{"an autoscaler of another namespace", `"replicas":2,`, elsewhere, false},
	} {
		d := deployment(tc.spec)
		before := string(d.Body)
		got, dropped := WithoutReplicas([]Object{d, tc.scaler})
		if _, ok := dropped[d.ID]; ok != tc.drops {
			t.Errorf("%s: dropped %v", tc.name, dropped)
		}
		want := d
		if tc.drops {
			want = deployment("")
		}
		if diff := cmp.Diff(want, got[0]); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
		if string(d.Body) != before {
			t.Errorf("%s: the bundle, which is shared, was changed", tc.name)
		}
	}
}

func TestPolicies(t *testing.T) {
	for _, tc := range []struct {
		annotations string
		want        Policy
		err         string
	}{
		{annotations: `"a":"b"`},
		{annotations: `"skerry.dev/ssa":"Merge"`, want: Policy{Mode: Merge}},
		{annotations: `"kustomize.toolkit.fluxcd.io/ssa":"ignore"`, want: Policy{Mode: Ignore}},
		{annotations: `"kustomize.toolkit.fluxcd.io/ssa":"Ignore","skerry.dev/ssa":"Override"`},
		{annotations: `"kustomize.toolkit.fluxcd.io/ssa":"IfNotPresent","skerry.dev/force":"Enabled"`, want: Policy{Mode: IfNotPresent, Force: true}},
		{annotations: `"kustomize.toolkit.fluxcd.io/reconcile":"disabled"`, want: Policy{Mode: Ignore}},
		{annotations: `"skerry.dev/reconcile":"Disabled"`, want: Policy{Mode: Ignore}},
		{annotations: `"skerry.dev/reconcile":"enabled"`},
		{annotations: `"kustomize.toolkit.fluxcd.io/force":"enabled"`, want: Policy{Force: true}},
		{annotations: `"skerry.dev/force":"enabled"`, want: Policy{Force: true}},
		{annotations: `"skerry.dev/force":"true"`},
		{annotations: `"kustomize.toolkit.fluxcd.io/ssa":"Merge"`, want: Policy{Mode: Merge}},
		{annotations: `"skerry.dev/ssa":"IfNotPresent"`, want: Policy{Mode: IfNotPresent}},
		{annotations: `"skerry.dev/ssa":"Ignore"`, want: Policy{Mode: Ignore}},
		{annotations: `"skerry.dev/ssa":"s3cr3t"`, err: "ConfigMap/x: annotation skerry.dev/ssa: want Override, Merge, IfNotPresent or Ignore"},
	} {
		for _, field := range []string{"annotations", "labels"} {
			o, err := FromMap(decode(t, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","`+field+`":{`+tc.annotations+`}}}`))
			if tc.err != "" {
				if err == nil || err.Error() != tc.err {
					t.Errorf("%s: %v", tc.annotations, err)
				}
				continue
			}
			if err != nil || o.Policy != tc.want {
				t.Errorf("%s: %+v, %v", tc.annotations, o.Policy, err)
			}
			if again, err := fromBody(o.Body); err != nil || again.Policy != tc.want {
				t.Errorf("%s, decoded again: %+v, %v", tc.annotations, again.Policy, err)
			}
		}
	}
}
