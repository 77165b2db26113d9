package factory

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	kjson "sigs.k8s.io/json"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// TestListIsDecodedAsEverywhere: the fast way gives what the API machinery makes of a list, but for managed fields.
func TestListIsDecodedAsEverywhere(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	maxPrune := intstr.FromString("50%")
	in := metav1.ObjectMeta{
		Namespace: "fleet", Name: "shop-1", UID: "u", ResourceVersion: "7", Generation: 3, CreationTimestamp: at,
		Labels: map[string]string{"tier": "shop"}, Annotations: map[string]string{"a": "\u00fc\n<&>"},
		OwnerReferences: []metav1.OwnerReference{{Kind: "X", Name: "y"}},
		ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "skerry-hub", Operation: "Apply", Time: &at, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}},
	}
	clusters := v1alpha1.ClusterList{ListMeta: metav1.ListMeta{ResourceVersion: "9"}, Items: []v1alpha1.Cluster{
		{ObjectMeta: in, Spec: v1alpha1.ClusterSpec{KubeConfig: &v1alpha1.KubeConfig{SecretRef: meta.SecretKeyReference{Name: "k"}}, Vars: map[string]v1alpha1.VarValue{"n": "1"}},
			Status: v1alpha1.ClusterStatus{Conditions: []metav1.Condition{{Type: "Ready", Status: "True", LastTransitionTime: at}}, LastSeen: &at}},
		{ObjectMeta: metav1.ObjectMeta{Name: "bare"}},
	}}
	assignments := v1alpha1.AssignmentList{Items: []v1alpha1.Assignment{{ObjectMeta: in, Spec: v1alpha1.AssignmentSpec{Entries: []v1alpha1.AssignmentEntry{{
		Name: "apps", Interval: metav1.Duration{Duration: time.Minute}, MaxPrune: &maxPrune, AssignedAt: &at, Fallback: &v1alpha1.Bundle{Digest: "d"},
	}}}}}}
	compare(t, clusters, &v1alpha1.ClusterList{}, func(raw []byte) (v1alpha1.ClusterList, error) {
		got := v1alpha1.ClusterList{TypeMeta: clusters.TypeMeta}
		return got, decodeList(bytes.NewReader(raw), &got.ListMeta, &got.Items)
	})
	compare(t, assignments, &v1alpha1.AssignmentList{}, func(raw []byte) (v1alpha1.AssignmentList, error) {
		got := v1alpha1.AssignmentList{}
		return got, decodeList(bytes.NewReader(raw), &got.ListMeta, &got.Items)
	})
}

func compare[L any](t *testing.T, list L, want *L, decode func([]byte) (L, error)) {
	t.Helper()
	raw, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	// A field that this version does not know is no error.
	raw = bytes.Replace(raw, []byte(`"spec":{`), []byte(`"later":{"x":[1]},"spec":{`), 1)
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, want); err != nil {
		t.Fatal(err)
	}
	got, err := decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*want, got, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".ManagedFields" }, cmp.Ignore())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestListThatIsCutOffIsAnError(t *testing.T) {
	for _, text := range []string{"", "[]", `{"items":[{"metadata":{"name":"a"}},`, `{"items":[{}]`, `{"items":[{}],"metadata":{"resourceVersion":7}}`, `{"items":{}}`} {
		head, items := metav1.ListMeta{}, []v1alpha1.Cluster{}
		if err := decodeList(strings.NewReader(text), &head, &items); err == nil {
			t.Errorf("%q is taken for a list of %d", text, len(items))
		}
	}
	head, items := metav1.ListMeta{}, []v1alpha1.Cluster{}
	if err := decodeList(strings.NewReader(`{"items":null}`), &head, &items); err != nil {
		t.Errorf("an empty list: %v", err)
	}
}
