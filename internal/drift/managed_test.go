package drift

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const us = "skerry.apps.0123456789abcdef"

// entry makes a managed fields entry: "manager/operation[/subresource] version {set}".
func entry(text string) metav1.ManagedFieldsEntry {
	words := strings.SplitN(text, " ", 3)
	who := append(strings.Split(words[0], "/"), "")
	e := metav1.ManagedFieldsEntry{
		Manager: who[0], Operation: metav1.ManagedFieldsOperationType(who[1]), Subresource: who[2],
		APIVersion: words[1], FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{},
	}
	e.FieldsV1.SetRawBytes([]byte(words[2]))
	return e
}

func entries(text string) []metav1.ManagedFieldsEntry {
	var list []metav1.ManagedFieldsEntry
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, entry(line))
		}
	}
	return list
}

func show(list []metav1.ManagedFieldsEntry) string {
	var b strings.Builder
	for _, e := range list {
		b.WriteString(e.Manager + "/" + string(e.Operation))
		if e.Subresource != "" {
			b.WriteString("/" + e.Subresource)
		}
		b.WriteString(" " + e.APIVersion + " " + e.FieldsV1.GetRawString() + "\n")
	}
	return b.String()
}

func TestTakeover(t *testing.T) {
	ours := us + `/Apply v1 {"f:data":{"f:a":{}}}` + "\n"
	for _, tc := range []struct {
		name   string
		t      Takeover
		have   string
		want   string // empty: nothing changes
		grown  bool
		fields string
	}{
		{name: "nobody else", have: ours},
		{
			name: "kubectl beside ours, without the map that both are in", grown: true, fields: ".data.b",
			have: ours + `kubectl-edit/Update v1 {"f:data":{".":{},"f:b":{}}}`,
			want: us + `/Apply v1 {"f:data":{"f:a":{},"f:b":{}}}` + "\n",
		},
		{
			name: "what Helm shares with us", fields: ".data.a",
			have: ours + `helm/Update v1 {"f:data":{".":{},"f:a":{}}}`, want: ours,
		},
		{
			name: "an entry of a list is named as a whole", grown: true, fields: `.spec.ports[port=81,protocol="TCP"]`,
			have: us + `/Apply v1 {"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}}` + "\n" +
				`k9s/Update v1 {"f:spec":{"f:ports":{"k:{\"port\":81,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}}`,
			want: us + `/Apply v1 {"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{}},"k:{\"port\":81,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}}` + "\n",
		},
		{name: "a controller beside ours", have: ours + `some-operator/Update v1 {"f:data":{"f:b":{}}}`},
		{name: "an autoscaler", have: ours + `kube-controller-manager/Update/scale v1 {"f:spec":{"f:replicas":{}}}`},
		{name: "kubectl scale", have: ours + `kubectl/Update/scale v1 {"f:spec":{"f:replicas":{}}}`},
		{name: "kubectl on a status, finalizers, replicas and policies", have: ours +
			`kubectl-edit/Update v1 {"f:metadata":{"f:annotations":{".":{},"f:skerry.dev/reconcile":{}},"f:finalizers":{".":{},"v:\"a/b\"":{}}},"f:spec":{"f:replicas":{}},"f:status":{"f:x":{}}}`},
		{name: "requests to a controller", have: ours +
			`kubectl-annotate/Update v1 {"f:metadata":{"f:annotations":{".":{},"f:skerry.dev/allow-prune":{},"f:reconcile.fluxcd.io/requestedAt":{}}}}`},
		{name: "the flux CLI, which suspends", have: ours + `flux/Update v1 {"f:spec":{"f:suspend":{}}}`},
		{
			name: "a policy stays with kubectl, the rest goes", grown: true, fields: ".data.b",
			have: ours + `kubectl-annotate/Update v1 {"f:data":{"f:b":{}},"f:metadata":{"f:annotations":{".":{},"f:skerry.dev/prune":{}}}}`,
			want: `kubectl-annotate/Update v1 {"f:metadata":{"f:annotations":{"f:skerry.dev/prune":{}}}}` + "\n" + us + `/Apply v1 {"f:data":{"f:a":{},"f:b":{}}}` + "\n",
		},
		{
			name: "another version of the API is given up only", fields: ".data.b",
			have: ours + `kubectl-edit/Update v1beta1 {"f:data":{"f:b":{}}}`, want: ours,
		},
		{
			name: "a former owner", grown: true, fields: ".data.b",
			have: ours + `skerry.other.fedcba9876543210/Apply v1 {"f:data":{"f:b":{}}}`,
			want: us + `/Apply v1 {"f:data":{"f:a":{},"f:b":{}}}` + "\n",
		},
		{
			name: "adopting from a script: what Git names is Git's alone", t: Takeover{Adopting: true},
			have: ours + `deploy-script/Update v1 {"f:data":{".":{},"f:a":{},"f:c":{}}}`,
			want: `deploy-script/Update v1 {"f:data":{"f:c":{}}}` + "\n" + ours,
		},
		{
			name: "adopting leaves the control plane's", t: Takeover{Adopting: true},
			have: ours + `kube-controller-manager/Update v1 {"f:data":{"f:a":{}}}`,
		},
		{name: "asked to keep", t: Takeover{Keep: true, Adopting: true}, have: ours + `kubectl-edit/Update v1 {"f:data":{"f:b":{}}}`},
		{
			name: "replicas that Git names no more", t: Takeover{YieldReplicas: true},
			have: us + `/Apply v1 {"f:spec":{"f:replicas":{},"f:x":{}}}`, want: us + `/Apply v1 {"f:spec":{"f:x":{}}}` + "\n",
		},
		{
			name: "before our first apply", grown: true, fields: ".data.a",
			have: `kubectl-create/Update v1 {"f:data":{"f:a":{}}}`, want: ours,
		},
		{name: "what cannot be read", have: ours + `kubectl-edit/Update v1 {"f:data":[}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.t.Manager, tc.t.APIVersion = us, "v1"
			have := entries(tc.have)
			got := tc.t.Of(have)
			fields := ""
			if got.Contested != nil {
				fields = strings.Join(got.Contested.Fields, " ")
			}
			if diff := cmp.Diff(tc.want, show(got.Managed)); diff != "" {
				t.Error(diff)
			}
			if got.Grown != tc.grown || fields != tc.fields {
				t.Errorf("grown %v, fields %s", got.Grown, fields)
			}
			if again := tc.t.Of(got.Managed); again.Managed != nil {
				t.Errorf("not settled: %s", show(again.Managed))
			}
			if got.Managed != nil && ReadFields(got.Managed, us, tc.t.Keep, nil).Foreign {
				t.Error("what was taken over is still foreign")
			}
		})
	}
}

func TestDigestOfFields(t *testing.T) {
	ours := us + `/Apply v1 {"f:data":{"f:a":{}}}` + "\n"
	base := ReadFields(entries(ours), us, false, nil)
	for name, tc := range map[string]struct {
		have  string
		keep  bool
		drift bool
	}{
		"the same":                      {have: ours},
		"a controller beside ours":      {have: ours + `an-operator/Update v1 {"f:data":{"f:b":{}}}`},
		"a status":                      {have: ours + `kubectl/Update/status v1 {"f:status":{"f:b":{}}}`},
		"a restart":                     {have: ours + `kubectl-rollout/Update v1 {"f:spec":{"f:template":{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/restartedAt":{}}}}}}`},
		"kubectl beside ours":           {have: ours + `kubectl-edit/Update v1 {"f:data":{"f:b":{}}}`, drift: true},
		"kubectl beside ours, and kept": {have: ours + `kubectl-edit/Update v1 {"f:data":{"f:b":{}}}`, keep: true},
		"a field of ours less":          {have: us + `/Apply v1 {"f:data":{}}`, drift: true},
		"nothing of ours":               {have: `kubectl-edit/Update v1 {"f:data":{"f:b":{}}}`, drift: true},
	} {
		if got := ReadFields(entries(tc.have), us, tc.keep, nil); (got.Digest != base.Digest) != tc.drift {
			t.Errorf("%s: drift is %v", name, !tc.drift)
		}
	}
	if got := ReadFields(entries(`kubectl-edit/Update v1 {"f:data":{"f:b":{}}}`), us, false, nil); got.Digest != "" {
		t.Error("a digest although nothing is ours")
	}
}

// TestFieldsOfAHostileEdge holds that sets which would take gigabytes as paths are not decoded.
func TestFieldsOfAHostileEdge(t *testing.T) {
	deep := strings.Repeat(`{"v:1":`, 5000) + "{}" + strings.Repeat("}", 5000)
	wide := `{"f:data":{` + strings.Repeat(`"f:aaaaaaaa":{},`, 20_000) + `"f:b":{}}}`
	for name, set := range map[string]string{"deep": deep, "wide": wide} {
		managed := entries(us + `/Apply v1 {"f:data":{"f:a":{}}}` + "\n" + `kubectl-edit/Update v1 ` + set)
		if ReadFields(managed, us, false, nil).Foreign {
			t.Errorf("%s: was decoded", name)
		}
		if got := (Takeover{Manager: us, APIVersion: "v1"}).Of(managed); got.Managed != nil {
			t.Errorf("%s: was taken over", name)
		}
	}
}

// TestDigestOfFieldsStays: inventories record it, so that another one would pass for drift on every cluster.
func TestDigestOfFieldsStays(t *testing.T) {
	have := us + `/Apply v1 {"f:data":{"f:a":{}}}
kubectl-edit/Update v1 {"f:data":{"f:b":{}}}
` + us + `/Apply apps/v1 {"f:spec":{"f:replicas":{}}}`
	got := ReadFields(entries(have), us, false, nil)
	if want := (Fields{Digest: "4c465bf15a868f1877ac5b0b", Foreign: true, Replicas: true}); got != want {
		t.Errorf("%+v", got)
	}
}
