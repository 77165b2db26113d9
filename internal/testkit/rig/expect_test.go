package rig

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestExpect(t *testing.T) {
	object := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{"skerry.dev/x": "y=z"}},
		"spec":     map[string]any{"replicas": int64(2), "args": []any{"first", "second"}},
		"status": map[string]any{"conditions": []any{
			map[string]any{"type": "Ready", "status": "False", "reason": "PathNotFound", "message": "no ./apps"},
		}},
	}}
	tests := []struct {
		words []string
		on    *unstructured.Unstructured
		want  bool
	}{
		{nil, object, true},
		{nil, nil, false},
		{[]string{"present"}, object, true},
		{[]string{"absent"}, object, false},
		{[]string{"absent"}, nil, true},
		{[]string{"spec.replicas=2"}, object, true},
		{[]string{"spec.replicas=2"}, nil, false},
		{[]string{"spec.replicas!=3"}, object, true},
		{[]string{"spec.paused="}, object, true},
		{[]string{"spec.args.1=second"}, object, true},
		{[]string{"spec.args.2="}, object, true},
		{[]string{`metadata.annotations.skerry\.dev/x=y=z`}, object, true},
		{[]string{"Ready=False"}, object, true},
		{[]string{"Ready=True"}, object, false},
		{[]string{"Ready.reason=PathNotFound", "Ready.message~apps$"}, object, true},
		{[]string{"Ready.reason=PathNotFound", "Ready.message~^apps"}, object, false},
		{[]string{"Reachable=True"}, object, false},
		{[]string{"Ready.message!~apps$"}, object, false},
		{[]string{"Ready.message!~^apps"}, object, true},
	}
	for _, tt := range tests {
		holds, err := Expect(tt.words...)
		if err != nil {
			t.Errorf("%q: %v", tt.words, err)
			continue
		}
		if got, why := holds(tt.on); got != tt.want {
			t.Errorf("%q: %t (%s), want %t", tt.words, got, why, tt.want)
		}
	}
	for _, word := range []string{"nonsense", "=x", "a~("} {
		if _, err := Expect(word); err == nil {
			t.Errorf("%q is accepted", word)
		}
	}
}
